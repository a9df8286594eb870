package app_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
	"ollama-api-pool/internal/testkit/servers"
)

// breakable is a PostgreSQL that tests of this package stop, kill and freeze, one
// after the other. What it has acknowledged survives that.
var breakable = sync.OnceValues(func() (*servers.Postgres, error) {
	return servers.StartPostgres("", servers.PostgresOptions{Settings: map[string]string{"synchronous_commit": "on"}})
})

// broken gives the breakable server for one test, with a new database in it.
func broken(t *testing.T) (server *servers.Postgres, url string) {
	t.Helper()
	server, err := breakable()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Thaw()
		if !server.Running() {
			if err := server.Start(); err != nil {
				t.Error(err)
			}
		}
	})
	return server, server.Database(t)
}

// another starts one more instance beside p, on the same database and upstream,
// with a data directory of its own.
func (p *program) another(settings ...string) *program {
	p.t.Helper()
	o := &program{t: p.t, up: p.up, dir: p.t.TempDir(), token: p.token}
	o.env = append(append(slices.Clone(p.env), "DATA_DIR="+o.dir), settings...)
	o.open()
	p.t.Cleanup(func() { o.stop(soon) })
	return o
}

// admin calls the admin API with the token.
func (p *program) admin(method, path, body string) testkit.RawResponse {
	p.t.Helper()
	return testkit.RawRequest(p.t, p.addr, testkit.HTTP11(method, path, body, "Authorization", "Bearer "+adminToken))
}

// ready is what /health/ready says.
func (p *program) ready() (status string, reasons []string) {
	p.t.Helper()
	got := testkit.RawRequest(p.t, p.addr, testkit.HTTP11(http.MethodGet, "/health/ready", ""))
	var h struct {
		Status  string
		Reasons []string
	}
	if err := json.Unmarshal(got.Body, &h); err != nil || got.Status != http.StatusOK {
		p.t.Fatalf("ready: %d %s %v", got.Status, got.Body, err)
	}
	return h.Status, h.Reasons
}

// becomes waits until something holds.
func becomes(tb testing.TB, what string, within time.Duration, holds func() bool) {
	tb.Helper()
	end := time.Now().Add(within)
	for !holds() {
		if time.Now().After(end) {
			tb.Fatalf("it did not come about within %v: %s", within, what)
		}
		pause := time.NewTimer(10 * time.Millisecond)
		<-pause.C
	}
}

// isDegraded and isWell wait for what /health/ready says.
func (p *program) isDegraded() {
	p.t.Helper()
	becomes(p.t, "degraded", 15*time.Second, func() bool { s, _ := p.ready(); return s == "degraded" })
}

func (p *program) isWell() {
	p.t.Helper()
	becomes(p.t, "well", 20*time.Second, func() bool { s, _ := p.ready(); return s == "ok" })
}

// serves makes n requests, all of which must be served.
func (p *program) serves(n int) {
	p.t.Helper()
	for range n {
		if got := p.post("/v1/chat/completions", chat); got.Status != http.StatusOK {
			p.t.Fatalf("%d %s", got.Status, got.Body)
		}
	}
}

// counted waits until the totals of a provider are n requests.
func (p *program) counted(n int64) {
	p.t.Helper()
	var total int64
	becomes(p.t, "the requests are counted", 10*time.Second, func() bool {
		total, _, _ = p.stats(gateway.Ollama)
		return total >= n
	})
	equal(p.t, "requests counted", total, n)
}
