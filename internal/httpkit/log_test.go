package httpkit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ollama-api-pool/internal/gateway"
)

// logged runs h behind the steps with a logger of this level and returns the
// lines it wrote.
func logged(t *testing.T, level slog.Level, r *http.Request, h Handler, steps ...func(*slog.Logger) Middleware) (*httptest.ResponseRecorder, []map[string]any) {
	t.Helper()
	var out bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: level}))
	chain := []Middleware{Identify}
	for _, s := range steps {
		chain = append(chain, s(log))
	}
	w := httptest.NewRecorder()
	func() {
		defer func() {
			if v := recover(); v != nil && v != http.ErrAbortHandler { //nolint:errorlint // a recovered value
				t.Errorf("panicked with %v", v)
			} else if v != nil {
				w.Code = 0
			}
		}()
		Entry(Chain(h, chain...), WriteDataError).ServeHTTP(w, r)
	}()
	var lines []map[string]any
	for dec := json.NewDecoder(&out); dec.More(); {
		var line map[string]any
		if err := dec.Decode(&line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	return w, lines
}

func TestRecover(t *testing.T) {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/admin/api-keys/secret-key-value", nil)
	r.Pattern = "GET /admin/api-keys/{key}"
	for _, v := range []any{"boom", errors.New("boom"), 7} {
		w, lines := logged(t, slog.LevelInfo, r, func(http.ResponseWriter, *http.Request) error { panic(v) }, Recover)
		if w.Code != 500 || strings.Contains(w.Body.String(), "boom") || strings.Contains(w.Body.String(), "goroutine") {
			t.Errorf("%v: %d %s", v, w.Code, w.Body)
		}
		if len(lines) != 1 || lines[0]["level"] != "ERROR" || lines[0]["path"] != r.Pattern {
			t.Fatalf("%v: %v", v, lines)
		}
		if stack, _ := lines[0]["stack"].(string); !strings.Contains(stack, "log_test.go") {
			t.Errorf("%v: the stack does not show the handler", v)
		}
	}
}

func TestRecoverAfterTheHead(t *testing.T) {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	w, lines := logged(t, slog.LevelInfo, r, func(w http.ResponseWriter, _ *http.Request) error {
		_, _ = io.WriteString(w, "half")
		panic("boom")
	}, AccessLog, Recover)
	if w.Code != 0 || len(lines) != 1 || lines[0]["panic"] != "boom" {
		t.Errorf("aborted: %v; %v", w.Code == 0, lines)
	}
}

func TestRecoverLetsAbortsThrough(t *testing.T) {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	w, lines := logged(t, slog.LevelDebug, r, func(http.ResponseWriter, *http.Request) error {
		panic(http.ErrAbortHandler)
	}, AccessLog, Recover)
	if w.Code != 0 || len(lines) != 1 || lines[0]["aborted"] != true || lines[0]["level"] != "DEBUG" {
		t.Errorf("aborted: %v; %v", w.Code == 0, lines)
	}
}

func TestAccessLogLevels(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	fail := func(k gateway.Kind) error { return gateway.Errorf(k, "no") }
	for _, tt := range []struct {
		name   string
		ctx    context.Context
		end    gateway.End
		err    error
		level  string
		status float64
	}{
		{"success", t.Context(), gateway.EndDone, nil, "DEBUG", 200},
		{"client's fault", t.Context(), gateway.EndDone, fail(gateway.KindInvalid), "DEBUG", 400},
		{"limited", t.Context(), gateway.EndDone, fail(gateway.KindRateLimited), "DEBUG", 429},
		{"switched off", t.Context(), gateway.EndDone, fail(gateway.KindProviderDisabled), "DEBUG", 503},
		{"no key", t.Context(), gateway.EndDone, fail(gateway.KindNoKey), "WARN", 503},
		{"upstream", t.Context(), gateway.EndDone, fail(gateway.KindUpstream), "WARN", 502},
		{"internal", t.Context(), gateway.EndDone, fail(gateway.KindInternal), "ERROR", 500},
		{"unknown", t.Context(), gateway.EndDone, errors.New("cause"), "ERROR", 500},
		{"cut", t.Context(), gateway.EndCut, nil, "WARN", 200},
		{"client gone", gone, gateway.EndClientClosed, context.Canceled, "DEBUG", 500},
		{"client gone, no upstream", gone, gateway.EndClientClosed, fail(gateway.KindUpstream), "DEBUG", 502},
		{"client gone, fault of ours", gone, gateway.EndClientClosed, errors.New("cause"), "ERROR", 500},
	} {
		x := &gateway.Exchange{Path: "/v1/models", Record: gateway.Record{End: tt.end}}
		r := httptest.NewRequestWithContext(gateway.WithExchange(tt.ctx, x), http.MethodGet, "/t/sk-secret/v1/models", nil)
		_, lines := logged(t, slog.LevelDebug, r, func(http.ResponseWriter, *http.Request) error { return tt.err }, AccessLog)
		if len(lines) != 1 || lines[0]["level"] != tt.level || lines[0]["status"] != tt.status {
			t.Errorf("%s: %v", tt.name, lines)
		}
	}
}

func TestAccessLogLine(t *testing.T) {
	x := &gateway.Exchange{
		RequestID: "r1",
		ClientIP:  netip.MustParseAddr("203.0.113.9"),
		Path:      "/v1/messages",
		PathToken: "sk-path-secret",
		Route:     gateway.Route{Provider: gateway.OpenRouter},
		Principal: &gateway.Principal{TokenHash: "sha256:feed"},
		Record: gateway.Record{
			Model: "a/b",
			Attempts: []gateway.Attempt{
				{Verdict: gateway.Verdict{Reason: "refused"}},
				{Verdict: gateway.Verdict{Reason: "quota: hourly"}},
			},
		},
	}
	r := httptest.NewRequestWithContext(gateway.WithExchange(t.Context(), x), http.MethodPost, "/t/sk-path-secret/v1/messages", nil)
	r.Header.Set("Authorization", "Bearer sk-header-secret")
	_, lines := logged(t, slog.LevelInfo, r, func(http.ResponseWriter, *http.Request) error {
		return &gateway.Error{Kind: gateway.KindNoKey, Message: "no key", Cause: errors.New("all rest")}
	}, AccessLog)
	if len(lines) != 1 {
		t.Fatalf("%v", lines)
	}
	for name, want := range map[string]any{
		"msg": "request", "request_id": "r1", "method": "POST", "path": "/v1/messages", "status": 503.0, "client": "203.0.113.9",
		"provider": "openrouter", "model": "a/b", "attempts": 2.0, "verdict": "quota: hourly", "error": "no key: all rest",
	} {
		if got := lines[0][name]; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	for _, v := range lines[0] {
		if s, _ := v.(string); strings.Contains(s, "secret") {
			t.Errorf("a secret was logged: %v", v)
		}
	}
}

func TestAccessLogFormatsNothingUnasked(t *testing.T) {
	log := slog.New(slog.NewJSONHandler(new(bytes.Buffer), nil)) // info
	h := AccessLog(log)(func(http.ResponseWriter, *http.Request) error { return nil })
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	w := &nullWriter{}
	if n := testing.AllocsPerRun(1000, func() { _ = h(w, r) }); n > 0 {
		t.Errorf("%v allocations for a line that is not written", n)
	}
}

func TestAccessLogBoundsWarnings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		h := AccessLog(slog.New(slog.NewTextHandler(&out, nil)))(func(http.ResponseWriter, *http.Request) error {
			return gateway.Errorf(gateway.KindNoKey, "no key")
		})
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		for range 100 {
			if h(httptest.NewRecorder(), r) == nil {
				t.Fatal("the error was swallowed")
			}
		}
		if n := strings.Count(out.String(), "\n"); n != warningsPerSecond {
			t.Errorf("%d lines in a second", n)
		}
		time.Sleep(time.Second)
		out.Reset()
		_ = h(httptest.NewRecorder(), r)
		_ = h(httptest.NewRecorder(), r)
		if got := out.String(); strings.Count(got, "\n") != 2 || strings.Count(got, "left_out=90") != 1 {
			t.Errorf("a second later: %s", got)
		}
	})
}

func TestLoggedPath(t *testing.T) {
	for path, want := range map[string]string{
		"/":                            "/",
		"/health":                      "/health",
		"/t/sk-secret/v1/models":       "/t/…",
		"/admin/api-keys/my-key":       "/admin/…",
		"/sk-secret":                   "/…",
		"/" + strings.Repeat("k", 25):  "/…",
		"/wp-login.php":                "/wp-login.php",
		"//api-keys/abc":               "//…",
		"/admin/client-tokens/sk-bad/": "/admin/…",
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://host"+path, nil)
		if got := loggedPath(r); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func BenchmarkAccessLogOff(b *testing.B) {
	h := AccessLog(slog.New(slog.NewJSONHandler(new(bytes.Buffer), nil)))(func(http.ResponseWriter, *http.Request) error { return nil })
	r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/", nil)
	w := &nullWriter{}
	b.ReportAllocs()
	for b.Loop() {
		_ = h(w, r)
	}
}
