package dataplane_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

// A limit is named in the form of the address, and nobody is asked upstream.
func TestLimitsInEveryDialect(t *testing.T) {
	p := newPlane(t)
	networks := gateway.Limits{Networks: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}
	models := gateway.Limits{Models: []string{"llama*"}}
	requests := gateway.Limits{RequestsPerDay: 1}
	p.limits.Seed(gateway.HashToken(token), 1, 0, time.Now())
	const (
		refused = `may not be used from this network (networks)`
		model   = `this token may not use model \"gpt-oss:120b\" (models)`
		daily   = `1, until 00:00 UTC (requests per day)`
	)
	for _, tt := range []struct {
		limits gateway.Limits
		path   string
		status int
		want   []string
	}{
		{networks, chatPath, 403, []string{`{"error":{"message":"this token `, refused, `"type":"permission_error"`}},
		{networks, "/v1/messages", 403, []string{`{"type":"error","error":{"type":"permission_error","message":"this token `, refused}},
		{networks, "/api/chat", 403, []string{`{"error":"this token `, refused}},
		{networks, "/api/pull", 403, []string{`{"error":"this token `, refused}},
		{models, "/openrouter" + chatPath, 403, []string{`{"error":{"message":"`, model, `"type":"permission_error"`}},
		{models, "/v1/messages", 403, []string{`{"type":"error","error":{"type":"permission_error","message":"`, model}},
		{models, "/api/show", 403, []string{`{"error":"`, model}},
		{requests, chatPath, 429, []string{`{"error":{"message":"`, daily, `"type":"rate_limit_error"`}},
		{requests, "/v1/messages", 429, []string{`{"type":"error","error":{"type":"rate_limit_error","message":"`, daily}},
		{requests, "/api/chat", 429, []string{`{"error":"`, daily}},
	} {
		p.limit(token, tt.limits)
		got := p.post(tt.path, chat)
		equal(t, tt.path, got.Status, tt.status)
		for _, want := range tt.want {
			if !strings.Contains(string(got.Body), want) {
				t.Errorf("%s: %s, want %s", tt.path, got.Body, want)
			}
		}
		if wait := got.Header.Get("Retry-After"); (wait != "") != (tt.status == 429) {
			t.Errorf("%s: Retry-After %q", tt.path, wait)
		}
		equal(t, tt.path+": attempts", got.Header.Get("X-Pool-Attempts"), "0")
		rec := p.taken(1)[0]
		if _, failure := rec.Outcome(); !failure || !rec.Counted {
			t.Errorf("%s: %+v", tt.path, rec)
		}
	}
	equal(t, "calls", len(p.up.Calls()), 0)
	used, _ := p.limits.Usage(gateway.HashToken(token))
	equal(t, "used", used, gateway.TokenUsage{Requests: 1})
}

// Model tokens are those that the answers tell, streams included.
func TestModelTokensOfADay(t *testing.T) {
	p := newPlane(t)
	p.limit(token, gateway.Limits{TokensPerDay: 30, RequestsPerDay: 1000})
	p.up.Handle(func(c *testkit.Call) testkit.Answer {
		h := []string{"X-Ratelimit-Limit-Requests", "7", "X-Ratelimit-Limit-Tokens", "7", "X-Ratelimit-Remaining", "7"}
		if c.Path == "/api/chat" {
			return testkit.WithHeader(testkit.Stream("application/x-ndjson", testkit.Line(`{"done":true,"prompt_eval_count":5,"eval_count":15}`)), h...)
		}
		return testkit.WithHeader(testkit.JSON(200, done), h...)
	})
	for i, want := range []struct{ path, left string }{{chatPath, "30"}, {"/api/chat", "20"}, {chatPath + "?x", "0"}} {
		got := p.post(want.path, chat)
		p.taken(1)
		status := map[bool]int{true: 200, false: 429}[want.left != "0"]
		equal(t, fmt.Sprint(i, " status"), got.Status, status)
		equal(t, fmt.Sprint(i, " tokens left"), got.Header.Get("X-Ratelimit-Remaining-Tokens"), want.left)
		equal(t, fmt.Sprint(i, " limit"), strings.Join(got.Header["X-Ratelimit-Limit-Tokens"], " "), "30") // ours, not that of a key
		equal(t, fmt.Sprint(i, " limit"), strings.Join(got.Header["X-Ratelimit-Limit-Requests"], " "), "1000")
	}
	got := testkit.RawRequest(t, p.addr, request(http.MethodPost, chatPath, chat, other))
	equal(t, "of a token without limits", got.Header.Get("X-Ratelimit-Limit-Requests"), "7")
}

