package dataplane_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/dataplane"
	"ollama-api-pool/internal/dataplane/auth"
	"ollama-api-pool/internal/dataplane/cache"
	"ollama-api-pool/internal/dataplane/forward"
	"ollama-api-pool/internal/dataplane/limit"
	"ollama-api-pool/internal/dataplane/pool"
	"ollama-api-pool/internal/dataplane/provider"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
	"ollama-api-pool/internal/testkit"
)

const (
	soon     = 10 * time.Second
	token    = "sk-fakefakefakefakefakefakefakefakefakefakefakefake00"
	other    = "sk-fakefakefakefakefakefakefakefakefakefakefakefake01"
	chatPath = "/v1/chat/completions"
	chat     = `{"model":"gpt-oss:120b","messages":[{"role":"user","content":"hi"}]}`
	done     = `{"choices":[{"message":{"content":"hello"}}],"usage":{"prompt_tokens":7,"completion_tokens":3}}`
)

// plane is the data plane between clients and a fake upstream, over real
// sockets, with every step that a token's limits and the caches are part of.
type plane struct {
	t        *testing.T
	up       *testkit.Upstream
	registry *auth.Registry
	limits   *limit.Tokens
	models   *cache.Models
	answers  *cache.Answers
	addr     string
	seen     func(*gateway.Exchange) // gets every request that has ended; may be nil

	mu      sync.Mutex // guards what follows
	records []gateway.Record
}

// newPlane starts it for both tokens; change may alter how answers are kept.
func newPlane(t *testing.T, change ...func(*cache.AnswersOptions)) *plane {
	t.Helper()
	p := &plane{t: t, up: testkit.NewUpstream(t), registry: &auth.Registry{}, limits: limit.NewTokens(time.Now), models: cache.NewModels(time.Minute, time.Now)}
	transport := &http.Transport{MaxIdleConnsPerHost: 100, DisableCompression: true}
	upstreams := map[gateway.ProviderName]*forward.Upstream{}
	for name, base := range map[gateway.ProviderName]string{gateway.Ollama: p.up.URL, gateway.OpenRouter: p.up.URL + "/api"} {
		adapter, err := provider.New(name, provider.Options{BaseURL: base, Version: "1.2.3"})
		if err != nil {
			t.Fatal(err)
		}
		keys := pool.New(name, pool.Settings{FailedFor: time.Hour, DisableThreshold: 3, DisabledFor: time.Hour})
		for _, secret := range []gateway.Secret{"fake-upstream-key-00", "fake-upstream-key-01", "fake-upstream-key-02"} {
			keys.Put(gateway.Key{Secret: secret}, time.Now())
		}
		upstreams[name] = &forward.Upstream{Adapter: adapter, Pool: keys, Transport: transport}
	}
	f := forward.New(upstreams, forward.Options{HeaderTimeout: soon, StreamIdleTimeout: soon, MaxBodyBytes: 1 << 20, HeadGrace: time.Millisecond})
	o := cache.AnswersOptions{TTL: time.Minute, MaxBytes: 1 << 20, Now: time.Now, Open: f.Open}
	for _, c := range change {
		c(&o)
	}
	p.answers = cache.NewAnswers(o)
	p.limit(token, gateway.Limits{})
	p.limit(other, gateway.Limits{})
	log := slog.New(slog.DiscardHandler)
	steps := httpkit.Chain(f.Serve,
		httpkit.Identify, httpkit.AccessLog(log), httpkit.Recover(log), dataplane.Count, dataplane.Admit,
		auth.Require(p.registry, time.Now, false), dataplane.Attempts, p.limits.Limit, dataplane.Local, p.models.Serve, p.answers.Serve,
	)
	p.listen(&dataplane.Surface{
		Routes: dataplane.NewRoutes(), Clients: httpkit.NewClients(nil), TokenInPath: true, Now: time.Now, Flight: dataplane.NewGauge(time.Now),
		Done: p.note, Steps: httpkit.Entry(steps, httpkit.WriteDataError),
	})
	t.Cleanup(transport.CloseIdleConnections)
	return p
}

func (p *plane) listen(h http.Handler) {
	p.t.Helper()
	l, err := new(net.ListenConfig).Listen(p.t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	p.addr = l.Addr().String()
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	go func() { _ = server.Serve(l) }()
	p.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), soon)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			p.t.Errorf("requests still run: %v", err)
		}
	})
}

// limit gives a token its limits, as a change of it does.
func (p *plane) limit(secret gateway.Secret, l gateway.Limits) {
	p.registry.Put(gateway.Token{Hash: gateway.HashToken(secret), Name: "test", Providers: gateway.Providers(), Limits: l})
}

func (p *plane) note(x *gateway.Exchange) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.records = append(p.records, x.Record)
	if p.seen != nil {
		p.seen(x)
	}
}

// taken returns the records of n requests that have ended, and forgets them.
func (p *plane) taken(n int) []gateway.Record {
	p.t.Helper()
	var out []gateway.Record
	p.await(fmt.Sprintf("%d requests have ended", n), func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.records) < n {
			return false
		}
		out, p.records = p.records, nil
		return true
	})
	return out
}

// await waits until something holds.
func (p *plane) await(what string, holds func() bool) {
	p.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(soon)
	for !holds() {
		select {
		case <-tick.C:
		case <-late:
			p.t.Fatalf("not within %s: %s", soon, what)
		}
	}
}

func request(method, path, body, secret string, headers ...string) string {
	return testkit.HTTP11(method, path, body, append([]string{"Authorization", "Bearer " + secret, "Content-Type", "application/json"}, headers...)...)
}

func (p *plane) post(path, body string, headers ...string) testkit.RawResponse {
	p.t.Helper()
	return testkit.RawRequest(p.t, p.addr, request(http.MethodPost, path, body, token, headers...))
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
