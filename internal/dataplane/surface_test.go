package dataplane

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// visit sends a request through a surface whose last step is h, and returns the
// exchange as it was at the end.
func visit(t *testing.T, s *Surface, r *http.Request, h httpkit.Handler) (*httptest.ResponseRecorder, *gateway.Exchange) {
	t.Helper()
	var x *gateway.Exchange
	steps := httpkit.Chain(h, func(next httpkit.Handler) httpkit.Handler {
		return func(w http.ResponseWriter, r *http.Request) error {
			x = gateway.ExchangeFrom(r.Context())
			return next(w, r)
		}
	}, Count, Admit, Local)
	s.Routes, s.Clients, s.Now = NewRoutes(), httpkit.NewClients(nil), time.Now
	s.Steps = httpkit.Entry(steps, httpkit.WriteDataError)
	finished := 0
	s.Done = func(*gateway.Exchange) { finished++ }
	w := httptest.NewRecorder()
	func() {
		defer func() { _ = recover() }()
		s.ServeHTTP(w, r)
	}()
	if want := 1; r.Method != http.MethodOptions && finished != want {
		t.Errorf("%d records, want %d", finished, want)
	}
	return w, x
}

func ask(t *testing.T, method, path string) *http.Request {
	t.Helper()
	return httptest.NewRequestWithContext(t.Context(), method, path, nil)
}

func fine(w http.ResponseWriter, r *http.Request) error {
	gateway.ExchangeFrom(r.Context()).Record.Status = http.StatusOK
	_, err := io.WriteString(w, "fine")
	return err
}

func TestSurfaceOpensTheExchange(t *testing.T) {
	r := ask(t, "POST", "/t/"+token+"/openrouter/v1/messages")
	r.Header.Set("User-Agent", "curl/8")
	w, x := visit(t, &Surface{TokenInPath: true}, r, fine)
	if w.Body.String() != "fine" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if x.Path != "/t/***/openrouter/v1/messages" || x.PathToken.Reveal() != token || x.Record.Provider != gateway.OpenRouter ||
		x.Record.StartedAt.IsZero() || x.Record.Duration <= 0 || x.ClientIP.String() != "192.0.2.1" || x.Agent != "curl/8" {
		t.Errorf("%+v", x)
	}
}

