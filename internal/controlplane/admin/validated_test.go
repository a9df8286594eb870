package admin_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/testkit"
)

const validated = "POST /admin/api-keys/import-with-validation"

// mixed is a text with good keys, bad ones, one that nobody knows, and lines
// that hold none; with passwords that must be seen nowhere.
const mixed = "# mine\n" +
	"anna@example.com----fake-Passw0rd-anna----fake-session-anna----fake-good-key-of-anna\n" +
	"fake-bad-key-of-boris-1\n" +
	"carla@example.com----fake-Passw0rd-carla\n" +
	"fake-good-key-of-dora-1\n" +
	"fake-odd-key-of-emil-12\n" +
	"fake-good-key-of-dora-1\n" +
	"fake-good-key-in-pool-1\n"

const mixedAnswer = `{"valid":[
	{"id":%q,"key":"fake-g…anna","category":"kimi","model":"kimi-k2:1t","addedAt":"TIME"},
	{"id":%q,"key":"fake-g…ra-1","category":"kimi","model":"kimi-k2:1t","addedAt":"TIME"}],
	"invalid":[{"line":3,"key":"fake-b…is-1","error":"401 unauthorized"},
	{"line":4,"key":"","error":"an e-mail address and something that does not look like a key; it may be a password"}],
	"inconclusive":[{"line":6,"key":"fake-o…l-12","error":"a web page instead of an answer (status 503)"}],
	"total":7,"added":%d,"existing":2,"invalidTotal":2,"categories":{"kimi":2},"job":"JOB"}`

func startMixed(t *testing.T) (*pool, *testkit.Upstream) {
	t.Helper()
	up := knows(t, nil)
	p := startWith(t, up)
	for line := range strings.Lines(mixed) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") {
			p.plant(line)
		}
	}
	p.call("POST /admin/api-keys", `{"apiKey":"fake-good-key-in-pool-1","username":"pool"}`)
	return p, up
}

func TestImportWithValidation(t *testing.T) {
	formBody, formType := form(t, "file", "new.txt", mixed)
	for name, c := range map[string]struct{ query, body, contentType string }{
		"text":    {"", mixed, "text/plain"},
		"file":    {"", formBody, formType},
		"content": {"", `{"provider":"","content":` + quote(t, mixed) + `}`, "application/json"},
		"curl":    {"", ` {"content":` + quote(t, mixed) + `}`, "application/x-www-form-urlencoded"},
		"keys":    {"", `{"note":"x","keys":[` + strings.TrimSuffix(strings.ReplaceAll(quoteLines(t, mixed), "\n", ","), ",") + `]}`, "application/json"},
		"all":     {"?includeInconclusive=true", mixed, "text/plain"},
	} {
		t.Run(name, func(t *testing.T) {
			p, up := startMixed(t)
			added, keys := 2, "map[active :1 active kimi:2]"
			if c.query != "" {
				added, keys = 3, "map[active :2 active kimi:2]"
			}
			p.wantChecked(validated+c.query, c.body, fmt.Sprintf(mixedAnswer, id("fake-good-key-of-anna"), id("fake-good-key-of-dora-1"), added), "Content-Type", c.contentType)
			if got := p.statuses(); got != keys {
				t.Errorf("keys: %s, want %s", got, keys)
			}
			if n := len(up.CallsFor("fake-good-key-in-pool-1")); n != 0 {
				t.Errorf("%d calls for a key that is in the pool", n)
			}
			if n := len(up.CallsFor("fake-good-key-of-dora-1")); n != 2 {
				t.Errorf("%d calls for a key that comes twice", n)
			}
			var key struct{ Username string }
			if p.read("GET /admin/api-keys/"+id("fake-good-key-of-anna"), &key); key.Username != "anna@example.com" {
				t.Errorf("user name %q", key.Username)
			}
		})
	}
}

