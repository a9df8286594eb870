package sqlstore

import (
	"path/filepath"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit/servers"
)

// BenchmarkSettle100k measures what it takes to look for keys that have come
// back where there are none, among 100,000 that rest or serve, and to bring the
// columns of all up to date after a rest that ended for all at once.
func BenchmarkSettle100k(b *testing.B) {
	for engine, o := range map[string]func(b *testing.B) Options{
		EngineSQLite:     func(b *testing.B) Options { return Options{Path: filepath.Join(b.TempDir(), "pool.db")} },
		EnginePostgreSQL: func(b *testing.B) Options { return Options{URL: gateway.Secret(servers.SharedPostgres(b).Database(b))} },
	} {
		b.Run(engine, func(b *testing.B) {
			s := mustOpen(b, o(b))
			addMany(b, s)
			rest := func(until time.Time) {
				if _, err := s.writer.ExecContext(b.Context(), "update ollama_api_keys set status = 'resting', rests_until = ?", at(until)); err != nil {
					b.Fatal(err)
				}
			}
			settle := func(b *testing.B, want int) {
				if n, err := s.SettleStates(b.Context()); err != nil || n != want {
					b.Fatal(n, err)
				}
			}
			b.Run("active", func(b *testing.B) {
				for b.Loop() {
					settle(b, 0)
				}
			})
			rest(time.Now().Add(time.Hour))
			b.Run("resting", func(b *testing.B) {
				for b.Loop() {
					settle(b, 0)
				}
			})
			b.Run("back", func(b *testing.B) {
				for b.Loop() {
					b.StopTimer()
					rest(time.Now().Add(-time.Second))
					b.StartTimer()
					settle(b, manyKeys)
				}
			})
		})
	}
}
