package shared

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit/servers"
)

// kept waits until a value that one instance keeps is found by another.
func isKept(t testing.TB, by *Redis, cache, name, value string) {
	t.Helper()
	await(t, "the value is kept", func() bool { return string(by.Find(context.Background(), cache, name)) == value })
}

func TestWhatOneKeepsOthersFind(t *testing.T) {
	t.Parallel()
	url := servers.SharedRedis(t).URL()
	a, b := start(t, url, "keeps", Options{}), start(t, url, "keeps", Options{})
	foreign := start(t, url, "keeps something else", Options{})
	if b.Find(t.Context(), "cache", "name") != nil {
		t.Fatal("found before it was kept")
	}
	a.Keep("cache", "name", []byte("value"), time.Minute)
	isKept(t, b, "cache", "name", "value")
	a.Keep("cache", "name", []byte("another"), time.Minute)
	isKept(t, b, "cache", "name", "another")
	for _, r := range []*Redis{a, b, foreign} {
		if r.Find(t.Context(), "cache", "another name") != nil || r.Find(t.Context(), "another cache", "name") != nil {
			t.Fatal("found what nobody kept")
		}
	}
	if foreign.Find(t.Context(), "cache", "name") != nil {
		t.Fatal("found in another store")
	}
}

func TestKeptForATime(t *testing.T) {
	t.Parallel()
	r := start(t, servers.SharedRedis(t).URL(), "time", Options{})
	r.Keep("cache", "name", []byte("value"), 300*time.Millisecond)
	isKept(t, r, "cache", "name", "value")
	await(t, "its time is over", func() bool { return r.Find(context.Background(), "cache", "name") == nil })
	r.Keep("cache", "never", []byte("value"), 0)
	r.Keep("cache", "after it", []byte("value"), time.Minute)
	isKept(t, r, "cache", "after it", "value")
	if r.Find(t.Context(), "cache", "never") != nil {
		t.Fatal("kept for no time")
	}
}

func TestWhatIsTooMuchIsNotKept(t *testing.T) {
	t.Parallel()
	s := startRedis(t, servers.RedisOptions{})
	r := start(t, s.URL(), "much", Options{Deadline: 2 * time.Second})
	r.Keep("cache", "large", bytes.Repeat([]byte("x"), maxValue+1), time.Minute)
	r.Keep("cache", "largest", bytes.Repeat([]byte("x"), maxValue), time.Minute)
	await(t, "the largest that may be is kept", func() bool { return len(r.Find(context.Background(), "cache", "largest")) == maxValue })
	if st := r.Status(); st.Dropped != 1 || r.Find(t.Context(), "cache", "large") != nil {
		t.Fatalf("%+v", st)
	}
	// A server that takes nothing: what waits is bounded, and nobody waits for it.
	s.Freeze()
	began := time.Now()
	for n := range 10 * maxQueue {
		r.Keep("cache", fmt.Sprint(n), bytes.Repeat([]byte("x"), 1000), time.Minute)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Fatalf("it took %s", took)
	}
	if r.Status().Dropped < 8*maxQueue {
		t.Fatalf("%+v", r.Status())
	}
	s.Thaw()
	await(t, "it is back", r.Up)
	await(t, "nothing is lost of what is counted", func() bool { return r.kept.queued.Load() == 0 && len(r.kept.queue) == 0 })
	r.Keep("cache", "again", []byte("value"), time.Minute)
	isKept(t, r, "cache", "again", "value")
}

