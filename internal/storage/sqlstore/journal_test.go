package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// storeOf opens a store with n keys and returns it with its file and their ids.
func storeOf(tb testing.TB, n int) (*Store, string, []gateway.KeyID) {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "pool.db")
	s, err := Open(tb.Context(), Options{Path: path})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	var ids []gateway.KeyID
	_, _, err = s.AddKeys(tb.Context(), gateway.Ollama, func(yield func(gateway.Key, error) bool) {
		for i := range n {
			k := gateway.Key{Secret: gateway.Secret(fmt.Sprintf("fake-key-%08d", i))}
			ids = append(ids, gateway.IDOfKey(k.Secret))
			if !yield(k, nil) {
				return
			}
		}
	}, func(gateway.Key) {})
	if err != nil {
		tb.Fatal(err)
	}
	return s, path, ids
}

// used makes a delta in which each key had i attempts, all but one successful.
func used(ids []gateway.KeyID, at time.Time) gateway.Delta {
	d := gateway.Delta{Provider: gateway.Ollama}
	for i, id := range ids {
		n := int64(i + 1)
		d.Keys = append(d.Keys, gateway.KeyDelta{Key: id, Counts: gateway.KeyCounts{
			Total: n, Success: n - 1, Failure: 1, LastUsed: at, LastFailure: at,
		}})
	}
	return d
}

func countsOf(t *testing.T, s *Store) map[gateway.KeyID]gateway.KeyCounts {
	t.Helper()
	m := map[gateway.KeyID]gateway.KeyCounts{}
	keys, _, err := s.Keys(t.Context(), gateway.Ollama, gateway.KeyQuery{})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		m[gateway.IDOfKey(k.Secret)] = k.Counts
	}
	return m
}

func TestJournalIsFolded(t *testing.T) {
	s, path, ids := storeOf(t, 2*journalFrom)
	early := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range 3 {
		if err := s.Apply(t.Context(), []gateway.Delta{used(ids, early.Add(time.Duration(i)*time.Second))}); err != nil {
			t.Fatal(err)
		}
	}
	// A deleted key's counts go with it, and one that never was does no harm.
	gone := used([]gateway.KeyID{"0123456789abcdef"}, early)
	gone.Keys = append(gone.Keys, used(ids, early).Keys...)
	if err := s.Apply(t.Context(), []gateway.Delta{gone}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.DeleteKeys(t.Context(), gateway.Ollama, ids[:1]); err != nil {
		t.Fatal(err)
	}
	// What a kill leaves behind is there for the next start.
	twin, err := Open(t.Context(), Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = twin.Close() }()
	for who, store := range map[string]*Store{"after a restart": twin, "while running": s} {
		got := countsOf(t, store)
		if len(got) != len(ids)-1 {
			t.Fatalf("%s: %d keys", who, len(got))
		}
		for i, id := range ids[1:] {
			n := int64(i + 2)
			want := gateway.KeyCounts{Total: 4 * n, Success: 4 * (n - 1), Failure: 4, LastUsed: early.Add(2 * time.Second), LastFailure: early.Add(2 * time.Second)}
			if got[id] != want {
				t.Fatalf("%s: key %d: got %+v, want %+v", who, i+1, got[id], want)
			}
		}
	}
	page, _, err := s.Keys(t.Context(), gateway.Ollama, gateway.KeyQuery{Search: string(ids[7])})
	if err != nil || len(page) != 1 || page[0].Counts.Total != 4*8 {
		t.Fatalf("the list says %+v, %v", page, err)
	}
}

func TestJournalFoldIsInterrupted(t *testing.T) {
	s, _, ids := storeOf(t, 2*journalFrom)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := s.Apply(t.Context(), []gateway.Delta{used(ids, now)}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Fold(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("a cancelled fold gave %v", err)
	}
	if err := s.foldPart(t.Context(), tables{gateway.Ollama}, 3); err != nil {
		t.Fatal(err)
	}
	for id, c := range countsOf(t, s) {
		if want := int64(slices.Index(ids, id) + 1); c.Total != want {
			t.Fatalf("key %s has %d attempts, want %d", id, c.Total, want)
		}
	}
}

func FuzzReadCounts(f *testing.F) {
	f.Add("")
	f.Add("AAAAAAAAAAACAgICAgI")
	f.Fuzz(func(t *testing.T, text string) {
		sums := map[gateway.KeyID]*gateway.KeyCounts{}
		if err := readCounts(text, sums); err != nil {
			return
		}
		// What was read can be written and read again, and is the same.
		var data []byte
		for id, c := range sums {
			data = appendCounts(data, &gateway.KeyDelta{Key: id, Counts: *c})
		}
		again := map[gateway.KeyID]*gateway.KeyCounts{}
		if err := readCounts(encodeCounts(data), again); err != nil {
			t.Fatal(err)
		}
		if !maps.EqualFunc(sums, again, func(a, b *gateway.KeyCounts) bool { return *a == *b }) {
			t.Fatalf("read %v, then %v", sums, again)
		}
	})
}

func BenchmarkFold(b *testing.B) {
	s, _, ids := storeOf(b, 20_000)
	d := []gateway.Delta{used(ids, time.Now())}
	for b.Loop() {
		if err := s.Apply(b.Context(), d); err != nil {
			b.Fatal(err)
		}
		if err := s.Fold(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(ids)), "us/key")
}
