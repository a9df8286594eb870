package selftest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

func TestDeploymentThatWorks(t *testing.T) {
	agents := map[string]bool{}
	d := fine()
	r := test(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agents[r.Header.Get("User-Agent")] = true
		d.ServeHTTP(w, r)
	}))
	if !r.OK() || len(r.Steps) != 18 || r.Version != "v1.2.3" || r.Models[gateway.Ollama] != "small" {
		t.Errorf("%+v", r)
	}
	if len(agents) != 1 || !agents["selftest/1"] {
		t.Errorf("it calls itself %v", agents)
	}
	if s := step(t, r, "requests are counted"); s.Seen != "5 of ours, 5 more in all" {
		t.Errorf("%+v", s)
	}
}

// streamsOnly answers streams with h, and what is not streamed as it should be.
func streamsOnly(h http.HandlerFunc) http.HandlerFunc {
	return tokened("openai", func(w http.ResponseWriter, r *http.Request) {
		var ask chatAsk
		if json.NewDecoder(r.Body).Decode(&ask) == nil && ask.Stream {
			h(w, r)
			return
		}
		says(`{"choices":[{"message":{"content":"one"}}]}`)(w, r)
	})
}

// Each of these deployments fails in one step, with words about the cause and
// about the cure.
func TestDeploymentsThatFail(t *testing.T) {
	page := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(code)
			_, _ = w.Write([]byte("<html><h1>nginx</h1></html>"))
		}
	}
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	abort := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	chat := "/v1/chat/completions"
	refuse := func(code int, message, kind string) http.HandlerFunc {
		return tokened("openai", status(code, `{"error":{"message":"`+message+`","type":"`+kind+`","code":"`+kind+`"}}`))
	}
	for name, c := range map[string]struct {
		path        string
		handler     http.HandlerFunc
		step        string
		cause, cure string
	}{
		"another site":          {"/health", page(200), "health", `/health gives 200 text/html, "<html>`, "Something else answers"},
		"another JSON service":  {"/health", says(`{"status":"ok","service":"x"}`), "health", "/health gives 200", "Something else answers"},
		"an older one":          {"/health", says(`{"service":"ollama-api-pool"}`), "health", "lacks status", "of this version"},
		"dead behind a proxy":   {"/health", page(502), "health", "502 text/html", "A proxy in front answers"},
		"a login in front":      {"/health", page(401), "health", "401 text/html", "let this machine through"},
		"a redirect":            {"/health", http.RedirectHandler("https://pool.example:444/health?secret", http.StatusMovedPermanently).ServeHTTP, "health", "301", "https://pool.example:444."},
		"silent":                {"/health", hang, "health", "no whole answer within 20s", "--timeout waits longer"},
		"broken off":            {"/health", abort, "health", "EOF", "connection broke"},
		"starting":              {"/health/ready", status(503, `{"status":"not ready"}`), "ready", "503", "--wait 1m"},
		"no document":           {"/openapi.json", says(`{"openapi":"3.1.0","paths":{}}`), "API document", "lacks the addresses", "of this version"},
		"a page for everything": {"/v1/selftest/no-such-address", page(200), "unknown address", "in place of 404", "proxy in front"},
		"tokens are not asked":  {chat, says(`{"choices":[{"message":{"content":"one"}}]}`), "wrong token", chat + " answers a wrong token with 200", "token of its own"},
		"another form":          {"/api/chat", status(401, `{"error":{"message":"wrong","type":"authentication_error"}}`), "wrong token", "/api/chat answers a wrong token with 401", ""},
		"an open admin API":     {"/admin/api-keys", says(`{}`), "admin API is closed", "gives 200 without a token", "close it"},
		"too few prompts":       {"/api/test-templates", says(`{"templates":[{"id":"a"}]}`), "sample prompts", "lacks 7 prompts", ""},
		"a prompt without text": {"/api/test-templates", says(`{"templates":[` + strings.Repeat(`{"id":"a"},`, 9) + `{"id":"a"}]}`), "sample prompts", `field of the prompt "a"`, ""},
		"no figures":            {"/admin/public-stats", says(`{"global":{}}`), "public figures", "lacks some of its fields", ""},
		"figures for nobody":    {"/admin/public-stats", status(404, `{"error":{"message":"no such address"}}`), "public figures", "404", "pass every address on"},
		"a token in public":     {"/admin/public-stats", says(strings.Replace(stats(0), `"timestamp":"x"`, `"timestamp":"`+goodToken+`"`, 1)), "public figures", "shows the token", "revoke the token"},
		"figures that stand":    {"/admin/public-stats", says(stats(7)), "requests are counted", "5 were served here, and the public figures show 0 more", "STATS_SAMPLE_RATE"},
		"a refused token":       {"/v1/models", status(401, `{"error":{"message":"the token is not valid: `+goodToken+`","type":"authentication_error"}}`), "models", "not valid: ***", "'tokens create'"},
		"no models":             {"/v1/models", says(`{"data":[]}`), "models", "lacks any model", ""},
		"an empty pool":         {"/v1/models", status(503, `{"error":{"message":"the ollama pool has no keys","type":"no_available_keys"}}`), "models", "has no keys", "'keys import FILE'"},
		"switched off":          {"/v1/models", status(503, `{"error":{"message":"off","type":"x","code":"provider_disabled"}}`), "models", "off", "DISABLE_OLLAMA"},
		"models of another":     {"/api/tags", page(404), "native models", "404", "Something else"},
		"all keys out":          {chat, refuse(503, "no key can serve now", "no_available_keys"), "chat", "no key can serve", "'keys check'"},
		"out of quota":          {chat, refuse(429, "every key rests", "rate_limit_error"), "chat", "every key rests", "keys list --status resting"},
		"a token of the other":  {chat, refuse(403, "not for this provider", "permission_error"), "chat", "not for this provider", "'tokens list'"},
		"upstream is gone":      {chat, refuse(502, "no answer", "upstream_error"), "chat", "no answer", "OLLAMA_BASE_URL"},
		"a fault":               {chat, refuse(500, "internal error", "internal_error"), "chat", "internal error", "log of the server"},
		"a bad model":           {chat, refuse(422, "cannot do that", "x"), "chat", "cannot do that", "'requests show ID'"},
		"empty words":           {chat, tokened("openai", says(`{"choices":[{"message":{"content":" "}}]}`)), "chat", "without content", "--model"},
		"no choices":            {chat, tokened("openai", says(`{}`)), "chat", "lacks choices", ""},
		"changed answers":       {chat, tokened("openai", page(200)), "chat", "is not answered as it should be", "proxy in front"},
		"a small limit":         {chat, tokened("openai", page(413)), "chat", "413", "client_max_body_size"},
		"no stream":             {chat, streamsOnly(says(`{"choices":[]}`)), "streaming chat", `gives "application/json" where a stream`, ""},
		"a stream that fails":   {chat, streamsOnly(refuse(503, "no key", "x")), "streaming chat", "no key", ""},
		"a stream that is cut":  {chat, streamsOnly(func(w http.ResponseWriter, r *http.Request) { events(0, 2, "")(w, r); abort(w, r) }), "streaming chat", "broke off after 2 events", "proxy_read_timeout"},
		"a stream without end":  {chat, streamsOnly(events(0, 2, "")), "streaming chat", "ends after 2 events without its last word", ""},
		"a stream that hangs":   {chat, streamsOnly(func(w http.ResponseWriter, r *http.Request) { events(0, 2, "")(w, r); hang(w, r) }), "streaming chat", "within 20s", "--timeout"},
		"a stream with trouble": {chat, streamsOnly(events(0, 2, "data: {\"error\":{\"message\":\"overloaded\"}}\n\n")), "streaming chat", `says "overloaded"`, ""},
		"a stream of one":       {chat, streamsOnly(events(0, 1, "data: [DONE]\n\n")), "streaming chat", "whole answer at once", ""},
		"a wrong message":       {"/v1/messages", tokened("anthropic", says(`{}`)), "Anthropic messages", `the type "message"`, ""},
		"lines without end":     {"/api/chat", tokened("native", says(`{"message":{"content":"a"}}`+"\n"+`{"message":{"content":"b"}}`)), "native chat", "after 2 events without its last word", ""},
		"another admin token":   {"/admin/stats", status(401, `{"error":{"message":"wrong"}}`), "admin figures", "wrong", "DATA_DIR/admin-token"},
		"half an admin":         {"/admin/stats", says(`{}`), "admin figures", "lacks some of its fields", ""},
		"no metrics":            {"/metrics", says(``), "metrics", "lacks any figure", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := test(t, fine().with(c.path, c.handler))
			s := step(t, r, c.step)
			if r.OK() || s.Result != Failed || !strings.Contains(s.Cause, c.cause) || s.Cure == "" || !strings.Contains(s.Cure, c.cure) {
				t.Errorf("%+v", s)
			}
			for _, before := range r.Steps {
				if before.Name == c.step {
					break
				}
				if before.Result != Passed {
					t.Errorf("before: %+v", before)
				}
			}
			if c.step == "health" && r.Count(Skipped) != len(r.Steps)-1 {
				t.Errorf("%s", r.Summary())
			}
		})
	}
}

