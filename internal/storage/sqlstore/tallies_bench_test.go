package sqlstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

const (
	benchModels = 50
	benchTokens = 30
	benchHours  = 90 * 24
)

// someTally is what n requests may add up to.
func someTally(r *rand.Rand, n int64) (t gateway.Tally) {
	t.Counts = gateway.Counts{Requests: n, Success: n, Usage: gateway.Usage{Input: 900 * n, Output: 400 * n, Cost: 12345 * gateway.Cost(n)}}
	t.Attempts = n
	for range n {
		d := time.Duration(r.ExpFloat64() * float64(3*time.Second))
		t.Duration.Observe(d, 1)
		t.FirstByte.Observe(d/5, 1)
	}
	return t
}

func modelName(i int) string { return fmt.Sprintf("model-%d:120b", i) }

func tokenName(i int) string { return gateway.HashToken(gateway.Secret(fmt.Sprintf("sk-fake-%d", i))) }

// busyMinute is what a minute with all models and tokens adds up to.
func busyMinute(r *rand.Rand, minute time.Time, models, tokens int) gateway.Delta {
	d := gateway.Delta{Provider: gateway.Ollama}
	add := func(of gateway.Subject, name string, n int64) {
		d.Tallies = append(d.Tallies, gateway.TallyDelta{Of: of, Name: name, Minute: minute, Tally: someTally(r, n)})
	}
	add(gateway.OfProvider, "", 460)
	for i := range models {
		add(gateway.OfModel, modelName(i), 9)
	}
	for i := range tokens {
		add(gateway.OfToken, tokenName(i), 15)
	}
	return d
}

// busyStore makes a store with 100,000 used keys and the rollups of a million
// requests over 90 days.
func busyStore(b *testing.B) (s *Store, now time.Time) {
	b.Helper()
	now = time.Date(2030, time.June, 1, 12, 30, 0, 0, time.UTC)
	s = mustOpen(b, Options{Path: filepath.Join(b.TempDir(), "pool.db"), Now: func() time.Time { return now }})
	addMany(b, s)
	r := rand.New(rand.NewPCG(1, 2))
	for h := range benchHours {
		if err := s.Apply(b.Context(), []gateway.Delta{busyMinute(r, now.Add(time.Duration(h-benchHours+1)*time.Hour), benchModels, benchTokens)}); err != nil {
			b.Fatal(err)
		}
	}
	return s, now
}

func BenchmarkTallies(b *testing.B) {
	s, now := busyStore(b)
	if _, err := s.writer.ExecContext(b.Context(), "pragma wal_checkpoint(truncate)"); err != nil {
		b.Fatal(err)
	}
	day := 24 * time.Hour
	five := []string{modelName(3), modelName(7), modelName(11), modelName(13), modelName(17)}
	for _, c := range []struct {
		name string
		q    gateway.TallyQuery
	}{
		{"models 24h by hour", gateway.TallyQuery{Of: gateway.OfModel, Per: gateway.PerHour, Since: now.Add(-day)}},
		{"provider 7d by hour", gateway.TallyQuery{Of: gateway.OfProvider, Per: gateway.PerHour, Since: now.Add(-7 * day)}},
		{"models 7d by hour", gateway.TallyQuery{Of: gateway.OfModel, Per: gateway.PerHour, Since: now.Add(-7 * day)}},
		{"models 30d by day", gateway.TallyQuery{Of: gateway.OfModel, Per: gateway.PerDay, Since: now.Add(-30 * day)}},
		{"5 models 30d by hour counted", gateway.TallyQuery{Of: gateway.OfModel, Names: five, Per: gateway.PerHour, Since: now.Add(-30 * day), Counted: true}},
		{"5 models 30d by hour", gateway.TallyQuery{Of: gateway.OfModel, Names: five, Per: gateway.PerHour, Since: now.Add(-30 * day)}},
		{"models ever", gateway.TallyQuery{Of: gateway.OfModel, Per: gateway.Ever}},
	} {
		b.Run("sum/"+c.name, func(b *testing.B) {
			for b.Loop() {
				if found, err := s.Tallies(b.Context(), gateway.Ollama, c.q); err != nil || len(found) == 0 {
					b.Fatal(found, err)
				}
			}
		})
		b.Run("series/"+c.name, func(b *testing.B) {
			for b.Loop() {
				if found, err := s.TallySeries(b.Context(), gateway.Ollama, c.q); err != nil || len(found) == 0 {
					b.Fatal(found, err)
				}
			}
		})
	}
}

func BenchmarkApplyTallies(b *testing.B) {
	s := mustOpen(b, Options{Path: filepath.Join(b.TempDir(), "pool.db")})
	d := busyMinute(rand.New(rand.NewPCG(1, 2)), noon, 20, 10)
	for b.Loop() {
		if err := s.Apply(b.Context(), []gateway.Delta{d}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkKeyTallies reads what 100,000 keys served.
func BenchmarkKeyTallies(b *testing.B) {
	s, _, ids := storeOf(b, manyKeys)
	hour := time.Now().Truncate(time.Hour)
	deltas := []gateway.Delta{served(ids)}
	for h := range 24 {
		d := used(ids[:1000], hour.Add(-time.Duration(h)*time.Hour))
		deltas = append(deltas, d)
	}
	if err := errors.Join(s.Apply(b.Context(), deltas), s.Fold(b.Context())); err != nil {
		b.Fatal(err)
	}
	for name, q := range map[string]gateway.TallyQuery{
		"all":     {Of: gateway.OfKey, Per: gateway.Ever},
		"counted": {Of: gateway.OfKey, Per: gateway.Ever, Counted: true},
		"named":   {Of: gateway.OfKey, Per: gateway.Ever, Names: namesOf(ids[:50])},
		"page":    {Of: gateway.OfKey, Per: gateway.Ever, Limit: 50},
		"deep":    {Of: gateway.OfKey, Per: gateway.Ever, Limit: 50, Offset: 90_000, Sort: "output_tokens"},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if found, err := s.Tallies(b.Context(), gateway.Ollama, q); err != nil || len(found) == 0 {
					b.Fatal(len(found), err)
				}
			}
		})
	}
	b.Run("count", func(b *testing.B) {
		for b.Loop() {
			if n, err := s.CountTallies(b.Context(), gateway.Ollama, gateway.TallyQuery{Of: gateway.OfKey, Per: gateway.Ever}); err != nil || n != manyKeys {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("hours", func(b *testing.B) {
		for b.Loop() {
			if found, err := s.KeyHours(b.Context(), gateway.Ollama, ids[7], hour.Add(-23*time.Hour)); err != nil || len(found) != 24 {
				b.Fatal(len(found), err)
			}
		}
	})
}

func namesOf(ids []gateway.KeyID) (names []string) {
	for _, id := range ids {
		names = append(names, string(id))
	}
	return names
}
