package importer

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"ollama-api-pool/internal/gateway"
)

const (
	separator   = "----"
	maxUsername = 320 // characters; the longest e-mail address
	surelyKey   = 20  // characters; what is shorter may as well be a password
)

// ParseLine reads one line: a bare key, or fields parted by ---- of which the
// first is the user name and the last the key:
//
//	api_key
//	user----api_key
//	email----password----session----api_key
//	email----password----session;aid=…----aid----api_key
//
// A blank line or a # comment is to be skipped; a line that holds no usable key
// gives the reason, which never repeats what stands in it. The entry is a copy:
// it does not keep the line in memory. Its Line is left at 0.
//
// Where a line can be read in two ways, nothing that may be a password is taken
// for a key:
//   - Two fields, the first an e-mail address: the last must look like a key
//     (at least 20 letters, digits, dots, underscores or dashes).
//   - Three fields are always bad. Five without aid=, and more, come from a
//     password or session with ---- in it: the last must look like a key.
//   - Four fields with aid= of which the last is that id lack the key.
//   - A run of five to seven dashes is one separator. The surplus belongs to a
//     password or session; the keys of no provider begin with a dash.
//   - JSON, quoted texts, e-mail and web addresses are no keys.
func ParseLine(line string) (entry Entry, reason string, skip bool) {
	line = trim(line)
	if line == "" || line[0] == '#' {
		return Entry{}, "", true
	}
	if reason = checkText(line); reason != "" {
		return Entry{}, reason, false
	}
	fields := splitFields(line)
	key, user := fields[len(fields)-1], ""
	if len(fields) > 1 {
		user = fields[0]
	}
	if reason = checkFields(fields); reason == "" {
		reason = checkKey(key)
	}
	if reason == "" {
		reason = checkUsername(user)
	}
	if reason != "" {
		return Entry{}, reason, false
	}
	return Entry{Secret: gateway.Secret(strings.Clone(key)), Username: strings.Clone(user), Fields: len(fields)}, "", false
}

// trim takes away the blanks around a text, those that cannot be seen included.
func trim(s string) string {
	return strings.TrimFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || r == '\ufeff' || r == '\u200b'
	})
}

// checkText refuses lines that are no text. Tabs are blanks.
func checkText(line string) string {
	if !utf8.ValidString(line) {
		return reasonNotUTF8
	}
	if strings.ContainsFunc(line, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) {
		return reasonControl
	}
	return ""
}

// splitFields parts a line at runs of four dashes or more. Each four dashes of
// a run are a separator, so that eight have an empty field between them; what
// is left of a run is dropped.
func splitFields(line string) []string {
	var fields []string
	for {
		i := strings.Index(line, separator)
		if i < 0 {
			return append(fields, trim(line))
		}
		rest := strings.TrimLeft(line[i:], "-")
		fields = append(fields, trim(line[:i]))
		for range (len(line)-i-len(rest))/len(separator) - 1 {
			fields = append(fields, "")
		}
		line = rest
	}
}

// checkFields says why the last of several fields cannot be taken for the key.
func checkFields(fields []string) string {
	key := fields[len(fields)-1]
	switch n := len(fields); {
	case n == 1:
	case key == "":
		return reasonNoKey
	case n == 2:
		if isEmail(fields[0]) && !looksLikeKey(key) {
			return reasonUnsure
		}
	case n == 3:
		return reasonThreeFields
	case n == 4:
		if aid, ok := accountID(fields[2]); ok && aid == key {
			return reasonOnlyAid
		}
	default:
		if _, ok := accountID(fields[2]); (n > 5 || !ok) && !looksLikeKey(key) {
			return reasonManyFields
		}
	}
	return ""
}

// accountID finds the account id that a session field carries as aid=….
func accountID(session string) (string, bool) {
	_, id, ok := strings.Cut(session, "aid=")
	id, _, _ = strings.Cut(id, ";")
	return trim(id), ok
}

// isEmail reports whether a user name is an e-mail address, in the widest
// sense, since a password may follow it.
func isEmail(s string) bool {
	at := strings.IndexByte(s, '@')
	return at > 0 && at < len(s)-1
}

// looksLikeKey reports whether a text is most likely a key and no password.
func looksLikeKey(s string) bool {
	if len(s) < surelyKey {
		return false
	}
	for _, c := range []byte(s) {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// checkKey says what is wrong with a key, or that it is something else.
func checkKey(key string) string {
	if reason := gateway.CheckKey(key); reason != "" {
		return reason
	}
	switch {
	case isJSON(key):
		return reasonJSON
	case inQuotes(key):
		return reasonQuotes
	case strings.Contains(key, "://"):
		return reasonWebAddress
	case beginsWithEmail(key):
		return reasonEmail
	}
	return ""
}

// isJSON knows pieces of a JSON list as they stand on lines of their own.
func isJSON(s string) bool {
	for _, begin := range []string{`{"`, `["`, `[{`, `[[`} {
		if strings.HasPrefix(s, begin) {
			return true
		}
	}
	return s[0] == '"' && strings.Contains(s, `":`)
}

// inQuotes reports whether a text stands in quotes, also with a comma after it.
func inQuotes(s string) bool {
	s = strings.TrimSuffix(s, ",")
	q := s[0]
	return (q == '"' || q == '\'' || q == '`') && s[len(s)-1] == q
}

// beginsWithEmail reports whether a text is an e-mail address, or begins with
// one and goes on after a colon or the like, as lists of passwords do.
func beginsWithEmail(s string) bool {
	name, domain, ok := strings.Cut(s, "@")
	if i := strings.IndexAny(domain, moreAfterEmail); i >= 0 {
		domain = domain[:i]
	}
	dot := strings.LastIndexByte(domain, '.')
	if !ok || name == "" || dot <= 0 || dot == len(domain)-1 {
		return false
	}
	for _, c := range []byte(domain) {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

// moreAfterEmail are the characters with which people part an e-mail address
// from the password that follows it.
const moreAfterEmail = ":;|,/\\ \t"

// checkUsername says what is wrong with a user name. One that goes on after an
// e-mail address is refused, as what follows may be a password.
func checkUsername(user string) string {
	if utf8.RuneCountInString(user) > maxUsername {
		return reasonUserLong
	}
	for _, r := range user {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return reasonUserText
		}
	}
	if isEmail(user) && strings.ContainsAny(user[strings.IndexByte(user, '@'):], moreAfterEmail) {
		return reasonUserMore
	}
	return ""
}
