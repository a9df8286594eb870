package app_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

// What passes is counted once, and the numbers and states outlive the process.
func TestDataPlaneCountsAndRemembers(t *testing.T) {
	p := start(t)
	p.addKeys(gateway.Ollama, 3)
	p.addKeys(gateway.OpenRouter, 1)
	p.up.Handle(func(c *testkit.Call) testkit.Answer {
		switch {
		case c.Key == key(0) && !strings.HasPrefix(c.Path, "/api/v1"):
			return testkit.JSON(401, `{"error":"unauthorized"}`)
		case c.Path == "/v1/messages":
			return testkit.JSON(400, `{"error":"bad"}`)
		case c.Path == "/api/chat":
			return testkit.Stream("application/x-ndjson", testkit.Line(`{"done":false}`), testkit.Break(testkit.FIN))
		}
		return testkit.JSON(200, done)
	})
	for _, r := range []struct {
		path   string
		status int
	}{
		{"/v1/chat/completions", 200},
		{"/v1/chat/completions", 200},
		{"/v1/messages", 400},
		{"/api/chat", 200},
		{"/openrouter/v1/chat/completions", 200},
		{"/v1/nothing", 404},
	} {
		equal(t, r.path, p.post(r.path, chat).Status, r.status)
	}
	wrong := testkit.HTTP11(http.MethodPost, "/v1/messages", chat, "Authorization", "Bearer sk-wrong")
	equal(t, "wrong token", testkit.RawRequest(t, p.addr, wrong).Status, 401)

	check := func(when string) {
		t.Helper()
		total, success, failure := p.stats(gateway.Ollama)
		equal(t, when+": Ollama's totals", fmt.Sprintln(total, success, failure), "4 2 2\n")
		total, success, failure = p.stats(gateway.OpenRouter)
		equal(t, when+": OpenRouter's totals", fmt.Sprintln(total, success, failure), "1 1 0\n")
		k := p.key(gateway.Ollama, 0)
		equal(t, when+": refused key", fmt.Sprintln(k.Counts.Total, k.Counts.Success, k.Counts.Failure, k.State.ConsecutiveFailures), "1 0 1 1\n")
		equal(t, when+": status", k.State.StatusAt(time.Now(), k.ExpiresAt), gateway.KeyFailed)
		other, third := p.key(gateway.Ollama, 1), p.key(gateway.Ollama, 2)
		equal(t, when+": attempts of the others", other.Counts.Total+third.Counts.Total, int64(4))
		equal(t, when+": their state", other.State.StatusAt(time.Now(), other.ExpiresAt), gateway.KeyActive)
		tokens, err := p.app.Roster().Tokens(t.Context())
		if err != nil || len(tokens) == 0 {
			t.Fatal(err)
		}
		sum := int64(0)
		for _, tok := range tokens {
			sum += tok.RequestCount
		}
		equal(t, when+": requests of the token", sum, int64(5))
	}
	check("before")
	p.stop(soon)
	p.open()
	check("after a restart")
	calls := len(p.up.CallsFor(key(0)))
	for range 4 {
		equal(t, "after a restart", p.post("/v1/chat/completions", chat).Status, 200)
	}
	equal(t, "calls with the refused key", len(p.up.CallsFor(key(0))), calls)
}

