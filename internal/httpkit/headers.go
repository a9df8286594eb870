package httpkit

import (
	"net/http"
	"slices"
	"strings"
)

// Harden is the step that tells browsers what they may do with an answer: load
// what the policy names (Content-Security-Policy), send along as referrer what
// its name says, show it in no frame, and take it for nothing but what it says
// that it is.
func Harden(policy, referrer string) Middleware {
	return func(next Handler) Handler {
		return func(w http.ResponseWriter, r *http.Request) error {
			h := w.Header()
			h.Set("Content-Security-Policy", policy)
			h.Set("Referrer-Policy", referrer)
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("X-Frame-Options", "DENY")
			return next(w, r)
		}
	}
}

// Unchanged gives an answer its ETag, quotes included, and answers 304 where the
// client has it already (If-None-Match). Then it reports true, and nothing more
// is to be written. A tag that a proxy made weak on its way is the same one.
func Unchanged(w http.ResponseWriter, r *http.Request, tag string) bool {
	w.Header().Set("Etag", tag)
	for _, line := range r.Header.Values("If-None-Match") {
		if slices.ContainsFunc(strings.Split(line, ","), func(known string) bool {
			known = strings.TrimPrefix(strings.TrimSpace(known), "W/")
			return known == tag || known == "*"
		}) {
			w.WriteHeader(http.StatusNotModified)
			return true
		}
	}
	return false
}
