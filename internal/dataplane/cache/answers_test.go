package cache

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

const (
	chatPath = "/v1/chat/completions"
	chat     = `{"model":"gpt-oss:120b","messages":[]}`
)

// shelf is a cache before something that stands for the upstream.
type shelf struct {
	t       *testing.T
	answers *Answers
	step    httpkit.Handler
	asked   atomic.Int64
}

func newShelf(t *testing.T, next httpkit.Handler, change ...func(*AnswersOptions)) *shelf {
	t.Helper()
	o := AnswersOptions{TTL: time.Minute, MaxBytes: 1 << 20, Now: time.Now, Open: func(_ http.ResponseWriter, r *http.Request) ([]byte, error) {
		body, err := io.ReadAll(r.Body)
		x := gateway.ExchangeFrom(r.Context())
		x.Record.Counted, x.Record.Model = true, "gpt-oss:120b"
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		return body, err
	}}
	for _, c := range change {
		c(&o)
	}
	s := &shelf{t: t, answers: NewAnswers(o)}
	s.step = s.answers.Serve(func(w http.ResponseWriter, r *http.Request) error {
		s.asked.Add(1)
		return next(w, r)
	})
	return s
}

// asks is one request as a client makes it.
type asks struct {
	ctx    context.Context
	who    string
	from   gateway.ProviderName
	path   string
	query  string
	body   string
	header http.Header
	writer http.ResponseWriter // nil: a recorder
}

type got struct {
	*httptest.ResponseRecorder
	x   *gateway.Exchange
	err error
}

func (g got) how() string { return g.Header().Get("X-Cache") }

func (s *shelf) ask(a asks) got {
	s.t.Helper()
	if a.ctx == nil {
		a.ctx = s.t.Context()
	}
	if a.path == "" {
		a.path = chatPath
	}
	if a.body == "" {
		a.body = chat
	}
	if a.from == "" {
		a.from = gateway.Ollama
	}
	x := &gateway.Exchange{
		Principal: &gateway.Principal{TokenHash: a.who},
		Route:     gateway.Route{Service: gateway.ServiceForward, Provider: a.from, Path: a.path},
	}
	x.Record.StartedAt = s.answers.opts.Now()
	r := httptest.NewRequestWithContext(gateway.WithExchange(a.ctx, x), http.MethodPost, a.path+a.query, strings.NewReader(a.body))
	if a.header != nil {
		r.Header = a.header
	}
	g := got{httptest.NewRecorder(), x, nil}
	w := a.writer
	if w == nil {
		w = g.ResponseRecorder
	}
	w.Header().Set("X-Request-Id", "own")
	g.err = s.step(w, r)
	return g
}

// says answers with a status and a body of some type, in pieces.
func says(status int, contentType string, pieces ...string) httpkit.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		x := gateway.ExchangeFrom(r.Context())
		x.Record.Attempts = append(x.Record.Attempts, gateway.Attempt{Status: status})
		x.Record.Usage = gateway.Usage{Input: 7, Output: 3}
		x.Record.Status = status
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		for _, p := range pieces {
			if _, err := io.WriteString(w, p); err != nil {
				x.Record.End = gateway.EndClientClosed
				return fmt.Errorf("write: %w", context.Canceled)
			}
		}
		return nil
	}
}

// slowly answers after a second.
func slowly(h httpkit.Handler) httpkit.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		select {
		case <-time.After(time.Second):
			return h(w, r)
		case <-r.Context().Done():
			gateway.ExchangeFrom(r.Context()).Record.End = gateway.EndClientClosed
			return fmt.Errorf("ask: %w", r.Context().Err())
		}
	}
}

func TestAnswerAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, func(w http.ResponseWriter, r *http.Request) error {
			for name, v := range map[string]string{
				"X-Upstream-Request-Id": "up-1", "X-Pool-Attempts": "1", "Set-Cookie": "a=b", "Date": "then", "Age": "7", "X-Cache": "HIT from afar",
				"X-Ratelimit-Remaining-Requests": "3", "Openai-Version": "2020", "Content-Length": "7", "Vary": "Accept",
			} {
				w.Header().Set(name, v)
			}
			return says(201, "application/json", `{"a`, `":1}`)(w, r)
		})
		first := s.ask(asks{})
		if first.err != nil || first.how() != "MISS" || first.Code != 201 || first.Body.String() != `{"a":1}` || first.x.Record.Cache != "MISS" {
			t.Errorf("first: %v, %d %v %s", first.err, first.Code, first.Header(), first.Body)
		}
		for name, want := range map[string]string{"X-Upstream-Request-Id": "up-1", "X-Pool-Attempts": "1", "Set-Cookie": "a=b", "X-Request-Id": "own", "X-Ratelimit-Remaining-Requests": "3"} {
			if v := first.Header().Get(name); v != want {
				t.Errorf("first: %s is %q", name, v)
			}
		}
		time.Sleep(time.Minute - time.Millisecond)
		again := s.ask(asks{})
		if again.err != nil || again.how() != "HIT" || again.Code != 201 || again.Body.String() != `{"a":1}` {
			t.Errorf("again: %v, %d %v %s", again.err, again.Code, again.Header(), again.Body)
		}
		for name, want := range map[string]string{
			"X-Upstream-Request-Id": "", "X-Pool-Attempts": "0", "Set-Cookie": "", "Date": "", "Age": "", "X-Request-Id": "own", "X-Ratelimit-Remaining-Requests": "",
			"Content-Type": "application/json", "Content-Length": "7", "Openai-Version": "2020", "Vary": "Accept",
		} {
			if v := again.Header().Get(name); v != want {
				t.Errorf("again: %s is %q", name, v)
			}
		}
		rec := again.x.Record
		if success, _ := rec.Outcome(); !success || !rec.Counted || rec.Cache != "HIT" || len(rec.Attempts) > 0 || rec.Usage != (gateway.Usage{}) || rec.Model != "gpt-oss:120b" {
			t.Errorf("again: %+v", rec)
		}
		time.Sleep(time.Millisecond)
		if late := s.ask(asks{}); late.how() != "MISS" || s.asked.Load() != 2 {
			t.Errorf("when its time is over: %s, asked %d times", late.how(), s.asked.Load())
		}
	})
}

