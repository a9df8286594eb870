package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
	"ollama-api-pool/internal/testkit/servers"
)

// TestBalancerRollingRestart is deploy/compose.three.yaml without containers:
// three instances on one PostgreSQL and one Redis. One after the other is
// stopped under load, as an update does, and started again: no request fails,
// none is refused, and each is counted once.
func TestBalancerRollingRestart(t *testing.T) {
	t.Parallel()
	keys := map[string]fate{}
	for n := range 6 {
		keys[fakeKey(gateway.Ollama, n)] = fateOK
	}
	up := newUpstream(t, keys)
	database, redis := have(t, lockedPostgres).Database(t), servers.SharedRedis(t).URL()
	c := &cluster{tb: t}
	var addrs []string
	for range 3 {
		port, addr, err := testkit.ReservePort()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = port.Close() })
		addrs = append(addrs, addr)
		// The delay is twice what the balancer needs to notice.
		i := c.instance(up.settings(), database, "REDIS_URL="+redis, "LISTEN_ADDR="+addr, "SHUTDOWN_DELAY=4s", "TRUSTED_PROXIES=127.0.0.1")
		c.All = append(c.All, i)
	}
	first := c.All[0]
	first.Start()
	first.AddKeys(gateway.Ollama, slices.Collect(maps.Keys(keys))...)
	token := first.CreateToken("load", "ollama")
	for _, i := range c.All[1:] {
		i.secrets.plant(first.secrets.list()...)
		i.Start()
	}
	b := startBalancer(t, addrs...)
	load := beginLoad(t, b.URL, token)
	load.more(t, 100)
	for n, i := range c.All {
		i.Signal(syscall.SIGTERM)
		name := fmt.Sprintf("instances/pool-%d is ", n+1)
		await(t, "word that "+name+"DOWN", func() bool { return strings.Contains(b.Log.String(), name+"DOWN") })
		if !i.Running() {
			t.Errorf("instance %d ended before the balancer had noticed", n+1)
		}
		if code := i.Wait(); code != 0 {
			t.Errorf("instance %d: exit code %d:\n%s", n+1, code, i.Log())
		}
		load.more(t, 50)
		i.Start()
		await(t, "word that "+name+"UP", func() bool { return strings.Contains(b.Log.String(), name+"UP") })
		load.more(t, 50)
	}
	sent := load.end()
	served := 0
	for _, calls := range up.Calls() {
		served += calls
	}
	if served != sent {
		t.Errorf("clients sent %d requests, the upstream got %d", sent, served)
	}
	for _, i := range c.All {
		await(t, "instance that knows of every request", func() bool {
			got := i.Totals(gateway.Ollama)
			return got.TotalRequests == sent && got.SuccessCount == sent
		})
	}
	for _, i := range c.All {
		i.Signal(syscall.SIGTERM)
	}
	for _, i := range c.All {
		i.Wait()
	}
}

// load is clients that ask again and again, at a pace.
type load struct {
	done   atomic.Int64
	cancel context.CancelFunc
	group  sync.WaitGroup
}

// beginLoad begins with eight clients, each with a connection of its own that
// it keeps. A request that is not answered in full fails the test.
func beginLoad(t *testing.T, url, token string) *load {
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{cancel: cancel}
	bodies := []string{
		`{"model":"gpt-oss:20b","stream":true,"messages":[{"role":"user","content":"Hello, pool"}]}`,
		`{"model":"gpt-oss:20b","messages":[{"role":"user","content":"Hello, pool"}]}`,
		`{"model":"gpt-oss:20b","messages":[{"role":"user","content":"` + strings.Repeat("long ", 20_000) + `"}]}`,
	}
	for n := range 8 {
		l.group.Go(func() {
			client := &http.Client{Timeout: patience, Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			pace := time.NewTicker(20 * time.Millisecond)
			defer pace.Stop()
			for m := n; ; m++ {
				select {
				case <-pace.C:
				case <-ctx.Done():
					return
				}
				if err := whole(t, client, url, token, bodies[m%len(bodies)]); err != nil {
					t.Errorf("client %d: %v", n, err)
				}
				l.done.Add(1)
			}
		})
	}
	t.Cleanup(func() { l.end() })
	return l
}

// whole asks once and expects a whole answer.
func whole(t *testing.T, client *http.Client, url, token, body string) error {
	resp, err := postVia(t, client, url+"/v1/chat/completions", token, body)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	last := "}"
	if strings.Contains(body, `"stream":true`) {
		last = "[DONE]"
	}
	if resp.StatusCode != http.StatusOK || !strings.HasSuffix(strings.TrimSpace(string(text)), last) {
		return fmt.Errorf("%d %s", resp.StatusCode, text)
	}
	return nil
}

// more waits for so many more requests.
func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	want := l.done.Load() + n
	await(t, fmt.Sprintf("%d more requests", n), func() bool { return l.done.Load() >= want })
}

// end lets what runs come to its end, and tells how many requests there were.
func (l *load) end() int {
	l.cancel()
	l.group.Wait()
	return int(l.done.Load())
}
