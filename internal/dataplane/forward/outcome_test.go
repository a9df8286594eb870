package forward_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

// row is a line of the contract's table of outcomes: what the first key gets,
// and what follows when every other key works.
type row struct {
	name     string
	provider gateway.ProviderName // "": both
	answer   testkit.Answer
	tried    string // keys, in order
	status   int    // as the client sees it
	key      string // state of the first key afterwards
	reason   string // of the first attempt
	paused   bool   // there was a pause before the second attempt
}

var html = testkit.Reply(403, "text/html", "<!DOCTYPE html><html><body>Access denied</body></html>")

func fails(status int, words string) testkit.Answer {
	return testkit.JSON(status, `{"error":{"message":"`+words+`"}}`)
}

var table = []row{
	{"2xx", "", testkit.JSON(200, done), "0", 200, "active 0", "", false},
	{"201", "", testkit.JSON(201, done), "0", 201, "active 0", "", false},
	{"204", "", testkit.Reply(204, "", ""), "0", 204, "active 0", "", false},

	{"401", "", fails(401, "unauthorized"), "0 1", 200, "failed 1: 401 unauthorized", "401 unauthorized", false},
	{"401 without a body", "", testkit.Reply(401, "", ""), "0 1", 200, "failed 1: 401 unauthorized", "401 unauthorized", false},
	{"401 as a page", "", testkit.Reply(401, "text/html", "<html>no</html>"), "0 1", 200, "failed 1: 401 unauthorized", "401 unauthorized", false},
	{"402", "", fails(402, "no credit"), "0 1", 200, "failed 1: 402 no credit", "402 no credit", false},
	{"402 by source", gateway.OpenRouter, testkit.JSON(402, `{"error":{"code":402,"message":"x","metadata":{"limit_source":"openrouter_credits"}}}`), "0 1", 200, "failed 1: 402 no credit", "402 no credit", false},
	{"402 too large for the key", gateway.OpenRouter, testkit.JSON(402, `{"error":{"code":402,"message":"x","metadata":{"limit_source":"openrouter_credits","reason":"weight_exceeds_budget"}}}`), "0 1", 200, "active 0", "request over the key's budget", false},
	{"402 in flight", gateway.OpenRouter, testkit.JSON(402, `{"error":{"code":402,"message":"x","metadata":{"limit_source":"openrouter_in_flight_budget"}}}`), "0 1", 200, "resting 0: quota: budget in flight", "quota: budget in flight", false},

	{"403 key", "", fails(403, "this api key was revoked"), "0 1", 200, "failed 1: 403 key refused", "403 key refused", false},
	{"403 account", "", fails(403, "your account is suspended"), "0 1", 200, "failed 1: 403 key refused", "403 key refused", false},
	{"403 input", "", fails(403, "input was flagged by moderation"), "0", 403, "active 0", "403 input refused", false},
	{"403 input by field", gateway.OpenRouter, testkit.JSON(403, `{"error":{"code":403,"message":"x","metadata":{"reasons":["violence"]}}}`), "0", 403, "active 0", "403 input refused", false},
	{"403 plan", gateway.Ollama, testkit.JSON(403, `{"error":"this model requires a subscription, upgrade for access"}`), "0 1", 200, "active 0", "plan lacks the model", false},
	{"403 unknown", "", testkit.JSON(403, `{"error":"forbidden"}`), "0 1", 200, "active 0", "403 unexplained", false},
	{"403 text", "", testkit.Reply(403, "text/plain", "nope"), "0 1", 200, "active 0", "403 unexplained", false},
	{"403 page", "", html, "0 1", 200, "active 0", "403 web page", true},

	{"429", "", fails(429, "slow down"), "0 1", 200, "resting 0: quota", "quota", false},
	{"429 hourly", gateway.Ollama, testkit.JSON(429, `{"error":"you've reached your hourly usage limit, please wait"}`), "0 1", 200, "resting 0: quota: hourly", "quota: hourly", false},
	{"429 of the model", gateway.OpenRouter, testkit.JSON(429, `{"error":{"code":429,"message":"x","metadata":{"provider_name":"Deep"}}}`), "0", 429, "active 0", "429 of the model's provider", false},

	{"408", "", fails(408, "timeout"), "0 1", 200, "active 0", "408 upstream timeout", true},
	{"500", "", fails(500, "oops"), "0 1", 200, "active 0", "upstream fault", true},
	{"500 with an empty body", "", testkit.Reply(500, "", ""), "0 1", 200, "active 0", "upstream fault", true},
	{"502 page", "", testkit.Reply(502, "text/html", "<html>Bad gateway</html>"), "0 1", 200, "active 0", "upstream fault", true},
	{"503", "", fails(503, "overloaded"), "0 1", 200, "active 0", "upstream fault", true},
	{"529", "", fails(529, "overloaded"), "0 1", 200, "active 0", "upstream fault", true},
	{"reset", "", testkit.Reset(), "0 1", 200, "active 0", "connection broken", true},
	{"closed", "", testkit.Close(), "0 1", 200, "active 0", "connection broken", true},
	{"garbage", "", testkit.Garbage(), "0 1", 200, "active 0", "no connection", true},

	{"400", "", fails(400, "bad"), "0", 400, "active 0", "request refused", false},
	{"404 model", gateway.Ollama, testkit.JSON(404, `{"error":"model \"gpt-oss:120b\" not found"}`), "0", 404, "active 0", "404 model unknown upstream", false},
	{"404 path", gateway.Ollama, testkit.JSON(404, `{"error":"path \"/v1/x\" not found"}`), "0", 404, "active 0", "404 address unknown upstream", false},
	{"405", "", fails(405, "no"), "0", 405, "active 0", "request refused", false},
	{"409", "", fails(409, "no"), "0", 409, "active 0", "request refused", false},
	{"413", "", fails(413, "too large"), "0", 413, "active 0", "request refused", false},
	{"415", "", fails(415, "no"), "0", 415, "active 0", "request refused", false},
	{"418", "", fails(418, "no"), "0", 418, "active 0", "request refused", false},
	{"422", "", fails(422, "no"), "0", 422, "active 0", "request refused", false},
	{"redirect", "", testkit.Redirect(307, "https://elsewhere.example/"), "0", 307, "active 0", "redirect", false},
}

