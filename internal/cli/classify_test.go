package cli

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/app"
	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/gateway"
)

func TestExplanation(t *testing.T) {
	cfg, _, err := config.Load([]string{"KEY_FAILED_SECONDS=1800", "KEY_DISABLE_THRESHOLD=5", "KEY_DISABLED_SECONDS=2h"}, "")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 22, 20, 30, 0, 0, time.UTC)
	f := func(name gateway.ProviderName, a app.UpstreamAnswer, want string) {
		t.Helper()
		judge, err := app.NewJudge(cfg, name)
		if err != nil {
			t.Fatal(err)
		}
		a.Now = now
		e := explanation{cfg: cfg, provider: name, status: a.Status, now: now}
		e.rule, e.verdict = judge.Explain(a)
		e.rule.Why, e.rule.Source = "…", ""
		wantText(t, fmt.Sprint(a.Status), e.text(), strings.TrimPrefix(want, "\n"))
	}
	f(gateway.Ollama, app.UpstreamAnswer{Status: 200}, `
ollama answers 200

  scope   none: it worked
  action  nothing: failures in a row are 0 again
  next    deliver: the client gets this answer
  rule    any-2xx: …
`)
	f(gateway.OpenRouter, app.UpstreamAnswer{Status: 401}, `
openrouter answers 401

  scope   key
  action  fail key: failed for 30m, until 2026-11-22 21:00:00 UTC; failure 5 in a row disables it for 2h
  next    next key: another key is asked at once
  reason  401 unauthorized
  rule    any-401: …
`)
	f(gateway.Ollama, app.UpstreamAnswer{Status: 429, Body: []byte(`{"error":"you have reached your hourly usage limit"}`)}, `
ollama answers 429

  scope   account: all keys of one user name
  action  rest account: until 2026-11-22 21:00:00 UTC, 30m from now
  next    next key: another key is asked at once
  reason  quota: hourly
  rule    ollama-429-hourly: …
`)
	f(gateway.Ollama, app.UpstreamAnswer{Status: 429}, `
ollama answers 429

  scope   account: all keys of one user name
  action  rest account: the end is not told: for 30s, each time twice as long, up to 1h
  next    next key: another key is asked at once
  reason  quota
  rule    any-429: …
`)
	f(gateway.OpenRouter, app.UpstreamAnswer{Status: 402, Body: []byte(`{"error":{"metadata":{"limit_source":"openrouter_in_flight_budget"}}}`)}, `
openrouter answers 402

  scope   account: all keys of one user name
  action  rest key: for 5s, until 2026-11-22 20:30:05 UTC
  next    next key: another key is asked at once
  reason  quota: budget in flight
  rule    openrouter-in-flight: …
`)
	f(gateway.Ollama, app.UpstreamAnswer{Status: 403, Body: []byte("this model requires a subscription")}, `
ollama answers 403

  scope   key+model: this key for this model
  action  pass over for model: the key is not used for this model until 2026-11-23 20:30:00 UTC
  next    one more key: one other key is asked, then the client gets this answer
  reason  plan lacks the model
  rule    ollama-plan: …
`)
	f(gateway.Ollama, app.UpstreamAnswer{Status: 403, Header: http.Header{"Content-Type": {"text/html"}}, Body: []byte("<html>")}, `
ollama answers 403

  scope   provider: the upstream; no key is blamed
  action  strike breaker: if nothing else comes back, attempts stop for a while
  next    retry after a pause: asked again after a short wait
  reason  403 web page
  rule    any-403-page: …
`)
	f(gateway.Ollama, app.UpstreamAnswer{Status: 404}, `
ollama answers 404

  scope   request: what the client asked for
  action  nothing: the key stays as it is
  next    deliver: the client gets this answer
  reason  request refused
  rule    any-4xx: …
`)
}

