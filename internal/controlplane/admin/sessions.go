package admin

import "net/http"

// What a session is carried in.
const (
	cookieName = "ollama_pool_session"
	csrfHeader = "X-CSRF-Token"
)

// changes reports whether a call with a method may change something.
func changes(method string) bool { return method != http.MethodGet && method != http.MethodHead }