func TestTable(t *testing.T) {
	for _, r := range table {
		for _, name := range gateway.Providers() {
			if r.provider != "" && r.provider != name {
				continue
			}
			t.Run(string(name)+"/"+r.name, func(t *testing.T) {
				s := newScene(t, func(set *setting) { set.provider = name })
				s.up.Handle(testkit.ByKey(map[string]testkit.Answer{key(0): r.answer}, testkit.JSON(200, done)))
				got := s.chat()
				rec := s.record()
				equal(t, "status", got.Status, r.status)
				equal(t, "clean end", got.CleanEnd, true)
				equal(t, "keys tried", s.tried(), r.tried)
				equal(t, "first key", s.state(0), r.key)
				s.untouched(1, 2)
				equal(t, "first reason", reasons(rec)[0], r.reason)
				equal(t, "paused", len(s.pauses) == 1, r.paused)
				equal(t, "status of the record", rec.Status, r.status)
				want := "failure"
				if r.status < 300 {
					want = "success"
				}
				equal(t, "outcome", outcome(rec), want)
				r.checkCounts(t, s, rec)
				equal(t, "breaker open", s.pool.Health().Open, false)
			})
		}
	}
}

// checkCounts proves that each key counted its own attempts.
func (r *row) checkCounts(t *testing.T, s *scene, rec gateway.Record) {
	t.Helper()
	counts := s.keyCounts()
	first := gateway.KeyCounts{Total: 1, Failure: 1}
	if r.tried == "0" && r.status < 300 {
		first = gateway.KeyCounts{Total: 1, Success: 1}
	}
	equal(t, "counts of the first key", counts[idOf(0)], first)
	want := gateway.KeyCounts{}
	if r.tried != "0" {
		want = gateway.KeyCounts{Total: 1, Success: 1}
	}
	equal(t, "counts of the second key", counts[idOf(1)], want)
	equal(t, "attempts", len(rec.Attempts), len(counts))
	for i, a := range rec.Attempts {
		equal(t, "key of the attempt", a.Key, idOf(i))
		equal(t, "attempt succeeded", a.Verdict.OK, i == len(rec.Attempts)-1 && r.status < 300)
		if a.Duration <= 0 {
			t.Errorf("attempt %d took %v", i, a.Duration)
		}
	}
}

// A failure is forgotten at the next success, and adds up to the threshold.
func TestConsecutiveFailures(t *testing.T) {
	twice := func(_ int, k *gateway.Key) {
		k.State = gateway.KeyState{ConsecutiveFailures: 2, LastError: "401 unauthorized"}
	}
	t.Run("success", func(t *testing.T) {
		s := newScene(t, keys(1, twice))
		equal(t, "status", s.chat().Status, 200)
		equal(t, "key", s.state(0), "active 0")
	})
	t.Run("third", func(t *testing.T) {
		s := newScene(t, keys(1, twice))
		s.up.Always(fails(401, "unauthorized"))
		equal(t, "status", s.chat().Status, 503)
		equal(t, "key", s.state(0), "disabled 3 auto: 401 unauthorized")
	})
	t.Run("quota does not count", func(t *testing.T) {
		s := newScene(t, keys(1, twice))
		s.up.Always(fails(429, "slow down"))
		equal(t, "status", s.chat().Status, 429)
		equal(t, "key", s.state(0), "resting 2: quota")
	})
	t.Run("nor do upstream faults", func(t *testing.T) {
		s := newScene(t, keys(1, twice), retries(0))
		s.up.Always(fails(500, "oops"))
		equal(t, "status", s.chat().Status, 500)
		equal(t, "key", s.state(0), "active 2: 401 unauthorized")
	})
}