func TestClassify(t *testing.T) {
	var p place
	weekly := `{"error":"you have reached your weekly usage limit"}`
	for name, r := range map[string]result{
		"argument": p.ok(t, "", "classify", "--status", "429", "--body", weekly, "--json"),
		"file":     p.ok(t, "", "classify", "--status", "429", "--body", "@"+writeTemp(t, "body", weekly), "--json"),
		"stdin":    p.ok(t, weekly, "classify", "--status", "429", "--body", "-", "--json"),
	} {
		got := fromJSON[explanationJSON](t, r.out)
		if got.Rule.Name != "ollama-429-weekly" || got.Until == nil || got.Until.Weekday() != time.Monday || got.ForSeconds != nil || got.Scope != "account" || got.OK {
			t.Errorf("%s: %+v", name, got)
		}
	}
	got := fromJSON[explanationJSON](t, p.ok(t, "", "classify", "--provider", "openrouter", "--status", "429", "--header", "retry-after:20", "--header", "X-Other: a", "--json").out)
	if got.Until == nil || time.Until(*got.Until).Round(10*time.Second) != 20*time.Second || got.Provider != gateway.OpenRouter || got.Action != "rest account" || got.Next != "next key" {
		t.Errorf("%+v", got)
	}
	got = fromJSON[explanationJSON](t, p.ok(t, "", "classify", "--status", "401", "--json").out)
	if got.ForSeconds == nil || *got.ForSeconds != 3600 || got.Until != nil {
		t.Errorf("%+v", got)
	}
	wantAll(t, p.ok(t, "", "classify", "--status", "500").out, "ollama answers 500", "any-5xx")

	for _, c := range []struct {
		args  []string
		words string
	}{
		{nil, "--status is missing"},
		{[]string{"--status", "99"}, "from 100 to 599"},
		{[]string{"--status", "600"}, "from 100 to 599"},
		{[]string{"--status", "x"}, "invalid argument"},
		{[]string{"--status", "429", "--provider", "x"}, "unknown provider"},
		{[]string{"--status", "429", "--header", "Retry-After 20"}, "'Name: value'"},
		{[]string{"--status", "429", "--header", ": 20"}, "'Name: value'"},
		{[]string{"--status", "429", "--header", "Retry After: 20"}, "'Name: value'"},
		{[]string{"--rules", "--status", "429"}, "leave out"},
		{[]string{"429"}, "unknown command or argument"},
	} {
		p.fails(t, exitUsage, c.words, "", append([]string{"classify"}, c.args...)...)
	}
	p.fails(t, exitFailed, "no such file", "", "classify", "--status", "429", "--body", "@/nonexistent/body")
}

func TestRules(t *testing.T) {
	var p place
	both := fromJSON[[]wholeRuleJSON](t, p.ok(t, "", "classify", "--rules", "--json").out)
	text := p.ok(t, "", "classify", "--rules").out
	seen := map[string]bool{}
	for _, r := range both {
		if seen[string(r.Provider)+r.Name] || r.Name == "" || r.Why == "" || r.Statuses == "" {
			t.Errorf("%+v", r)
		}
		seen[string(r.Provider)+r.Name] = true
		wantAll(t, text, "\n"+r.Name+"\n", r.Why)
	}
	if !seen["ollamaany"] || !seen["openrouterany"] || !seen["ollamaollama-429-weekly"] || !seen["openrouteropenrouter-credits"] {
		t.Errorf("%v", seen)
	}
	wantAll(t, text, "# ollama: ", "# openrouter: ", `
ollama-429-session
  status  429
  says    "session usage limit" or "session limit"
  scope   account
  action  rest account until the session of five hours ends
  next    next key
  reason  quota: session
`, `
openrouter-limit-until
  status  402-403
  field   metadata.limit_source = *_key_limit or *_budget
  told    the answer tells when the rest ends
`, "pass over for model for 1d\n", "  status  any\n", "  page    the answer is a web page\n", "  unless  \"model\" or ")
	one := p.ok(t, "", "classify", "--rules", "--provider", "openrouter").out
	wantNone(t, one, "ollama-429")
	wantAll(t, one, "openrouter-credits", "any-401")
}
