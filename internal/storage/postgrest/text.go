package postgrest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// statement is an SQL text, cut at its placeholders.
type statement struct {
	pieces  []string // one more than placeholders
	args    []int    // which value each placeholder stands for
	inputs  int      // how many values there are
	columns int      // of its result; 0: it has none, or none that is looked at
	reads   bool     // it changes nothing
	loose   bool     // and looks into no table
}

var errColumns = errors.New("the columns of its result cannot be counted")

// maxColumns is how many values a function of PostgreSQL takes (FUNC_MAX_ARGS).
const maxColumns = 100

// writing are words by which a query that begins with select changes something
// all the same, or depends on the transaction that it runs in.
var writing = []string{"pg_notify", "pg_advisory", "nextval", "setval", "set_config", "for update", "for share", "gen_random_uuid", "random()"}

// parse cuts a text at its placeholders, ? or $1, and counts the columns of a
// query's result. Only the one form of each is understood that the store writes.
func parse(text string) (statement, error) {
	l := lexer{text: strings.TrimSpace(text)}
	for l.next() {
	}
	if l.err != nil {
		return statement{}, fmt.Errorf("read the statement %.60q: %w", text, l.err)
	}
	s := statement{pieces: append(l.pieces, l.text[l.cut:]), args: l.args, inputs: l.inputs, columns: l.columns}
	lower := strings.ToLower(l.text)
	s.reads = l.first == "select" || l.first == "with" && l.main == "select" && !l.writes
	for _, word := range writing {
		s.reads = s.reads && !strings.Contains(lower, word)
	}
	s.loose = s.reads && !l.from
	if s.columns > maxColumns {
		return statement{}, fmt.Errorf("read the statement %.60q: %d columns are more than %d", text, s.columns, maxColumns)
	}
	return s, nil
}

// lexer goes through a text word by word.
type lexer struct {
	text   string
	at     int
	depth  int // of brackets
	cut    int // up to where it is in pieces
	pieces []string
	args   []int
	inputs int
	err    error

	first, main string // the first word, and the first that says what is done
	writes      bool   // somewhere something is changed
	from        bool   // somewhere a table is named
	counting    bool   // between select or returning and what follows their list
	columns     int
}

// next reads a word, a text in quotes, a comment or a sign. It is false at the end.
func (l *lexer) next() bool {
	if l.err != nil || l.at >= len(l.text) {
		return false
	}
	rest := l.text[l.at:]
	switch c := rest[0]; {
	case c == '\'' || c == '"':
		l.quoted(c)
	case strings.HasPrefix(rest, "--"):
		l.until("\n", 0)
	case strings.HasPrefix(rest, "/*"):
		l.until("*/", 2)
	case c == '$':
		l.dollar()
	case c == '?':
		l.placeholder(1, l.inputs)
	case c == '(' || c == '[':
		l.depth++
		l.at++
	case c == ')' || c == ']':
		l.depth--
		l.at++
	case c == ',':
		if l.counting && l.depth == 0 {
			l.columns++
		}
		l.at++
	case c == '*' && l.counting && l.depth == 0 && l.starIsList():
		l.err = errColumns
	case c == ';':
		l.err = errors.New("it is more than one")
	case isWord(rune(c)) || c >= utf8.RuneSelf:
		l.word()
	default:
		l.at++
	}
	return l.err == nil
}

// starIsList tells whether a star stands for all columns and not between factors.
func (l *lexer) starIsList() bool {
	before := strings.TrimRight(l.text[:l.at], " \n\t")
	return strings.HasSuffix(before, ",") || strings.HasSuffix(before, ".") || strings.HasSuffix(strings.ToLower(before), "select") ||
		strings.HasSuffix(strings.ToLower(before), "returning")
}

func (l *lexer) quoted(quote byte) {
	for i := l.at + 1; i < len(l.text); i++ {
		if l.text[i] != quote {
			continue
		}
		if i+1 < len(l.text) && l.text[i+1] == quote {
			i++
			continue
		}
		l.at = i + 1
		return
	}
	l.err = errors.New("a quote is not closed")
}

// until goes behind an end, and to the text's where there is none.
func (l *lexer) until(end string, from int) {
	if i := strings.Index(l.text[l.at+from:], end); i >= 0 {
		l.at += from + i + len(end)
		return
	}
	l.at = len(l.text)
}

// dollar reads $1. Texts in dollar quotes do not occur.
func (l *lexer) dollar() {
	digits := 0
	for digits < 6 && l.at+1+digits < len(l.text) && l.text[l.at+1+digits] >= '0' && l.text[l.at+1+digits] <= '9' {
		digits++
	}
	n, err := strconv.Atoi(l.text[l.at+1 : l.at+1+digits])
	if err != nil || n == 0 {
		l.err = errors.New("a dollar sign begins no placeholder")
		return
	}
	l.placeholder(1+digits, n-1)
}

func (l *lexer) placeholder(length, arg int) {
	l.pieces = append(l.pieces, l.text[l.cut:l.at])
	l.args = append(l.args, arg)
	l.inputs = max(l.inputs, arg+1)
	l.at += length
	l.cut = l.at
}

func isWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

// word reads a word and what it means for the list of columns.
func (l *lexer) word() {
	from := l.at
	for l.at < len(l.text) {
		r, size := utf8.DecodeRuneInString(l.text[l.at:])
		if !isWord(r) {
			break
		}
		l.at += size
	}
	if l.at == from { // no letter, such as a sign beyond ASCII
		_, size := utf8.DecodeRuneInString(l.text[l.at:])
		l.at += size
		return
	}
	word := strings.ToLower(l.text[from:l.at])
	if l.first == "" {
		l.first = word
	}
	switch word {
	case "insert", "update", "delete", "merge":
		l.writes = true
	case "from", "join", "table":
		l.from = true
	}
	if l.depth > 0 {
		return
	}
	switch word {
	case "select":
		if l.main == "" {
			l.main, l.counting, l.columns = word, true, 1
		}
	case "insert", "update", "delete", "values":
		if l.main == "" {
			l.main = word
		}
	case "returning":
		l.counting, l.columns = true, 1
	case "from", "where", "union", "order", "limit", "group":
		l.counting = false
	}
}

// asQuery is the text of a query in a form that gives two JSON values: its rows
// as a list of lists, and the types of its columns, null where there is no row.
func (s *statement) asQuery(text string) string {
	var names strings.Builder
	for i := range s.columns {
		if i > 0 {
			names.WriteString(", ")
		}
		names.WriteString("c" + strconv.Itoa(i+1))
	}
	types := "pg_typeof(" + strings.ReplaceAll(names.String(), ", ", "), pg_typeof(") + ")"
	return "with pool_q (" + names.String() + ") as (" + text + "\n) " +
		"select coalesce(json_agg(json_build_array(" + names.String() + ")), '[]'), " +
		"(select json_build_array(" + types + ") from pool_q limit 1) from pool_q"
}
