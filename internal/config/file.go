package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// maxFile bounds the settings file, in bytes: a larger one is some other file.
const maxFile = 256 << 10

// varsTable is the table of a wrangler.toml that holds the settings.
const varsTable = "vars"

// sources holds the settings' texts as they were found.
type sources struct {
	env, file map[string]string
	warnings  []string
	problems  Problems
}

// value gives a setting's text and where it came from. The environment wins.
func (s *sources) value(name string) (string, Source) {
	if v := s.env[name]; v != "" {
		return v, FromEnvironment
	}
	if v := s.file[name]; v != "" {
		return v, FromFile
	}
	return "", FromDefault
}

// given reports whether a setting has a value other than its default's.
func (s *sources) given(name string) bool {
	_, from := s.value(name)
	return from != FromDefault
}

// gather reads the environment and the file.
func gather(environ []string, file string) (*sources, error) {
	s := &sources{env: map[string]string{}, file: map[string]string{}}
	for _, e := range environ {
		if name, v, ok := strings.Cut(e, "="); ok && lookup(name) != nil {
			s.env[name] = strings.TrimSpace(v)
		}
	}
	if file == "" {
		return s, nil
	}
	text, err := readFile(file)
	if err != nil {
		return s, fmt.Errorf("read settings file: %w", err)
	}
	doc, err := parseFile(file, text)
	if err != nil {
		return s, fmt.Errorf("read settings file %s: %w", file, err)
	}
	s.readTable(doc, "")
	vars, where := s.varsOf(doc, variableOf(environ, environmentName))
	switch vars := vars.(type) {
	case nil:
	case map[string]any:
		s.readTable(vars, where)
	default:
		s.problems = append(s.problems, Problem{
			Setting: varsTable, Value: "(" + kindOf(vars) + ")", Source: FromFile, Reason: "must be a table: [vars]",
		})
	}
	return s, nil
}

// readFile reads the whole file up to maxFile. Its errors name the file.
func readFile(name string) (string, error) {
	f, err := os.Open(name) //nolint:gosec // the operator names the file
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", err
	}
	if len(b) > maxFile {
		return "", fmt.Errorf("%s: is larger than %d bytes, which no settings file is", name, maxFile)
	}
	return string(b), nil
}

// readTable takes the settings out of one table of the file. What [vars] says
// replaces what stands at the top level.
func (s *sources) readTable(table map[string]any, where string) {
	names := make([]string, 0, len(table))
	for name := range table {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		o := lookup(name)
		if o == nil {
			s.unknown(name, table[name])
			continue
		}
		text, ok := scalar(o, table[name])
		if !ok {
			s.problems = append(s.problems, Problem{
				Setting: name, Value: "(" + kindOf(table[name]) + ")", Source: FromFile, Reason: "must be " + o.rule.allowed,
			})
			continue
		}
		if text == "" {
			continue
		}
		if where != "" && s.file[name] != "" {
			s.warnings = append(s.warnings, fmt.Sprintf("%s stands in the file twice: the value under [%s] counts", name, where))
		}
		s.file[name] = text
	}
}

// unknown warns of a name that was probably meant to be a setting. A
// wrangler.toml holds much that is none, in lower case or as tables.
func (s *sources) unknown(name string, value any) {
	if upper := strings.ToUpper(name); upper != name && lookup(upper) != nil {
		s.warnings = append(s.warnings, fmt.Sprintf("%s in the file is ignored: the setting is written %s", name, upper))
		return
	}
	switch value.(type) {
	case map[string]any, []map[string]any:
		return
	}
	if !looksLikeSetting(name) {
		return
	}
	w := fmt.Sprintf("unknown setting %s in the file is ignored", name)
	if near := nearest(name); near != "" {
		w += ": did you mean " + near + "?"
	}
	s.warnings = append(s.warnings, w)
}

// looksLikeSetting reports whether a name is written as settings are: capitals,
// digits and underscores, of a bearable length.
func looksLikeSetting(name string) bool {
	if len(name) < 2 || len(name) > 64 || name[0] < 'A' || name[0] > 'Z' {
		return false
	}
	return strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
}

// scalar gives the text of a value of the file as the environment would have
// held it. Lists may also be TOML arrays of strings.
func scalar(o *option, value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return strings.TrimSpace(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case bool:
		return strconv.FormatBool(v), true
	case []any:
		if !o.rule.list {
			return "", false
		}
		parts := make([]string, 0, len(v))
		for _, e := range v {
			part, ok := e.(string)
			if !ok {
				return "", false
			}
			parts = append(parts, strings.TrimSpace(part))
		}
		return strings.Join(parts, ","), true
	}
	return "", false
}

// kindOf names the kind of a TOML value that cannot be a setting's.
func kindOf(value any) string {
	switch value.(type) {
	case map[string]any:
		return "a table"
	case []any, []map[string]any:
		return "an array"
	case nil:
		return "null"
	case string, int64, float64, bool:
		return "a single value"
	}
	return "a date or time"
}

// tomlCauses says in our own words what the TOML reader meant by an error that
// holds a phrase. Its own words may repeat what stands in the file, and that
// may be a secret.
var tomlCauses = []struct{ phrase, cause string }{
	{"already", "a name or table stands there twice"},
	{"UTF-16", "the file holds NUL bytes; save it as UTF-8"},
	{"invalid UTF-8", "the file is not UTF-8"},
	{"control characters", "a control character"},
	{"strings cannot contain newlines", "a text without its closing quote"},
	{"unexpected EOF", "the file ends in the middle of something"},
	{"end of file", "the file ends in the middle of something"},
	{"scape", "a backslash with something unknown after it; in 'single quotes' a backslash is only a backslash"},
	{"hexadecimal digits after", "a backslash with something unknown after it; in 'single quotes' a backslash is only a backslash"},
	{"expected value but found", "no value after =, or a text without quotes"},
	{"top-level item to end", "something after the value; a text needs quotes around it"},
	{"table", "a table name that is not closed or empty"},
	{"expected '.' or '='", "a name without = and a value"},
	{"key", "a name is missing or not allowed"},
	{"out of range", "a number that is too large; a text needs quotes around it"},
	{"nvalid", "not a number, date or switch; a text needs quotes around it"},
	{"not a", "not a number; a text needs quotes around it"},
	{"digit", "not a number; a text needs quotes around it"},
}

// tomlError turns an error of the TOML reader into line and cause, without
// anything that stands in the file.
func tomlError(err error) error {
	var p toml.ParseError
	if !errors.As(err, &p) {
		return errors.New("not valid TOML")
	}
	cause := "not valid TOML"
	for _, c := range tomlCauses {
		if strings.Contains(p.Message, c.phrase) {
			cause = c.cause
			break
		}
	}
	return fmt.Errorf("line %d: %s", p.Position.Line, cause)
}
