package sqlstore

import (
	"math/rand/v2"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit/servers"
)

// benchPostgres runs a benchmark with a database and through a pooler.
func benchPostgres(b *testing.B, run func(b *testing.B, address gateway.Secret)) {
	b.Run("direct", func(b *testing.B) { run(b, gateway.Secret(servers.SharedPostgres(b).Database(b))) })
	b.Run("pooler", func(b *testing.B) { run(b, gateway.Secret(servers.SharedPgbouncer(b).Database(b))) })
}

func BenchmarkPostgresAddKeys100k(b *testing.B) {
	benchPostgres(b, func(b *testing.B, address gateway.Secret) {
		s := mustOpen(b, Options{URL: address, EncryptionKey: masterKey(1)})
		for b.Loop() {
			addMany(b, s)
			b.StopTimer()
			if _, err := s.writer.ExecContext(b.Context(), "truncate ollama_api_keys cascade"); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
}

// BenchmarkPostgresApply writes down what happens in a busy second: thousands of
// keys, some models and tokens, the log.
func BenchmarkPostgresApply(b *testing.B) {
	benchPostgres(b, func(b *testing.B, address gateway.Secret) {
		s := mustOpen(b, Options{URL: address})
		addMany(b, s)
		ids, err := s.KeyIDs(b.Context(), gateway.Ollama, gateway.KeyFilter{})
		if err != nil {
			b.Fatal(err)
		}
		r := rand.New(rand.NewPCG(1, 2))
		for b.Loop() {
			now := time.Now()
			d := busySecond(r, ids, 2000, now)
			m := busyMinute(r, now.Truncate(time.Minute), 20, 20)
			d.Global, d.Models, d.Tokens, d.Tallies = m.Global, m.Models, m.Tokens, append(d.Tallies, m.Tallies...)
			if err := s.Apply(b.Context(), []gateway.Delta{d}); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		began := time.Now()
		if err := s.Fold(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(began).Seconds(), "fold-s")
	})
}

func BenchmarkPostgresReads(b *testing.B) {
	benchPostgres(b, func(b *testing.B, address gateway.Secret) {
		s := mustOpen(b, Options{URL: address})
		addMany(b, s)
		b.Run("EachKey", func(b *testing.B) {
			for b.Loop() {
				if err := s.EachKey(b.Context(), gateway.Ollama, func(gateway.Key) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
		for name, q := range map[string]gateway.KeyQuery{
			"page": {Limit: 50}, "by user, far": {Limit: 50, Offset: 60_000, Sort: "username"}, "search": {Limit: 50, Search: "fake-key-0000"},
		} {
			b.Run(name, func(b *testing.B) {
				for b.Loop() {
					if _, _, err := s.Keys(b.Context(), gateway.Ollama, q); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	})
}
