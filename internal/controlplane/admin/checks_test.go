package admin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

// knows makes an upstream that tells good keys from others by their names:
// fake-good-…, fake-bad-…, fake-odd-…. A call that would cost tokens fails the
// test.
func knows(t *testing.T, change func(*testkit.Call) testkit.Answer) *testkit.Upstream {
	t.Helper()
	up := testkit.NewUpstream(t)
	up.Handle(func(c *testkit.Call) testkit.Answer {
		if bytes.Contains(c.Body, []byte("model")) {
			t.Errorf("a call that costs tokens: %s %s", c.Path, c.Body)
		}
		if change != nil {
			if a := change(c); a != nil {
				return a
			}
		}
		return knowing(c)
	})
	return up
}

func knowing(c *testkit.Call) testkit.Answer {
	good := strings.HasPrefix(c.Key, "fake-good-")
	switch {
	case strings.HasPrefix(c.Key, "fake-odd-"):
		return testkit.Reply(503, "text/html", "<html>busy</html>")
	case c.Path == "/api/tags":
		return testkit.JSON(200, `{"models":[{"name":"kimi-k2:1t","model":"kimi-k2:1t"},{"name":"other"}]}`)
	case c.Path == "/api/v1/models":
		return testkit.JSON(200, `{"data":[{"id":"deepseek/deepseek-chat","name":"DeepSeek: Chat"}]}`)
	case c.Path == "/v1/chat/completions" && good:
		return testkit.JSON(400, `{"error":"model is required"}`)
	case c.Path == "/api/v1/key" && good:
		return testkit.JSON(200, `{"data":{"label":"x"}}`)
	}
	return testkit.JSON(401, `{"error":"unauthorized"}`)
}

// startWith starts the program with an upstream for both providers.
func startWith(t *testing.T, up *testkit.Upstream, environ ...string) *pool {
	t.Helper()
	return start(t, append([]string{
		"OLLAMA_BASE_URL=" + up.URL, "OPENROUTER_BASE_URL=" + up.URL + "/api", "KEY_DISABLE_THRESHOLD=3",
		"CHECK_PER_SECOND=100000",
	}, environ...)...)
}

// add adds keys of a name, numbered.
func (p *pool) add(name string, n int) {
	p.Helper()
	var text strings.Builder
	for i := range n {
		key := fmt.Sprintf("fake-%s-key-%06d", name, i)
		p.plant(key)
		fmt.Fprintln(&text, key)
	}
	if a := p.call("POST /admin/api-keys/import-from-txt", text.String(), "Content-Type", "text/plain"); a.status != 200 {
		p.Fatalf("import: %s", a.body)
	}
}

var latency = regexp.MustCompile(`"latencyMs":\d+`)

// wantChecked is want where answers tell how long something took.
func (p *pool) wantChecked(call, body, want string, headers ...string) {
	p.Helper()
	a := p.call(call, body, headers...)
	if a.status != 200 {
		p.Errorf("%s: %d %s", call, a.status, a.body)
		return
	}
	got := jobName.ReplaceAllString(latency.ReplaceAllString(a.body, `"latencyMs":0`), `"job":"JOB"`)
	p.same(call, got, want)
}

var jobName = regexp.MustCompile(`"job":"[0-9a-f]{16}"`)

func (p *pool) statuses() string {
	p.Helper()
	var out struct {
		Keys []struct {
			Status, Category string
			Failures         int    `json:"consecutive_failures"`
			LastError        string `json:"last_error"`
		} `json:"api_keys"`
	}
	p.read("GET /admin/api-keys?fetch=all", &out)
	counts := map[string]int{}
	for _, k := range out.Keys {
		counts[k.Status+" "+k.Category]++
	}
	return fmt.Sprint(counts)
}

