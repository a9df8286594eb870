package e2e

import (
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"ollama-api-pool/internal/gateway"
)

// TestRollingRestart stops and starts one instance after the other while
// requests run. Before the second one starts again the database is changed as a
// newer version would change it: a column more, a step more.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	url := have(t, lockedPostgres).Database(t)
	known := map[string]fate{}
	var keys []string
	for n := range 9 {
		keys = append(keys, fakeKey(gateway.Ollama, n))
		known[keys[n]] = fateOK
	}
	l := newLedger(t, 1, known)
	l.calm = true
	c := newCluster(t, l.settings(), []string{url, url, url}, "SHUTDOWN_DELAY=1s")
	c.Front.watch(t)
	c.Via.AddKeys(gateway.Ollama, keys...)
	token := c.Via.CreateToken("rolling", "all")
	for _, i := range c.All {
		i.secrets.plant(append(keys, token)...)
	}
	c.spreads("a token", func() {}, c.All, func(i *Instance) bool { return knowsToken(i, token) })
	var enough atomic.Bool
	var clients sync.WaitGroup
	clients.Go(func() { l.keepOn(t.Context(), c.Front.URL, []string{token}, 8, enough.Load) })
	more := func(n int) {
		t.Helper()
		until := l.begun() + n
		await(t, "more requests", func() bool { return l.begun() >= until })
	}
	for n, i := range c.All {
		more(200)
		i.Signal(syscall.SIGTERM)
		await(t, "front that sends it nothing", func() bool { return c.Front.isOut(n) })
		if code := i.Wait(); code != 0 {
			t.Errorf("exit code %d:\n%s", code, i.Log())
		}
		more(100)
		if n == 1 {
			execute(t, url, "alter table ollama_api_keys add column of_the_next_version text",
				"insert into pool_schema (version_id, is_applied) select max(version_id) + 1, true from pool_schema")
		}
		c.start(n)
		if n > 0 && !strings.Contains(i.Err.String(), "newer version") {
			t.Errorf("it does not say that the database is a newer version's:\n%s", i.Err.String())
		}
		await(t, "front that sends it requests", func() bool { return !c.Front.isOut(n) })
	}
	more(200)
	enough.Store(true)
	clients.Wait()
	if l.refused+len(l.failures) > 0 {
		t.Errorf("of %d requests %d failed, among them\n%s", l.n, l.refused+len(l.failures), strings.Join(l.failures[:min(5, len(l.failures))], "\n"))
	}
	if n, what, _ := l.awaitEven(t, patience, c.All); n > 0 {
		t.Errorf("the counters differ: %v", what)
	}
	// Every kind of write works beside the next version.
	Admin[any](t, c.All[2], "POST", "/admin/keys/disable", map[string]any{"apiKey": idOf(keys[0]), "duration": 0})
	Admin[any](t, c.All[1], "DELETE", "/admin/api-keys", map[string]any{"apiKey": idOf(keys[0])})
	c.stop()
}