func TestSurfaceTraces(t *testing.T) {
	for value, want := range map[string]bool{"": false, "true": true, "True": true, "1": true, "0": false, "false": false, "yes": false} {
		r := ask(t, "POST", "/v1/messages")
		r.Header.Set("x-pool-trace", value)
		if _, x := visit(t, &Surface{}, r, fine); x.Trace != want {
			t.Errorf("%q: %v", value, x.Trace)
		}
	}
	if _, x := visit(t, &Surface{}, ask(t, "POST", "/v1/messages"), fine); x.Trace {
		t.Error("nobody asked for a trace")
	}
	none := http.Header{"User-Agent": {"curl/8"}}
	if n := testing.AllocsPerRun(100, func() { wantsTrace(none) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSurfaceTurnsAway(t *testing.T) {
	for _, tt := range []struct {
		method, path string
		tokens       bool
		status       int
	}{
		{"GET", "/v1/nothing", true, 404},
		{"GET", "/v1/messages", true, 405},
		{"POST", "/t/" + token + "/v1/messages", false, 404},
		{"POST", "/t//v1/messages", true, 200}, // no token at all: auth's business
		{"POST", "/api/push", true, 403},
		{"GET", "/v1/models/%25zz", true, 200},
	} {
		w, x := visit(t, &Surface{TokenInPath: tt.tokens}, ask(t, tt.method, tt.path), fine)
		if w.Code != tt.status || x.Record.Status != tt.status {
			t.Errorf("%s %s: %d, recorded %d", tt.method, tt.path, w.Code, x.Record.Status)
		}
		if strings.Contains(w.Body.String(), token) || strings.Contains(x.Path, token) {
			t.Errorf("%s: the token shows", tt.path)
		}
	}
}

// The status in the record is what the client saw, and so are the words.
func TestCount(t *testing.T) {
	for name, tt := range map[string]struct {
		h     httpkit.Handler
		want  int
		words string
	}{
		"fine": {fine, 200, ""},
		"error of ours": {func(http.ResponseWriter, *http.Request) error {
			return &gateway.Error{Kind: gateway.KindNoKey, Message: "no", Cause: io.ErrUnexpectedEOF}
		}, 503, "no"},
		"unknown error": {func(http.ResponseWriter, *http.Request) error { return io.ErrUnexpectedEOF }, 500, "internal error"},
		"broken off": {func(w http.ResponseWriter, r *http.Request) error {
			_ = fine(w, r)
			return gateway.Errorf(gateway.KindUpstream, "cut")
		}, 200, "cut"},
		"client gone": {func(_ http.ResponseWriter, r *http.Request) error {
			gateway.ExchangeFrom(r.Context()).Record.End = gateway.EndClientClosed
			return io.ErrUnexpectedEOF
		}, 0, ""},
		"panic": {func(http.ResponseWriter, *http.Request) error { panic("boom") }, 0, ""},
	} {
		if _, x := visit(t, &Surface{}, ask(t, "POST", "/api/chat"), tt.h); x.Record.Status != tt.want || x.Record.Error != tt.words {
			t.Errorf("%s: %d %q, want %d %q", name, x.Record.Status, x.Record.Error, tt.want, tt.words)
		}
	}
}

// Behind the step every answer tells a number of attempts, before it none does.
func TestAttempts(t *testing.T) {
	refuse := func(http.ResponseWriter, *http.Request) error { return gateway.Errorf(gateway.KindInvalid, "no") }
	twice := func(w http.ResponseWriter, r *http.Request) error {
		x := gateway.ExchangeFrom(r.Context())
		x.Record.Attempts = make([]gateway.Attempt, 2)
		return refuse(w, r)
	}
	for _, tt := range []struct {
		h    httpkit.Handler
		want string
	}{{Attempts(fine), "0"}, {Attempts(refuse), "0"}, {Attempts(twice), "2"}, {fine, ""}, {twice, ""}} {
		w, _ := visit(t, &Surface{}, ask(t, "POST", "/api/chat"), tt.h)
		if got := w.Header().Get("X-Pool-Attempts"); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

func TestGreeting(t *testing.T) {
	for _, method := range []string{"GET", "HEAD"} {
		w, _ := visit(t, &Surface{TokenInPath: true}, ask(t, method, "/t/"+token+"/"), fine)
		if w.Code != 200 || w.Body.String() != "Ollama is running" {
			t.Errorf("%s: %d %s", method, w.Code, w.Body)
		}
	}
}

func TestOrigins(t *testing.T) {
	const page, other = "https://page.example", "https://other.example"
	for _, tt := range []struct {
		origins []string
		origin  string
		want    string
		vary    bool
	}{
		{nil, "", "*", false},
		{nil, page, "*", false},
		{[]string{"*"}, page, "*", false},
		{[]string{other, page}, page, page, true},
		{[]string{other}, page, "", true},
		{[]string{other}, "", "", true},
		{[]string{other}, "null", "", true},
	} {
		for _, method := range []string{"OPTIONS", "POST"} {
			r := ask(t, method, "/api/chat")
			if tt.origin != "" {
				r.Header.Set("Origin", tt.origin)
			}
			w, _ := visit(t, &Surface{Origins: tt.origins}, r, fine)
			status := map[string]int{"OPTIONS": 204, "POST": 200}[method]
			if got := w.Header().Get("Access-Control-Allow-Origin"); got != tt.want || w.Code != status || (w.Header().Get("Vary") == "Origin") != tt.vary {
				t.Errorf("%s from %q with %v: %d %v", method, tt.origin, tt.origins, w.Code, w.Header())
			}
			if strings.Contains(w.Header().Get("Access-Control-Expose-Headers"), "X-Pool-Attempts") != (tt.want != "" && tt.origin != "") {
				t.Errorf("%s from %q: exposes %v", method, tt.origin, w.Header())
			}
		}
	}
}
