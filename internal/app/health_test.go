package app_test

import (
	"net/http"
	"testing"

	"ollama-api-pool/internal/testkit"
)

// Pages of other sites may ask for the health, as CORS_ALLOWED_ORIGINS says.
func TestHealthFromOtherSites(t *testing.T) {
	for _, c := range []struct {
		setting, origin, allowed string
	}{
		{"CORS_ALLOWED_ORIGINS=", "https://a.example", "*"},
		{"CORS_ALLOWED_ORIGINS=*", "https://a.example", "*"},
		{"CORS_ALLOWED_ORIGINS=https://a.example,https://b.example", "https://b.example", "https://b.example"},
		{"CORS_ALLOWED_ORIGINS=https://a.example", "https://c.example", ""},
		{"CORS_ALLOWED_ORIGINS=https://a.example", "", ""},
	} {
		t.Run(c.setting+" "+c.origin, func(t *testing.T) {
			p := start(t, c.setting)
			for _, path := range []string{"/health", "/health/ready"} {
				for method, status := range map[string]int{
					http.MethodGet: 200, http.MethodHead: 200, http.MethodOptions: 204, http.MethodPost: 405,
				} {
					got := testkit.RawRequest(t, p.addr, testkit.HTTP11(method, path, "", "Origin", c.origin, "Access-Control-Request-Method", http.MethodGet))
					equal(t, method+path, got.Status, status)
					equal(t, method+path+" allows", got.Header.Get("Access-Control-Allow-Origin"), c.allowed)
					if status == 405 {
						equal(t, "Allow", got.Header.Get("Allow"), "GET, HEAD, OPTIONS")
					}
				}
			}
		})
	}
}
