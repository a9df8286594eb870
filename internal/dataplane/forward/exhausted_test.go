package forward_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

// What the client gets when no attempt helped, after which keys.
func TestSequences(t *testing.T) {
	var (
		ok       = testkit.JSON(200, done)
		refused  = fails(401, "unauthorized")
		quota    = testkit.WithHeader(fails(429, "slow"), "Retry-After", "40")
		fault    = testkit.JSON(500, `{"error":"oops"}`, "X-Trace", "t1")
		plan     = testkit.JSON(403, `{"error":"this model requires a subscription"}`, "X-Trace", "t2")
		unknown  = testkit.JSON(403, `{"error":"forbidden"}`)
		page     = testkit.Reply(502, "text/html", "<html>Bad gateway</html>")
		bad      = fails(400, "bad")
		inStream = testkit.SSE(`{"error":{"code":429,"message":"slow down"}}`)
		inJSON   = testkit.JSON(200, ` { "error" : {"code":401,"message":"no"} }`)
		inJSON5  = testkit.JSON(200, `{"error":{"code":502,"message":"no"}}`)
		text     = testkit.SSE(`{"choices":[{"delta":{"content":"a"}}]}`, "[DONE]")
	)
	for _, tt := range []struct {
		name    string
		keys    int
		answers []testkit.Answer
		tried   string
		status  int
		kind    string // type of the error; "": the upstream's own words
		after   string // Retry-After
		body    string // is in the body
		pauses  int
	}{
		{"401, 500, then fine", 4, []testkit.Answer{refused, fault, ok}, "0 1 2", 200, "", "", "hello", 1},
		{"500, 401, 429, then fine", 4, []testkit.Answer{fault, refused, quota, ok}, "0 1 2 3", 200, "", "", "hello", 1},
		{"one too many", 5, []testkit.Answer{refused, refused, refused, refused, ok}, "0 1 2 3", 503, "no_available_keys", "1", "401 unauthorized", 0},
		{"401 everywhere", 2, []testkit.Answer{refused}, "0 1", 503, "no_available_keys", "3600", "401 unauthorized", 0},
		{"402 everywhere", 2, []testkit.Answer{fails(402, "no credit")}, "0 1", 503, "no_available_keys", "3600", "402", 0},
		{"403 everywhere", 2, []testkit.Answer{fails(403, "your key is revoked")}, "0 1", 503, "no_available_keys", "3600", "403", 0},
		{"403 of unknown meaning everywhere", 2, []testkit.Answer{unknown}, "0 1", 503, "no_available_keys", "1", "403", 0},
		{"429 everywhere", 3, []testkit.Answer{quota}, "0 1 2", 429, "rate_limit_error", "40", "quota", 0},
		{"429, then every key refused", 2, []testkit.Answer{quota, refused}, "0 1", 503, "no_available_keys", "40", "401", 0},
		{"plan, then fine", 3, []testkit.Answer{plan, ok}, "0 1", 200, "", "", "hello", 0},
		{"plan twice", 4, []testkit.Answer{plan, plan, ok}, "0 1", 403, "", "", "requires a subscription", 0},
		{"plan and only key", 1, []testkit.Answer{plan}, "0", 403, "", "", "requires a subscription", 0},
		{"plan, 401, then fine", 4, []testkit.Answer{plan, refused, ok}, "0 1 2", 200, "", "", "hello", 0},
		{"401, plan, 401, then fine", 4, []testkit.Answer{refused, plan, refused, ok}, "0 1 2 3", 200, "", "", "hello", 0},
		{"401, then the client's fault", 3, []testkit.Answer{refused, bad, ok}, "0 1", 400, "", "", "bad", 0},
		{"500 everywhere", 5, []testkit.Answer{fault}, "0 1 2 3", 500, "", "", `{"error":"oops"}`, 3},
		{"a page everywhere", 5, []testkit.Answer{page}, "0 1 2 3", 502, "", "", "<html>Bad gateway</html>", 3},
		{"500 with one key", 1, []testkit.Answer{fault}, "0 0 0 0", 500, "", "", "oops", 3},
		{"500 with two keys", 2, []testkit.Answer{fault}, "0 1 0 1", 500, "", "", "oops", 3},
		{"500 with one key, then fine", 1, []testkit.Answer{fault, ok}, "0 0", 200, "", "", "hello", 1},
		{"401, then 500 with one key left", 2, []testkit.Answer{refused, fault}, "0 1 1 1", 500, "", "", "oops", 2},
		{"500, then 401 with one key left", 2, []testkit.Answer{fault, refused, ok}, "0 1", 503, "no_available_keys", "1", "401", 1},
		{"reset everywhere", 5, []testkit.Answer{testkit.Reset()}, "0 1 2 3", 502, "upstream_error", "", "", 3},
		{"closed everywhere", 5, []testkit.Answer{testkit.Close()}, "0 1 2 3", 502, "upstream_error", "", "", 3},
		{"garbage everywhere", 5, []testkit.Answer{testkit.Garbage()}, "0 1 2 3", 502, "upstream_error", "", "", 3},
		{"reset, then 503", 2, []testkit.Answer{testkit.Reset(), fails(503, "overloaded")}, "0 1 0 1", 503, "", "", "overloaded", 3},
		{"error as the first event, then fine", 3, []testkit.Answer{inStream, text}, "0 1", 200, "", "", "[DONE]", 0},
		{"error as the first event everywhere", 2, []testkit.Answer{inStream}, "0 1", 429, "rate_limit_error", "30", "", 0},
		{"error under a good status, then fine", 3, []testkit.Answer{inJSON, ok}, "0 1", 200, "", "", "hello", 0},
		{"error under a good status everywhere", 2, []testkit.Answer{inJSON}, "0 1", 503, "no_available_keys", "3600", "", 0},
		{"fault under a good status everywhere", 5, []testkit.Answer{inJSON5}, "0 1 2 3", 200, "", "", `"code":502`, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t, keys(tt.keys))
			s.up.Handle(testkit.InTurn(tt.answers...))
			got := s.chat()
			rec := s.record()
			equal(t, "status", got.Status, tt.status)
			equal(t, "keys tried", s.tried(), tt.tried)
			equal(t, "pauses", len(s.pauses), tt.pauses)
			equal(t, "Retry-After", got.Header.Get("Retry-After"), tt.after)
			equal(t, "ends cleanly", got.CleanEnd, true)
			if !strings.Contains(string(got.Body), tt.body) {
				t.Errorf("%q is not in %s", tt.body, got.Body)
			}
			if tt.kind != "" {
				e := readError(t, got.Body)
				equal(t, "error", apiError{e.kind, e.code, ""}, apiError{tt.kind, tt.kind, ""})
				equal(t, "retryable", retryable(t, got.Body), "true")
			}
			equal(t, "X-Pool-Attempts", got.Header.Get("X-Pool-Attempts"), fmt.Sprint(len(s.up.Calls())))
			equal(t, "status of the record", rec.Status, tt.status)
			equal(t, "attempts", len(rec.Attempts), strings.Count(tt.tried, " ")+1)
			want := "failure"
			if tt.status == 200 && tt.answers[len(tt.answers)-1] != testkit.Answer(nil) && !strings.Contains(string(got.Body), "502") {
				want = "success"
			}
			equal(t, "outcome", outcome(rec), want)
		})
	}
}

