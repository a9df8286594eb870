package shared

import (
	"sync/atomic"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit/servers"
)

// hearer is a Redis that counts how often it is woken.
type hearer struct {
	*Redis
	woken atomic.Int64
}

func newHearer(t testing.TB, url, store string, o Options) *hearer {
	t.Helper()
	if o.Deadline == 0 {
		o.Deadline = ample
	}
	o.Pause = 20 * time.Millisecond
	r, err := New(gateway.Secret(url), o)
	if err != nil {
		t.Fatal(err)
	}
	h := &hearer{Redis: r}
	r.OnHint(func() { h.woken.Add(1) })
	r.SetPrefix(own(t, store))
	stop := running(t, r)
	t.Cleanup(func() { _ = stop() })
	await(t, "it is up and listens", func() bool { return r.Up() && h.woken.Load() > 0 })
	return h
}

// heard waits until a hint of one is heard by another.
func heard(t testing.TB, from, to *hearer) {
	t.Helper()
	before := to.Status().Hints
	await(t, "a hint is heard", func() bool {
		from.Hint(t.Context())
		return to.Status().Hints > before
	})
}

func TestHintsWakeTheOthers(t *testing.T) {
	t.Parallel()
	url := servers.SharedRedis(t).URL()
	a, b, c := newHearer(t, url, "hints", Options{}), newHearer(t, url, "hints", Options{}), newHearer(t, url, "hints", Options{})
	other := newHearer(t, url, "other hints", Options{})
	before, foreign := b.woken.Load(), other.woken.Load()
	a.Hint(t.Context())
	await(t, "the others are woken", func() bool { return b.Status().Hints == 1 && c.Status().Hints == 1 && b.woken.Load() > before })
	// Many changes in a row make few hints, and the last one is not lost.
	for range 1000 {
		b.Hint(t.Context())
	}
	await(t, "the others are woken", func() bool { return a.Status().Hints >= 1 && c.Status().Hints >= 2 })
	heard(t, c, a)
	if n := a.Status().Hints; n > 100 {
		t.Errorf("%d hints for a thousand changes", n)
	}
	if other.Status().Hints != 0 || other.woken.Load() != foreign {
		t.Errorf("another store was woken: %+v", other.Status())
	}
	// What one says itself wakes it not: b said much, and heard of a and c.
	if s := b.Status(); s.Hints > 100 {
		t.Errorf("it hears itself: %+v", s)
	}
}

func TestHintsAfterAnOutage(t *testing.T) {
	t.Parallel()
	s := startRedis(t, servers.RedisOptions{})
	a, b := newHearer(t, s.URL(), "outage", Options{}), newHearer(t, s.URL(), "outage", Options{})
	heard(t, a, b)
	s.Kill()
	await(t, "it is seen", func() bool { return !a.Up() && !b.Up() })
	woken := b.woken.Load()
	a.Hint(t.Context()) // nobody can be told
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	// Whoever listens again looks: something may have been said meanwhile.
	await(t, "it looks", func() bool { return b.Up() && b.woken.Load() > woken })
	heard(t, a, b)
	heard(t, b, a)
}

// TestAHintIsOwedUntilItIsGiven keeps one back while the Redis is down.
func TestAHintIsOwedUntilItIsGiven(t *testing.T) {
	t.Parallel()
	url := servers.SharedRedis(t).URL()
	b := newHearer(t, url, "owed", Options{})
	a, err := New(gateway.Secret(url), Options{Deadline: ample, Pause: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	a.Hint(t.Context())
	a.SetPrefix(own(t, "owed"))
	stop := running(t, a)
	await(t, "it is heard", func() bool { return b.Status().Hints == 1 })
	// And the last one is given at the end.
	a.Hint(t.Context())
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	await(t, "it is heard", func() bool { return b.Status().Hints == 2 })
}
