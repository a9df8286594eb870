package admin_test

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
)

func TestHeadersOfEveryAnswer(t *testing.T) {
	p := start(t)
	for _, c := range []struct {
		call   string
		status int
		allow  string
	}{
		{"GET /", 200, ""},
		{"HEAD /", 200, ""},
		{"POST /", 405, "GET, HEAD, OPTIONS"},
		{"GET /nowhere", 404, ""},
		{"GET /admin", 404, ""},
		{"GET //admin/stats", 404, ""},
		{"GET /admin/../admin/stats", 404, ""},
		{"GET /admin/stats", 200, ""},
		{"HEAD /admin/stats", 200, ""},
		{"PUT /admin/stats", 405, "GET, HEAD, OPTIONS"},
		{"PATCH /admin/api-keys", 405, "GET, HEAD, POST, DELETE, OPTIONS"},
		{"GET /admin/api-keys/import", 405, "POST, OPTIONS"},
		{"POST /admin/api-keys/fake-key-1234567890", 405, "GET, HEAD, DELETE, OPTIONS"},
		{"OPTIONS /admin/tokens", 204, "GET, HEAD, POST, DELETE, OPTIONS"},
	} {
		a := p.call(c.call, "", "Accept", "application/json") // without it / is the dashboard
		if a.status != c.status || a.header.Get("Allow") != c.allow {
			t.Errorf("%s: %d, Allow %q", c.call, a.status, a.header.Get("Allow"))
		}
		for name, want := range map[string]string{
			"Cache-Control":           "no-store",
			"X-Content-Type-Options":  "nosniff",
			"Referrer-Policy":         "no-referrer",
			"X-Frame-Options":         "DENY",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s: %s is %q", c.call, name, got)
			}
		}
		if a.header.Get("X-Request-Id") == "" {
			t.Errorf("%s: no request id", c.call)
		}
		if a.status != 204 && a.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: type %q", c.call, a.header.Get("Content-Type"))
		}
		if c.status == 404 {
			p.same(c.call, a.body, `{"error":{"message":"no such address","type":"invalid_request_error","code":"not_found","param":null}}`)
		}
	}
	p.want("GET /", "", 200, `{"service":"ollama-api-pool","version":"1.2.3-test"}`, "Authorization", "", "Accept", "application/json")
	p.wantError("PUT /admin/stats", "", 405, "invalid_request_error", "invalid_request_error", "method PUT is not known here", "Authorization", "")
}

func TestCallsFromOtherSites(t *testing.T) {
	p := start(t)
	host := p.app.URL()
	for name, c := range map[string]struct {
		call    string
		headers []string
		status  int
		allowed string // Access-Control-Allow-Origin
	}{
		"allowed":              {"GET /admin/stats", []string{"Origin", "https://ops.example"}, 200, "https://ops.example"},
		"allowed, large":       {"GET /admin/stats", []string{"Origin", "https://OPS.example"}, 200, "https://OPS.example"},
		"allowed, error":       {"GET /admin/stats?provider=acme", []string{"Origin", "https://ops.example"}, 400, "https://ops.example"},
		"allowed, no token":    {"GET /admin/stats", []string{"Origin", "https://ops.example", "Authorization", ""}, 401, "https://ops.example"},
		"other":                {"GET /admin/stats", []string{"Origin", "https://evil.example"}, 403, ""},
		"other, change":        {"POST /admin/tokens", []string{"Origin", "https://evil.example"}, 403, ""},
		"no origin to speak":   {"GET /admin/stats", []string{"Origin", "null"}, 403, ""},
		"own":                  {"GET /admin/stats", []string{"Origin", host}, 200, ""},
		"own, behind a proxy":  {"GET /admin/stats", []string{"Origin", "https://pool.example", "Sec-Fetch-Site", "same-origin"}, 200, ""},
		"another port":         {"GET /admin/stats", []string{"Origin", "http://127.0.0.1:1", "Sec-Fetch-Site", "same-site"}, 403, ""},
		"question":             {"OPTIONS /admin/tokens", []string{"Origin", "https://ops.example", "Access-Control-Request-Method", "POST", "Authorization", ""}, 204, "https://ops.example"},
		"question from others": {"OPTIONS /admin/tokens", []string{"Origin", "https://evil.example", "Access-Control-Request-Method", "POST", "Authorization", ""}, 403, ""},
		"no question":          {"OPTIONS /admin/tokens", []string{"Authorization", ""}, 401, ""},
		"no browser":           {"GET /admin/stats", nil, 200, ""},
	} {
		a := p.call(c.call, "", c.headers...)
		if a.status != c.status || a.header.Get("Access-Control-Allow-Origin") != c.allowed || a.header.Get("Vary") != "Origin" {
			t.Errorf("%s: %d, allowed %q, Vary %q: %s", name, a.status, a.header.Get("Access-Control-Allow-Origin"), a.header.Get("Vary"), a.body)
		}
		if asked := strings.HasPrefix(name, "question"); asked && c.status == 204 &&
			(!strings.Contains(a.header.Get("Access-Control-Allow-Methods"), "DELETE") || !strings.Contains(a.header.Get("Access-Control-Allow-Headers"), "Authorization")) {
			t.Errorf("%s: %v", name, a.header)
		}
	}
	everybody := start(t, "CORS_ALLOWED_ORIGINS=*")
	if a := everybody.call("GET /admin/stats", "", "Origin", "https://any.example"); a.status != 200 || a.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("everybody: %d %v", a.status, a.header)
	}
}

