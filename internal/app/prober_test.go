package app

import (
	"context"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/dataplane/provider"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

// newProber makes a prober of an upstream.
func newProber(t *testing.T, name gateway.ProviderName, up *testkit.Upstream) *prober {
	t.Helper()
	adapter, err := provider.New(name, provider.Options{BaseURL: up.URL, Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	transport := newTransport(settings(t, t.TempDir()))
	t.Cleanup(transport.CloseIdleConnections)
	return &prober{adapter: adapter, transport: transport, timeout: 5 * time.Second, now: time.Now}
}

const probedKey gateway.Secret = "fake-upstream-key-00"

func TestProbe(t *testing.T) {
	tags := testkit.JSON(200, `{"models":[{"name":"gpt-oss:120b"}]}`)
	list := testkit.JSON(200, `{"data":[{"id":"x-ai/grok-4"}]}`)
	good, known := testkit.JSON(400, `{"error":"model is required"}`), testkit.JSON(200, `{"data":{}}`)
	for name, c := range map[string]struct {
		of           gateway.ProviderName
		probe, list  testkit.Answer
		outcome      gateway.CheckOutcome
		status       int
		reason       string
		model        string
		category     string
		probes, asks int
	}{
		"good":                  {gateway.Ollama, good, tags, gateway.CheckValid, 400, "", "gpt-oss:120b", "gpt-oss", 1, 1},
		"good at OpenRouter":    {gateway.OpenRouter, known, list, gateway.CheckValid, 200, "", "x-ai/grok-4", "grok", 1, 1},
		"refused":               {gateway.Ollama, testkit.JSON(401, `{"error":"unauthorized"}`), tags, gateway.CheckRefused, 401, "401 unauthorized", "", "", 1, 0},
		"refused at OpenRouter": {gateway.OpenRouter, testkit.JSON(401, `{"error":{"message":"User not found.","code":401}}`), list, gateway.CheckRefused, 401, "401 unauthorized", "", "", 1, 0},
		"out of quota":          {gateway.Ollama, testkit.JSON(429, `{"error":"you've reached your hourly usage limit"}`), tags, gateway.CheckInconclusive, 429, "status 429 says nothing about the key", "", "", 1, 0},
		"forbidden":             {gateway.Ollama, testkit.JSON(403, `{}`), tags, gateway.CheckInconclusive, 403, "status 403 says nothing about the key", "", "", 1, 0},
		"down":                  {gateway.Ollama, testkit.JSON(503, `{}`), tags, gateway.CheckInconclusive, 503, "status 503 says nothing about the key", "", "", 1, 0},
		"moved":                 {gateway.Ollama, testkit.Redirect(302, "/elsewhere"), tags, gateway.CheckInconclusive, 302, "status 302 says nothing about the key", "", "", 1, 0},
		"page, 401":             {gateway.Ollama, testkit.Reply(401, "", "<!doctype html><p>who are you?"), tags, gateway.CheckInconclusive, 401, "a web page instead of an answer (status 401)", "", "", 1, 0},
		"page by its type, 400": {gateway.Ollama, testkit.Reply(400, "text/html; charset=utf-8", "no"), tags, gateway.CheckInconclusive, 400, "a web page instead of an answer (status 400)", "", "", 1, 0},
		"JSON called a page":    {gateway.Ollama, testkit.Reply(400, "text/html", ` {"error":"x"}`), tags, gateway.CheckValid, 400, "", "gpt-oss:120b", "gpt-oss", 1, 1},
		"no answer":             {gateway.Ollama, testkit.Reset(), tags, gateway.CheckInconclusive, 0, "connection broken", "", "", 2, 0},
		"garbage":               {gateway.Ollama, testkit.Garbage(), tags, gateway.CheckInconclusive, 0, "no connection", "", "", 2, 0},
		"list that fails":       {gateway.Ollama, good, testkit.JSON(500, `{}`), gateway.CheckValid, 400, "", "", "", 1, 1},
		"list that breaks":      {gateway.Ollama, good, testkit.Reset(), gateway.CheckValid, 400, "", "", "", 1, 2}, // the client itself tries again
		"list that is a page":   {gateway.Ollama, good, testkit.Reply(200, "text/html", "<html>"), gateway.CheckValid, 400, "", "", "", 1, 1},
		"empty list":            {gateway.Ollama, good, testkit.JSON(200, `{"models":[]}`), gateway.CheckValid, 400, "", "", "general", 1, 1},
		"long list":             {gateway.Ollama, good, testkit.JSON(200, `{"models":[{"model":"glm-4.6"}`+strings.Repeat(`,{"model":"other"}`, 50_000)+`]}`), gateway.CheckValid, 400, "", "glm-4.6", "glm", 1, 1},
		"body that breaks off":  {gateway.Ollama, testkit.TruncatedContentLength("application/json", `{"error`, 100), tags, gateway.CheckInconclusive, 200, "status 200 says nothing about the key", "", "", 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			up := testkit.NewUpstream(t)
			up.Handle(func(call *testkit.Call) testkit.Answer {
				if call.Path == "/api/tags" || call.Path == "/v1/models" {
					return c.list
				}
				return c.probe
			})
			p := newProber(t, c.of, up)
			got := p.probe(t.Context(), probedKey)
			if got.Latency <= 0 || time.Since(got.At) > time.Minute {
				t.Errorf("latency %v, at %v", got.Latency, got.At)
			}
			want := gateway.CheckResult{
				Key: gateway.IDOfKey(probedKey), Outcome: c.outcome, Status: c.status, Reason: c.reason,
				Model: c.model, Category: c.category, Latency: got.Latency, At: got.At,
			}
			if got != want {
				t.Errorf("\n got %+v\nwant %+v", got, want)
			}
			probes, asks := 0, 0
			for _, call := range up.Calls() {
				if call.Key != string(probedKey) || call.Header.Get("User-Agent") != "ollama-api-pool/1.2.3" {
					t.Errorf("%s %s: %v", call.Method, call.Path, call.Header)
				}
				switch call.Method + " " + call.Path + " " + string(call.Body) {
				case "POST /v1/chat/completions {}", "GET /v1/key ":
					probes++
				case "GET /api/tags ", "GET /v1/models ":
					asks++
				default:
					t.Errorf("%s %s %s", call.Method, call.Path, call.Body)
				}
			}
			if probes != c.probes || asks != c.asks {
				t.Errorf("%d probes and %d lists, want %d and %d", probes, asks, c.probes, c.asks)
			}
		})
	}
}

// An upstream that is silent is asked twice, for no longer than it may take.
func TestProbeOfASilentUpstream(t *testing.T) {
	up := testkit.NewUpstream(t)
	up.Always(testkit.Silent())
	p := newProber(t, gateway.Ollama, up)
	p.timeout = 50 * time.Millisecond
	got := p.probe(t.Context(), probedKey)
	if got.Outcome != gateway.CheckInconclusive || got.Reason != "no answer in time" || got.Latency < 2*p.timeout || len(up.Calls()) != 2 {
		t.Errorf("%+v after %d calls", got, len(up.Calls()))
	}
	p.timeout = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		up.AwaitCalls(3, patience)
		cancel()
	}()
	if got := p.probe(ctx, probedKey); got.Outcome != gateway.CheckInconclusive || len(up.Calls()) != 3 {
		t.Errorf("cancelled: %+v after %d calls", got, len(up.Calls()))
	}
}

const patience = 10 * time.Second

func TestFirstModel(t *testing.T) {
	for text, want := range map[string]string{
		`{"models":[{"name":"a","model":"b"},{"name":"c"}]}`:               "a",
		`{"models":[{"model":"b"}]}`:                                       "b",
		`{"object":"list","x":{"data":[{"id":"z"}]},"data":[{"id":"a/b"}]`: "a/b",
		`{"data":[{"id":"a\u0000\u202eb"}`:                                 "ab",
		`{"data":[{"id":"` + strings.Repeat("x", 300) + `"}]}`:             gateway.Clip(strings.Repeat("x", 300), maxModelName),
		`{"models":[]}`:   "",
		`{"models":[{}]}`: "",
	} {
		if got, ok := firstModel(strings.NewReader(text)); got != want || !ok {
			t.Errorf("%.60s: %q, %v, want %q", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "{}", "[]", `{"models":null}`, `{"models":{}}`, `{"models":[`, `{"models":["a"]}`, `{"data":7}`, `{"models":[{"name":7}]}`, "<html>"} {
		if got, ok := firstModel(strings.NewReader(text)); ok {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func FuzzFirstModel(f *testing.F) {
	for _, s := range []string{`{"models":[{"name":"a"}]}`, `{"data":[{"id":"a/b"}]}`, `{"models":[]}`, `{"a":[{}],"data":`, "{", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, ok := firstModel(strings.NewReader(text))
		if len(name) > maxModelName+len("…") || !ok && name != "" || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }) {
			t.Errorf("%q", name)
		}
	})
}