// A key is as good as new as soon as a stream has begun, not when it has ended.
func TestSuccessAtTheHead(t *testing.T) {
	s := newScene(t, keys(1, func(_ int, k *gateway.Key) { k.State.ConsecutiveFailures = 2 }))
	gate := testkit.NewGate()
	s.up.Always(testkit.Stream("text/event-stream", testkit.Event("{}"), testkit.Wait(gate), testkit.Event("[DONE]")))
	c := testkit.DialRaw(t, s.addr)
	c.Send(s.request("/v1/chat/completions", chat))
	equal(t, "status", c.Head().Status, 200)
	equal(t, "key", s.state(0), "active 0")
	equal(t, "counted so far", s.counts(), gateway.KeyCounts{})
	gate.Open()
	equal(t, "outcome", outcome(s.record()), "success")
	equal(t, "counted", s.counts(), gateway.KeyCounts{Total: 1, Success: 1})
}

// What befalls an account reaches all its keys; no name is no account.
func TestAccounts(t *testing.T) {
	named := func(names ...string) func(*setting) {
		return keys(len(names), func(i int, k *gateway.Key) { k.Username = names[i] })
	}
	for _, tt := range []struct {
		name   string
		names  []string
		set    func(*setting)
		answer testkit.Answer
		tried  string
		states []string
	}{
		{"quota", []string{"a@x.example", "A@x.example ", "b@x.example"}, func(*setting) {}, fails(429, "slow"), "0 2", []string{"resting 0: quota", "resting 0: quota", "active 0"}},
		{"no account", []string{"N/A", "n/a", ""}, func(*setting) {}, fails(429, "slow"), "0 1", []string{"resting 0: quota", "active 0", "active 0"}},
		{"refused key", []string{"a", "a", "b"}, func(*setting) {}, fails(401, "no"), "0 1", []string{"failed 1: 401 unauthorized", "active 0", "active 0"}},
		{
			"no credit",
			[]string{"a", "a", "b"},
			openRouter, testkit.JSON(402, `{"error":{"code":402,"message":"x","metadata":{"limit_source":"openrouter_credits"}}}`), "0 2",
			[]string{"failed 1: 402 no credit", "failed 1: 402 no credit", "active 0"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t, named(tt.names...), tt.set)
			s.up.Handle(testkit.ByKey(map[string]testkit.Answer{key(0): tt.answer}, testkit.JSON(200, done)))
			equal(t, "status", s.chat().Status, 200)
			equal(t, "keys tried", s.tried(), tt.tried)
			for i, want := range tt.states {
				equal(t, "key", s.state(i), want)
			}
		})
	}
}

// How long a key rests is what the upstream told, else 30 s, then twice that.
func TestRests(t *testing.T) {
	at := time.Now().Add(90 * time.Second)
	for _, tt := range []struct {
		name   string
		set    func(*setting)
		answer testkit.Answer
		want   time.Duration
		status int
		after  string
	}{
		{"told in seconds", func(*setting) {}, testkit.WithHeader(fails(429, "slow"), "Retry-After", "17"), 17 * time.Second, 429, "17"},
		{"told as a date", func(*setting) {}, testkit.WithHeader(fails(429, "slow"), "Retry-After", at.UTC().Format(http.TimeFormat)), 90 * time.Second, 429, ""},
		{"not told", func(*setting) {}, fails(429, "slow"), 30 * time.Second, 429, "30"},
		{"not told, third time", func(set *setting) { set.keys[0].State.RestStep = 2 }, fails(429, "slow"), 120 * time.Second, 429, "120"},

		{"reset in ms", openRouter, testkit.WithHeader(fails(429, "slow"), "X-RateLimit-Reset", millis(at)), 90 * time.Second, 429, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t, keys(1), tt.set)
			s.up.Always(tt.answer)
			got := s.chat()
			equal(t, "status", got.Status, tt.status)
			if tt.after != "" {
				equal(t, "Retry-After", got.Header.Get("Retry-After"), tt.after)
			}
			st, _, _ := s.pool.State(idOf(0))
			if rest := time.Until(st.RestsUntil); tt.want > 0 && (rest > tt.want || rest < tt.want-soon) {
				t.Errorf("rests for %v, want %v", rest, tt.want)
			}
			calls := len(s.up.Calls())
			again := s.chat()
			equal(t, "status while it rests", again.Status, 429)
			if again.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After while it rests")
			}
			equal(t, "calls while it rests", len(s.up.Calls()), calls)
		})
	}
}

func millis(at time.Time) string { return strconv.FormatInt(at.UnixMilli(), 10) }
