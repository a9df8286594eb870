package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// ownOrigin is the step that turns away calls which a browser makes for the
// page of another site, unless that site is allowed, and that answers a
// browser's question whether it may call (preflight).
func (a *API) ownOrigin(next httpkit.Handler) httpkit.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		h := w.Header()
		h.Add("Vary", "Origin")
		origin := r.Header.Get("Origin")
		if origin == "" || sameOrigin(r, origin) {
			return next(w, r)
		}
		switch {
		case slices.Contains(a.opt.Origins, "*"):
			h.Set("Access-Control-Allow-Origin", "*")
		case slices.Contains(a.opt.Origins, strings.ToLower(origin)):
			h.Set("Access-Control-Allow-Origin", origin)
		default:
			return gateway.Errorf(gateway.KindForbidden, "calls from pages of this origin are not allowed (CORS_ALLOWED_ORIGINS)")
		}
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PATCH, DELETE")
			h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-CSRF-Token, X-Import-Source, X-Request-Id")
			h.Set("Access-Control-Max-Age", "600")
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		h.Set("Access-Control-Expose-Headers", "X-Request-Id, Retry-After")
		return next(w, r)
	}
}

// everyOrigin is the step that lets pages of every site read an answer, or
// those of CORS_ALLOWED_ORIGINS where that is set. It is for what is public.
func (a *API) everyOrigin(next httpkit.Handler) httpkit.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		h := w.Header()
		if len(a.opt.Origins) == 0 || slices.Contains(a.opt.Origins, "*") {
			h.Set("Access-Control-Allow-Origin", "*")
		} else {
			h.Add("Vary", "Origin")
			if origin := r.Header.Get("Origin"); slices.Contains(a.opt.Origins, strings.ToLower(origin)) {
				h.Set("Access-Control-Allow-Origin", origin)
			}
		}
		return next(w, r)
	}
}

// sameOrigin reports whether a call comes from a page of ours. A browser that
// sends Sec-Fetch-Site knows; the others are believed when the origin names the
// host that was called.
func sameOrigin(r *http.Request, origin string) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site == "same-origin"
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

// authenticate is the step that lets only the operator pass: who sends the
// admin token, or a browser with the cookie of a session. The token goes first
// where both are there. A call with neither is no try at guessing.
func (a *API) authenticate(next httpkit.Handler) httpkit.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		token := bearerOf(r)
		var err error
		switch _, none := r.Cookie(cookieName); {
		case token != "":
			err = a.admit(r, token)
		case none == nil:
			err = a.inSession(r)
		default:
			err = gateway.Errorf(gateway.KindUnauthorized, "the admin token is missing: send it as Authorization: Bearer …")
		}
		if err != nil {
			return err
		}
		return next(w, r)
	}
}

// bearerOf is the token that a call sends, "" if there is none.
func bearerOf(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// admit lets the right admin token pass and slows down who guesses. Both sides
// of the comparison are hashed, so that its time tells nothing, not even a
// length.
func (a *API) admit(r *http.Request, token string) error {
	digest := sha256.Sum256([]byte(token))
	right := subtle.ConstantTimeCompare(digest[:], a.digest[:]) == 1
	return a.guard.admit(r.Context(), a.opt.Clients.IP(r), right && a.opt.Token != "")
}

// open is the step that turns calls away at once that would change something
// while nothing can be changed.
func (a *API) open(next httpkit.Handler) httpkit.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if a.opt.Closed != nil && changes(r.Method) && r.Method != http.MethodOptions {
			if err := a.opt.Closed(); err != nil {
				return err
			}
		}
		return next(w, r)
	}
}