// What is said here of the token's limits stands, for hits and for others.
func TestOwnHeadersStand(t *testing.T) {
	s := newShelf(t, func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("X-Ratelimit-Remaining-Requests", "999")
		w.Header().Set("Vary", "Accept")
		return says(200, "application/json", "{}")(w, r)
	})
	for _, how := range []string{"MISS", "HIT"} {
		w := httptest.NewRecorder()
		w.Header().Set("X-Ratelimit-Remaining-Requests", "1")
		w.Header().Set("Vary", "Origin")
		s.ask(asks{writer: w})
		if h := w.Header(); h.Get("X-Cache") != how || h.Get("X-Ratelimit-Remaining-Requests") != "1" || strings.Join(h["Vary"], " ") != "Origin Accept" {
			t.Errorf("%s: %v", how, h)
		}
	}
}

// What must not be taken for the same question.
func TestKeys(t *testing.T) {
	base := asks{who: "a", header: http.Header{}}
	for name, change := range map[string]func(*asks){
		"token":             func(a *asks) { a.who = "b" },
		"provider":          func(a *asks) { a.from = gateway.OpenRouter },
		"path":              func(a *asks) { a.path = "/v1/completions" },
		"query":             func(a *asks) { a.query = "?beta=true" },
		"body":              func(a *asks) { a.body = chat + " " },
		"anthropic-version": func(a *asks) { a.header = http.Header{"Anthropic-Version": {"2023-06-01"}} },
		"anthropic-beta":    func(a *asks) { a.header = http.Header{"Anthropic-Beta": {"x"}} },
		"two betas":         func(a *asks) { a.header = http.Header{"Anthropic-Beta": {"x", ""}} },
		"OpenAI-Beta":       func(a *asks) { a.header = http.Header{"Openai-Beta": {"x"}} },
		"Accept":            func(a *asks) { a.header = http.Header{"Accept": {"x"}} },
	} {
		s := newShelf(t, says(200, "application/json", "{}"))
		other := base
		change(&other)
		for i, want := range []string{"MISS", "HIT"} {
			if got := s.ask(base).how(); got != want {
				t.Errorf("%s: %d: %s", name, i, got)
			}
			if got := s.ask(other).how(); got != want {
				t.Errorf("another %s: %d: %s", name, i, got)
			}
		}
	}
	shared := newShelf(t, says(200, "application/json", "{}"), func(o *AnswersOptions) { o.Shared = true })
	other := base
	other.who = "b"
	other.header = http.Header{"User-Agent": {"x"}, "X-Request-Id": {"y"}}
	if a, b := shared.ask(base).how(), shared.ask(other).how(); a != "MISS" || b != "HIT" {
		t.Errorf("shared: %s, %s", a, b)
	}
}

func TestPassedBy(t *testing.T) {
	for _, tt := range []struct {
		path, body string
		want       string // what X-Cache says the second time
	}{
		{chatPath, chat, "HIT"},
		{chatPath, `{"stream":false}`, "HIT"},
		{chatPath, `{"stream":null}`, "HIT"},
		{chatPath, `{"messages":[{"stream":true}]}`, "HIT"},
		{chatPath, `{"stream":true}`, ""},
		{chatPath, `{"stream":"false"}`, ""},
		{chatPath, `{"stream":1}`, ""},
		{chatPath, `{"stream":false`, ""},
		{chatPath, `no JSON`, ""},
		{"/v1/messages", `{}`, "HIT"},
		{"/v1/responses", `{}`, "HIT"},
		{"/v1/completions", `{}`, "HIT"},
		{"/v1/embeddings", `{}`, "HIT"},
		{"/api/chat", `{}`, ""},
		{"/api/chat", `{"stream":false}`, "HIT"},
		{"/api/generate", `{"stream":null}`, ""},
		{"/api/generate", `{"stream":false}`, "HIT"},
		{"/api/embed", `{}`, "HIT"},
		{"/api/embeddings", `{}`, "HIT"},
		{"/api/show", `{}`, ""},
		{"/api/web_search", `{}`, ""},
		{"/api/web_fetch", `{}`, ""},
	} {
		s := newShelf(t, func(w http.ResponseWriter, r *http.Request) error {
			if body, _ := io.ReadAll(r.Body); string(body) != tt.body {
				t.Errorf("%s: the next step reads %q", tt.path, body)
			}
			return says(200, "application/json", "{}")(w, r)
		})
		s.ask(asks{path: tt.path, body: tt.body})
		if got := s.ask(asks{path: tt.path, body: tt.body}).how(); got != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.path, tt.body, got, tt.want)
		}
	}
}

