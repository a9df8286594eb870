package limit

import (
	"bytes"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		agent, name string // "": not suspicious
	}{
		{"python-requests/2.32.3", "python-requests"},
		{"Python-Requests/2.32.3", "python-requests"},
		{"Scrapy/2.11 (+https://scrapy.org)", "scrapy"},
		{"curl/8.5.0", "curl"},
		{"libcurl-agent/1.0", ""},
		{"Wget/1.21.4", "wget"},
		{"Baiduspider/2.0", "spider"},
		{"my CRAWLER", "crawler"},
		{"SomeBot/1.0", "bot"},
		{"bot", "bot"},
		{"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", ""},
		{"Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)", ""},
		{"GOOGLEBOT-Image/1.0", ""},
		{"curl/8.5.0 (not Googlebot)", "curl"},
		{"Googlebot with Scrapy", "scrapy"},
		{"OpenAI/Python 1.50.0", ""},
		{"Anthropic/JS 0.30.0", ""},
		{"ollama/0.5.1 (amd64 linux) Go/go1.23", ""},
		{"python-httpx/0.27", ""},
		{"Go-http-client/1.1", ""},
		{"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36", ""},
		{"cur", ""},
		{"wget", ""},
		{"ſcrapy", ""},
	} {
		name := ""
		if which, suspicious := match(tt.agent); suspicious {
			name = agentName(which)
		}
		if name != tt.name {
			t.Errorf("%s: %q, want %q", tt.agent, name, tt.name)
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("curl/8.5.0")
	f.Add("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)")
	f.Add("pyTHON-requests scrapy wge\xff")
	f.Fuzz(func(t *testing.T, agent string) {
		small := strings.Map(func(c rune) rune {
			if c >= 'A' && c <= 'Z' {
				return c + 'a' - 'A'
			}
			return c
		}, strings.ToValidUTF8(agent, "?"))
		has := func(list ...string) bool {
			for _, p := range list {
				if strings.Contains(small, p) {
					return true
				}
			}
			return false
		}
		want := has(patterns[:firstWeak]...) || has(patterns[firstWeak:]...) && !has(welcome[:]...)
		which, got := match(agent)
		if got != want || got && !has(patterns[which]) {
			t.Fatalf("%q: %v by %d, want %v", agent, got, which, want)
		}
	})
}

// visit sends a request with a User-Agent through the step.
func visit(t *testing.T, a *Agents, agent ...string) error {
	t.Helper()
	passed := false
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
	if len(agent) > 0 {
		r.Header.Set("User-Agent", agent[0])
	}
	err := a.Watch(func(http.ResponseWriter, *http.Request) error {
		passed = true
		return nil
	})(httptest.NewRecorder(), r)
	if passed != (err == nil) {
		t.Errorf("%v: passed: %v, error: %v", agent, passed, err)
	}
	return err
}

func TestAgentsAreLogged(t *testing.T) {
	var out bytes.Buffer
	clock := newHand()
	a := NewAgents(false, slog.New(slog.NewTextHandler(&out, nil)), clock.now)
	for _, agent := range []string{"curl/8.5.0", "curl/8.6.0", "Scrapy/2", "OpenAI/Python", ""} {
		if err := visit(t, a, agent); err != nil {
			t.Errorf("%s: %v", agent, err)
		}
	}
	if got := out.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "agent=curl user_agent=curl/8.5.0 requests=1") || !strings.Contains(got, "agent=scrapy") {
		t.Errorf("the first minute: %s", got)
	}
	out.Reset()
	clock.move(time.Minute - time.Second)
	_ = visit(t, a, "curl/9")
	if out.Len() > 0 {
		t.Errorf("within the minute: %s", &out)
	}
	clock.move(time.Second)
	_ = visit(t, a, "curl/9"+strings.Repeat("x", 1000))
	_ = visit(t, a, "curl/9")
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "requests=4") || len(got) > 400 {
		t.Errorf("a minute later: %s", got)
	}
	if n := a.Blocked(); n != 0 {
		t.Errorf("%d blocked", n)
	}
	if got := a.Counts(); !maps.Equal(got, map[string]int64{"curl": 5, "scrapy": 1}) {
		t.Errorf("counts: %v", got)
	}
}

func TestAgentsAreBlocked(t *testing.T) {
	a := NewAgents(true, slog.New(slog.DiscardHandler), newHand().now)
	for agent, blocked := range map[string]bool{
		"curl/8.5.0": true, "": true, "  ": true, "OpenAI/Python": false, "Googlebot/2.1": false,
	} {
		err := visit(t, a, agent)
		if (err != nil) != blocked || blocked && gateway.AsError(err).Kind != gateway.KindForbidden {
			t.Errorf("%q: %v", agent, err)
		}
	}
	if err := visit(t, a); gateway.AsError(err).Kind != gateway.KindForbidden {
		t.Errorf("no header at all: %v", err)
	}
	if n := a.Blocked(); n != 4 {
		t.Errorf("%d blocked", n)
	}
	if got := a.Counts(); !maps.Equal(got, map[string]int64{"curl": 1, "(none)": 3}) {
		t.Errorf("counts: %v", got)
	}
}

func TestAgentsConcurrently(t *testing.T) {
	var out bytes.Buffer // a handler writes one line at a time
	a := NewAgents(false, slog.New(slog.NewTextHandler(&out, nil)), newHand().now)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				_ = visit(t, a, "curl/8.5.0")
			}
		})
	}
	wg.Wait()
	if n := strings.Count(out.String(), "\n"); n != 1 || a.Counts()["curl"] != 800 {
		t.Errorf("%d lines, %v", n, a.Counts())
	}
}

func TestPassingAgentsCostNothing(t *testing.T) {
	h := NewAgents(true, slog.New(slog.DiscardHandler), time.Now).Watch(func(http.ResponseWriter, *http.Request) error { return nil })
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
	r.Header.Set("User-Agent", "OpenAI/Python 1.50.0")
	if n := testing.AllocsPerRun(100, func() { _ = h(nil, r) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMatch(b *testing.B) {
	for name, agent := range map[string]string{
		"client":  "OpenAI/Python 1.50.0",
		"browser": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, suspicious := match(agent); suspicious {
					b.Fatal("suspicious")
				}
			}
		})
	}
}
