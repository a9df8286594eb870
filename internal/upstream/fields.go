package upstream

import (
	"net/http"
	"strings"
)

// What a byte may be part of.
const (
	inToken uint8 = 1 << iota // RFC 9110, section 5.6.2
	inValue                   // a field's value or a reason: no control character but the tab
	inHost                    // a host and port that need no translation
	inHex                     // a hexadecimal number
)

var class = func() (t [256]uint8) {
	for i := range 256 {
		c := byte(i)
		letterOrDigit := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if letterOrDigit || c != 0 && strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0 {
			t[c] |= inToken
		}
		if c >= ' ' && c != 0x7f || c == '\t' {
			t[c] |= inValue
		}
		if letterOrDigit || c != 0 && strings.IndexByte("-._:[]", c) >= 0 {
			t[c] |= inHost
		}
		if strings.IndexByte("0123456789abcdefABCDEF", c) >= 0 {
			t[c] |= inHex
		}
	}
	return t
}()

func isToken(s string) bool {
	for i := range len(s) {
		if class[s[i]]&inToken == 0 {
			return false
		}
	}
	return s != ""
}

func isValue(s string) bool {
	for i := range len(s) {
		if class[s[i]]&inValue == 0 {
			return false
		}
	}
	return true
}

// trim takes the blanks off both ends of a value.
func trim(s string) string {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for len(s) > 0 && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// malformed is the error of an answer that is not as HTTP/1.1 demands.
type malformed string

func (m malformed) Error() string { return "malformed answer: " + string(m) }

// parseFields reads field lines, each ended by CRLF. Names and values are parts
// of s, and the values share one array.
func parseFields(s string) (http.Header, error) {
	n := strings.Count(s, "\n")
	header := make(http.Header, n)
	values := make([]string, n)
	for len(s) > 0 {
		line, rest, ok := cutLine(s)
		if !ok {
			return nil, malformed("a line does not end in CRLF")
		}
		s = rest
		colon := strings.IndexByte(line, ':')
		if colon < 0 || !isToken(line[:colon]) { // a folded line begins with a blank
			return nil, malformed("a field without a valid name")
		}
		name, value := http.CanonicalHeaderKey(line[:colon]), trim(line[colon+1:])
		if !isValue(value) {
			return nil, malformed("a control character in a field")
		}
		if before, ok := header[name]; ok {
			header[name] = append(before, value)
			continue
		}
		values[0] = value
		header[name] = values[:1:1]
		values = values[1:]
	}
	return header, nil
}

// cutLine takes a line off s, without its CRLF.
func cutLine(s string) (line, rest string, ok bool) {
	i := strings.IndexByte(s, '\n')
	if i < 1 || s[i-1] != '\r' {
		return "", "", false
	}
	return s[:i-1], s[i+1:], true
}

// hasToken looks for a word in a list of comma-separated words.
func hasToken(values []string, word string) bool {
	for _, list := range values {
		for list != "" {
			var one string
			one, list, _ = strings.Cut(list, ",")
			if strings.EqualFold(trim(one), word) {
				return true
			}
		}
	}
	return false
}
