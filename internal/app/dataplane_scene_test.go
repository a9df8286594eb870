package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/app"
	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

const (
	soon       = 10 * time.Second
	adminToken = "admin-fake-0123456789abcdef"
	chat       = `{"model":"gpt-oss:120b","messages":[]}`
	done       = `{"choices":[{"message":{"content":"hello"}}],"usage":{"prompt_tokens":7,"completion_tokens":3}}`
)

// program is the whole program, started as in production, with a fake upstream
// for both providers.
type program struct {
	t     *testing.T
	up    *testkit.Upstream
	dir   string
	env   []string
	app   *app.App
	addr  string
	log   testkit.SafeBuffer
	token string // of a client, for both providers
}

// start starts the program with settings beside those that tests need.
func start(t *testing.T, settings ...string) *program {
	t.Helper()
	p := &program{t: t, up: testkit.NewUpstream(t), dir: t.TempDir()}
	p.env = append([]string{
		"LISTEN_ADDR=127.0.0.1:0", "DATA_DIR=" + p.dir, "ADMIN_TOKEN=" + adminToken, "LOG_LEVEL=debug",
		"OLLAMA_BASE_URL=" + p.up.URL, "OPENROUTER_BASE_URL=" + p.up.URL + "/api",
	}, settings...)
	p.open()
	t.Cleanup(func() { p.stop(soon) })
	_, secret, err := p.app.Roster().CreateToken(t.Context(), "test", gateway.Providers(), 0)
	if err != nil {
		t.Fatal(err)
	}
	p.token = secret.Reveal()
	return p
}

func (p *program) open() {
	p.t.Helper()
	cfg, _, err := config.Load(p.env, "")
	if err != nil {
		p.t.Fatal(err)
	}
	log := slog.New(slog.NewJSONHandler(&p.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if p.app, err = app.Start(p.t.Context(), cfg, app.Deps{Log: log, Version: "1.2.3"}); err != nil {
		p.t.Fatal(err)
	}
	p.addr = p.app.Addr().String()
}

// stop ends the program, unless that has been done, and proves that the log
// holds no secret.
func (p *program) stop(within time.Duration) {
	if p.app == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if err := p.app.Stop(ctx); err != nil {
		p.t.Errorf("stop: %v", err)
	}
	p.app = nil
	testkit.MustNotContain(p.t, p.log.String(), adminToken, key(0), key(1), key(2), "sk-wrong")
	if p.token != "" {
		testkit.MustNotContain(p.t, p.log.String(), p.token)
	}
	if strings.Contains(p.log.String(), `"level":"ERROR"`) {
		p.t.Errorf("a fault of ours was logged: %s", p.log.String())
	}
}

func key(n int) string { return fmt.Sprintf("fake-upstream-key-%02d", n) }

func idOf(n int) gateway.KeyID { return gateway.IDOfKey(gateway.Secret(key(n))) }

// addKeys adds the first n keys to a provider.
func (p *program) addKeys(name gateway.ProviderName, n int) {
	p.t.Helper()
	_, _, err := p.app.Roster().AddKeys(p.t.Context(), name, func(yield func(gateway.Key, error) bool) {
		for i := range n {
			if !yield(gateway.Key{Secret: gateway.Secret(key(i)), CreatedAt: time.Now()}, nil) {
				return
			}
		}
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *program) request(path, body string, headers ...string) string {
	return testkit.HTTP11(http.MethodPost, path, body, append([]string{"Authorization", "Bearer " + p.token}, headers...)...)
}

func (p *program) post(path, body string, headers ...string) testkit.RawResponse {
	p.t.Helper()
	return testkit.RawRequest(p.t, p.addr, p.request(path, body, headers...))
}

// stats asks the admin API for a provider's totals.
func (p *program) stats(name gateway.ProviderName) (total, success, failure int64) {
	p.t.Helper()
	got := testkit.RawRequest(p.t, p.addr, testkit.HTTP11(http.MethodGet, "/admin/stats?provider="+string(name), "", "Authorization", "Bearer "+adminToken))
	var s struct {
		Total   int64 `json:"total_requests"`
		Success int64 `json:"success_count"`
		Failure int64 `json:"failure_count"`
	}
	if err := json.Unmarshal(got.Body, &s); err != nil || got.Status != http.StatusOK {
		p.t.Fatalf("stats: %d %s", got.Status, got.Body)
	}
	return s.Total, s.Success, s.Failure
}

// key returns a key as it is stored.
func (p *program) key(name gateway.ProviderName, n int) gateway.Key {
	p.t.Helper()
	keys, _, err := p.app.Roster().Keys(p.t.Context(), name, gateway.KeyQuery{Limit: 100})
	if err != nil {
		p.t.Fatal(err)
	}
	i := slices.IndexFunc(keys, func(k gateway.Key) bool { return gateway.IDOfKey(k.Secret) == idOf(n) })
	if i < 0 {
		p.t.Fatalf("key %d is not there", n)
	}
	return keys[i]
}

func equal[T comparable](tb testing.TB, what string, got, want T) {
	tb.Helper()
	if got != want {
		tb.Errorf("%s: %v, want %v", what, got, want)
	}
}