// So many at the same time, over real connections, also when clients leave.
func TestConcurrentRequests(t *testing.T) {
	p := newPlane(t)
	p.limit(token, gateway.Limits{Concurrent: 2})
	gate := testkit.NewGate()
	p.up.Always(testkit.After(gate, testkit.JSON(200, done)))
	running := func(n int) {
		p.await(fmt.Sprintf("%d run", n), func() bool {
			used, _ := p.limits.Usage(gateway.HashToken(token))
			return used.Running == n
		})
	}
	leaves := testkit.DialRaw(t, p.addr)
	leaves.Send(request(http.MethodPost, chatPath, `{"model":"a"}`, token))
	var wg sync.WaitGroup
	wg.Go(func() { equal(t, "who waits", p.post(chatPath, `{"model":"b"}`).Status, 200) })
	running(2)
	got := p.post(chatPath, `{"model":"c"}`)
	equal(t, "one too many", got.Status, 429)
	equal(t, "wait", got.Header.Get("Retry-After"), "1")
	leaves.Close()
	running(1)
	wg.Go(func() { equal(t, "in the place of who left", p.post(chatPath, `{"model":"c"}`).Status, 200) })
	running(2)
	gate.Open()
	wg.Wait()
	running(0)
}

// A limited token's own models: everywhere else they are whole.
func TestModelsOfALimitedToken(t *testing.T) {
	p := newPlane(t)
	p.limit(token, gateway.Limits{Models: []string{"gpt-oss*"}})
	p.up.Handle(func(c *testkit.Call) testkit.Answer {
		switch c.Path {
		case "/api/tags":
			return testkit.JSON(200, `{"models":[{"name":"gpt-oss:20b"},{"name":"llama3"}]}`)
		case "/api/v1/models":
			return testkit.JSON(200, `{"data":[{"id":"vendor/gpt-oss"},{"id":"gpt-oss-x"},{"id":"llama3"}]}`)
		}
		return testkit.JSON(200, done)
	})
	for _, tt := range []struct {
		path, secret string
		status       int
		has, hasNot  string
	}{
		{"/v1/models", other, 200, `"llama3"`, `"x"`},
		{"/v1/models", token, 200, `"gpt-oss:20b"`, `llama3`},
		{"/api/tags", token, 200, `"gpt-oss:20b"`, `llama3`},
		{"/api/tags", other, 200, `"llama3"`, `"x"`},
		{"/openrouter/v1/models", token, 200, `"gpt-oss-x"`, `vendor`},
		{"/openrouter/v1/models", other, 200, `"vendor/gpt-oss"`, `"x"`},
		{"/v1/models/gpt-oss:20b", token, 200, `"gpt-oss:20b"`, `llama3`},
		{"/v1/models/llama3", token, 404, `is not in the list of ollama`, `gpt-oss`},
		{"/v1/models/llama3", other, 200, `"llama3"`, `gpt-oss`},
		{"/t/" + token + "/v1/models/llama3", "", 404, `is not in the list of ollama`, token},
	} {
		raw := request(http.MethodGet, tt.path, "", tt.secret)
		if tt.secret == "" {
			raw = testkit.HTTP11(http.MethodGet, tt.path, "")
		}
		got := testkit.RawRequest(t, p.addr, raw)
		if got.Status != tt.status || !strings.Contains(string(got.Body), tt.has) || strings.Contains(string(got.Body), tt.hasNot) {
			t.Errorf("%s: %d %s", tt.path, got.Status, got.Body)
		}
	}
	equal(t, "show", p.post("/api/show", `{"model":"gpt-oss:20b"}`).Status, 200)
	equal(t, "show another", p.post("/api/show", `{"name":"llama3"}`).Status, 403)
	equal(t, "search", p.post("/api/web_search", `{"query":"x"}`).Status, 200)
	equal(t, "no JSON", p.post(chatPath, `{"model":"gpt-oss:20b"`).Status, 400)
	equal(t, "calls", len(p.up.Calls()), 4)
}

// A token that a client put into the wrong place is neither kept nor shown.
func TestTokensInTheWrongPlace(t *testing.T) {
	p := newPlane(t)
	p.up.Always(testkit.JSON(200, done))
	agents := make(chan string, 3)
	p.seen = func(x *gateway.Exchange) { agents <- x.Agent }
	body := `{"model":"gpt-` + token + `","messages":[]}`
	p.post(chatPath, body, "User-Agent", "agent/1 "+token)
	p.limit(token, gateway.Limits{Models: []string{"llama*"}})
	if got := p.post(chatPath, body, "User-Agent", token); got.Status != 403 || strings.Contains(string(got.Body), token) {
		t.Errorf("%d %s", got.Status, got.Body)
	}
	for _, rec := range p.taken(2) {
		if rec.Model != "gpt-***" || strings.Contains(rec.Error, token) {
			t.Errorf("%+v", rec)
		}
		if agent := <-agents; agent != "agent/1 ***" && agent != "***" {
			t.Errorf("agent %q", agent)
		}
	}
	equal(t, "sent", string(p.up.Calls()[0].Body), body) // what goes upstream is not changed
}