func TestVerifyingAKey(t *testing.T) {
	up := knows(t, nil)
	p := startWith(t, up)
	p.wantError("POST /admin/verify-key", `{"apiKey":"x"}`, 401, "authentication_error", "authentication_error", "wrong admin token", "Authorization", "Bearer wrong")
	for _, name := range []string{"good", "bad", "odd"} {
		p.add(name, 1)
	}
	const call = "POST /admin/verify-key"
	p.wantInvalid(call, `{}`, "apiKey is missing")
	p.wantInvalid(call, `{"apiKey":"x","provider":"acme"}`, `unknown provider "acme": use "ollama" or "openrouter"`)
	p.wantInvalid(call, `{"apiKey":7}`, `field "apiKey" must be a string, not number`)
	p.wantMissing(call, `{"apiKey":"fake-unknown-key-000000"}`, "key")
	p.wantMissing(call, `{"apiKey":"fake-good-key-000000","provider":"openrouter"}`, "key")
	if n := len(up.Calls()); n != 0 {
		t.Fatalf("%d calls upstream", n)
	}
	p.wantChecked(call, `{"apiKey":"fake-good-key-000000","model":"ignored"}`, `{"valid":true,"id":"`+id("fake-good-key-000000")+`","apiKey":"fake-g…0000",
		"outcome":"valid","status":"active","upstreamStatus":400,"category":"kimi","model":"kimi-k2:1t","latencyMs":0,"timestamp":"TIME"}`)
	p.wantChecked(call, `{"api_key":"`+strings.ToUpper(id("fake-bad-key-000000"))+`"}`, `{"valid":false,"id":"`+id("fake-bad-key-000000")+`","apiKey":"fake-b…0000",
		"outcome":"refused","status":"failed","upstreamStatus":401,"latencyMs":0,"error":"401 unauthorized","timestamp":"TIME"}`)
	p.wantChecked(call, `{"apiKey":"fake-odd-key-000000"}`, `{"valid":false,"id":"`+id("fake-odd-key-000000")+`","apiKey":"fake-o…0000",
		"outcome":"inconclusive","status":"active","upstreamStatus":503,"latencyMs":0,"error":"a web page instead of an answer (status 503)","timestamp":"TIME"}`)
	if got, want := p.statuses(), "map[active :1 active kimi:1 failed :1]"; got != want {
		t.Errorf("keys: %s, want %s", got, want)
	}
	up.Handle(func(c *testkit.Call) testkit.Answer { // the key is good again
		c.Key = strings.ReplaceAll(c.Key, "bad", "good")
		return knowing(c)
	})
	if a := p.call(call, `{"apiKey":"fake-bad-key-000000"}`); !strings.Contains(a.body, `"status":"active"`) {
		t.Errorf("%s", a.body)
	}
	for _, c := range up.Calls() {
		if got := c.Header.Get("User-Agent"); got != "ollama-api-pool/1.2.3-test" {
			t.Errorf("User-Agent %q", got)
		}
	}
}

func TestVerifyingAKeyOfOpenRouter(t *testing.T) {
	up := knows(t, nil)
	p := startWith(t, up, "OPENROUTER_APP_TITLE=Test")
	p.plant("fake-good-key-000000")
	p.call("POST /admin/api-keys?provider=openrouter", `{"apiKey":"fake-good-key-000000"}`)
	p.wantChecked("POST /admin/verify-key?provider=openrouter", `{"apiKey":"fake-good-key-000000"}`, `{"valid":true,"id":"`+id("fake-good-key-000000")+`",
		"apiKey":"fake-g…0000","outcome":"valid","status":"active","upstreamStatus":200,"category":"deepseek","model":"DeepSeek: Chat","latencyMs":0,"timestamp":"TIME"}`)
	for _, c := range up.Calls() {
		if c.Header.Get("X-Title") != "Test" {
			t.Errorf("%s: %v", c.Path, c.Header)
		}
	}
	off := startWith(t, up, "DISABLE_OPENROUTER=true")
	off.wantError("POST /admin/verify-key?provider=openrouter", `{"apiKey":"fake-good-key-000000"}`, 503, "provider_disabled", "provider_disabled",
		"openrouter is disabled, so its keys cannot be checked")
}

