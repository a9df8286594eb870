package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

// TestBalancerRollingRestart stops one instance after the other under load, as
// an update does, and starts it again: no request fails, none is refused, and
// the upstream sees each once.
func TestBalancerRollingRestart(t *testing.T) {
	t.Parallel()
	up, first, token := serving(t, healthy)
	first.Stop()
	var all []*Instance
	var addrs []string
	for range 3 {
		port, addr, err := testkit.ReservePort()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = port.Close() })
		// The delay is twice what the balancer needs to notice.
		i := newInstance(t, append(up.settings(), "LISTEN_ADDR="+addr, "SHUTDOWN_DELAY=4s", "TRUSTED_PROXIES=127.0.0.1", "LOG_LEVEL=info")...)
		if err := os.CopyFS(i.Data, os.DirFS(first.Data)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(i.Data, 0o700); err != nil {
			t.Fatal(err)
		}
		i.Start()
		all, addrs = append(all, i), append(addrs, addr)
	}
	b := startBalancer(t, addrs...)
	load := beginLoad(t, b.URL, token)
	load.more(t, 100)
	for n, i := range all {
		i.Signal(syscall.SIGTERM)
		name := fmt.Sprintf("instances/pool-%d is ", n+1)
		await(t, "word that "+name+"DOWN", func() bool { return strings.Contains(b.Log.String(), name+"DOWN") })
		if !i.running() {
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
	await(t, "instances that have counted every request", func() bool {
		counted := 0
		for _, i := range all {
			got := i.Totals(gateway.Ollama)
			if got.SuccessCount != got.TotalRequests || got.TotalRequests == 0 {
				t.Errorf("an instance counted %+v", got)
			}
			counted += got.TotalRequests
		}
		return counted == sent
	})
	for _, i := range all {
		i.Signal(syscall.SIGTERM)
	}
	for _, i := range all {
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
