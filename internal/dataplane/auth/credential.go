package auth

import (
	"net/http"
	"strings"

	"ollama-api-pool/internal/gateway"
)

// Source is where in a request a token stood.
type Source uint8

// Where a token can stand. Of several the earlier in this list wins.
const (
	SourceNone          Source = iota
	SourceAuthorization        // Authorization: Bearer …
	SourceAPIKey               // x-api-key, as Anthropic's clients send it
	SourcePath                 // /t/{token}/…
)

// Credential finds the token that a request carries; "" with SourceNone means
// that it carries none. A header that is not well formed (another scheme,
// nothing behind it, blanks inside) is no token, and the next place is looked
// at, since clients add headers of their own next to a token in the path.
func Credential(r *http.Request, pathToken gateway.Secret) (string, Source) {
	for _, line := range r.Header["Authorization"] {
		if token := bearer(line); token != "" {
			return token, SourceAuthorization
		}
	}
	for _, line := range r.Header["X-Api-Key"] {
		if token := oneWord(line); token != "" {
			return token, SourceAPIKey
		}
	}
	if token := oneWord(pathToken.Reveal()); token != "" {
		return token, SourcePath
	}
	return "", SourceNone
}

// bearer reads the value of an Authorization header (RFC 6750, section 2.1;
// the scheme's case does not matter, RFC 9110, section 11.1).
func bearer(line string) string {
	const scheme = "bearer"
	line = strings.Trim(line, " \t")
	if len(line) <= len(scheme) || !strings.EqualFold(line[:len(scheme)], scheme) {
		return ""
	}
	rest := line[len(scheme):]
	if rest[0] != ' ' && rest[0] != '\t' {
		return ""
	}
	return oneWord(rest)
}

// oneWord takes the blanks off both ends; of what has blanks or control
// characters inside nothing is left.
func oneWord(s string) string {
	s = strings.Trim(s, " \t")
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return ""
		}
	}
	return s
}