func TestCheckingManyKeys(t *testing.T) {
	up := knows(t, nil)
	p := startWith(t, up)
	const call = "POST /admin/keys/health-check"
	p.wantError(call, `{}`, 401, "authentication_error", "authentication_error", "wrong admin token", "Authorization", "Bearer wrong")
	p.wantInvalid(call, `{"status":"odd"}`, "filter.status must be all, active, resting, failed, disabled or expired")
	p.wantInvalid(call, `{"status":"failed","apiKeys":["x"]}`, "status and another choice are both there: send one of them")
	p.wantInvalid(call, `{"apiKeys":[]}`, "apiKeys must not be empty")
	p.wantInvalid(call+"?async=maybe", `{}`, "async must be true or false")
	p.wantInvalid(call, `{"apiKeys":["x"],"filter":{"status":"failed"}}`, "filter and keys by name are both there: send one of them")
	p.wantMissing(call, `{"apiKey":"fake-unknown-key-000000"}`, "key")
	p.wantChecked(call, ``, `{"results":[],"healthy":0,"unhealthy":0,"inconclusive":0,"failed":0,"unchecked":0,"job":"JOB"}`)
	p.add("good", 2)
	p.add("bad", 3)
	p.add("odd", 1)
	var out struct {
		Results []struct {
			ID, APIKey, Status, Error, Outcome string
			Healthy                            bool
		}
		Healthy, Unhealthy, Inconclusive int
		Job                              string
	}
	p.decode(p.call(call, ""), &out)
	if out.Healthy != 2 || out.Unhealthy != 3 || out.Inconclusive != 1 || len(out.Results) != 6 {
		t.Errorf("%+v", out)
	}
	if got, want := p.statuses(), "map[active :1 active kimi:2 failed :3]"; got != want {
		t.Errorf("keys: %s, want %s", got, want)
	}
	calls := len(up.Calls())
	p.wantChecked(call, `{"apiKeys":["fake-good-key-000000","`+id("fake-good-key-000000")+`","fake-unknown-key-000000"]}`, `{"results":[{"healthy":true,"id":"`+id("fake-good-key-000000")+`",
		"apiKey":"fake-g…0000","outcome":"valid","status":"active","upstreamStatus":400,"category":"kimi","model":"kimi-k2:1t","latencyMs":0,"timestamp":"TIME"}],
		"healthy":1,"unhealthy":0,"inconclusive":0,"failed":1,"unchecked":0,"job":"JOB"}`)
	if n := len(up.Calls()) - calls; n != 2 {
		t.Errorf("%d calls for one key", n)
	}
	for _, c := range []struct {
		body string
		n    int
	}{
		{`{"status":"Failed"}`, 3},
		{`{"filter":{"category":"kimi"}}`, 2},
		{`{"filter":{"search":"` + id("fake-bad-key-000001") + `"}}`, 1},
		{`{"status":"all"}`, 6},
		{`{"status":"failed"}`, 0},
		{`{"status":"disabled"}`, 3}, // by now they have failed three times and more
		{`{}`, 6},
	} {
		p.decode(p.call(call, c.body), &out)
		if len(out.Results) != c.n {
			t.Errorf("%s chooses %d keys, want %d", c.body, len(out.Results), c.n)
		}
	}
	a := p.call("GET /admin/jobs/"+out.Job, "")
	var job struct{ Source, Kind, State, By string }
	if p.decode(a, &job); job.Kind != "check" || job.State != "done" || job.By != "api" || !strings.Contains(job.Source, "keys") {
		t.Errorf("%s", a.body)
	}
}

// event is one of a stream.
type event struct{ name, data string }

