package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/selftest"
)

// deployed starts an instance in front of a simulated upstream, with keys for
// both providers, and makes a token for both.
func deployed(t *testing.T) (url, token string) {
	t.Helper()
	p := stopped(t)
	for _, name := range gateway.Providers() {
		p.ok(t, samples(name), "keys", "import", "-", "--provider", string(name))
	}
	token = p.makeToken(t, "--provider", everyProvider)
	return start(t, p, append(upstreamEnv(simulated(t)), "ADMIN_TOKEN="+testAdminToken)...), token
}

// selftestOf tests the deployment at url.
func selftestOf(t *testing.T, url, token string, args ...string) result {
	t.Helper()
	r := place{env: []string{selftestToken + "=" + token, selftestAdminToken + "=" + testAdminToken}}.run(t, "", append([]string{"selftest", "--url", url}, args...)...)
	wantNone(t, r.out+r.err, token, testAdminToken)
	return r
}

func TestSelftest(t *testing.T) {
	t.Parallel() // it waits for figures
	url, token := deployed(t)
	file := filepath.Join(t.TempDir(), "report.md")
	r := selftestOf(t, url+"/", token, "--provider", everyProvider, "--json", "--markdown", file)
	got := fromJSON[selftestReport](t, r.out)
	if r.code != 0 || !got.OK || got.Passed != 24 || len(got.Steps) != 24 || got.URL != url || got.Version != "test" || r.err != "" {
		t.Errorf("%d: %s%s", r.code, r.out, r.err)
	}
	if got.Models[gateway.Ollama] != "gpt-oss:20b" || got.Models[gateway.OpenRouter] != "openai/gpt-oss-20b:free" {
		t.Errorf("%v", got.Models)
	}
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	wantAll(t, string(page), "## Self-test passed: 24 of 24 steps passed\n", "| streaming chat, openrouter | ✅ passed |")
	wantNone(t, string(page), token)
}

// Deployments that do not work: what is said of them, to people.
func TestSelftestFails(t *testing.T) {
	t.Parallel()
	address, token := deployed(t)
	empty := stopped(t)
	emptyToken := empty.makeToken(t)
	emptyAddress := start(t, empty, append(upstreamEnv(simulated(t)), "ADMIN_TOKEN="+testAdminToken)...)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "<html>Welcome to \x1b[31mnginx</html>")
	}))
	t.Cleanup(other.Close)
	for name, c := range map[string]struct {
		url, token string
		summary    string
		says       []string
	}{
		"wrong token": {address, wrongToken, "10 of 18 steps passed, 1 failed, 7 skipped", []string{
			"  FAIL  models, ollama", `/v1/models gives 401, "the token is not valid" (request `, "'tokens create' makes one", "  skip  native models, ollama", "  ok    metrics",
		}},
		"empty pool": {emptyAddress, emptyToken, "10 of 18 steps passed, 2 failed, 6 skipped", []string{
			"0 of 0 keys active", "503, \"the ollama pool has no keys", "'keys import FILE'", "  skip  chat, ollama",
		}},
		"something else": {other.URL, wrongToken, "0 of 18 steps passed, 1 failed, 17 skipped", []string{
			`/health gives 200 text/html, "<html>Welcome to \x1b[31mnginx</html>"`, "Something else answers", "  skip  ready",
		}},
		"cut streams": {inFront(t, address), token, "16 of 18 steps passed, 2 failed", []string{
			"  FAIL  streaming chat, ollama", "the stream broke off after ", "proxy_read_timeout", "  FAIL  native chat, ollama", "  ok    requests are counted, ollama",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := selftestOf(t, c.url, c.token)
			if r.code != exitFailed || !strings.HasSuffix(r.err, "the deployment does not pass: "+c.summary+"\n") {
				t.Errorf("%d: %s%s", r.code, r.out, r.err)
			}
			wantAll(t, r.out, c.says...)
			wantAll(t, r.out, "Self-test of "+c.url+"\n\n", sentence(c.summary)+" in ")
			wantNone(t, r.out, "\x1b")
		})
	}
}

// wrongToken is one that no instance has made.
const wrongToken = "sk-wrongwrongwrongwrongwrongwrongwrongwrongwrongwrong"

// inFront is a proxy that cuts every stream off.
func inFront(t *testing.T, address string) string {
	t.Helper()
	target, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		FlushInterval: -1,
		ModifyResponse: func(resp *http.Response) error {
			switch kind := resp.Header.Get("Content-Type"); {
			case strings.HasPrefix(kind, "text/event-stream"), strings.HasPrefix(kind, "application/x-ndjson"):
				resp.Body = cutBody{resp.Body, io.LimitReader(resp.Body, 600)}
			}
			return nil
		},
	})
	t.Cleanup(s.Close)
	return s.URL
}

// cutBody breaks where its reader ends.
type cutBody struct {
	io.Closer
	r io.Reader
}

func (b cutBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func TestSelftestUsage(t *testing.T) {
	const at = "http://127.0.0.1:1"
	dir := t.TempDir()
	for _, c := range []struct {
		args  []string
		words string
	}{
		{nil, "--url is missing"},
		{[]string{"--url", ""}, "--url is missing"},
		{[]string{"--url", "pool.example.com"}, "--url must be an address"},
		{[]string{"--url", "http://user@pool.example.com"}, "--url must be an address"},
		{[]string{"--url", at}, "set SELFTEST_TOKEN"},
		{[]string{"--url", at, "--token", "x", "--provider", "y"}, "unknown provider"},
		{[]string{"--url", at, "--token", "x", "--provider", "all", "--model", "m"}, "say which with --provider"},
		{[]string{"--url", at, "--token", "x", "--timeout", "0s"}, "--timeout must be more than 0"},
		{[]string{"--url", at, "--token", "x", "--json", "--markdown", "-"}, "both want the standard output"},
		{[]string{"--url", at, "--token", "x", "--markdown", dir}, "is not a file"},
		{[]string{"--url", at, "--token", "x", "--markdown", filepath.Join(dir, "no", "x.md")}, "--markdown: "},
		{[]string{"more"}, "unknown command or argument"},
	} {
		place{}.fails(t, exitUsage, c.words, "", append([]string{"selftest"}, c.args...)...)
	}
	// Nothing listens there: what is printed instead of the text is Markdown.
	r := place{}.fails(t, exitFailed, "does not pass: 0 of 16 steps", "", "selftest", "--url", at, "--token", "  x\n", "--markdown", "-")
	if !strings.HasPrefix(r.out, "## Self-test failed: 0 of 16 steps passed, 1 failed, 15 skipped\n") {
		t.Error(r.out)
	}
	wantAll(t, r.out, "- **health**: Does the server run")
}

// A step is shown with what to do, and a note under it.
func TestStepText(t *testing.T) {
	s := selftest.Step{Name: "chat", Provider: gateway.Ollama, Result: selftest.Failed, Seen: "not shown", Cause: "the cause", Cure: "The cure.", Note: "A note."}
	wantText(t, "failed", stepText(&s), fmt.Sprintf("  FAIL  %-32s     0 ms  the cause\n        The cure.\n        A note.\n", "chat, ollama"))
}
