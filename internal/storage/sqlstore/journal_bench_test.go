package sqlstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// busySecond is what n keys of a pool do in about a second: a request each.
func busySecond(r *rand.Rand, ids []gateway.KeyID, n int, now time.Time) gateway.Delta {
	d := gateway.Delta{Provider: gateway.Ollama}
	for _, i := range r.Perm(len(ids))[:n] {
		c := gateway.KeyCounts{Total: 1, Success: 1, LastUsed: now, LastSuccess: now}
		d.Keys = append(d.Keys, gateway.KeyDelta{Key: ids[i], Counts: c})
		d.Tallies = append(d.Tallies, gateway.TallyDelta{Of: gateway.OfKey, Name: string(ids[i]), Tally: someTally(r, 1)})
	}
	return d
}

// busyJournal is a store with 100,000 keys, half of them used, and what a minute
// at 1,000 requests a second leaves in the journal.
func busyJournal(b *testing.B, used int) (*Store, []gateway.KeyID) {
	b.Helper()
	s, _, ids := storeOf(b, manyKeys)
	r := rand.New(rand.NewPCG(1, 2))
	now := time.Now().Truncate(time.Hour)
	err := errors.Join(s.Apply(b.Context(), []gateway.Delta{busySecond(r, ids, used, now)}), s.Fold(b.Context()))
	for i := range 60 {
		err = errors.Join(err, s.Apply(b.Context(), []gateway.Delta{busySecond(r, ids, 1000, now.Add(time.Duration(i)*time.Second))}))
	}
	if err != nil {
		b.Fatal(err)
	}
	return s, ids
}

// BenchmarkBusyReads reads beside the journal of a busy minute.
func BenchmarkBusyReads(b *testing.B) {
	b.Run("half used", func(b *testing.B) { busyReads(b, manyKeys/2) })
	b.Run("all used", func(b *testing.B) { busyReads(b, manyKeys) })
}

func busyReads(b *testing.B, used int) {
	s, ids := busyJournal(b, used)
	run := func(name string, read func() error) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := read(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("key", func() error { _, _, err := s.Key(b.Context(), gateway.Ollama, ids[7]); return err })
	run("hours", func() error {
		_, err := s.KeyHours(b.Context(), gateway.Ollama, ids[7], time.Time{})
		return err
	})
	for _, sort := range []string{"created_at", "-username", "expires_at", "status", "-consecutive_failures", "last_used", "-last_used"} {
		for _, offset := range []int{0, manyKeys / 4, manyKeys / 2, manyKeys * 3 / 4, manyKeys - 200} {
			run(fmt.Sprintf("keys/%s/%d", sort, offset), func() error {
				_, _, err := s.Keys(b.Context(), gateway.Ollama, gateway.KeyQuery{Sort: sort, Offset: offset, Limit: 200})
				return err
			})
		}
	}
	for _, by := range []string{"requests", "lastUsed"} {
		for _, offset := range []int{0, manyKeys / 4, manyKeys / 2, manyKeys * 3 / 4, 89_800} {
			run(fmt.Sprintf("ranks/%s/%d", by, offset), func() error {
				_, _, err := s.KeyRanks(b.Context(), gateway.Ollama, by, false, offset, 200)
				return err
			})
		}
	}
	run("tallies", func() error {
		_, err := s.Tallies(b.Context(), gateway.Ollama, gateway.TallyQuery{Of: gateway.OfKey, Per: gateway.Ever, Names: namesOf(ids[:200])})
		return err
	})
	run("tallies/page", func() error {
		_, err := s.Tallies(b.Context(), gateway.Ollama, gateway.TallyQuery{Of: gateway.OfKey, Per: gateway.Ever, Limit: 200, Offset: manyKeys / 2})
		return err
	})
	run("each", func() error {
		return s.EachKey(b.Context(), gateway.Ollama, func(gateway.Key) error { return nil })
	})
}

// BenchmarkBusyFold folds what keys of 100,000 did, in a few seconds and in a minute.
func BenchmarkBusyFold(b *testing.B) {
	for _, seconds := range []int{1, 5, 60} {
		b.Run(fmt.Sprintf("%ds", seconds), func(b *testing.B) {
			s, ids := busyJournal(b, manyKeys/2)
			r := rand.New(rand.NewPCG(3, 4))
			if err := s.Fold(b.Context()); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				b.StopTimer()
				for range seconds {
					if err := s.Apply(b.Context(), []gateway.Delta{busySecond(r, ids, 1000, time.Now())}); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
				if err := s.Fold(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*seconds*1000), "us/entry")
		})
	}
}