// events reads a stream to its end.
func (p *pool) events(a answer) []event {
	p.Helper()
	if a.status != 200 || a.header.Get("Content-Type") != "text/event-stream" {
		p.Fatalf("no stream: %d %v %s", a.status, a.header, a.body)
	}
	var out []event
	for block := range strings.SplitSeq(strings.TrimSuffix(a.body, "\n\n"), "\n\n") {
		name, data, ok := strings.Cut(strings.TrimPrefix(block, "event: "), "\ndata: ")
		if !ok || strings.Contains(data, "\n") {
			p.Fatalf("no event: %q", block)
		}
		out = append(out, event{name, data})
	}
	return out
}

func TestStreamOfACheck(t *testing.T) {
	p := startWith(t, knows(t, nil))
	p.add("good", 40)
	p.add("bad", 10)
	events := p.events(p.call("POST /admin/keys/health-check", "", "Accept", "text/event-stream"))
	if events[0].name != "progress" || len(events) < 3 {
		t.Fatalf("%v", events)
	}
	last := events[len(events)-1]
	p.same("last progress", events[len(events)-2].data, `{"done":50,"total":50,"healthy":40,"unhealthy":10,"inconclusive":0}`)
	var out struct {
		Results            []json.RawMessage
		Healthy, Unhealthy int
	}
	if err := json.Unmarshal([]byte(last.data), &out); err != nil || last.name != "result" || len(out.Results) != 50 || out.Healthy != 40 || out.Unhealthy != 10 {
		t.Errorf("%v: %s %s", err, last.name, gateway.Clip(last.data, 300))
	}
}

// An upstream that is away for a while in the middle changes no key, and all
// are checked in the end.
func TestOutageInTheMiddle(t *testing.T) {
	for name, outage := range map[string]testkit.Answer{
		"503":                  testkit.JSON(503, `{"error":"down"}`),
		"a web page":           testkit.Reply(401, "text/html", "<html>who are you?</html>"),
		"everybody is refused": testkit.JSON(401, `{"error":"unauthorized"}`),
		"broken connections":   testkit.Reset(),
		"too many requests":    testkit.JSON(429, `{"error":"slow down"}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls, began atomic.Int64
			up := knows(t, func(*testkit.Call) testkit.Answer {
				if calls.Add(1) < 200 {
					return nil
				}
				if began.CompareAndSwap(0, time.Now().UnixNano()); time.Now().UnixNano()-began.Load() > int64(300*time.Millisecond) {
					return nil
				}
				return outage
			})
			p := startWith(t, up)
			p.add("good", 300)
			p.add("bad", 15)
			var out struct {
				Healthy, Unhealthy, Inconclusive, Unchecked int
				Stopped                                     string
			}
			p.decode(p.call("POST /admin/keys/health-check", ""), &out)
			if out.Healthy != 300 || out.Unhealthy != 15 || out.Stopped != "" {
				t.Errorf("%+v", out)
			}
			if got := p.statuses(); !strings.Contains(got, "failed :15") || strings.Count(got, "failed") != 1 {
				t.Errorf("keys: %s", got)
			}
		})
	}
}

// An upstream that refuses everybody changes no key.
func TestEverybodyIsRefused(t *testing.T) {
	up := knows(t, func(c *testkit.Call) testkit.Answer { return testkit.JSON(401, `{"error":"unauthorized"}`) })
	p := startWith(t, up)
	p.add("good", 60)
	var out struct {
		Results                          []struct{ Outcome, Error string }
		Healthy, Unhealthy, Inconclusive int
	}
	p.decode(p.call("POST /admin/keys/health-check", ""), &out)
	if out.Inconclusive != 60 || out.Unhealthy != 0 || out.Results[0].Error != "the upstream refuses every key, which speaks against the upstream" {
		t.Errorf("%+v", out)
	}
	if got := p.statuses(); got != "map[active :60]" {
		t.Errorf("keys: %s", got)
	}
}