func TestControl(t *testing.T) {
	s := newShelf(t, says(200, "application/json", "{}"))
	for i, step := range []struct {
		control []string
		want    string
	}{
		{[]string{"no-store"}, "BYPASS"},
		{nil, "MISS"}, // nothing was stored
		{[]string{"no-store"}, "BYPASS"},
		{[]string{"max-age=3600, No-Cache"}, "BYPASS"},
		{[]string{"max-age=0"}, "HIT"},
		{[]string{"no-cached"}, "HIT"},
		{[]string{"private", "no-cache,no-store"}, "BYPASS"},
	} {
		if got := s.ask(asks{header: http.Header{"Cache-Control": step.control}}).how(); got != step.want {
			t.Errorf("%d: %s, want %s", i, got, step.want)
		}
	}
	fresh := newShelf(t, says(200, "application/json", "{}"))
	fresh.ask(asks{header: http.Header{"Cache-Control": {"no-cache"}}})
	if got := fresh.ask(asks{}).how(); got != "HIT" {
		t.Errorf("what no-cache brought was not kept: %s", got)
	}
	if f := s.answers.Figures(); f.Hits != 2 || f.Misses != 1 || f.Bypassed != 4 {
		t.Errorf("%+v", f)
	}
}

// What is no whole good answer is not kept.
func TestNotKept(t *testing.T) {
	large := strings.Repeat("x", 1<<16+1)
	for name, h := range map[string]httpkit.Handler{
		"error":          says(500, "application/json", "{}"),
		"client's error": says(400, "application/json", "{}"),
		"redirect":       says(302, "text/html", ""),
		"events":         says(200, "text/event-stream; charset=utf-8", "data: {}\n\n"),
		"lines":          says(200, "application/x-ndjson", "{}\n"),
		"large":          says(200, "application/json", large[:1<<15], large[1<<15:]),
		"large, as said": func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("Content-Length", fmt.Sprint(len(large)))
			return says(200, "application/json", large)(w, r)
		},
		"ours": func(http.ResponseWriter, *http.Request) error { return gateway.Errorf(gateway.KindNoKey, "no key") },
		"broken off": func(w http.ResponseWriter, r *http.Request) error {
			_ = says(200, "application/json", "{")(w, r)
			gateway.ExchangeFrom(r.Context()).Record.End = gateway.EndCut
			return gateway.Errorf(gateway.KindUpstream, "broken off")
		},
		"an error inside": func(w http.ResponseWriter, r *http.Request) error {
			_ = says(200, "application/json", `{"error":{}}`)(w, r)
			gateway.ExchangeFrom(r.Context()).Record.End = gateway.EndCut
			return nil
		},
		"trailer": func(w http.ResponseWriter, r *http.Request) error {
			_ = says(200, "application/json", `{}`)(w, r)
			w.Header()[http.TrailerPrefix+"X-Sum"] = []string{"1"}
			return nil
		},
	} {
		s := newShelf(t, h)
		first, again := s.ask(asks{}), s.ask(asks{})
		if first.how() != "MISS" || again.how() != "MISS" || s.asked.Load() != 2 || again.Body.String() != first.Body.String() {
			t.Errorf("%s: %s, %s", name, first.how(), again.how())
		}
		if f := s.answers.Figures(); f.Entries != 0 || f.Bytes != 0 || s.answers.inHand.Load() != 0 || len(s.answers.flights) != 0 {
			t.Errorf("%s: %+v, %d in hand", name, f, s.answers.inHand.Load())
		}
	}
	fits := newShelf(t, says(200, "application/json", large[:1<<15], large[1<<15:1<<16]))
	if fits.ask(asks{}); fits.ask(asks{}).how() != "HIT" {
		t.Error("the largest that fits was not kept")
	}
	failed := newShelf(t, func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("X-Pool-Attempts", "3")
		return gateway.Errorf(gateway.KindNoKey, "no key")
	})
	if g := failed.ask(asks{}); g.Header().Get("X-Pool-Attempts") != "3" || gateway.AsError(g.err).Kind != gateway.KindNoKey {
		t.Errorf("headers of an error: %v, %v", g.Header(), g.err)
	}
}
