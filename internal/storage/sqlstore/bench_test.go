package sqlstore

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// manyKeys is the size at which imports and starts are measured.
const manyKeys = 100_000

func addMany(b *testing.B, s *Store) {
	b.Helper()
	keys := func(yield func(gateway.Key, error) bool) {
		for n := range manyKeys {
			if !yield(gateway.Key{Secret: secretOf(n * 7919 % 1_000_003), Username: "someone@example.com"}, nil) {
				return
			}
		}
	}
	if n, _, err := s.AddKeys(b.Context(), gateway.Ollama, keys, nil); n != manyKeys || err != nil {
		b.Fatal(n, err)
	}
}

// filled makes a store in which every key has been used.
func filled(b *testing.B, key []byte) Options {
	b.Helper()
	o := Options{Path: filepath.Join(b.TempDir(), "pool.db"), EncryptionKey: key}
	s := mustOpen(b, o)
	addMany(b, s)
	d := gateway.Delta{Provider: gateway.Ollama}
	err := s.EachKey(b.Context(), gateway.Ollama, func(k gateway.Key) error {
		now := time.Now()
		d.Keys = append(d.Keys, gateway.KeyDelta{Key: gateway.IDOfKey(k.Secret), Counts: gateway.KeyCounts{Total: 1, Success: 1, LastUsed: now, LastSuccess: now}})
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := errors.Join(s.Apply(b.Context(), []gateway.Delta{d}), s.Fold(b.Context())); err != nil {
		b.Fatal(err)
	}
	mustClose(b, s)
	return o
}

func benchForms(b *testing.B, run func(b *testing.B, key []byte)) {
	b.Run("plain", func(b *testing.B) { run(b, nil) })
	b.Run("encrypted", func(b *testing.B) { run(b, masterKey(1)) })
}

func BenchmarkAddKeys100k(b *testing.B) {
	benchForms(b, func(b *testing.B, key []byte) {
		for b.Loop() {
			b.StopTimer()
			s := mustOpen(b, Options{Path: filepath.Join(b.TempDir(), "pool.db"), EncryptionKey: key})
			b.StartTimer()
			addMany(b, s)
			b.StopTimer()
			mustClose(b, s)
			b.StartTimer()
		}
	})
}

func BenchmarkOpen100k(b *testing.B) {
	o := filled(b, nil)
	for b.Loop() {
		s := mustOpen(b, o)
		mustClose(b, s)
	}
}

func BenchmarkEachKey100k(b *testing.B) {
	benchForms(b, func(b *testing.B, key []byte) {
		s := mustOpen(b, filled(b, key))
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			err := s.EachKey(b.Context(), gateway.Ollama, func(gateway.Key) error { n++; return nil })
			if n != manyKeys || err != nil {
				b.Fatal(n, err)
			}
		}
	})
}

func BenchmarkKeys100k(b *testing.B) {
	s := mustOpen(b, filled(b, nil))
	for name, q := range map[string]gateway.KeyQuery{
		"page":     {Limit: 50},
		"deep":     {Limit: 50, Offset: 90_000, Sort: "-username"},
		"lastused": {Limit: 50, Sort: "-last_used"},
		"search":   {Limit: 50, Search: "nobody"},
		"status":   {Limit: 50, Status: gateway.KeyFailed},
		"reason":   {Limit: 50, Status: gateway.KeyFailed, Reason: "401 unauthorized"},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := s.Keys(b.Context(), gateway.Ollama, q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("categories", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Categories(b.Context(), gateway.Ollama); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("count", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.CountKeys(b.Context(), gateway.Ollama); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkApply1000Keys(b *testing.B) {
	s := mustOpen(b, filled(b, nil))
	d := gateway.Delta{Provider: gateway.Ollama, Global: gateway.Counts{Requests: 1000}}
	err := s.EachKey(b.Context(), gateway.Ollama, func(k gateway.Key) error {
		if len(d.Keys) < 1000 {
			d.Keys = append(d.Keys, gateway.KeyDelta{Key: gateway.IDOfKey(k.Secret), Counts: gateway.KeyCounts{Total: 1, LastUsed: time.Now()}})
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := s.Apply(b.Context(), []gateway.Delta{d}); err != nil {
			b.Fatal(err)
		}
	}
}
