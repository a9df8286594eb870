package forward

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// maxModelName bounds what is remembered of a model's name.
const maxModelName = 200

// modelName finds the value of the top-level member "model" (or, as older
// Ollama clients write it, "name") of a JSON object without decoding the rest.
// It returns "" where there is none or the body is no JSON object: the upstream
// is the judge of that.
func modelName(body []byte) string {
	s := scanner{b: body}
	if !s.skipTo('{') {
		return ""
	}
	name := ""
	for {
		key, ok := s.str()
		if !ok || !s.skipTo(':') {
			return name
		}
		s.space()
		isModel := string(key) == "model"
		if (isModel || string(key) == "name" && name == "") && s.peek() == '"' {
			v, ok := s.str()
			if !ok {
				return name
			}
			name = cleanName(v)
			if isModel {
				return name
			}
		} else if !s.value() {
			return name
		}
		if !s.skipTo(',') {
			return name
		}
	}
}

// cleanName turns a JSON string's inside into a name that is fit for a table.
func cleanName(raw []byte) string {
	name := string(raw[:min(len(raw), 6*maxModelName)])
	if strings.IndexByte(name, '\\') >= 0 {
		var decoded string // not name: its address would cost every request an allocation
		if json.Unmarshal([]byte(`"`+name+`"`), &decoded) != nil {
			return ""
		}
		name = decoded
	}
	if !plain(name) {
		name = strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f || r == utf8.RuneError {
				return -1
			}
			return r
		}, name)
	}
	if len(name) > maxModelName {
		cut := maxModelName
		for cut > 0 && !utf8.RuneStart(name[cut]) {
			cut--
		}
		name = name[:cut]
	}
	return name
}

func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// scanner walks over JSON without building anything.
type scanner struct {
	b []byte
	i int
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// peek returns the byte at hand, 0 at the end.
func (s *scanner) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

// skipTo passes over white space and then exactly the byte c.
func (s *scanner) skipTo(c byte) bool {
	s.space()
	if s.peek() != c {
		return false
	}
	s.i++
	return true
}

// str passes over a string and returns its inside, escapes as they are.
func (s *scanner) str() ([]byte, bool) {
	if !s.skipTo('"') {
		return nil, false
	}
	start := s.i
	for {
		j := bytes.IndexByte(s.b[s.i:], '"')
		if j < 0 {
			return nil, false
		}
		s.i += j + 1
		// The quote ends the string unless an odd number of backslashes precedes it.
		k := s.i - 2
		for k >= start && s.b[k] == '\\' {
			k--
		}
		if (s.i-2-k)%2 == 0 {
			return s.b[start : s.i-1], true
		}
	}
}

// value passes over any value.
func (s *scanner) value() bool {
	depth := 0
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case '"':
			if _, ok := s.str(); !ok {
				return false
			}
			if depth == 0 {
				return true
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return true // the end of the object around: a number or a word stood here
			}
			if depth--; depth == 0 {
				s.i++
				return true
			}
		case ',':
			if depth == 0 {
				return true
			}
		}
		s.i++
	}
	return false
}
