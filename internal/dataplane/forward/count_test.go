package forward_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

// Requests count once, if they were authenticated and well formed.
func TestWhatCounts(t *testing.T) {
	auth := []string{"Authorization", "Bearer " + token}
	for _, tt := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		want, model              string
	}{
		{"fine", "POST", "/v1/chat/completions", chat, auth, 200, "success", "gpt-oss:120b"},
		{"in the path", "POST", "/t/" + token + "/api/chat", chat, nil, 200, "success", "gpt-oss:120b"},
		{"x-api-key", "POST", "/v1/messages", chat, []string{"x-api-key", token}, 200, "success", "gpt-oss:120b"},
		{"no model", "POST", "/v1/embeddings", `{}`, auth, 200, "success", ""},
		{"no token", "POST", "/v1/chat/completions", chat, nil, 401, "not counted", ""},
		{"wrong token", "POST", "/v1/chat/completions", chat, []string{"Authorization", "Bearer sk-wrong"}, 401, "not counted", ""},
		{"of the other provider", "POST", "/openrouter/v1/messages", chat, auth, 403, "not counted", ""},
		{"no such address", "POST", "/v1/nothing", chat, auth, 404, "not counted", ""},
		{"wrong method", "GET", "/v1/messages", "", auth, 405, "not counted", ""},
		{"list", "GET", "/v1/models", "", auth, 200, "success", ""},
		{"list, anonymous", "GET", "/v1/models", "", nil, 200, "not counted", ""},
		{"model that there is not", "GET", "/v1/models/none", "", auth, 404, "failure", ""},
		{"native list", "GET", "/api/tags", "", auth, 200, "success", ""},
		{"version", "GET", "/api/version", "", auth, 200, "success", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t)
			s.up.Handle(tagsOr(testkit.JSON(200, done)))
			got := testkit.RawRequest(t, s.addr, testkit.HTTP11(tt.method, tt.path, tt.body, tt.headers...))
			equal(t, "status", got.Status, tt.status)
			rec := s.record()
			equal(t, "outcome", outcome(rec), tt.want)
			equal(t, "status of the record", rec.Status, tt.status)
			attempts := "" // before authentication there is nothing to tell
			if tt.want != "not counted" || tt.name == "list, anonymous" {
				attempts = fmt.Sprint(len(rec.Attempts))
			}
			equal(t, "X-Pool-Attempts", got.Header.Get("X-Pool-Attempts"), attempts)
			equal(t, "model", rec.Model, tt.model)
			wantToken := ""
			if tt.want != "not counted" || tt.status == 404 && tt.path != "/v1/nothing" {
				wantToken = gateway.HashToken(token)
			}
			equal(t, "token", rec.TokenHash, wantToken)
			if rec.StartedAt.IsZero() || rec.Duration <= 0 {
				t.Errorf("began %v, took %v", rec.StartedAt, rec.Duration)
			}
		})
	}
}

func TestUsageIsRead(t *testing.T) {
	for path, tt := range map[string]struct {
		answer testkit.Answer
		want   gateway.Usage
	}{
		"/v1/chat/completions": {testkit.JSON(200, done), gateway.Usage{Input: 7, Output: 3}},
		"/v1/completions":      {testkit.SSE(`{"usage":{"prompt_tokens":4,"completion_tokens":5}}`, "[DONE]"), gateway.Usage{Input: 4, Output: 5}},
		"/v1/messages":         {testkit.JSON(200, `{"usage":{"input_tokens":4,"output_tokens":5}}`), gateway.Usage{Input: 4, Output: 5}},
		"/api/chat":            {testkit.JSON(200, `{"done":true,"prompt_eval_count":4,"eval_count":5}`), gateway.Usage{Input: 4, Output: 5}},
		"/v1/embeddings":       {testkit.JSON(400, `{"usage":{"prompt_tokens":4}}`), gateway.Usage{}},
		"/v1/responses":        {testkit.Compressed(200, "application/json", `{"usage":{"input_tokens":4}}`), gateway.Usage{}},
	} {
		s := newScene(t)
		s.up.Always(tt.answer)
		s.post(path, chat)
		equal(t, path, s.record().Usage, tt.want)
	}
}

// Keys serve in turn, m/n requests each, give or take one; those beside a key
// that is out too.
func TestKeysTakeTurns(t *testing.T) {
	for _, out := range []map[int]bool{{}, {2: true}, {0: true, 1: true, 4: true}} {
		t.Run(fmt.Sprint(out), func(t *testing.T) {
			const n, requests = 7, 100
			s := newScene(t, keys(n, func(i int, k *gateway.Key) {
				if out[i] {
					k.State.FailedUntil = time.Now().Add(time.Hour)
				}
			}))
			for range requests {
				equal(t, "status", s.chat().Status, 200)
			}
			for i := range n {
				calls, share := len(s.up.CallsFor(key(i))), requests/(n-len(out))
				if out[i] && calls > 0 || !out[i] && (calls < share || calls > share+1) {
					t.Errorf("key %d served %d requests", i, calls)
				}
			}
		})
	}
}

// Refusals that run at the same time count as one.
func TestFailuresAtTheSameTime(t *testing.T) {
	const requests = 10
	s := newScene(t, keys(1), retries(0))
	gate := testkit.NewGate()
	s.up.Always(testkit.After(gate, fails(401, "unauthorized")))
	conns := make([]*testkit.RawConn, requests)
	for i := range conns {
		conns[i] = testkit.DialRaw(t, s.addr)
		conns[i].Send(s.request("/v1/chat/completions", chat))
	}
	s.up.AwaitCalls(requests, soon)
	gate.Open()
	for _, c := range conns {
		equal(t, "status", c.Response().Status, 503)
	}
	equal(t, "key", s.state(0), "failed 1: 401 unauthorized")
	equal(t, "counts", s.counts(), gateway.KeyCounts{Total: requests, Failure: requests})
}

// Many requests at once, good and bad, and every number is right afterwards.
func TestManyAtOnce(t *testing.T) {
	const clients, each = 20, 20
	s := newScene(t, keys(10))
	s.up.Handle(func(c *testkit.Call) testkit.Answer {
		switch c.N % 5 {
		case 0:
			return testkit.JSON(400, `{"error":"bad"}`)
		case 1:
			return testkit.SSE(`{"choices":[{"delta":{"content":"a"}}]}`, "[DONE]")
		case 2:
			return testkit.JSON(403, `{"error":"forbidden"}`)
		}
		return testkit.JSON(200, done)
	})
	statuses := make(chan int, clients*each)
	var wg sync.WaitGroup
	for range clients {
		c := testkit.DialRaw(t, s.addr)
		wg.Go(func() {
			for range each {
				c.Send(s.request("/v1/chat/completions", chat))
				statuses <- c.Response().Status
			}
		})
	}
	wg.Wait()
	seen, recorded, success := map[int]int{}, map[int]int{}, 0
	for range clients * each {
		seen[<-statuses]++
		rec := s.record()
		recorded[rec.Status]++
		if ok, _ := rec.Outcome(); ok {
			success++
		}
	}
	equal(t, "statuses", fmt.Sprint(seen), fmt.Sprint(recorded))
	equal(t, "successes", success, seen[200])
	equal(t, "attempts", s.counts().Total, int64(len(s.up.Calls())))
	equal(t, "successes of keys", s.counts().Success, int64(seen[200]))
}
