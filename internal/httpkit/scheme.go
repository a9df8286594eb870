package httpkit

import (
	"net/http"
	"strings"
)

// Secure reports whether the client speaks TLS: with this program, or with a
// trusted proxy that says so (X-Forwarded-Proto).
func (c *Clients) Secure(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	if !c.trusts(parseHop(r.RemoteAddr)) {
		return false
	}
	first, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
	return strings.EqualFold(strings.TrimSpace(first), "https")
}
