package admin

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

const (
	goneKey  gateway.Secret = "fake-key-that-is-gone-01"
	thereKey gateway.Secret = "fake-key-that-is-there-1"
)

// loggedScene is a scene with a request log.
func loggedScene(t *testing.T) *figuresScene {
	t.Helper()
	s := newFiguresScene(t, func(o *Options) { o.RequestLog = "all" })
	s.addKeys(gateway.Ollama, thereKey)
	if err := s.store.AddToken(t.Context(), gateway.Token{Hash: gateway.HashToken("sk-fake-one"), Name: "team", Providers: gateway.Providers(), CreatedAt: s.clock.at}); err != nil {
		t.Fatal(err)
	}
	step := func(secret gateway.Secret, status int, scope gateway.Scope, action gateway.Action, next gateway.Next) gateway.TrailStep {
		return gateway.TrailStep{
			Key: gateway.IDOfKey(secret), Status: status, Scope: scope, Action: action, Next: next, Reason: fmt.Sprint(status),
			Began: 3 * time.Millisecond, Duration: 200 * time.Millisecond,
		}
	}
	rested := step(goneKey, 429, gateway.ScopeAccount, gateway.ActionRest, gateway.NextKey)
	rested.Until = date(9, 18, 0)
	served := step(thereKey, 200, gateway.ScopeNone, gateway.ActionNothing, gateway.NextDeliver)
	served.OK = true
	good := gateway.LogEntry{
		ID: "req-retried", UpstreamRequestID: "up-1", Provider: gateway.Ollama, Model: "kimi-k2:1t", Path: "/v1/chat/completions",
		TokenHash: gateway.HashToken("sk-fake-one"), TokenName: "team", Client: netip.MustParseAddr("192.0.2.7"), Agent: "openai-python 2.6",
		Status: 200, Stream: true, Cache: "MISS", Sent: 9400, Usage: gateway.Usage{Input: 2410, Output: 388, Cost: gateway.CostUnit / 4},
		StartedAt: date(9, 14, 32), FirstByte: 1310 * time.Millisecond, Duration: 5600 * time.Millisecond,
		Trail: []gateway.TrailStep{rested, served},
	}
	s.apply(gateway.Delta{Provider: gateway.Ollama, Log: []gateway.LogEntry{
		{
			ID: "req-failed", Provider: gateway.Ollama, Model: "gpt-oss:20b", Status: 400, Error: "request refused", StartedAt: date(9, 14, 29), Duration: 110 * time.Millisecond,
			Trail: []gateway.TrailStep{step(thereKey, 400, gateway.ScopeRequest, gateway.ActionNothing, gateway.NextDeliver)},
		},
		{ID: "req-left", Provider: gateway.Ollama, End: gateway.EndClientClosed, StartedAt: date(9, 14, 30), Duration: 20 * time.Second},
		{ID: "req-cut", Provider: gateway.Ollama, Status: 200, End: gateway.EndCut, Error: "the stream broke off", StartedAt: date(9, 14, 31), Duration: 31 * time.Second},
		good,
	}})
	s.apply(gateway.Delta{Provider: gateway.OpenRouter, Log: []gateway.LogEntry{{ID: "req-other", Provider: gateway.OpenRouter, Status: 429, StartedAt: date(9, 14, 33)}}})
	return s
}

