package metrics_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"ollama-api-pool/internal/controlplane/metrics"
	"ollama-api-pool/internal/gateway"
)

func snapshot() metrics.Snapshot {
	return metrics.Snapshot{
		Providers: []metrics.Provider{
			{Name: gateway.Ollama, InFlight: 3, Keys: map[gateway.KeyStatus]int{gateway.KeyActive: 7, gateway.KeyResting: 2}, Open: true},
			{Name: gateway.OpenRouter},
		},
		Caches:     []metrics.Cache{{Name: "response", Hits: 5, Misses: 6, Bytes: 700, Entries: 8}},
		LogDropped: 9,
		Agents:     map[string]int64{"curl": 10},
		Refusals:   map[string]int64{"requests per minute": 11},
	}
}

func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	b, err := io.ReadAll(w.Body)
	if err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %v: %s", w.Code, err, b)
	}
	return string(b)
}

func exchange(p gateway.ProviderName, status int, change func(*gateway.Record)) *gateway.Exchange {
	x := &gateway.Exchange{Record: gateway.Record{
		Provider: p, Status: status, Counted: true, Model: "fake-model", TokenHash: "sha256:fake",
		FirstByte: 30 * time.Millisecond, Duration: 2 * time.Second,
	}}
	if change != nil {
		change(&x.Record)
	}
	return x
}

func TestObserve(t *testing.T) {
	m := metrics.New(gateway.Providers(), "1.2.3", snapshot)
	for range 2 {
		m.Observe(exchange(gateway.Ollama, 200, func(r *gateway.Record) {
			r.Usage = gateway.Usage{Input: 100, Output: 20}
			r.Attempts = []gateway.Attempt{
				{Status: 429, Verdict: gateway.Verdict{Scope: gateway.ScopeAccount}},
				{Status: 200},
			}
		}))
	}
	m.Observe(exchange(gateway.Ollama, 0, func(r *gateway.Record) { r.End = gateway.EndClientClosed }))
	m.Observe(exchange(gateway.OpenRouter, 502, func(r *gateway.Record) {
		r.Attempts = []gateway.Attempt{{Verdict: gateway.Verdict{Scope: gateway.ScopeProvider}}}
	}))
	m.Observe(exchange(gateway.OpenRouter, 200, func(r *gateway.Record) { r.End = gateway.EndCut }))
	m.Observe(exchange(gateway.Ollama, 401, func(r *gateway.Record) { r.Counted = false }))
	m.Observe(exchange("", 404, func(r *gateway.Record) { r.Counted = false }))
	m.Observe(exchange(gateway.Ollama, 999, nil))
	m.Observe(exchange(gateway.Ollama, -5, nil))

	got := scrape(t, m)
	for _, line := range []string{
		`requests_total{outcome="success",provider="ollama",status="200"} 2`,
		`requests_total{outcome="client_closed",provider="ollama",status="none"} 1`,
		`requests_total{outcome="failure",provider="openrouter",status="502"} 1`,
		`requests_total{outcome="failure",provider="openrouter",status="200"} 1`,
		`requests_total{outcome="refused",provider="ollama",status="401"} 1`,
		`requests_total{outcome="refused",provider="none",status="404"} 1`,
		`requests_total{outcome="failure",provider="ollama",status="other"} 2`,
		`attempts_total{provider="ollama",scope="account",status="429"} 2`,
		`attempts_total{provider="ollama",scope="none",status="200"} 2`,
		`attempts_total{provider="openrouter",scope="provider",status="none"} 1`,
		`request_duration_seconds_count{provider="ollama"} 4`,
		`request_duration_seconds_bucket{provider="ollama",le="1.6"} 0`,
		`request_duration_seconds_bucket{provider="ollama",le="2.5"} 4`,
		`time_to_first_byte_seconds_count{provider="ollama"} 2`,
		`time_to_first_byte_seconds_bucket{provider="ollama",le="0.02"} 0`,
		`time_to_first_byte_seconds_bucket{provider="ollama",le="0.035"} 2`,
		`model_tokens_total{direction="input",provider="ollama"} 200`,
		`model_tokens_total{direction="output",provider="ollama"} 40`,
		`in_flight{provider="ollama"} 3`,
		`keys{provider="ollama",state="active"} 7`,
		`keys{provider="ollama",state="expired"} 0`,
		`breaker_open{provider="ollama"} 1`,
		`breaker_open{provider="openrouter"} 0`,
		`cache_hits_total{cache="response"} 5`,
		`cache_misses_total{cache="response"} 6`,
		`cache_bytes{cache="response"} 700`,
		`cache_entries{cache="response"} 8`,
		`request_log_dropped_total 9`,
		`suspicious_agents_total{agent="curl"} 10`,
		`limit_refusals_total{limit="requests per minute"} 11`,
	} {
		if !strings.Contains(got, "\nollama_api_pool_"+line+"\n") {
			t.Errorf("lacks %s", line)
		}
	}
	for _, name := range []string{`ollama_api_pool_build_info{goversion="go`, "go_goroutines ", "process_start_time_seconds "} {
		if !strings.Contains(got, "\n"+name) {
			t.Errorf("lacks %s", name)
		}
	}
	if strings.Contains(got, "fake") {
		t.Error("a model or a token became a label")
	}
}

// TestNames holds every metric of ours to the rules of Prometheus.
func TestNames(t *testing.T) {
	m := metrics.New(gateway.Providers(), "1.2.3", snapshot)
	m.Observe(exchange(gateway.Ollama, 200, func(r *gateway.Record) { r.Attempts = []gateway.Attempt{{Status: 200}} }))
	problems, err := promlint.New(bytes.NewReader([]byte(scrape(t, m)))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestBounded has a thousand statuses and models ask for series.
func TestBounded(t *testing.T) {
	m := metrics.New(gateway.Providers(), "1.2.3", snapshot)
	count := func() int {
		return len(slices.DeleteFunc(strings.Split(scrape(t, m), "\n"), func(line string) bool {
			return !strings.HasPrefix(line, "ollama_api_pool_requests_total{")
		}))
	}
	for i := range 3000 {
		m.Observe(exchange(gateway.ProviderName(fmt.Sprintf("p%d", i)), i, func(r *gateway.Record) { r.Model = fmt.Sprint(i) }))
	}
	if n := count(); n != 502 {
		t.Errorf("%d series of requests, want one for each of 500 statuses, none and other", n)
	}
}

func TestConcurrent(t *testing.T) {
	m := metrics.New(gateway.Providers(), "1.2.3", snapshot)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 200 {
				m.Observe(exchange(gateway.Ollama, 200+i%5, nil))
			}
		})
	}
	wg.Go(func() { scrape(t, m) })
	wg.Wait()
	if got := scrape(t, m); !strings.Contains(got, `requests_total{outcome="success",provider="ollama",status="204"} 320`) {
		t.Error("requests are missing")
	}
}

func BenchmarkObserve(b *testing.B) {
	m := metrics.New(gateway.Providers(), "1.2.3", snapshot)
	x := exchange(gateway.Ollama, 200, func(r *gateway.Record) {
		r.Usage = gateway.Usage{Input: 100, Output: 20}
		r.Attempts = []gateway.Attempt{{Status: 200}}
	})
	b.ReportAllocs()
	for b.Loop() {
		m.Observe(x)
	}
}