func TestImportWithValidationThatIsRefused(t *testing.T) {
	p, up := startMixed(t)
	p.wantError(validated, mixed, 401, "authentication_error", "authentication_error", "wrong admin token", "Authorization", "Bearer wrong")
	asText, asJSON := []string{"Content-Type", "text/plain"}, []string{"Content-Type", "application/json"}
	p.wantInvalid(validated+"?provider=acme", mixed, `unknown provider "acme": use "ollama" or "openrouter"`, asText...)
	p.wantInvalid(validated+"?dryRun=2", mixed, "dryRun must be true or false", asText...)
	p.wantInvalid(validated, `{"keys":["fake-good-key-of-dora-1"],"provider":"acme"}`, `unknown provider "acme": use "ollama" or "openrouter"`, asJSON...)
	p.wantInvalid(validated, `{"keys":["fake-good-key-of-dora-1"]`, "the JSON document ends too early", asJSON...)
	p.wantInvalid(validated, `{"text":"x"}`, "content is missing", asJSON...)
	p.wantInvalid(validated, `[]`, "the body is not valid JSON at byte 1", asJSON...)
	p.wantInvalid(validated, "", "the body is not valid JSON: it ends in the middle", asJSON...)
	p.wantInvalid(validated, "x", "the form cannot be read: its Content-Type has no boundary", "Content-Type", "multipart/form-data")
	p.wantError(validated, "a=b", 415, "invalid_request_error", "invalid_request_error",
		`Content-Type "application/x-www-form-urlencoded" is not understood here: send the text as text/plain, as a file of a form (multipart/form-data) or as JSON`,
		"Content-Type", "application/x-www-form-urlencoded")
	p.wantError(validated, "x", 415, "invalid_request_error", "invalid_request_error",
		`Content-Type "image/png" is not understood here: send the text as text/plain, as a file of a form (multipart/form-data) or as JSON`, "Content-Type", "image/png")
	if n := len(up.Calls()); n != 0 {
		t.Errorf("%d calls upstream", n)
	}
}

func TestDryRunOfAnImportWithValidation(t *testing.T) {
	p, up := startMixed(t)
	p.want(validated+"?dryRun=true", mixed, 200, `{"valid":[],"invalid":[{"line":4,"key":"","error":"an e-mail address and something that does not look like a key; it may be a password"}],
		"inconclusive":[],"total":7,"added":0,"existing":2,"invalidTotal":1,"categories":{},"dryRun":true,"toCheck":4}`, "Content-Type", "text/plain")
	if n := len(up.Calls()); n != 0 {
		t.Errorf("%d calls upstream", n)
	}
	p.want("GET /admin/jobs", "", 200, `{"jobs":[],"running":[],"total":0,"page":1,"pageSize":50,"totalPages":1}`)
}

func TestStreamOfAnImport(t *testing.T) {
	p, _ := startMixed(t)
	events := p.events(p.call(validated, mixed, "Content-Type", "text/plain", "Accept", "text/event-stream"))
	last := events[len(events)-1]
	if events[0].name != "progress" || last.name != "result" {
		t.Fatalf("%v", events)
	}
	p.same("progress", events[len(events)-2].data, `{"done":4,"total":4,"valid":2,"invalid":1,"inconclusive":1}`)
	var out struct{ Valid, Invalid, Inconclusive []json.RawMessage }
	if err := json.Unmarshal([]byte(last.data), &out); err != nil || len(out.Valid) != 2 || len(out.Invalid) != 2 || len(out.Inconclusive) != 1 {
		t.Errorf("%v %s", err, last.data)
	}
}

