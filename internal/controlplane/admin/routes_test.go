package admin

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/httpkit"
)

// TestNobodyGetsInWithoutAToken asks every address there is; a handler that is
// reached has no keys to work with and panics.
func TestNobodyGetsInWithoutAToken(t *testing.T) {
	for _, token := range []string{"admin-fake", ""} {
		a := New(Parts{}, Options{
			Token: "admin-fake", ImportMaxBytes: 1000, Clients: httpkit.NewClients(nil), Log: slog.New(slog.DiscardHandler), Now: time.Now,
		})
		if a.opt.Token = "admin-fake"; token == "" {
			a = New(Parts{}, Options{Clients: httpkit.NewClients(nil), Log: slog.New(slog.DiscardHandler), Now: time.Now})
		}
		for _, r := range a.routes() {
			method, path, _ := strings.Cut(r.pattern, " ")
			path = strings.NewReplacer("{$}", "", "{key...}", "fake-key-0123456789", "{token...}", "0123456789abcdef").Replace(path)
			req := httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody)
			if token == "" { // no token is set: nobody may get in with an empty one
				req.Header.Set("Authorization", "Bearer  ")
			}
			rec := httptest.NewRecorder()
			a.ServeHTTP(rec, req)
			if refused := rec.Code == http.StatusUnauthorized; refused == r.doc.open {
				t.Errorf("%s: %d", r.pattern, rec.Code)
			}
		}
	}
}
