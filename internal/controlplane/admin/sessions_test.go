package admin_test

import (
	"bufio"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// login logs in and gives the cookie's value, the CSRF token and the answer.
func (p *pool) login(body string, headers ...string) (cookie *http.Cookie, csrf string) {
	p.Helper()
	a := p.call("POST /admin/login", body, append([]string{"Authorization", ""}, headers...)...)
	if a.status != http.StatusOK {
		p.Fatalf("login: %d %s", a.status, a.body)
	}
	var out struct {
		CSRFToken string
		ExpiresAt time.Time
	}
	p.decode(a, &out)
	res := http.Response{Header: a.header}
	for _, c := range res.Cookies() {
		if c.Name == "ollama_pool_session" {
			cookie = c
		}
	}
	if cookie == nil || len(cookie.Value) < 40 || len(out.CSRFToken) < 40 || out.CSRFToken == cookie.Value {
		p.Fatalf("login: cookie %v, CSRF token %q", cookie, out.CSRFToken)
	}
	lasts := time.Duration(cookie.MaxAge) * time.Second
	if until := time.Until(out.ExpiresAt); until > lasts || until < lasts-time.Minute {
		p.Errorf("login: the cookie lasts %s, the session %s", lasts, until)
	}
	p.secrets, p.alien = append(p.secrets, cookie.Value), append(p.alien, cookie.Value)
	return cookie, out.CSRFToken
}

// with are the headers of a browser that is logged in.
func with(cookie *http.Cookie, more ...string) []string {
	return append([]string{"Authorization", "", "Cookie", cookie.Name + "=" + cookie.Value}, more...)
}

func TestSessions(t *testing.T) {
	dir := t.TempDir()
	p := start(t, "DATA_DIR="+dir)
	wrongToken := "fake-wrong-admin-token"
	p.secrets = append(p.secrets, wrongToken)
	nobody := []string{"Authorization", ""}
	p.wantError("GET /admin/session", "", 401, "authentication_error", "authentication_error", "there is no session: log in", nobody...)
	p.wantError("GET /admin/session", "", 401, "authentication_error", "authentication_error", "there is no session: log in")
	const noSession = `{"csrfToken":null,"expiresAt":null}`
	p.want("GET /admin/session?optional=true", "", 200, noSession, nobody...)
	p.want("GET /admin/session?optional=true", "", 200, noSession) // the admin token is no session
	p.want("GET /admin/session?optional=true", "", 200, noSession, "Authorization", "", "Cookie", "ollama_pool_session=fake-and-long-ended")
	p.wantError("GET /admin/session?optional=false", "", 401, "authentication_error", "authentication_error", "there is no session: log in", nobody...)
	p.wantInvalid("GET /admin/session?optional=perhaps", "", "optional must be true or false", nobody...)
	p.wantError("POST /admin/logout", "", 401, "authentication_error", "authentication_error",
		"the admin token is missing: send it as Authorization: Bearer …", nobody...)
	p.wantError("POST /admin/login", `{"token":"`+wrongToken+`"}`, 401, "authentication_error", "authentication_error", "wrong admin token", nobody...)
	p.wantInvalid("POST /admin/login", `{}`, "token is missing", nobody...)
	p.wantInvalid("POST /admin/login", `{"token":7}`, `field "token" must be a string, not number`, nobody...)
	p.wantError("POST /admin/login", `{"token":"`+adminToken+`"}`, 403, "permission_error", "permission_error",
		"calls from pages of this origin are not allowed (CORS_ALLOWED_ORIGINS)", "Authorization", "", "Origin", "https://evil.example")

	cookie, csrf := p.login(`{"token":"` + adminToken + `","lang":"en"}`)
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/" || cookie.Secure || cookie.MaxAge != 12*60*60 {
		t.Errorf("cookie %+v", cookie)
	}
	remembered, _ := p.login(`{"token":"`+adminToken+`","remember":true}`, "X-Forwarded-Proto", "https")
	if !remembered.Secure || remembered.MaxAge != 30*24*60*60 {
		t.Errorf("remembered, over TLS: %+v", remembered)
	}
	host := strings.TrimPrefix(p.app.URL(), "http://")
	for origin, secure := range map[string]bool{"https://" + host: true, "http://" + host: false} { // of the page that logs in
		if c, _ := p.login(`{"token":"`+adminToken+`"}`, "Origin", origin); c.Secure != secure {
			t.Errorf("from a page of %s: %+v", origin, c)
		}
	}

	for _, call := range []string{"GET /admin/session", "GET /admin/session?optional=true"} {
		p.want(call, "", 200, `{"csrfToken":"`+csrf+`","expiresAt":"TIME"}`, with(cookie)...)
	}
	p.want("GET /admin/tokens", "", 200, `{"tokens":[],"total":0,"page":1,"pageSize":0,"totalPages":1}`, with(cookie)...)
	add, body := "POST /admin/api-keys", `{"api_key":"`+annaKey+`"}`
	for _, token := range []string{"", "x", csrf + "x", csrf[:len(csrf)-1]} {
		p.wantError(add, body, 403, "permission_error", "permission_error", "X-CSRF-Token is missing or wrong: send what the login gave",
			with(cookie, "X-CSRF-Token", token)...)
	}
	p.want(add, body, 200, `{"success":true,"message":"Added","id":"`+id(annaKey)+`"}`, with(cookie, "X-CSRF-Token", csrf)...)
	p.wantError(add, body, 403, "permission_error", "permission_error", "X-CSRF-Token is missing or wrong: send what the login gave",
		with(remembered, "X-CSRF-Token", csrf)...) // that of another session

	// The admin token goes before the cookie, whether it is right or wrong.
	p.want(add, body, 200, `{"success":true,"message":"Already exists","id":"`+id(annaKey)+`"}`, "Cookie", cookie.Name+"="+cookie.Value)
	p.wantError("GET /admin/tokens", "", 401, "authentication_error", "authentication_error", "wrong admin token",
		"Cookie", cookie.Name+"="+cookie.Value, "Authorization", "Bearer "+wrongToken)
	other := *cookie
	other.Value = strings.Repeat("A", len(cookie.Value))
	p.wantError("GET /admin/tokens", "", 401, "authentication_error", "authentication_error", "the session has ended: log in again", with(&other)...)

	// Sessions survive a restart, and end with the admin token.
	p.stop()
	again := start(t, "DATA_DIR="+dir)
	again.secrets, again.alien = p.secrets, p.alien
	again.want("GET /admin/session", "", 200, `{"csrfToken":"`+csrf+`","expiresAt":"TIME"}`, with(cookie)...)
	again.want("POST /admin/logout", "", 200, `{"success":true}`, with(cookie, "X-CSRF-Token", csrf)...)
	again.wantError("GET /admin/session", "", 401, "authentication_error", "authentication_error", "there is no session: log in", with(cookie)...)
	again.call("GET /admin/session", "", with(remembered)...)
	again.stop()
	changed := start(t, "DATA_DIR="+dir, "ADMIN_TOKEN=another-admin-fake-0123456789")
	changed.secrets, changed.alien = p.secrets, p.alien
	changed.wantError("GET /admin/tokens", "", 401, "authentication_error", "authentication_error", "the session has ended: log in again", with(remembered)...)
}