// What depends on a step that failed is skipped, and the rest is not.
func TestSkipped(t *testing.T) {
	refused := test(t, fine().with("/v1/models", status(401, `{"error":{"message":"wrong"}}`)))
	if got := refused.Summary(); got != "10 of 18 steps passed, 1 failed, 7 skipped" {
		t.Error(got)
	}
	if s := step(t, refused, "chat"); s.Result != Skipped || s.Cause != "the token is refused" {
		t.Errorf("%+v", s)
	}
	lost := test(t, fine().with("/api/test-templates", status(500, `{}`)).with("/admin/public-stats", status(500, `{}`)))
	for name, why := range map[string]string{"sample prompt": "no sample prompts", "requests are counted": "could not be read"} {
		if s := step(t, lost, name); s.Result != Skipped || !strings.Contains(s.Cause, why) {
			t.Errorf("%+v", s)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	gone := Run(ctx, &Options{URL: "http://127.0.0.1:1", Providers: gateway.Providers(), Timeout: time.Second, Transport: http.NewFileTransport(http.Dir(t.TempDir()))}, nil)
	if gone.OK() || gone.Count(Skipped) != len(gone.Steps) {
		t.Errorf("%+v", gone)
	}
}

// A deployment that is starting is waited for.
func TestWait(t *testing.T) {
	d := fine()
	var began time.Time
	late := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if began.IsZero() {
			began = time.Now()
		}
		up := time.Since(began)
		if up < 10*time.Second || r.URL.Path == "/health/ready" && up < 20*time.Second {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		d.ServeHTTP(w, r)
	})
	wait := func(d time.Duration) func(*Options) { return func(o *Options) { o.Wait = d } }
	if r := test(t, late, wait(time.Minute)); !r.OK() || r.Took < 20*time.Second || r.Took > 22*time.Second {
		t.Errorf("%v: %s", r.Took, r.Summary())
	}
	began = time.Time{}
	if r := test(t, late, wait(15*time.Second)); step(t, r, "ready").Result != Failed || r.Took < 14*time.Second || r.Took > 16*time.Second {
		t.Errorf("%v: %s", r.Took, r.Summary())
	}
}

// The figures may come later than the answers.
func TestFiguresThatLag(t *testing.T) {
	d := fine()
	now := d["/admin/public-stats"]
	var asked time.Time
	r := test(t, d.with("/v1/messages", func(w http.ResponseWriter, r *http.Request) {
		asked = time.Now()
		d["/v1/messages"](w, r)
	}).with("/admin/public-stats", func(w http.ResponseWriter, r *http.Request) {
		if time.Since(asked) < 3*time.Second {
			says(stats(0))(w, r)
			return
		}
		now(w, r)
	}))
	if s := step(t, r, "requests are counted"); !r.OK() || s.Took < 2*time.Second || s.Took > 4*time.Second {
		t.Errorf("%+v", s)
	}
}

// Where the test may choose, a model that is refused for itself is not the
// end; a model that was named is.
func TestNextModel(t *testing.T) {
	d := fine()
	chat := d["/v1/chat/completions"]
	d = d.with("/v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		var ask chatAsk
		body, err := io.ReadAll(r.Body)
		if err == nil && json.Unmarshal(body, &ask) == nil && ask.Model == "small" {
			status(403, `{"error":{"message":"this model requires a subscription"}}`)(w, r)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		chat(w, r)
	})
	if r := test(t, d); !r.OK() || r.Models[gateway.Ollama] != "large" {
		t.Errorf("%+v", r)
	}
	named := func(o *Options) { o.Model = "small" }
	if s := step(t, test(t, d, named), "chat"); s.Result != Failed || !strings.Contains(s.Cause, "subscription") {
		t.Errorf("%+v", s)
	}
}

// Events that are held back and come at once are doubtful; slow ones are not.
func TestEventsHeldBack(t *testing.T) {
	d := fine()
	with := func(h http.HandlerFunc) Step { // which answers streams
		return step(t, test(t, d.with("/v1/chat/completions", streamsOnly(h))), "streaming chat")
	}
	held := with(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(3 * time.Second)
		events(0, 20, "data: [DONE]\n\n")(w, r)
	})
	slow := with(events(200*time.Millisecond, 20, "data: [DONE]\n\n"))
	if held.Result != Passed || !strings.Contains(held.Note, "proxy_buffering off") || slow.Result != Passed || slow.Note != "" {
		t.Errorf("%+v, %+v", held, slow)
	}
	if !strings.HasPrefix(slow.Seen, `20 events, the first after 200ms: "word0 word1`) {
		t.Errorf("%+v", slow)
	}
}

