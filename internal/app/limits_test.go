package app_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"ollama-api-pool/internal/app"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/sqlstore"
	"ollama-api-pool/internal/testkit"
)

// limit changes the limits of the program's token in the store. The program
// must not run, or sees them when it looks again.
func (p *program) limit(l gateway.Limits) gateway.Token {
	p.t.Helper()
	store, err := sqlstore.Open(p.t.Context(), sqlstore.Options{Path: app.StorePath(p.dir)})
	if err != nil {
		p.t.Fatal(err)
	}
	tok, found, err := store.UpdateToken(p.t.Context(), gateway.HashToken(gateway.Secret(p.token)), gateway.TokenChange{Limits: &l})
	if err != nil || !found {
		p.t.Fatalf("%v, found %v", err, found)
	}
	if err := store.Close(); err != nil {
		p.t.Fatal(err)
	}
	return tok
}

// What a token has used today it has used, whatever restarts in between.
func TestLimitsOutliveTheProcess(t *testing.T) {
	p := start(t)
	p.addKeys(gateway.Ollama, 3)
	p.addKeys(gateway.OpenRouter, 1)
	p.up.Always(testkit.JSON(200, done)) // 10 model tokens
	ask := func(what, path string, status int) testkit.RawResponse {
		t.Helper()
		got := p.post(path, chat)
		equal(t, what, got.Status, status)
		return got
	}
	restart := func(l gateway.Limits) gateway.Token {
		t.Helper()
		p.stop(soon)
		tok := p.limit(l)
		p.open()
		return tok
	}
	used := func(what string, tok gateway.Token, want gateway.TokenUsage) {
		t.Helper()
		equal(t, what, p.app.Roster().TokenUsage([]gateway.Token{tok, {Hash: "other"}})[tok.Hash], want)
	}
	ask("before there are limits", "/v1/chat/completions", 200)
	ask("before there are limits", "/openrouter/v1/chat/completions", 200)
	tok := restart(gateway.Limits{RequestsPerDay: 5, TokensPerDay: 1000})
	used("seeded", tok, gateway.TokenUsage{Requests: 2, Tokens: 20})
	got := ask("the third", "/v1/chat/completions", 200)
	equal(t, "left", got.Header.Get("X-Ratelimit-Remaining-Requests"), "2")
	p.up.Always(testkit.JSON(400, `{"error":"bad"}`))
	ask("the fourth", "/v1/chat/completions", 400)
	p.up.Always(testkit.JSON(200, done))
	ask("the fifth", "/openrouter/v1/chat/completions", 200)
	for range 20 {
		ask("one too many", "/v1/chat/completions", 429)
	}
	equal(t, "refused", fmt.Sprint(p.app.Refusals()), "map[requests_per_day:20]")
	tok = restart(gateway.Limits{RequestsPerDay: 6})
	used("seeded again, without those that were refused", tok, gateway.TokenUsage{Requests: 5, Tokens: 40})
	ask("the sixth", "/v1/chat/completions", 200)
	ask("one too many", "/v1/chat/completions", 429)
	restart(gateway.Limits{TokensPerDay: 50})
	ask("model tokens", "/v1/chat/completions", 429)

	change := func(l gateway.Limits) {
		t.Helper()
		if _, err := p.app.Roster().ChangeToken(t.Context(), p.token, gateway.TokenChange{Limits: &l}); err != nil {
			t.Fatal(err)
		}
	}
	change(gateway.Limits{})
	ask("while there are no limits", "/v1/chat/completions", 200)
	used("while there are no limits", tok, gateway.TokenUsage{})
	change(gateway.Limits{RequestsPerDay: 7})
	used("limits that come back", tok, gateway.TokenUsage{Requests: 7, Tokens: 60})
	ask("one too many", "/v1/chat/completions", 429)

	p.limit(gateway.Limits{Models: []string{"llama*"}}) // by another process: it notices
	for late := time.Now().Add(soon); p.post("/v1/chat/completions", chat).Status != http.StatusForbidden; {
		if time.Now().After(late) {
			t.Fatal("a changed limit is not noticed")
		}
	}
}

// The settings of the response cache hold, and both caches are seen and cleared.
func TestResponseCacheSettings(t *testing.T) {
	for _, tt := range []struct {
		name     string
		settings []string
		again    string // what X-Cache says the second time
		calls    int
	}{
		{"off as a rule", nil, "", 2},
		{"on", []string{"RESPONSE_CACHE_TTL=60"}, "HIT", 1},
		{"too small", []string{"RESPONSE_CACHE_TTL=60", "RESPONSE_CACHE_MAX_BYTES=1024"}, "MISS", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := start(t, tt.settings...)
			p.addKeys(gateway.Ollama, 1)
			p.up.Always(testkit.JSON(200, done))
			p.post("/v1/chat/completions", chat)
			got := p.post("/v1/chat/completions", chat)
			equal(t, "X-Cache", got.Header.Get("X-Cache"), tt.again)
			equal(t, "calls", len(p.up.Calls()), tt.calls)
			total, success, _ := p.stats(gateway.Ollama)
			equal(t, "counted", fmt.Sprint(total, success), "2 2")
		})
	}
	p := start(t, "RESPONSE_CACHE_TTL=1h")
	p.addKeys(gateway.Ollama, 1)
	p.up.Handle(func(c *testkit.Call) testkit.Answer {
		if c.Path == "/api/tags" {
			return testkit.JSON(200, `{"models":[]}`)
		}
		return testkit.JSON(200, done)
	})
	p.post("/v1/chat/completions", chat)
	p.post("/v1/chat/completions", chat)
	testkit.RawRequest(t, p.addr, testkit.HTTP11(http.MethodGet, "/v1/models", ""))
	for i, want := range []gateway.CacheFigures{{Name: "response", Entries: 1, Hits: 1, Misses: 1}, {Name: "models", Entries: 1, Misses: 1}} {
		f := p.app.CacheFigures()[i]
		if f.Bytes == 0 {
			t.Errorf("%+v", f)
		}
		f.Bytes = 0
		equal(t, want.Name, f, want)
	}
	for _, step := range []struct {
		pattern string
		want    int
	}{{"gpt-oss*", 1}, {"", 1}, {"", 0}} {
		n, err := p.app.ClearCache(t.Context(), step.pattern)
		equal(t, "cleared "+step.pattern, n, step.want)
		equal(t, "error", err, nil)
	}
}
