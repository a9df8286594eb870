package pool

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// crowd makes a pool of n keys of which a share rests, in an order that many
// rests and returns have shuffled: neighbours in the rotation are strangers in
// memory.
func crowd(n int, restingShare float64) (*Pool, time.Time) {
	now := time.Unix(1_800_000_000, 0)
	p := New(gateway.Ollama, Settings{FailedFor: time.Hour, DisableThreshold: 3, DisabledFor: time.Hour})
	p.Grow(n)
	ids := make([]gateway.KeyID, n)
	for i := range n {
		k := gateway.Key{Secret: crowdKey(i), Username: "user" + strconv.Itoa(i) + "@example.com"}
		k.State.RestsUntil = now.Add(time.Hour)
		ids[i] = gateway.IDOfKey(k.Secret)
		p.Put(k, now)
	}
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	rng.Shuffle(n, func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	for _, id := range ids[int(float64(n)*restingShare):] {
		p.SetState(id, gateway.KeyState{}, now)
	}
	return p, now
}

// crowdKey is a made-up key of the length that Ollama Cloud's have.
func crowdKey(i int) gateway.Secret {
	return gateway.Secret(fmt.Sprintf("%032x.example-of-key-%09d", i, i))
}

// BenchmarkPick is the cost of choosing a key, which must depend neither on
// how many there are nor on how many of them rest.
func BenchmarkPick(b *testing.B) {
	for _, n := range []int{1_000, 100_000, 1_000_000} {
		for _, resting := range []float64{0, 0.5, 0.999} {
			b.Run(fmt.Sprintf("keys=%d/resting=%g%%", n, resting*100), func(b *testing.B) {
				p, now := crowd(n, resting)
				runtime.GC()
				b.Run("serial", func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						var w Want
						if _, err := p.Acquire(&w, now); err != nil {
							b.Fatal(err)
						}
					}
				})
				b.Run("parallel", func(b *testing.B) {
					b.ReportAllocs()
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							var w Want
							if _, err := p.Acquire(&w, now); err != nil {
								b.Error(err)
								return
							}
						}
					})
				})
			})
		}
	}
}

// BenchmarkLend is the pool's whole part in a request that goes well.
func BenchmarkLend(b *testing.B) {
	p, now := crowd(100_000, 0.5)
	runtime.GC()
	b.ReportAllocs()
	for b.Loop() {
		var w Want
		l, err := p.Acquire(&w, now)
		if err != nil {
			b.Fatal(err)
		}
		l.Settle(&served, now)
		l.Release(&served, now)
	}
}

// BenchmarkTurnedAway is the cost of saying that there is no key.
func BenchmarkTurnedAway(b *testing.B) {
	p, now := crowd(100_000, 1)
	b.ReportAllocs()
	for b.Loop() {
		var w Want
		if _, err := p.Acquire(&w, now); err == nil {
			b.Fatal("a key was lent")
		}
	}
}

// BenchmarkMemory reports what a key costs in memory, its secret and account
// name included.
func BenchmarkMemory(b *testing.B) {
	const n = 100_000
	for b.Loop() {
		before := heapInUse()
		p, _ := crowd(n, 0)
		b.ReportMetric(float64(heapInUse()-before)/n, "B/key")
		runtime.KeepAlive(p)
	}
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