// An import that does not get to its end adds nothing.
func TestImportsThatEndEarly(t *testing.T) {
	gate := testkit.NewGate()
	up := knows(t, func(c *testkit.Call) testkit.Answer {
		if strings.HasPrefix(c.Key, "fake-good-key-0001") {
			return testkit.After(gate, knowing(c))
		}
		return nil
	})
	p := startWith(t, up)
	var text strings.Builder
	for i := range 200 {
		fmt.Fprintf(&text, "fake-good-key-%06d\n", i)
	}
	job := p.begin(validated+"?async=true", text.String(), "Content-Type", "text/plain")
	up.AwaitCalls(100, soon)
	waiting := make(chan answer, 1)
	go func() { waiting <- p.call("POST /admin/jobs/"+job+"/cancel", "") }()
	if a := <-waiting; a.status != 200 {
		t.Errorf("cancel: %d %s", a.status, a.body)
	}
	if got := p.awaitJob(job, "cancelled"); got.Counts["added"] != 0 || got.Counts["valid"] == 0 {
		t.Errorf("%+v", got)
	}
	if got := p.statuses(); got != "map[]" {
		t.Errorf("keys: %s", got)
	}
	// A caller that waits is told, in either form.
	for name, headers := range map[string][]string{"plain": nil, "stream": {"Accept", "text/event-stream"}} {
		done := make(chan answer, 1)
		before := len(up.Calls())
		go func() { done <- p.call(validated, text.String(), append(headers, "Content-Type", "text/plain")...) }()
		up.AwaitCalls(before+100, soon)
		var jobs struct{ Running []struct{ ID string } }
		p.read("GET /admin/jobs", &jobs)
		if len(jobs.Running) != 1 {
			t.Fatalf("running: %+v", jobs)
		}
		p.call("POST /admin/jobs/"+jobs.Running[0].ID+"/cancel", "")
		a := <-done
		if name == "stream" {
			events := p.events(a)
			if last := events[len(events)-1]; last.name != "error" || !strings.Contains(last.data, "nothing was added") {
				t.Errorf("%v", events)
			}
		} else if a.status != 409 || !strings.Contains(a.body, "the import was cancelled; nothing was added") {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
}

// An import goes on when its caller leaves after it has sent everything.
func TestImportsGoOn(t *testing.T) {
	gate := testkit.NewGate()
	up := knows(t, func(c *testkit.Call) testkit.Answer {
		if c.Path == "/v1/chat/completions" {
			return testkit.After(gate, knowing(c))
		}
		return nil
	})
	p := startWith(t, up)
	p.plant("fake-good-key-of-anna")
	p.leave("/admin/api-keys/import-with-validation", `{"keys":["fake-good-key-of-anna"],"provider":"ollama"}`, "*/*", func() { up.AwaitCalls(1, soon) })
	var jobs struct{ Running []struct{ ID string } }
	p.read("GET /admin/jobs?kind=import", &jobs)
	if len(jobs.Running) != 1 {
		t.Fatalf("running: %+v", jobs)
	}
	gate.Open()
	p.awaitJob(jobs.Running[0].ID, "done")
	if got := p.statuses(); got != "map[active kimi:1]" {
		t.Errorf("keys: %s", got)
	}
}

// A body that is cut off starts nothing.
func TestImportWithValidationCutOff(t *testing.T) {
	p, up := startMixed(t)
	in, out := io.Pipe()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.app.URL()+"/admin/api-keys/import-with-validation", in)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+adminToken)
	r.Header.Set("Content-Type", "text/plain")
	go func() {
		_, _ = io.WriteString(out, mixed)
		_ = out.CloseWithError(io.ErrClosedPipe)
	}()
	if res, err := http.DefaultClient.Do(r); err == nil {
		_ = res.Body.Close()
		t.Errorf("answered with %d", res.StatusCode)
	}
	p.awaitNothing(func() bool { return len(up.Calls()) > 0 })
}

// awaitNothing makes sure that a call which broke off had no effect, once the
// program has noticed.
func (p *pool) awaitNothing(happened func() bool) {
	p.Helper()
	for until := time.Now().Add(soon); !strings.Contains(p.log.String(), "import-with-validation"); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			p.Fatal("the call is not in the log")
		}
	}
	if happened() {
		p.Error("something happened")
	}
	p.want("GET /admin/jobs", "", 200, `{"jobs":[],"running":[],"total":0,"page":1,"pageSize":50,"totalPages":1}`)
}