func TestMarkdown(t *testing.T) {
	r := &Report{
		URL: "https://pool.example.com", Version: "v1.2.3", Models: map[gateway.ProviderName]string{gateway.Ollama: "a_b*"},
		StartedAt: time.Date(2030, time.June, 1, 12, 0, 0, 0, time.UTC), Took: 12345 * time.Millisecond,
		Steps: []Step{
			{Name: "health", Result: Passed, Took: 12 * time.Millisecond, Seen: "version v1.2.3"},
			{Name: "chat", Provider: gateway.Ollama, Result: Passed, Took: 1500 * time.Millisecond, Seen: "one | two", Note: "Slow."},
			{Name: "streaming chat", Provider: gateway.Ollama, Result: Failed, Took: time.Millisecond, Cause: "<script>`x`</script> [a](b) @all #1", Cure: "Look | there."},
			{Name: "sample prompt", Provider: gateway.Ollama, Result: Skipped, Cause: "no model"},
		},
	}
	want, err := os.ReadFile(filepath.Join("testdata", "report.md"))
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Markdown(); got != string(want) {
		t.Errorf("the report is\n%s\nwant\n%s", got, want)
	}
	r.Steps = r.Steps[:2]
	if got := r.Markdown(); !strings.HasPrefix(got, "## Self-test passed: 2 of 2 steps passed\n") || strings.Contains(got, "What to do") {
		t.Error(got)
	}
}

func TestClean(t *testing.T) {
	r := &run{Options: Options{Token: goodToken, AdminToken: adminToken}}
	for text, want := range map[string]string{
		"":                               "",
		"a\x1b[2J\n b":                   "a [2J b",
		"x " + goodToken + adminToken:    "x ******",
		strings.Repeat("ü", longestText): strings.Repeat("ü", longestText/2) + "…",
	} {
		if got := r.clean(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
