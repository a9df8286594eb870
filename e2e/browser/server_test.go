package browser

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"ollama-api-pool/e2e/program"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/simulator"
	"ollama-api-pool/internal/testkit"
)

// Server is the program as a process, in front of an upstream that plays both
// providers. It keeps its address and its data when it is started again.
type Server struct {
	*program.Process
	Upstream *simulator.Simulator

	upstream *httptest.Server
	port     io.Closer // keeps the port while nothing listens on it
}

// fates are what becomes of requests with the keys that FakeKey makes.
var fates = []simulator.Fate{
	simulator.FateOK, simulator.FateRevoked, simulator.FateNoCredit, simulator.FateOverQuota,
	simulator.FateOverWeek, simulator.FatePlan, simulator.FateFlaky,
}

// eachFate is how many keys of each fate the upstream knows, with each provider.
const eachFate = 60

// FakeKey is the n-th key, from 0, with a fate. The upstream knows 60 of each;
// whatever else one adds is a revoked key. Masked they differ, too.
func FakeKey(p gateway.ProviderName, fate simulator.Fate, n int) string {
	return fmt.Sprintf("%.3s-%.2s-fake-browser-key-%d%03d", p, fate, slices.Index(fates, fate), n)
}

// Start starts a server of the test's own that knows no key. The settings are
// lines for the environment. It is built without the race detector, as some
// fifty of them would take minutes more; Shared and StartRaced have it.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	path, err := buildQuick()
	if err != nil {
		t.Fatal(err)
	}
	return startProgram(t, path, settings...)
}

// StartRaced is Start with the race detector where the tests have it: for what
// happens at the same time as something else.
func StartRaced(t testing.TB, settings ...string) *Server {
	t.Helper()
	return startProgram(t, built, settings...)
}

func startProgram(t testing.TB, path string, settings ...string) *Server {
	t.Helper()
	s, err := newServer(path, t.TempDir(), settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	return s
}

func newServer(path, home string, settings ...string) (*Server, error) {
	known := map[string]simulator.Fate{}
	for _, p := range gateway.Providers() {
		for _, fate := range fates {
			for n := range eachFate {
				known[FakeKey(p, fate, n)] = fate
			}
		}
	}
	port, addr, err := testkit.ReservePort()
	if err != nil {
		return nil, err
	}
	s := &Server{Upstream: simulator.New(simulator.Options{Keys: known}), port: port}
	s.upstream = httptest.NewServer(s.Upstream)
	s.Process = program.New(path, home, append([]string{
		"LISTEN_ADDR=" + addr, "SHUTDOWN_GRACE=10s",
		"OLLAMA_BASE_URL=" + s.upstream.URL, "OPENROUTER_BASE_URL=" + s.upstream.URL + simulator.OpenRouterPath,
	}, settings...)...)
	return s, nil
}

func (s *Server) start() error {
	if err := s.Launch(); err != nil {
		return err
	}
	return s.AwaitServing(patience)
}

// close ends the process and tells what was wrong with it.
func (s *Server) close() error {
	defer func() {
		s.upstream.Close()
		_ = s.port.Close()
	}()
	if !s.Running() {
		return nil
	}
	return s.stop()
}

func (s *Server) stop() error {
	if err := s.Send(syscall.SIGTERM); err != nil {
		return err
	}
	code, err := s.AwaitEnd(2 * patience)
	if err != nil {
		return err
	}
	if bad := s.Faults(); code != 0 || len(bad) > 0 {
		return fmt.Errorf("the program ended with %d, and its log has %q:\n%s", code, bad, s.Log())
	}
	return nil
}

// Stop ends the process in an orderly way. Its port refuses connections until
// Restart.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
}

// Restart starts the process again where it was, and stops it before that if
// need be.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if s.Running() {
		s.Stop(t)
	}
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
}

// Admin makes a call to the admin API that must succeed, and decodes its answer.
func Admin[T any](t testing.TB, s *Server, method, path string, body any) T {
	t.Helper()
	out, err := admin[T](s, method, path, body)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func admin[T any](s *Server, method, path string, body any) (out T, err error) {
	status, answer, err := s.call(method, path, s.AdminToken(), body)
	if err != nil {
		return out, err
	}
	if status/100 != 2 {
		return out, fmt.Errorf("%s %s: %d %s", method, path, status, answer)
	}
	if err := json.Unmarshal(answer, &out); err != nil {
		return out, fmt.Errorf("%s %s: %w in %s", method, path, err, answer)
	}
	return out, nil
}

var plain = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}, Timeout: 4 * patience}