// The settings reach the data plane.
func TestDataPlaneSettings(t *testing.T) {
	agent := []string{"User-Agent", "python-requests/2.31"}
	for _, tt := range []struct {
		name     string
		settings []string
		answer   testkit.Answer
		path     string
		body     string
		headers  []string
		status   int
		calls    int
	}{
		{"as they are", nil, nil, "/v1/chat/completions", chat, nil, 200, 1},
		{"body too large", []string{"MAX_BODY_BYTES=10"}, nil, "/v1/chat/completions", chat, nil, 413, 0},
		{"no retries", []string{"MAX_RETRIES=0"}, testkit.JSON(401, `{}`), "/v1/chat/completions", chat, nil, 503, 1},
		{"one retry", []string{"MAX_RETRIES=1"}, testkit.JSON(401, `{}`), "/v1/chat/completions", chat, nil, 503, 2},
		{"header timeout", []string{"UPSTREAM_HEADER_TIMEOUT=100ms", "MAX_RETRIES=0"}, testkit.Silent(), "/v1/chat/completions", chat, nil, 504, 1},
		{"silent answer", []string{"STREAM_IDLE_TIMEOUT=100ms", "MAX_RETRIES=0"}, testkit.Stream("application/json", testkit.Wait(testkit.NewGate())), "/v1/chat/completions", chat, nil, 504, 1},
		{"Ollama switched off", []string{"DISABLE_OLLAMA=true"}, nil, "/v1/chat/completions", chat, nil, 503, 0},
		{"OpenRouter is not", []string{"DISABLE_OLLAMA=true"}, nil, "/openrouter/v1/chat/completions", chat, nil, 200, 1},
		{"automated agent", nil, nil, "/v1/chat/completions", chat, agent, 200, 1},
		{"automated agent blocked", []string{"BOT_DETECTION_MODE=block"}, nil, "/v1/chat/completions", chat, agent, 403, 0},
		{"detection switched off", []string{"BOT_DETECTION_MODE=block", "ENABLE_BOT_DETECTION=false"}, nil, "/v1/chat/completions", chat, agent, 200, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := start(t, tt.settings...)
			p.addKeys(gateway.Ollama, 3)
			p.addKeys(gateway.OpenRouter, 3)
			if tt.answer != nil {
				p.up.Always(tt.answer)
			}
			headers := tt.headers
			if headers == nil {
				headers = []string{"User-Agent", "some-sdk/1"}
			}
			got := p.post(tt.path, tt.body, headers...)
			equal(t, "status", got.Status, tt.status)
			equal(t, "calls", len(p.up.Calls()), tt.calls)
		})
	}
}

func TestDataPlaneLimit(t *testing.T) {
	p := start(t, "ENABLE_RATE_LIMIT=true", "RATE_LIMIT_REQUESTS=3", "RATE_LIMIT_WINDOW=60")
	p.addKeys(gateway.Ollama, 1)
	for i := range 5 {
		got := p.post("/api/chat", chat)
		if i < 3 {
			equal(t, "status", got.Status, 200)
			continue
		}
		equal(t, "status", got.Status, 429)
		if got.Header.Get("Retry-After") == "" || !strings.HasPrefix(string(got.Body), `{"error":"`) {
			t.Errorf("%v %s", got.Header, got.Body)
		}
	}
	total, _, _ := p.stats(gateway.Ollama)
	equal(t, "counted", total, int64(3))
}

// Tokens in the path work for clients that can send no header, and stay out of
// the log (see stop).
func TestDataPlaneTokenInPath(t *testing.T) {
	p := start(t, "OPENROUTER_APP_TITLE=Pool", "PUBLIC_SITE_URL=https://pool.example")
	p.addKeys(gateway.Ollama, 1)
	p.addKeys(gateway.OpenRouter, 1)
	get := func(path string) testkit.RawResponse {
		return testkit.RawRequest(t, p.addr, testkit.HTTP11("GET", path, ""))
	}
	equal(t, "greeting", string(get("/t/"+p.token+"/").Body), "Ollama is running")
	equal(t, "version", get("/t/"+p.token+"/api/version").Status, 200)
	equal(t, "wrong", get("/t/sk-wrong/api/version").Status, 401)
	equal(t, "misplaced", get("/openrouter/t/"+p.token+"/v1/models").Status, 404)
	equal(t, "misplaced", get("/v1/"+p.token).Status, 404)
	raw := testkit.HTTP11("POST", "/t/"+p.token+"/openrouter/v1/chat/completions", chat)
	equal(t, "OpenRouter", testkit.RawRequest(t, p.addr, raw).Status, 200)
	calls := p.up.Calls()
	h := calls[len(calls)-1].Header
	equal(t, "referer and title", h.Get("Http-Referer")+" "+h.Get("X-Title"), "https://pool.example Pool")
	equal(t, "agent", h.Get("User-Agent"), "ollama-api-pool/1.2.3")
}