func TestRequestsList(t *testing.T) {
	s := loggedScene(t)
	ids := func(query string) (ids []string, a requestsAnswer) {
		s.read("/admin/requests?"+query, &a)
		for _, r := range a.Requests {
			ids = append(ids, r.ID)
		}
		return ids, a
	}
	got, all := ids("")
	if want := []string{"req-other", "req-retried", "req-cut", "req-left", "req-failed"}; !slices.Equal(got, want) || all.Next != nil || all.Newest == nil {
		t.Errorf("%q %+v", got, all)
	}
	if all.Counts != (requestCounts{Failed: 3, Retried: 1, Slow: 2, Most: maxCounted}) || all.Log.Mode != "all" || all.Log.Entries != 5 || all.Log.Bytes == 0 || !all.Log.Since.Equal(date(9, 14, 29)) {
		t.Errorf("%+v %+v", all.Counts, all.Log)
	}
	var outcomes []string
	for _, r := range all.Requests {
		outcomes = append(outcomes, r.Outcome)
	}
	if want := []string{"failure", "success", "cut", "client_closed", "failure"}; !slices.Equal(outcomes, want) {
		t.Errorf("outcomes %q", outcomes)
	}
	for query, want := range map[string][]string{
		"status=failed":           {"req-other", "req-cut", "req-failed"},
		"status=retried":          {"req-retried"},
		"status=slow":             {"req-cut", "req-left"},
		"status=slow&slow=30000":  {"req-cut"},
		"status=400":              {"req-failed"},
		"provider=openrouter":     {"req-other"},
		"provider=ollama&limit=2": {"req-retried", "req-cut"},
		"model=gpt-oss:20b":       {"req-failed"},
		"token=" + tokenID(gateway.HashToken("sk-fake-one")): {"req-retried"},
		"token=0123456789abcdef":                             nil,
		"key=" + string(gateway.IDOfKey(goneKey)):            {"req-retried"},
		"key=" + thereKey.Reveal():                           {"req-retried", "req-failed"},
		"after=" + *all.Newest:                               nil,
	} {
		if got, _ := ids(query); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	// Page by page, and what is newer than the first of them.
	first, a := ids("limit=2")
	second, b := ids("limit=2&before=" + *a.Next)
	third, c := ids("limit=2&before=" + *b.Next)
	if got := slices.Concat(first, second, third); !slices.Equal(got, []string{"req-other", "req-retried", "req-cut", "req-left", "req-failed"}) || c.Next != nil {
		t.Errorf("%q", got)
	}
	s.apply(gateway.Delta{Provider: gateway.Ollama, Log: []gateway.LogEntry{{ID: "req-new", Provider: gateway.Ollama, Status: 200, StartedAt: s.clock.at}}})
	if newer, _ := ids("after=" + *a.Newest); !slices.Equal(newer, []string{"req-new"}) {
		t.Errorf("%q", newer)
	}
}

func TestRequestEntry(t *testing.T) {
	s := loggedScene(t)
	var e requestEntry
	s.read("/admin/requests/req-retried", &e)
	if e.ID != "req-retried" || *e.UpstreamRequestID != "up-1" || *e.Client != "192.0.2.7" || *e.Agent != "openai-python 2.6" || e.Sent != 9400 ||
		!e.Stream || *e.Cache != "MISS" || e.Attempts != 2 || e.FirstByte != 1310 || e.Duration != 5600 || e.TokensIn != 2410 || e.Cost != 0.25 || e.Error != nil ||
		e.Token != (requestToken{tokenID(gateway.HashToken("sk-fake-one")), "team"}) || *e.APIKey != "fake-k…re-1" {
		t.Errorf("%+v", e)
	}
	if len(e.Steps) != 2 {
		t.Fatalf("%+v", e.Steps)
	}
	if x := e.Steps[0]; x.APIKey != nil || x.Key != gateway.IDOfKey(goneKey) || x.Status != 429 || x.Scope != "account" || x.Action != "rest account" || x.Next != "next key" ||
		!x.Until.Equal(date(9, 18, 0)) || x.Began != 3 || x.Duration != 200 ||
		x.Did != "the keys of the account rest until 2030-01-09 18:00:00 UTC; another key is tried where there is one" {
		t.Errorf("%+v", x)
	}
	if x := e.Steps[1]; !x.OK || *x.APIKey != "fake-k…re-1" || x.Did != "served" || x.Scope != "none" {
		t.Errorf("%+v", x)
	}
}

// TestDid has a sentence for everything that can be done.
func TestDid(t *testing.T) {
	seen := map[string]bool{}
	for action := gateway.ActionNothing; action <= gateway.ActionStrike; action++ {
		for next := gateway.NextDeliver; next <= gateway.NextStop; next++ {
			words := did(&gateway.TrailStep{Action: action, Next: next})
			if len(words) < 20 {
				t.Errorf("%s, %s: %q", action, next, words)
			}
			seen[words] = true
		}
	}
	if len(seen) != 6*4 { // trying another key says the same, once or often
		t.Errorf("%d sentences: %v", len(seen), seen)
	}
}