// call sends a request, text as it is and anything else as JSON, and reads the
// whole answer.
func (s *Server) call(method, path, token string, body any) (status int, answer []byte, err error) {
	var content io.Reader
	kind := "application/json"
	switch body := body.(type) {
	case nil:
	case string:
		content, kind = strings.NewReader(body), "text/plain"
	default:
		b, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, s.URL()+path, content)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := plain.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// Import adds keys, a line each as in an import file: `key` or `account----key`.
func (s *Server) Import(t testing.TB, p gateway.ProviderName, lines ...string) {
	t.Helper()
	if err := s.importLines(p, lines...); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) importLines(p gateway.ProviderName, lines ...string) error {
	type answer struct{ Added int }
	got, err := admin[answer](s, "POST", "/admin/api-keys/import-from-txt?provider="+string(p), strings.Join(lines, "\n"))
	if err == nil && got.Added != len(lines) {
		err = fmt.Errorf("of %d keys %d were added", len(lines), got.Added)
	}
	return err
}

// Token makes a client token for both providers.
func (s *Server) Token(t testing.TB, name string) string {
	t.Helper()
	token, err := s.token(name)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (s *Server) token(name string) (string, error) {
	type answer struct{ Token string }
	got, err := admin[answer](s, "POST", "/admin/tokens", map[string]any{"name": name, "provider": "all"})
	return got.Token, err
}

// Chat sends a short chat with a model, one with a slash to OpenRouter, and
// returns the status of the answer.
func (s *Server) Chat(t testing.TB, token, model string, stream bool) int {
	t.Helper()
	status, err := s.chat(token, model, stream)
	if err != nil {
		t.Fatal(err)
	}
	return status
}

func (s *Server) chat(token, model string, stream bool) (int, error) {
	path := "/v1/chat/completions"
	if strings.Contains(model, "/") {
		path = "/openrouter" + path
	}
	status, _, err := s.call("POST", path, token, map[string]any{
		"model": model, "stream": stream, "max_tokens": 4,
		"messages": []map[string]string{{"role": "user", "content": "Hello"}},
	})
	return status, err
}

// Fill gives the server what a small pool has after some hours: accounts with
// keys of every fate at both providers, some put out of use by hand, three
// tokens, and requests that were served, tried again and refused.
func (s *Server) Fill(t testing.TB) {
	t.Helper()
	if err := s.fill(); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) fill() error {
	for _, p := range gateway.Providers() {
		if err := s.importLines(p, sampleLines(p)...); err != nil {
			return err
		}
		if _, err := admin[any](s, "POST", "/admin/keys/disable?provider="+string(p), map[string]any{
			"apiKeys": []string{FakeKey(p, simulator.FateOK, 0), FakeKey(p, simulator.FateOK, 1)}, "duration": 0,
		}); err != nil {
			return err
		}
	}
	tokens := make([]string, 3)
	for n, name := range []string{"billing-service", "ide-plugin", "陈敏 laptop"} {
		var err error
		if tokens[n], err = s.token(name); err != nil {
			return err
		}
	}
	return s.traffic(tokens)
}

// sampleLines are 24 keys of eight accounts, the bad ones between the good ones.
func sampleLines(p gateway.ProviderName) []string {
	accounts := []string{
		"lin.wei@example.com", "m.okafor@example.org", "s.lindqvist@example.net", "zhang.yu@example.com",
		"r.alvarez@example.org", "chen.min@example.cn", "t.nakamura@example.jp", "p.novak@example.org",
	}
	bad := map[int]simulator.Fate{
		3: simulator.FateRevoked, 6: simulator.FateOverQuota, 9: simulator.FateNoCredit,
		12: simulator.FatePlan, 15: simulator.FateFlaky, 18: simulator.FateOverWeek, 21: simulator.FateRevoked,
	}
	used := map[simulator.Fate]int{}
	var lines []string
	for n := range 24 {
		fate := cmp.Or(bad[n], simulator.FateOK)
		lines = append(lines, accounts[n%len(accounts)]+"----"+FakeKey(p, fate, used[fate]))
		used[fate]++
	}
	return lines
}

// traffic sends requests of several models, some of which no key may use or
// nobody knows.
func (s *Server) traffic(tokens []string) error {
	models := []string{
		"gpt-oss:120b", "qwen3-coder:480b", "openai/gpt-oss-20b:free", "gpt-oss:20b", "deepseek-v3.1:671b",
		"gpt-oss:120b", "qwen/qwen3-coder:free", "kimi-k2:1t", "no-such-model", "gpt-oss:120b",
	}
	for n := range 60 {
		if _, err := s.chat(tokens[n%len(tokens)], models[n%len(models)], n%3 == 0); err != nil {
			return err
		}
	}
	return nil
}

var (
	sharedOnce = sync.OnceValues(func() (*Server, error) {
		home := filepath.Join(scratch, "shared")
		if err := os.Mkdir(home, 0o700); err != nil {
			return nil, err
		}
		s, err := newServer(built, home)
		if err != nil {
			return nil, err
		}
		sharedServer = s
		if err := s.start(); err != nil {
			return nil, err
		}
		return s, s.fill()
	})
	sharedServer *Server
)

// Shared is a filled server that all tests share which change nothing on it.
func Shared(t testing.TB) *Server {
	t.Helper()
	s, err := sharedOnce()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func stopShared() error {
	if sharedServer == nil {
		return nil
	}
	if err := sharedServer.close(); err != nil {
		return errors.Join(errors.New("the shared server"), err)
	}
	return nil
}
