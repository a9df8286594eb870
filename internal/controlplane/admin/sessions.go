package admin

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// What a session is carried in.
const (
	cookieName = "ollama_pool_session"
	csrfHeader = "X-CSRF-Token"
)

// How long a session lasts.
const (
	sessionFor    = 12 * time.Hour
	rememberedFor = 30 * 24 * time.Hour
)

// Sessions keeps the logins of browsers. Changes are durable when a call
// returns. Its methods may be called concurrently.
type Sessions interface {
	// AddSession keeps a session and forgets those that have ended.
	AddSession(ctx context.Context, s gateway.Session) error
	// Session returns the session of a hash, and whether there is one that has
	// not ended.
	Session(ctx context.Context, hash string) (gateway.Session, bool, error)
	// DeleteSession ends a session, if there is one.
	DeleteSession(ctx context.Context, hash string) error
}

// changes reports whether a call with a method may change something.
func changes(method string) bool { return method != http.MethodGet && method != http.MethodHead }

// randomWord is 256 random bits as text.
func randomWord() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// sessionHash is the form in which a cookie is kept. The admin token is part of
// it, so that a new one ends all sessions.
func (a *API) sessionHash(cookie string) string {
	mac := hmac.New(sha256.New, a.digest[:])
	_, _ = mac.Write([]byte("session:" + cookie))
	return "sha256:" + hex.EncodeToString(mac.Sum(nil))
}

// sessionOf finds the session whose cookie a request carries.
func (a *API) sessionOf(r *http.Request) (gateway.Session, bool, error) {
	c, err := r.Cookie(cookieName)
	if err != nil || c.Value == "" || a.opt.Token == "" {
		return gateway.Session{}, false, nil
	}
	return a.sessions.Session(r.Context(), a.sessionHash(c.Value))
}

// inSession lets a call pass that carries the cookie of a session and, if it
// may change something, the session's CSRF token, which pages of other sites
// cannot know.
func (a *API) inSession(r *http.Request) error {
	s, found, err := a.sessionOf(r)
	if err != nil {
		return err
	}
	if !found {
		return gateway.Errorf(gateway.KindUnauthorized, "the session has ended: log in again")
	}
	if changes(r.Method) && subtle.ConstantTimeCompare([]byte(r.Header.Get(csrfHeader)), []byte(s.CSRF)) != 1 {
		return gateway.Errorf(gateway.KindForbidden, "%s is missing or wrong: send what the login gave", csrfHeader)
	}
	return nil
}

type loginRequest struct {
	Token    string `json:"token" description:"The admin token."`
	Remember bool   `json:"remember,omitempty" description:"Keeps the session for 30 days, else it lasts 12 hours."`
}

type sessionAnswer struct {
	CSRFToken string    `json:"csrfToken" description:"To be sent as X-CSRF-Token with every call that changes something."`
	ExpiresAt time.Time `json:"expiresAt"`
}

var loginDoc = operation{
	summary: "Log in", group: "Session", body: loginRequest{}, answer: sessionAnswer{}, open: true, tolerant: true,
	about: "Sets the cookie `" + cookieName + "`. Wrong tokens are dealt with as everywhere.", example: `{"token":"the-admin-token","remember":false}`,
}

// login begins a session.
func (a *API) login(w http.ResponseWriter, r *http.Request) error {
	var in loginRequest
	if err := httpkit.DecodeJSON(w, r, maxBody, &in, httpkit.AllowUnknown); err != nil {
		return err
	}
	if in.Token == "" {
		return gateway.Errorf(gateway.KindInvalid, "token is missing")
	}
	if err := a.admit(r, in.Token); err != nil {
		return err
	}
	now, lasts := a.opt.Now(), sessionFor
	if in.Remember {
		lasts = rememberedFor
	}
	cookie := randomWord()
	s := gateway.Session{Hash: a.sessionHash(cookie), CSRF: randomWord(), CreatedAt: now, ExpiresAt: now.Add(lasts)}
	if err := a.sessions.AddSession(r.Context(), s); err != nil {
		return err
	}
	a.note(r, "logged in")
	a.setCookie(w, r, cookie, int(lasts/time.Second))
	return httpkit.WriteJSON(w, http.StatusOK, sessionAnswer{CSRFToken: s.CSRF, ExpiresAt: s.ExpiresAt.UTC()})
}

// setCookie hands the browser a cookie, or with an age below 0 takes it away.
// A page that was loaded over TLS says so in its origin, also where nobody told
// this program of the proxy in front.
func (a *API) setCookie(w http.ResponseWriter, r *http.Request, value string, age int) {
	overTLS := a.opt.Clients.Secure(r) || strings.HasPrefix(strings.ToLower(r.Header.Get("Origin")), "https://")
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure wherever the client speaks TLS
		Name: cookieName, Value: value, Path: "/", MaxAge: age,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: overTLS,
	})
}

var logoutDoc = operation{
	summary: "Log out", group: "Session", answer: doneAnswer{}, about: "Ends the session of the cookie, if one is sent.",
}

// logout ends the session whose cookie the request carries.
func (a *API) logout(w http.ResponseWriter, r *http.Request) error {
	if c, err := r.Cookie(cookieName); err == nil {
		if err := a.sessions.DeleteSession(r.Context(), a.sessionHash(c.Value)); err != nil {
			return err
		}
		a.note(r, "logged out")
	}
	a.setCookie(w, r, "", -1)
	return httpkit.WriteJSON(w, http.StatusOK, doneAnswer{Success: true})
}

type sessionQuery struct {
	Optional bool `query:"optional" description:"Answers 200 with null fields where there is no session, and not 401."`
}

// foundSession is a session, or with nulls that there is none.
type foundSession struct {
	CSRFToken *string    `json:"csrfToken" description:"To be sent as X-CSRF-Token with every call that changes something."`
	ExpiresAt *time.Time `json:"expiresAt"`
}

var showSessionDoc = operation{
	summary: "The session of the cookie", group: "Session", query: sessionQuery{}, answer: foundSession{}, session: true,
	about: "For a page that was loaded anew. 401 without a valid cookie, also with the admin token. With `optional=true` " +
		"that is no error: the answer is 200, and its fields are null.",
}

// showSession gives the CSRF token of the session again. A page asks at its
// start with optional, since a browser notes every 401 as an error.
func (a *API) showSession(w http.ResponseWriter, r *http.Request) error {
	var f faults
	optional := f.truth(r, "optional")
	if err := f.err(); err != nil {
		return err
	}
	s, found, err := a.sessionOf(r)
	switch {
	case err != nil:
		return err
	case found:
		until := s.ExpiresAt.UTC()
		return httpkit.WriteJSON(w, http.StatusOK, foundSession{CSRFToken: &s.CSRF, ExpiresAt: &until})
	case optional:
		return httpkit.WriteJSON(w, http.StatusOK, foundSession{})
	}
	return gateway.Errorf(gateway.KindUnauthorized, "there is no session: log in")
}
