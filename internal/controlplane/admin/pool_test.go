package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"

	"ollama-api-pool/internal/app"
	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

const adminToken = "admin-fake-0123456789abcdef"

// pool is the whole program, started on a free port with a store of its own.
type pool struct {
	*testing.T
	app     *app.App
	log     *testkit.SafeBuffer
	secrets []string // that no answer and no log line may have
	dir     string   // where the store lies
	alien   []string // secrets that no file of it may have either
	stop    func()
}

// start starts the program. What the log holds at the end is searched for
// secrets.
func start(t *testing.T, environ ...string) *pool {
	t.Helper()
	cfg, report, err := config.Load(append([]string{
		"LISTEN_ADDR=127.0.0.1:0", "DATA_DIR=" + t.TempDir(), "ADMIN_TOKEN=" + adminToken,
		"CORS_ALLOWED_ORIGINS=https://ops.example", "TRUSTED_PROXIES=127.0.0.1", "OLLAMA_BASE_URL=http://127.0.0.1:1",
		"KEY_DISABLE_THRESHOLD=1",
	}, environ...), "")
	if err != nil {
		t.Fatal(err)
	}
	p := &pool{T: t, log: &testkit.SafeBuffer{}, secrets: []string{adminToken}, dir: cfg.DataDir, alien: []string{adminToken}}
	log := slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if p.app, err = app.Start(t.Context(), cfg, app.Deps{Log: log, Version: "1.2.3-test", Settings: report}); err != nil {
		t.Fatal(err)
	}
	p.stop = sync.OnceFunc(func() {
		p.searchFiles()                           // while the journal of the store is there, too
		http.DefaultClient.CloseIdleConnections() // for one on which nothing was sent the server waits 5 s
		if err := p.app.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		p.searchFiles()
		testkit.MustNotContain(t, p.log.String(), p.secrets...)
	})
	t.Cleanup(p.stop)
	return p
}

// searchFiles looks for secrets in everything that lies in the data directory.
func (p *pool) searchFiles() {
	p.Helper()
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		p.Fatal(err)
	}
	for _, entry := range entries {
		b, err := os.ReadFile(filepath.Join(p.dir, entry.Name()))
		if err != nil {
			p.Fatal(err)
		}
		testkit.MustNotContain(p, string(b), p.alien...)
	}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// send makes a call with the admin token, unless headers say otherwise.
func (p *pool) send(method, address string, body io.Reader, headers ...string) answer {
	p.Helper()
	r, err := http.NewRequestWithContext(p.Context(), method, p.app.URL()+address, body)
	if err != nil {
		p.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+adminToken)
	for i := 0; i < len(headers); i += 2 {
		if r.Header.Del(headers[i]); headers[i+1] != "" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		p.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		p.Fatal(err)
	}
	p.document()
	conforms(p, method, address, res.StatusCode, res.Header.Get("Content-Type"), string(b))
	return answer{res.StatusCode, res.Header, string(b)}
}

// document fetches the OpenAPI document for conforms, the first time.
func (p *pool) document() {
	p.Helper()
	servedOnce.Do(func() {
		r, err := http.NewRequestWithContext(p.Context(), http.MethodGet, p.app.URL()+"/openapi.json", http.NoBody)
		if err != nil {
			p.Fatal(err)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			p.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		if served, err = io.ReadAll(res.Body); err != nil {
			p.Fatal(err)
		}
	})
}

// call makes a call, written "POST /admin/tokens", with a body if there is one.
// No secret may be in the answer.
func (p *pool) call(call, body string, headers ...string) answer {
	p.Helper()
	method, address, _ := strings.Cut(call, " ")
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	a := p.send(method, address, in, headers...)
	testkit.MustNotContain(p, a.body, p.secrets...)
	return a
}

// want makes a call and compares the whole answer, which is JSON.
func (p *pool) want(call, body string, status int, want string, headers ...string) {
	p.Helper()
	a := p.call(call, body, headers...)
	if a.status != status {
		p.Errorf("%s: status %d, want %d: %s", call, a.status, status, gateway.Clip(a.body, 500))
		return
	}
	p.same(call, a.body, want)
}

// wantError makes a call that must fail with a message in the API's form.
func (p *pool) wantError(call, body string, status int, word, code, message string, headers ...string) {
	p.Helper()
	quoted, err := json.Marshal(message)
	if err != nil {
		p.Fatal(err)
	}
	p.want(call, body, status, fmt.Sprintf(`{"error":{"message":%s,"type":%q,"code":%q,"param":null}}`, quoted, word, code), headers...)
}

// wantInvalid makes a call that must be refused with 400.
func (p *pool) wantInvalid(call, body, message string, headers ...string) {
	p.Helper()
	p.wantError(call, body, http.StatusBadRequest, "invalid_request_error", "invalid_request_error", message, headers...)
}

// wantMissing makes a call about a key or token that is not there.
func (p *pool) wantMissing(call, body, what string) {
	p.Helper()
	p.wantError(call, body, http.StatusNotFound, "invalid_request_error", "not_found", "no such "+what)
}

var timestamp = regexp.MustCompile(`"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"`)

// same compares JSON. Times in what came are replaced by "TIME".
func (p *pool) same(what, got, want string) {
	p.Helper()
	got = timestamp.ReplaceAllString(got, `"TIME"`)
	var g, w any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		p.Errorf("%s: %v in %s", what, err, gateway.Clip(got, 500))
		return
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		p.Fatalf("%s: the expectation is no JSON: %v", what, err)
	}
	if !reflect.DeepEqual(g, w) {
		p.Errorf("%s:\n got %s\nwant %s", what, oneLine(g), oneLine(w))
	}
}

func oneLine(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
	return gateway.Clip(strings.TrimSpace(b.String()), 2000)
}

// read decodes an answer that must be a success.
func (p *pool) read(call string, into any) {
	p.Helper()
	a := p.call(call, "")
	if a.status != http.StatusOK {
		p.Fatalf("%s: %d %s", call, a.status, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), into); err != nil {
		p.Fatal(err)
	}
}

// usernames lists the user names that a list of keys shows.
func (p *pool) usernames(query string) (names []string, total int) {
	p.Helper()
	var out struct {
		Keys []struct {
			Username string `json:"username"`
		} `json:"api_keys"`
		Total int `json:"total"`
	}
	p.read("GET /admin/api-keys?"+query, &out)
	for _, k := range out.Keys {
		names = append(names, k.Username)
	}
	return names, out.Total
}

// plant makes keys that no answer may have.
func (p *pool) plant(lines ...string) {
	p.Helper()
	for _, line := range lines {
		fields := strings.Split(line, "----")
		if len(fields) == 1 {
			p.secrets = append(p.secrets, line)
			continue
		}
		p.secrets = append(p.secrets, fields[1:]...)
		p.alien = append(p.alien, fields[1:len(fields)-1]...)
	}
}

func id(key string) string { return string(gateway.IDOfKey(gateway.Secret(key))) }

// decode reads an answer's JSON.
func (p *pool) decode(a answer, into any) {
	p.Helper()
	if err := json.Unmarshal([]byte(a.body), into); err != nil {
		p.Fatalf("%v in %s", err, a.body)
	}
}

// quote is a text as a JSON string.
func quote(t *testing.T, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// quoteLines makes a JSON string of every line.
func quoteLines(t *testing.T, s string) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString(quote(t, strings.TrimSpace(line)) + "\n")
	}
	return b.String()
}