// Pauses grow and differ from one another.
func TestPausesGrow(t *testing.T) {
	s := newScene(t, keys(1), retries(4))
	s.up.Always(fails(500, "oops"))
	s.chat()
	least := 50 * time.Millisecond
	if len(s.pauses) != 4 {
		t.Fatalf("pauses: %v", s.pauses)
	}
	for i, d := range s.pauses {
		if d < least || d > 2*least {
			t.Errorf("pause %d: %v, want %v to %v", i, d, least, 2*least)
		}
		least *= 2
	}
}

// No upstream's answer at all: 502 or 504.
func TestNoAnswer(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		s := newScene(t)
		s.up.Down()
		got := s.chat()
		equal(t, "status", got.Status, 502)
		e := readError(t, got.Body)
		equal(t, "error", e.kind+" "+e.code, "upstream_error upstream_error")
		rec := s.record()
		equal(t, "attempts", len(rec.Attempts), 4)
		equal(t, "reason", rec.Attempts[0].Verdict.Reason, "connection refused")
		equal(t, "outcome", outcome(rec), "failure")
		s.untouched(0, 1, 2)
	})
	short := func(set *setting) { set.opts.HeaderTimeout = 80 * time.Millisecond }
	check := func(t *testing.T, s *scene, body string) {
		t.Helper()
		got := s.post("/v1/chat/completions", body)
		equal(t, "status", got.Status, 504)
		e := readError(t, got.Body)
		equal(t, "error", e.kind+" "+e.code, "upstream_timeout upstream_timeout")
		rec := s.record()
		// No attempt begins after twice the time for one.
		if n := len(rec.Attempts); n < 1 || n > 2 {
			t.Errorf("%d attempts", n)
		}
		equal(t, "reason", rec.Attempts[0].Verdict.Reason, "no answer in time")
		equal(t, "outcome", outcome(rec), "failure")
		s.untouched(0, 1, 2)
	}
	t.Run("silent", func(t *testing.T) {
		s := newScene(t, short)
		s.up.Always(testkit.Silent())
		check(t, s, chat)
		s.up.AwaitCanceled(1, soon)
	})
	t.Run("takes nothing of a large body", func(t *testing.T) {
		s := newScene(t, short)
		s.up.Freeze()
		check(t, s, `{"model":"m","x":"`+strings.Repeat("x", 16<<20)+`"}`)
	})
	t.Run("silent after the head", func(t *testing.T) {
		s := newScene(t, func(set *setting) { set.opts.StreamIdleTimeout = 80 * time.Millisecond })
		s.up.Always(testkit.Stream("application/json", testkit.Wait(testkit.NewGate())))
		got := s.chat()
		equal(t, "status", got.Status, 504)
		equal(t, "attempts", len(s.record().Attempts), 4)
	})
}