func TestLogoutTakesTheCookieAway(t *testing.T) {
	p := start(t)
	cookie, csrf := p.login(`{"token":"` + adminToken + `"}`)
	a := p.call("POST /admin/logout", "", with(cookie, "X-CSRF-Token", csrf)...)
	if set := a.header.Get("Set-Cookie"); a.status != 200 || !strings.Contains(set, "ollama_pool_session=;") || !strings.Contains(set, "Max-Age=0") {
		t.Errorf("%d, Set-Cookie %q", a.status, set)
	}
	p.want("POST /admin/logout", "", 200, `{"success":true}`) // with the admin token there is nothing to end
	for _, did := range []string{`did="logged in"`, `did="logged out"`} {
		if !strings.Contains(p.log.String(), did) {
			t.Errorf("%s was not logged", did)
		}
	}
}

// Who logs out sees no more of the live figures, in whichever window.
func TestLogoutEndsEventStreams(t *testing.T) {
	p := start(t)
	cookie, csrf := p.login(`{"token":"` + adminToken + `"}`)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.app.URL()+"/admin/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.AddCookie(cookie)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	lines := bufio.NewScanner(res.Body)
	figures := 0
	for figures < 2 && lines.Scan() { // a session that goes on sees on
		if lines.Text() == "event: figures" {
			figures++
		}
	}
	p.want("POST /admin/logout", "", 200, `{"success":true}`, with(cookie, "X-CSRF-Token", csrf)...)
	late := time.AfterFunc(10*time.Second, func() { _ = res.Body.Close() })
	for lines.Scan() {
	}
	if !late.Stop() || lines.Err() != nil || figures < 2 {
		t.Errorf("the stream goes on; %d figures, %v", figures, lines.Err())
	}
}

// Wrong logins are tries like any other.
func TestGuessingAtTheLogin(t *testing.T) {
	p := start(t)
	from := []string{"Authorization", "", "X-Forwarded-For", "192.0.2.9"}
	var unauthorized, refused atomic.Int32
	var tries sync.WaitGroup
	for range 30 {
		tries.Go(func() {
			switch a := p.send("POST", "/admin/login", strings.NewReader(`{"token":"wrong"}`), from...); a.status {
			case http.StatusTooManyRequests:
				refused.Add(1)
			case http.StatusUnauthorized:
				unauthorized.Add(1)
			}
		})
	}
	tries.Wait()
	if unauthorized.Load() != 20 || refused.Load() != 10 {
		t.Errorf("of 30 wrong logins %d were refused, %d turned away", unauthorized.Load(), refused.Load())
	}
	if a := p.call("POST /admin/login", `{"token":"`+adminToken+`"}`, from...); a.status != http.StatusTooManyRequests {
		t.Errorf("the right token from there: %d", a.status)
	}
	p.login(`{"token":"` + adminToken + `"}`) // from elsewhere
}
