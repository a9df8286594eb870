package e2e

import (
	"net/http"
	"syscall"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// TestFrozenInstanceUndoesNothing halts an instance that has just learnt
// something of its keys, changes them and more at the others, and lets it go on:
// what it believes by then is old, and must not come over what is new.
func TestFrozenInstanceUndoesNothing(t *testing.T) {
	t.Parallel()
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			databases, settings := way(t)
			known := map[string]fate{}
			var keys []string
			for n := range 8 {
				keys = append(keys, fakeKey(gateway.Ollama, n))
				known[keys[n]] = fateOK
			}
			up := newUpstream(t, known)
			c := newCluster(t, up.settings(), databases, settings...)
			f := &freezing{cluster: c, up: up, keys: keys}
			c.Via.AddKeys(gateway.Ollama, keys...)
			for _, i := range c.All {
				i.secrets.plant(keys...)
			}
			f.round(t)
			c.stop()
		})
	}
}

type freezing struct {
	*cluster
	up   *upstream
	keys []string
}

// learns lets the upstream refuse one request of an instance, which goes on with
// another key, and returns the key that was refused.
func (f *freezing) learns(t *testing.T, i *Instance, token string, status int, after string) (key string) {
	t.Helper()
	f.up.nextAnswer(func(w http.ResponseWriter, r *http.Request) {
		key = r.Header.Get("Authorization")[len("Bearer "):]
		if after != "" {
			w.Header().Set("Retry-After", after)
		}
		w.WriteHeader(status)
	})
	if got := f.ask(i, token); got != http.StatusOK || key == "" {
		t.Fatalf("with one of its keys refused the instance answers %d", got)
	}
	return key
}

func (f *freezing) round(t *testing.T) {
	t.Helper()
	first, second, frozen := f.All[0], f.All[1], f.All[2]
	stays, goes := first.CreateToken("stays", "all"), second.CreateToken("goes", "all")
	for _, token := range []string{stays, goes} {
		f.spreads("a token is made", func() {}, f.All, func(i *Instance) bool { return f.ask(i, token) == http.StatusOK })
	}
	// One that is disabled before, to be enabled meanwhile.
	was := f.keys[7]
	Admin[any](t, first, "POST", "/admin/keys/disable", map[string]any{"apiKey": idOf(was), "duration": 0})
	f.spreads("a key is disabled", func() {}, []*Instance{frozen}, func(i *Instance) bool {
		return i.Keys(gateway.Ollama)[idOf(was)].Status == "disabled"
	})
	rests, rests2 := f.learns(t, frozen, stays, http.StatusTooManyRequests, "300"), f.learns(t, frozen, stays, http.StatusTooManyRequests, "300")
	fails := f.learns(t, frozen, stays, http.StatusUnauthorized, "")
	frozen.Signal(syscall.SIGSTOP)
	halted := time.Now()
	defer frozen.Signal(syscall.SIGCONT)

	Admin[any](t, first, "POST", "/admin/keys/disable", map[string]any{"apiKey": idOf(rests), "duration": 0})
	Admin[any](t, second, "DELETE", "/admin/api-keys", map[string]any{"apiKey": idOf(rests2)})
	Admin[any](t, first, "POST", "/admin/keys/enable", map[string]any{"apiKey": idOf(fails)})
	Admin[any](t, second, "POST", "/admin/keys/enable", map[string]any{"apiKey": idOf(was)})
	Admin[any](t, first, "DELETE", "/admin/tokens", map[string]any{"token": idOfToken(goes)})
	wake := time.Duration(setting(t, "FAULT_FROZEN", 3)) * time.Second
	awaitWithin(t, wake+patience, "end of the halt", func() bool { return time.Since(halted) > wake })

	expected := map[string]string{idOf(rests): "disabled", idOf(fails): "active", idOf(was): "active"}
	holds := func(i *Instance) bool {
		now := i.Keys(gateway.Ollama)
		for id, status := range expected {
			if now[id].Status != status {
				return false
			}
		}
		_, there := now[idOf(rests2)]
		_, valid := i.Tokens()[idOfToken(goes)]
		return !there && !valid
	}
	if !holds(first) {
		t.Fatalf("before it wakes: %+v", first.Keys(gateway.Ollama))
	}
	frozen.Signal(syscall.SIGCONT)
	took := f.spreads("all of it", func() {}, []*Instance{frozen}, func(i *Instance) bool {
		return f.ask(i, goes) == http.StatusUnauthorized && f.uses(t, i, stays, fails, was) && !f.uses(t, i, stays, rests) && !f.uses(t, i, stays, rests2)
	})
	if took > agreement+time.Second { // twenty requests and more are in it
		t.Errorf("an instance that goes on follows after %v", took)
	}
	// What it had to write it writes about now; nothing of it may show.
	woke := time.Now()
	await(t, "the time in which it would have written", func() bool {
		if !holds(first) || !holds(second) {
			t.Fatalf("it has undone something:\n%+v", first.Keys(gateway.Ollama))
		}
		return time.Since(woke) > 2*time.Second
	})
	if !holds(frozen) {
		t.Errorf("it believes\n%+v", frozen.Keys(gateway.Ollama))
	}
}

// uses sends enough requests for every key to have its turn, and tells whether
// all of some keys had one.
func (f *freezing) uses(t *testing.T, i *Instance, token string, keys ...string) bool {
	t.Helper()
	count := func() map[string]int {
		n := map[string]int{}
		for call, times := range f.up.Calls() {
			n[call.Key] += times
		}
		return n
	}
	before := count()
	for range len(f.keys) {
		if got := f.ask(i, token); got != http.StatusOK {
			t.Fatalf("it answers %d", got)
		}
	}
	after := count()
	for _, key := range keys {
		if after[key] == before[key] {
			return false
		}
	}
	return true
}