// No key from the beginning.
func TestNoKey(t *testing.T) {
	now := time.Now()
	state := func(st gateway.KeyState) func(int, *gateway.Key) {
		return func(i int, k *gateway.Key) {
			if k.State = st; i > 0 && !st.RestsUntil.IsZero() {
				k.State.RestsUntil = st.RestsUntil.Add(time.Hour)
			}
		}
	}
	for _, tt := range []struct {
		name   string
		set    func(*setting)
		status int
		kind   string
		after  string
		retry  string
		words  []string
	}{
		{"empty pool", keys(0), 503, "no_available_keys", "", "false", []string{"ollama", "no keys", "POST /admin/api-keys", "keys import"}},
		{"all rest", keys(2, state(gateway.KeyState{RestsUntil: now.Add(30 * time.Second)})), 429, "rate_limit_error", "30", "true", []string{"out of quota", "30s"}},
		{"all failed", keys(2, state(gateway.KeyState{FailedUntil: now.Add(30 * time.Second)})), 503, "no_available_keys", "30", "true", []string{"30s"}},
		{"all disabled", keys(2, state(gateway.KeyState{Disabled: gateway.DisabledManual})), 503, "no_available_keys", "", "false", nil},
		{"switched off", func(set *setting) { set.disabled = true }, 503, "provider_disabled", "", "false", []string{"ollama"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t, tt.set)
			got := s.chat()
			equal(t, "status", got.Status, tt.status)
			equal(t, "Retry-After", got.Header.Get("Retry-After"), tt.after)
			e := readError(t, got.Body)
			equal(t, "error", e.kind+" "+e.code, tt.kind+" "+tt.kind)
			equal(t, "retryable", retryable(t, got.Body), tt.retry)
			equal(t, "X-Pool-Attempts", got.Header.Get("X-Pool-Attempts"), "0")
			for _, w := range tt.words {
				if !strings.Contains(e.message, w) {
					t.Errorf("%q is not in %q", w, e.message)
				}
			}
			equal(t, "calls", len(s.up.Calls()), 0)
			rec := s.record()
			equal(t, "outcome", outcome(rec), "failure")
			equal(t, "model", rec.Model, "gpt-oss:120b")
		})
	}
	t.Run("an empty pool of the other provider", func(t *testing.T) {
		s := newScene(t, keys(0), openRouter)
		e := readError(t, s.chat().Body)
		for _, w := range []string{"openrouter", "provider=openrouter", "--provider openrouter"} {
			if !strings.Contains(e.message, w) {
				t.Errorf("%q is not in %q", w, e.message)
			}
		}
	})
	t.Run("no plan has the model", func(t *testing.T) {
		s := newScene(t, keys(2))
		s.up.Always(testkit.JSON(403, `{"error":"this model requires a subscription"}`))
		equal(t, "first", s.chat().Status, 403)
		got := s.chat()
		equal(t, "second", got.Status, 503)
		equal(t, "Retry-After", got.Header.Get("Retry-After"), "86400")
		equal(t, "calls", len(s.up.Calls()), 2)
		s.up.Always(testkit.JSON(200, done))
		equal(t, "another model", s.post("/v1/chat/completions", `{"model":"small"}`).Status, 200)
	})
}

