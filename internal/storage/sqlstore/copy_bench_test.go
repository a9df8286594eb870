package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit/servers"
)

// largeStore makes a store with 100,000 keys and their statistics, and ninety
// days of sums by the hour of ten models and ten tokens.
func largeStore(b *testing.B) *Store {
	b.Helper()
	s := mustOpen(b, Options{Path: filepath.Join(b.TempDir(), "large.db"), EncryptionKey: masterKey(1)})
	if _, _, err := s.AddKeys(b.Context(), gateway.Ollama, yield(someKeys(0, 100_000), nil), nil); err != nil {
		b.Fatal(err)
	}
	columns := strings.Join(tallyColumns, ", ")
	numbers := strings.TrimPrefix(strings.Repeat(", n", len(tallyColumns)), ", ")
	hours := "with recursive h (n) as (select 0 union all select n + 1 from h where n < 2159), m (i) as (select 0 union all select i + 1 from m where i < 9) "
	err := s.write(b.Context(), "fill", func(ctx context.Context, tx *sql.Tx) error {
		for _, text := range []string{
			`insert into ollama_api_key_stats (api_key, total_requests, success_count, failure_count, last_used, last_success, created_at)
				select api_key, 100, 90, 10, created_at, created_at, created_at from ollama_api_keys`,
			"insert into ollama_api_key_hourly (key_id, hour, total, success, failure) select key_id, 529000 + h, 5, 4, 1 from ollama_api_keys, (select 0 h union all select 1 union all select 2)",
			"insert into ollama_api_tally_ever (subject, name, " + columns + ") select 'key', key_id, " + strings.ReplaceAll(numbers, "n", "7") + " from ollama_api_keys",
			hours + "insert into ollama_api_tally_hour (subject, name, period, " + columns + ") select 'model', 'model-' || i, strftime('%Y-%m-%d %H:%M:%S+00:00', 1900000000 - n * 3600, 'unixepoch'), " + numbers + " from h, m",
			hours + "insert into ollama_api_tally_hour (subject, name, period, " + columns + ") select 'token', 'sha256:' || i, strftime('%Y-%m-%d %H:%M:%S+00:00', 1900000000 - n * 3600, 'unixepoch'), " + numbers + " from h, m",
			hours + "insert into ollama_api_model_hourly (provider, model, hour, requests, success, failure) select 'ollama', 'model-' || i, strftime('%Y-%m-%d %H:%M:%S+00:00', 1900000000 - n * 3600, 'unixepoch'), n, n, 0 from h, m",
		} {
			if _, err := tx.ExecContext(ctx, text); err != nil {
				return fmt.Errorf("%.60s: %w", text, err)
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func BenchmarkCopyLarge(b *testing.B) {
	from := largeStore(b)
	run := func(b *testing.B, from *Store, to func(b *testing.B) Options) {
		for b.Loop() {
			b.StopTimer()
			s := mustOpen(b, to(b))
			runtime.GC()
			b.StartTimer()
			var most uint64
			report, err := Copy(b.Context(), from, s, CopyOptions{Progress: func(p CopyProgress) {
				if p.Done%50_000 == 0 {
					var m runtime.MemStats
					runtime.ReadMemStats(&m)
					most = max(most, m.HeapAlloc)
				}
			}})
			if err != nil {
				b.Fatal(err)
			}
			rows := int64(0)
			for _, t := range report.Tables {
				rows += t.Rows
			}
			b.ReportMetric(float64(rows)/report.Took.Seconds(), "rows/s")
			b.ReportMetric(report.Took.Round(time.Millisecond).Seconds(), "s")
			b.ReportMetric(float64(most>>20), "MiB")
			b.StopTimer()
			if s.Engine() == EngineSQLite {
				mustClose(b, s)
			}
			b.StartTimer()
		}
	}
	b.Run("sqlite to sqlite", func(b *testing.B) {
		run(b, from, func(b *testing.B) Options { return Options{Path: filepath.Join(b.TempDir(), "to.db")} })
	})
	b.Run("sqlite to postgresql", func(b *testing.B) {
		run(b, from, func(b *testing.B) Options {
			return Options{URL: gateway.Secret(servers.SharedPostgres(b).URL(madeTables(b)))}
		})
	})
	b.Run("existing postgresql to sqlite", func(b *testing.B) {
		address := makeExisting(b, 50_000, nil, nil)
		src, err := OpenSource(b.Context(), Options{URL: gateway.Secret(address)})
		if err != nil {
			b.Fatal(err)
		}
		defer mustClose(b, src)
		run(b, src, func(b *testing.B) Options { return Options{Path: filepath.Join(b.TempDir(), "to.db")} })
	})
}
