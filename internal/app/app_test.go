package app

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"ollama-api-pool/internal/controlplane/web"
	sources "ollama-api-pool/web"
)

func TestBrokenLoopIsAFailure(t *testing.T) {
	a, err := Start(t.Context(), settings(t, t.TempDir()), Deps{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	a.loops.Go("test", func(context.Context) error { return broken })
	if err := <-a.Failed(); !errors.Is(err, broken) {
		t.Errorf("the reason is %v, want that of the loop", err)
	}
	if err := a.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestReachable(t *testing.T) {
	for listen, want := range map[string]string{
		":8787": "127.0.0.1:8787", "0.0.0.0:80": "127.0.0.1:80", "[::]:80": "127.0.0.1:80", "10.1.2.3:80": "10.1.2.3:80",
		"localhost:80": "localhost:80", "[::1]:80": "[::1]:80", "[fe80::1%lo]:80": "[fe80::1%lo]:80", "odd": "odd",
	} {
		if got := Reachable(listen); got != want {
			t.Errorf("Reachable(%q) = %q, want %q", listen, got, want)
		}
	}
}

func TestServerLogLevels(t *testing.T) {
	var out strings.Builder
	l := log.New(serverLog{slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))}, "", 0)
	for message, level := range map[string]string{
		"http: Accept error: accept tcp 127.0.0.1:8787: accept4: too many open files; retrying in 5ms": "WARN",
		"http: panic serving 192.0.2.1:1234: odd":                                                      "ERROR",
		"http: TLS handshake error from 192.0.2.1:1234: EOF":                                           "DEBUG",
	} {
		out.Reset()
		l.Print(message)
		if !strings.Contains(out.String(), "level="+level) {
			t.Errorf("%q is logged as %s", message, out.String())
		}
	}
}

// The pages need no pool: they are there while it is being loaded, and gone when
// the program stops.
func TestPagesWhileStarting(t *testing.T) {
	a := &App{cfg: settings(t, t.TempDir()), log: slog.New(slog.DiscardHandler)}
	var err error
	if a.pages, err = web.New(web.Options{Files: sources.Files, Log: a.log}); err != nil {
		t.Fatal(err)
	}
	ask := func(address, accept string) int {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		a.dispatch(w, r)
		return w.Code
	}
	for address, want := range map[string]int{
		"/": 200, "/dashboard/keys": 200, "/stats": 200, "/assets/x/app/main.js": 200, "/dashboard/none": 404, "/admin/session?optional=true": 503,
	} {
		if got := ask(address, "text/html"); got != want {
			t.Errorf("%s: %d, want %d", address, got, want)
		}
	}
	if got := ask("/", "application/json"); got != 503 {
		t.Errorf("the greeting: %d", got)
	}
	a.stopping.Store(true)
	if got := ask("/dashboard", "text/html"); got != 503 {
		t.Errorf("stopping: %d", got)
	}
}

// While the pool is being loaded, an address answers in its own dialect.
func TestStarting(t *testing.T) {
	a := &App{cfg: settings(t, t.TempDir()), log: slog.New(slog.DiscardHandler)}
	for address, want := range map[string]string{
		"/v1/chat/completions":    `{"error":{"message":"starting: the pool is being loaded","type":"service_unavailable","code":"service_unavailable","param":null,"retryable":true}}`,
		"/openrouter/v1/messages": `{"type":"error","error":{"type":"overloaded_error","message":"starting: the pool is being loaded","retryable":true},"request_id":"mine"}`,
		"/t/sk-fake/api/chat":     `{"error":"starting: the pool is being loaded","retryable":true}`,
		"/admin/stats":            `{"error":{"message":"starting: the pool is being loaded","type":"service_unavailable","code":"service_unavailable","param":null}}`,
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, address, http.NoBody)
		r.Header.Set("X-Request-Id", "mine")
		w := httptest.NewRecorder()
		a.dispatch(w, r)
		if got := strings.TrimSpace(w.Body.String()); w.Code != http.StatusServiceUnavailable || got != want || w.Header().Get("Retry-After") != "1" {
			t.Errorf("%s: %d %v %s", address, w.Code, w.Header(), got)
		}
	}
}