// Every kind of error in each of the three forms.
func TestErrorForms(t *testing.T) {
	kinds := []struct {
		name    string
		set     func(*setting)
		answer  testkit.Answer
		status  int
		openai  string
		claude  string
		retry   string
		headers []string
	}{
		{"no keys", keys(0), nil, 503, "no_available_keys", "overloaded_error", "false", nil},
		{"refused", keys(1), fails(401, "no"), 503, "no_available_keys", "overloaded_error", "true", []string{"Retry-After"}},
		{"quota", keys(1), fails(429, "no"), 429, "rate_limit_error", "rate_limit_error", "true", []string{"Retry-After"}},
		{"broken", keys(1), testkit.Reset(), 502, "upstream_error", "api_error", "true", nil},
		{"too large", func(set *setting) { set.opts.MaxBodyBytes = 3 }, nil, 413, "invalid_request_error", "request_too_large", "false", nil},
		{"switched off", func(set *setting) { set.disabled = true }, nil, 503, "provider_disabled", "overloaded_error", "false", nil},
	}
	for _, k := range kinds {
		for path, want := range map[string]apiError{
			"/v1/chat/completions": {k.openai, k.openai, ""},
			"/v1/responses":        {k.openai, k.openai, ""},
			"/v1/embeddings":       {k.openai, k.openai, ""},
			"/v1/messages":         {k.claude, "", ""},
			"/api/chat":            {},
		} {
			t.Run(k.name+path, func(t *testing.T) {
				s := newScene(t, k.set)
				if k.answer != nil {
					s.up.Always(k.answer)
				}
				got := s.post(path, chat)
				equal(t, "status", got.Status, k.status)
				e := readError(t, got.Body)
				if e.message == "" {
					t.Errorf("no message: %s", got.Body)
				}
				e.message = ""
				equal(t, "error", e, want)
				equal(t, "retryable", retryable(t, got.Body), k.retry)
				equal(t, "X-Pool-Attempts", got.Header.Get("X-Pool-Attempts"), fmt.Sprint(len(s.up.Calls())))
				equal(t, "type", got.Header.Get("Content-Type"), "application/json")
				for _, h := range append(k.headers, "X-Request-Id") {
					if got.Header.Get(h) == "" {
						t.Errorf("no %s", h)
					}
				}
				if path == "/v1/messages" && !strings.HasPrefix(string(got.Body), `{"type":"error","error":{`) {
					t.Errorf("not Anthropic's form: %s", got.Body)
				}
				if strings.HasPrefix(path, "/v1/") && path != "/v1/messages" && !strings.Contains(string(got.Body), `"param":null`) {
					t.Errorf("not OpenAI's form: %s", got.Body)
				}
			})
		}
	}
}

// An upstream's answer that is passed on after all comes as it came, however
// large it is.
func TestFailuresComeAsTheyCame(t *testing.T) {
	for _, size := range []int{0, 1, 1023, 1024, 1025, 64<<10 - 1, 64 << 10, 64<<10 + 1, 300 << 10} {
		for _, length := range []bool{true, false} {
			t.Run(fmt.Sprint(size, length), func(t *testing.T) {
				body := strings.Repeat("é\x00\xff", size/4+1)[:size]
				answer := testkit.Reply(503, "application/octet-stream", body, "X-Trace", "t1", "Retry-After", "9")
				if !length {
					answer = testkit.WithHeader(testkit.StreamStatus(503, "application/octet-stream", testkit.Text(body)), "X-Trace", "t1", "Retry-After", "9")
				}
				s := newScene(t, keys(2))
				s.up.Always(answer)
				got := s.chat()
				equal(t, "status", got.Status, 503)
				equal(t, "body is the same", string(got.Body) == body, true)
				equal(t, "clean end", got.CleanEnd, true)
				equal(t, "X-Trace", got.Header.Get("X-Trace"), "t1")
				equal(t, "Retry-After", got.Header.Get("Retry-After"), "9")
				equal(t, "type", got.Header.Get("Content-Type"), "application/octet-stream")
				equal(t, "calls", len(s.up.Calls()), 4)
			})
		}
	}
}
