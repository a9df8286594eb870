package sqlstore

import (
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// BenchmarkREST measures what a store over PostgREST takes: an import of 100,000
// keys, their loading, and a flush of counters.
func BenchmarkREST(b *testing.B) {
	server := startREST(b)
	s := onREST(b, server)(Options{})
	imports := 0
	b.Run("import", func(b *testing.B) {
		const keys = 100_000
		for b.Loop() {
			server.Calls()
			n, _, err := s.AddKeys(b.Context(), gateway.Ollama, yield(someKeys(imports*keys, (imports+1)*keys), nil), nil)
			if err != nil || n != keys {
				b.Fatal(n, err)
			}
			imports++
			calls := server.Calls()
			size := 0
			for _, c := range calls {
				size += c.Size
			}
			b.ReportMetric(float64(len(calls)), "calls/op")
			b.ReportMetric(float64(size)/1e6, "MB-sent/op")
		}
	})
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			if err := s.EachKey(b.Context(), gateway.Ollama, func(gateway.Key) error { return nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("flush", func(b *testing.B) {
		batch := gateway.Batch{Writer: "bench", Deltas: []gateway.Delta{flushed()}}
		for b.Loop() {
			server.Calls()
			batch.Number++
			if _, err := s.ApplyBatch(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(len(server.Calls())), "calls/op")
		}
	})
}

// flushed is what a second of traffic leaves to be written.
func flushed() gateway.Delta {
	now := time.Now()
	d := gateway.Delta{Provider: gateway.Ollama, Global: gateway.Counts{Requests: 50, Success: 49, Failure: 1}}
	d.Models = []gateway.ModelDelta{{Model: "kimi-k2", Hour: now.Truncate(time.Hour), LastUsed: now, Counts: d.Global}}
	for n := range 20 {
		d.Keys = append(d.Keys, gateway.KeyDelta{Key: gateway.IDOfKey(secretOf(n)), Counts: gateway.KeyCounts{Total: 3, Success: 2, Failure: 1, LastUsed: now}})
	}
	for _, of := range []gateway.Subject{gateway.OfProvider, gateway.OfModel} {
		d.Tallies = append(d.Tallies, gateway.TallyDelta{Of: of, Name: "kimi-k2", Minute: now.Truncate(time.Minute), Tally: gateway.Tally{Counts: gateway.Counts{Requests: 50, Success: 49}}})
	}
	for n := range 20 {
		d.Tallies = append(d.Tallies, gateway.TallyDelta{Of: gateway.OfKey, Name: string(gateway.IDOfKey(secretOf(n))), Minute: now.Truncate(time.Minute), Tally: gateway.Tally{Counts: gateway.Counts{Requests: 2}}})
	}
	for range 50 {
		d.Log = append(d.Log, gateway.LogEntry{ID: "request", Model: "kimi-k2", Status: 200, StartedAt: now})
	}
	return d
}