// A change of the operator's holds for the next request.
func TestDataPlaneFollowsTheOperator(t *testing.T) {
	p := start(t)
	got := p.post("/v1/chat/completions", chat)
	equal(t, "empty pool", got.Status, 503)
	p.addKeys(gateway.Ollama, 2)
	equal(t, "keys added", p.post("/v1/chat/completions", chat).Status, 200)
	roster := p.app.Roster()
	both := []gateway.KeyID{idOf(0), idOf(1)}
	if _, err := roster.DisableKeys(t.Context(), gateway.Ollama, both, 0); err != nil {
		t.Fatal(err)
	}
	equal(t, "keys disabled", p.post("/v1/chat/completions", chat).Status, 503)
	if _, err := roster.EnableKeys(t.Context(), gateway.Ollama, both[1:]); err != nil {
		t.Fatal(err)
	}
	equal(t, "one enabled", p.post("/v1/chat/completions", chat).Status, 200)
	calls := p.up.Calls()
	equal(t, "key", calls[len(calls)-1].Key, key(1))

	gate := testkit.NewGate()
	p.up.Always(testkit.After(gate, testkit.JSON(200, done)))
	c := testkit.DialRaw(t, p.addr)
	c.Send(p.request("/v1/chat/completions", chat))
	gate.AwaitReached(t)
	if _, err := roster.DeleteKeys(t.Context(), gateway.Ollama, both); err != nil {
		t.Fatal(err)
	}
	gate.Open()
	equal(t, "a request that was running", c.Response().Status, 200)
	equal(t, "keys deleted", p.post("/v1/chat/completions", chat).Status, 503)
	if err := roster.RevokeToken(t.Context(), p.token); err != nil {
		t.Fatal(err)
	}
	equal(t, "token revoked", p.post("/v1/chat/completions", chat).Status, 401)
}

// Running requests may finish when the program stops, and are counted.
func TestDataPlaneFinishesWhenStopped(t *testing.T) {
	p := start(t)
	p.addKeys(gateway.Ollama, 1)
	gate := testkit.NewGate()
	p.up.Always(testkit.Stream("text/event-stream", testkit.Event("{}"), testkit.Wait(gate), testkit.Event("[DONE]")))
	c := testkit.DialRaw(t, p.addr)
	c.Send(p.request("/v1/chat/completions", chat))
	equal(t, "status", c.Head().Status, 200)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		p.stop(soon)
	}()
	await(t, func() bool { // it takes no more requests, and says so
		conn, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.addr+"/health/ready", nil)
		if err != nil {
			return false
		}
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(conn)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusServiceUnavailable
	})
	equal(t, "a new request", p.post("/v1/chat/completions", chat).Status, 503)
	gate.Open()
	var body strings.Builder
	for {
		b, err := c.Next()
		body.Write(b)
		if err != nil {
			equal(t, "end", err, io.EOF)
			break
		}
	}
	equal(t, "body", body.String(), "data: {}\n\ndata: [DONE]\n\n")
	<-stopped
	p.open()
	total, success, _ := p.stats(gateway.Ollama)
	equal(t, "totals", fmt.Sprintln(total, success), "1 1\n")
}

// What does not finish in time is broken off, visibly, and counted too.
func TestDataPlaneBreaksOffWhenStopped(t *testing.T) {
	p := start(t, "SHUTDOWN_GRACE=50ms")
	p.addKeys(gateway.Ollama, 1)
	p.up.Always(testkit.Stream("text/event-stream", testkit.Event(`{"choices":[{"delta":{"content":"a"}}]}`), testkit.Wait(testkit.NewGate())))
	c := testkit.DialRaw(t, p.addr)
	c.Send(p.request("/v1/chat/completions", chat))
	equal(t, "status", c.Head().Status, 200)
	if _, err := c.Next(); err != nil {
		t.Fatal(err)
	}
	p.stop(soon)
	if _, err := c.Next(); err == nil || err == io.EOF { //nolint:errorlint // Next gives it bare
		t.Errorf("the stream ended with %v", err)
	}
	p.up.AwaitIdle(soon)
	p.open()
	total, _, _ := p.stats(gateway.Ollama)
	equal(t, "requests", total, int64(1))
	equal(t, "attempts of the key", p.key(gateway.Ollama, 0).Counts.Total, int64(1))
}

func await(t *testing.T, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatal("it did not come to that")
		case <-time.After(5 * time.Millisecond):
		}
	}
}