func TestGuessing(t *testing.T) {
	p := start(t)
	wrong := "fake-wrong-admin-token"
	p.secrets = append(p.secrets, wrong)
	unauthorized := func(message string, headers ...string) {
		t.Helper()
		p.wantError("GET /admin/stats", "", 401, "authentication_error", "authentication_error", message, headers...)
	}
	missing := "the admin token is missing: send it as Authorization: Bearer …"
	for range 30 { // no tries
		unauthorized(missing, "Authorization", "")
		unauthorized(missing, "Authorization", "Basic "+adminToken)
		unauthorized(missing, "Authorization", "Bearer ")
	}
	for _, w := range []string{wrong, adminToken + "x", adminToken[:len(adminToken)-1]} {
		unauthorized("wrong admin token", "Authorization", "Bearer "+w)
	}
	for _, scheme := range []string{"Bearer ", "bearer  "} {
		if a := p.call("GET /admin/stats", "", "Authorization", scheme+adminToken); a.status != 200 {
			t.Errorf("three wrong tries locked the address out: %d %s", a.status, a.body)
		}
	}
	const tries = 40
	statuses := make([]string, tries)
	var wg sync.WaitGroup
	for i := range tries {
		wg.Go(func() {
			a := p.send(http.MethodGet, "/admin/stats", nil, "Authorization", "Bearer "+wrong, "X-Forwarded-For", "192.0.2.1")
			statuses[i] = strconv.Itoa(a.status)
		})
	}
	wg.Wait()
	if all := strings.Join(statuses, " "); strings.Count(all, "401") != 20 || strings.Count(all, "429") != 20 {
		t.Errorf("forty wrong tries: %s", all)
	}
	a := p.call("GET /admin/stats", "", "X-Forwarded-For", "192.0.2.1")
	if wait, err := strconv.Atoi(a.header.Get("Retry-After")); a.status != 429 || err != nil || wait < 1 || wait > 30 {
		t.Errorf("an address that is out of tries: %d, Retry-After %q", a.status, a.header.Get("Retry-After"))
	}
	p.same("429", a.body, `{"error":{"message":"too many wrong admin tokens: wait before the next try","type":"rate_limit_error","code":"rate_limit_error","param":null}}`)
	if a := p.call("GET /admin/stats", "", "X-Forwarded-For", "192.0.2.2"); a.status != 200 {
		t.Errorf("another address: %d %s", a.status, a.body)
	}
	if log := p.log.String(); !strings.Contains(log, `msg="wrong admin token"`) || !strings.Contains(log, "client=127.0.0.1") {
		t.Error("wrong tries were not logged")
	}
}
