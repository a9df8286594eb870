package app_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"ollama-api-pool/internal/testkit"
)

// Every address reaches the plane that it belongs to, with the steps of that one.
func TestPagesAmongTheAddresses(t *testing.T) {
	p := start(t, "ENABLE_RATE_LIMIT=true", "RATE_LIMIT_REQUESTS=1", "CORS_ALLOWED_ORIGINS=*")
	ask := func(method, path string, header ...string) testkit.RawResponse {
		t.Helper()
		return testkit.RawRequest(t, p.addr, testkit.HTTP11(method, path, "", header...))
	}
	page := ask(http.MethodGet, "/", "Accept", "text/html,*/*")
	asset := regexp.MustCompile(`/assets/[0-9a-f]{16}/app/main\.js`).FindString(string(page.Body))
	if asset == "" {
		t.Fatalf("%d: %s", page.Status, page.Body)
	}
	for _, c := range []struct {
		method, path, accept string
		status               int
		kind                 string
	}{
		{"GET", "/", "*/*", 200, "text/html; charset=utf-8"},
		{"GET", "/", "application/json", 200, "application/json"},
		{"HEAD", "/", "", 200, "text/html; charset=utf-8"},
		{"POST", "/", "", 405, "application/json"},
		{"GET", "/dashboard/keys", "", 200, "text/html; charset=utf-8"},
		{"GET", "/dashboard/none", "", 404, "text/html; charset=utf-8"},
		{"GET", "/stats", "", 200, "text/html; charset=utf-8"},
		{"GET", "/api-docs", "", 200, "text/html; charset=utf-8"},
		{"GET", asset, "", 200, "text/javascript; charset=utf-8"},
		{"GET", "/favicon.ico", "", 200, "image/svg+xml"},
		{"GET", "/none", "text/html", 404, "application/json"},
		{"GET", "/health", "text/html", 200, "application/json"},
		{"GET", "/api/test-templates", "text/html", 200, "application/json"},
	} {
		for range 2 { // no limit of requests holds here
			got := ask(c.method, c.path, "Accept", c.accept, "Origin", "https://other.example")
			equal(t, c.method+" "+c.path, got.Status, c.status)
			equal(t, c.method+" "+c.path+" as", got.Header.Get("Content-Type"), c.kind)
			if strings.HasPrefix(c.kind, "text/") {
				equal(t, c.path+" for other sites", got.Header.Get("Access-Control-Allow-Origin"), "")
			}
		}
	}
	equal(t, "Vary of the greeting", ask(http.MethodGet, "/", "Accept", "application/json").Header.Get("Vary"), "Accept")
	for line := range strings.Lines(p.log.String()) {
		if strings.Contains(line, "/assets") && !strings.Contains(line, `"level":"DEBUG"`) {
			t.Errorf("more than a whisper: %s", line)
		}
	}
}