func TestDrop(t *testing.T) {
	t.Parallel()
	url := servers.SharedRedis(t).URL()
	a, b := start(t, url, "drop", Options{}), start(t, url, "drop", Options{})
	for n := range 30 {
		a.Keep("cache", fmt.Sprint("one ", n), []byte(fmt.Sprint("one ", n)), time.Minute)
		a.Keep("cache", fmt.Sprint("two ", n), []byte(fmt.Sprint("two ", n)), time.Minute)
		a.Keep("other", fmt.Sprint(n), []byte("one"), time.Minute)
	}
	isKept(t, b, "other", "29", "one")
	if n := b.Drop("cache", 3, func(head []byte) bool { return string(head) == "one" }); n != 30 {
		t.Fatalf("%d were dropped", n)
	}
	for n := range 30 {
		if a.Find(t.Context(), "cache", fmt.Sprint("one ", n)) != nil {
			t.Fatalf("one %d is still there", n)
		}
		if a.Find(t.Context(), "cache", fmt.Sprint("two ", n)) == nil {
			t.Fatalf("two %d is gone", n)
		}
	}
	if n := b.Drop("cache", 3, nil); n != 30 {
		t.Fatalf("%d were dropped", n)
	}
	if a.Find(t.Context(), "cache", "two 3") != nil || a.Find(t.Context(), "other", "3") == nil {
		t.Fatal("the wrong ones were dropped")
	}
	// Something else in that place goes as well.
	if err := a.client.SAdd(t.Context(), a.entry("cache", "set"), "x").Err(); err != nil {
		t.Fatal(err)
	}
	if n := b.Drop("cache", 3, func([]byte) bool { return false }); n != 1 || !b.Up() {
		t.Fatalf("%d were dropped, %+v", n, b.Status())
	}
}

// TestWhatWaitsIsDroppedToo drops while values are on their way.
func TestWhatWaitsIsDroppedToo(t *testing.T) {
	t.Parallel()
	r := start(t, servers.SharedRedis(t).URL(), "waits", Options{})
	for round := range 20 {
		for n := range 100 {
			r.Keep("cache", fmt.Sprint(round, " ", n), []byte("value"), time.Minute)
		}
		r.Drop("cache", 1, nil)
		r.Keep("cache", fmt.Sprint("after ", round), []byte("value"), time.Minute)
		isKept(t, r, "cache", fmt.Sprint("after ", round), "value")
		for n := range 100 {
			if r.Find(t.Context(), "cache", fmt.Sprint(round, " ", n)) != nil {
				t.Fatalf("round %d: %d is still there", round, n)
			}
		}
	}
}

// TestADropWhileItIsDownIsMadeUpFor: what should be forgotten is not found when
// the Redis is back, although it lies there.
func TestADropWhileItIsDownIsMadeUpFor(t *testing.T) {
	t.Parallel()
	s := startRedis(t, servers.RedisOptions{})
	a, b := start(t, s.URL(), "down", Options{}), start(t, s.URL(), "down", Options{})
	a.Keep("cache", "name", []byte("old"), time.Hour)
	a.Keep("cache", "kept", []byte("kept"), time.Hour)
	isKept(t, b, "cache", "kept", "kept")
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	await(t, "it is seen", func() bool { return !b.Up() })
	for range 3 * maxDrops { // more than are remembered one by one
		if n := b.Drop("other", 3, func(head []byte) bool { return string(head) == "old" }); n != 0 {
			t.Fatalf("%d were dropped", n)
		}
	}
	b.Drop("cache", 3, func(head []byte) bool { return string(head) == "old" })
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "it is back", b.Up)
	await(t, "what may stay is found", func() bool {
		if v := b.Find(context.Background(), "cache", "name"); v != nil {
			t.Fatalf("found what is to be forgotten: %s", v)
		}
		return b.Find(context.Background(), "cache", "kept") != nil || !strings.Contains(fmt.Sprint(b.kept.dropping("cache")), "true")
	})
	await(t, "the other one does not find it either", func() bool {
		return a.Up() && a.Find(context.Background(), "cache", "name") == nil
	})
}

func TestNothingIsAskedForWhatHasNoLimit(t *testing.T) {
	t.Parallel()
	r := start(t, servers.SharedRedis(t).URL(), "nothing", Options{})
	r.TellToken(gateway.TokenCount{Hash: "sha256:nothing", Requests: 1})
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := r.Status(); s.Calls != 0 || len(r.told.counts) != 0 {
		t.Fatalf("%+v", s)
	}
}
