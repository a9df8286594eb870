package sqlstore

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// onceEach makes a delta in which every key makes an attempt and serves a request.
func onceEach(ids []gateway.KeyID, at time.Time) gateway.Delta {
	d := gateway.Delta{Provider: gateway.Ollama}
	for _, id := range ids {
		d.Keys = append(d.Keys, gateway.KeyDelta{Key: id, Counts: gateway.KeyCounts{Total: 1, Success: 1, LastUsed: at, LastSuccess: at}})
		d.Tallies = append(d.Tallies, tallied(gateway.OfKey, string(id), time.Time{}, 1))
	}
	return d
}

// shownCounts is every way to read what keys did, as attempts or requests by key.
var shownCounts = map[string]func(ctx context.Context, s *Store, ids []gateway.KeyID) ([]int64, error){
	"Key": func(ctx context.Context, s *Store, ids []gateway.KeyID) ([]int64, error) {
		k, found, err := s.Key(ctx, gateway.Ollama, ids[3])
		if !found {
			err = errors.Join(err, errors.New("no such key"))
		}
		return []int64{k.Counts.Total}, err
	},
	"Keys": func(ctx context.Context, s *Store, ids []gateway.KeyID) ([]int64, error) {
		keys, _, err := s.Keys(ctx, gateway.Ollama, gateway.KeyQuery{Limit: 30, Offset: 20, Sort: "-last_used"})
		return totalsOf(keys), err
	},
	"KeyRanks": func(ctx context.Context, s *Store, ids []gateway.KeyID) ([]int64, error) {
		keys, _, err := s.KeyRanks(ctx, gateway.Ollama, "requests", false, 0, 0)
		return totalsOf(keys), err
	},
	"EachKey": func(ctx context.Context, s *Store, ids []gateway.KeyID) ([]int64, error) {
		var keys []gateway.Key
		err := s.EachKey(ctx, gateway.Ollama, func(k gateway.Key) error { keys = append(keys, k); return nil })
		return totalsOf(keys), err
	},
	"KeyHours": func(ctx context.Context, s *Store, ids []gateway.KeyID) ([]int64, error) {
		hours, err := s.KeyHours(ctx, gateway.Ollama, ids[5], time.Time{})
		sum := int64(0)
		for _, h := range hours {
			sum += h.Success
		}
		return []int64{sum}, err
	},
	"Tallies": func(ctx context.Context, s *Store, ids []gateway.KeyID) ([]int64, error) {
		found, err := s.Tallies(ctx, gateway.Ollama, gateway.TallyQuery{Of: gateway.OfKey, Per: gateway.Ever, Names: namesOf(ids[:40])})
		return requestsIn(found), err
	},
	"Tallies of all": func(ctx context.Context, s *Store, ids []gateway.KeyID) ([]int64, error) {
		found, err := s.Tallies(ctx, gateway.Ollama, gateway.TallyQuery{Of: gateway.OfKey, Per: gateway.Ever, Counted: true})
		return requestsIn(found), err
	},
	"a page of Tallies": func(ctx context.Context, s *Store, ids []gateway.KeyID) ([]int64, error) {
		found, err := s.Tallies(ctx, gateway.Ollama, gateway.TallyQuery{Of: gateway.OfKey, Per: gateway.Ever, Limit: 20, Offset: 50})
		return requestsIn(found), err
	},
}

func totalsOf(keys []gateway.Key) (totals []int64) {
	for i := range keys {
		totals = append(totals, keys[i].Counts.Total)
	}
	return totals
}

func requestsIn(found []gateway.NamedTally) (requests []int64) {
	for i := range found {
		requests = append(requests, found[i].Tally.Requests)
	}
	return requests
}

// conformReadsDuringFolds has two processes write, fold and read at the same
// time. Each batch counts one for every key, so whatever is read at a moment is
// the same for all of them: no less than was written before, and no more than
// has begun to be.
func conformReadsDuringFolds(t *testing.T, open openStore) {
	const batches, size = 10, journalFrom + 16
	o := Options{foldKeys: size / 4}
	stores := []*Store{open(o), open(o)}
	keys := someKeys(0, size)
	add(t, stores[0], gateway.Ollama, keys...)
	ids := make([]gateway.KeyID, size)
	for i := range keys {
		ids[i] = gateway.IDOfKey(keys[i].Secret)
	}
	var begun, written atomic.Int64
	var writers, others sync.WaitGroup
	over := make(chan struct{})
	for i, s := range stores {
		writers.Go(func() {
			for n := range batches {
				begun.Add(1)
				if err := s.Apply(t.Context(), []gateway.Delta{onceEach(ids, noon.Add(time.Duration(i*batches+n)*10*time.Minute))}); err != nil {
					t.Error(err)
				}
				written.Add(1)
			}
		})
		others.Go(func() {
			for !closed(over) {
				if err := s.Fold(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	others.Go(func() {
		for !closed(over) {
			for what, read := range shownCounts {
				from := written.Load()
				got, err := read(t.Context(), stores[0], ids)
				until := begun.Load()
				if err != nil || from > 0 && len(got) == 0 {
					t.Errorf("%s: %v, %v", what, got, err)
					return
				}
				if len(got) > 0 && (slices.Min(got) != slices.Max(got) || got[0] < from || got[0] > until) {
					t.Errorf("%s shows %v of %d to %d batches", what, got, from, until)
					return
				}
			}
		}
	})
	writers.Wait()
	close(over)
	others.Wait()
	for range 2 { // before the last fold, and after
		for what, read := range shownCounts {
			if got, err := read(t.Context(), stores[1], ids); err != nil || slices.Min(got) != 2*batches || slices.Max(got) != 2*batches {
				t.Errorf("in the end %s shows %v, %v", what, got, err)
			}
		}
		for _, s := range stores {
			if err := s.Fold(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	if n := journalRows(t, stores[0]); n != 0 {
		t.Errorf("%d rows of the journal are left", n)
	}
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func journalRows(t *testing.T, s *Store) (n int) {
	t.Helper()
	if err := s.reader.QueryRowContext(t.Context(), "select count(*) from ollama_api_key_journal").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// conformHalfFolded holds what lists show when a fold was cut off: some keys are
// folded, of others nothing is stored yet.
func conformHalfFolded(t *testing.T, open openStore) {
	s := open(Options{foldKeys: 20, farAway: 1})
	const size = journalFrom + 36
	add(t, s, gateway.Ollama, someKeys(0, size)...)
	ids, used := make([]gateway.KeyID, size), 0
	d := gateway.Delta{Provider: gateway.Ollama}
	for i := range ids {
		ids[i] = gateway.IDOfKey(secretOf(i))
		if i%5 == 0 {
			continue // never used
		}
		used++
		at := noon.Add(time.Duration(i%7) * time.Minute)
		d.Keys = append(d.Keys, gateway.KeyDelta{Key: ids[i], Counts: gateway.KeyCounts{Total: int64(1 + i%7), Success: int64(i % 3), Failure: int64(i % 2), LastUsed: at}})
		d.Tallies = append(d.Tallies, tallied(gateway.OfKey, string(ids[i]), time.Time{}, int64(1+i%7)))
	}
	apply(t, s, d)
	for _, step := range []string{"nothing folded", "some folded", "more counted", "all folded"} {
		switch step {
		case "some folded":
			if more, err := s.foldSome(t.Context(), tables{gateway.Ollama}, 1<<40); !more || err != nil {
				t.Fatal(more, err)
			}
			s = open(Options{foldKeys: 20, farAway: 1}) // the other one ended there
		case "more counted":
			apply(t, s, onceEach(ids[:journalFrom], noon.Add(time.Hour)))
			used = len(slices.DeleteFunc(slices.Clone(ids), func(id gateway.KeyID) bool { i := slices.Index(ids, id); return i >= journalFrom && i%5 == 0 }))
		case "all folded":
			if err := s.Fold(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		seen := map[string]int{}
		for offset := 0; offset < size; offset += 30 {
			found, err := s.Tallies(t.Context(), gateway.Ollama, gateway.TallyQuery{Of: gateway.OfKey, Per: gateway.Ever, Limit: 30, Offset: offset})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range found {
				seen[f.Name]++
			}
		}
		if n, err := s.CountTallies(t.Context(), gateway.Ollama, gateway.TallyQuery{Of: gateway.OfKey, Per: gateway.Ever}); n != used || len(seen) != used || err != nil {
			t.Errorf("%s: %d keys on pages, %d counted, %v; want %d", step, len(seen), n, err, used)
		}
		if step != "nothing folded" {
			wantRanks(t, s, step, ids)
		}
	}
}

// wantRanks compares the pages of every order with what all keys show.
func wantRanks(t *testing.T, s *Store, step string, ids []gateway.KeyID) {
	t.Helper()
	want := countsOf(t, s)
	for by := range rankColumns {
		for _, ascending := range []bool{true, false} {
			seen := map[gateway.KeyID]bool{}
			all := []gateway.Key(nil)
			for offset := 0; offset < len(ids); offset += 30 {
				page, total, err := s.KeyRanks(t.Context(), gateway.Ollama, by, ascending, offset, 30)
				if err != nil || total != len(ids) {
					t.Fatal(total, err)
				}
				all = append(all, page...)
				for i := range page {
					id := gateway.IDOfKey(page[i].Secret)
					if seen[id] = true; page[i].Counts != want[id] {
						t.Errorf("%s, by %s: a page shows %+v, the list %+v", step, by, page[i].Counts, want[id])
					}
				}
				if !slices.IsSortedFunc(page, func(a, b gateway.Key) int { return rankOrder(&a.Counts, &b.Counts, by, !ascending) }) {
					t.Errorf("%s, by %s: a page is not in order", step, by)
				}
			}
			if len(all) != len(ids) || len(seen) != len(ids) {
				t.Errorf("%s, by %s: %d keys on pages, %d different ones", step, by, len(all), len(seen))
			}
			if strings.HasSuffix(step, "all folded") && !slices.IsSortedFunc(all, func(a, b gateway.Key) int { return rankOrder(&a.Counts, &b.Counts, by, !ascending) }) {
				t.Errorf("%s, by %s: the pages are not in order", step, by)
			}
		}
	}
}

// conformForgottenJournal holds that a key that comes again has nothing of what
// it did before it was deleted.
func conformForgottenJournal(t *testing.T, open openStore) {
	s := open(Options{})
	keys := someKeys(0, journalFrom)
	add(t, s, gateway.Ollama, keys...)
	var ids []gateway.KeyID
	for i := range keys {
		ids = append(ids, gateway.IDOfKey(keys[i].Secret))
	}
	apply(t, s, onceEach(ids, noon))
	if _, err := s.DeleteKeys(t.Context(), gateway.Ollama, ids[:2]); err != nil {
		t.Fatal(err)
	}
	add(t, s, gateway.Ollama, keys[:2]...)
	for range 2 {
		got := countsOf(t, s)
		for i, id := range ids {
			want := gateway.KeyCounts{Total: 1, Success: 1, LastUsed: noon, LastSuccess: noon}
			if i < 2 {
				want = gateway.KeyCounts{}
			}
			if got[id] != want {
				t.Errorf("key %d: %+v, want %+v", i, got[id], want)
			}
		}
		found, err := s.Tallies(t.Context(), gateway.Ollama, gateway.TallyQuery{Of: gateway.OfKey, Per: gateway.Ever})
		if err != nil || len(found) != len(ids)-2 {
			t.Errorf("%d tallies, %v", len(found), err)
		}
		if err := s.Fold(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFoldedElsewhere cuts a fold off when another process has folded the same.
func TestFoldedElsewhere(t *testing.T) {
	t.Parallel()
	s, _, ids := storeOf(t, journalFrom)
	if err := s.Apply(t.Context(), []gateway.Delta{onceEach(ids, noon)}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.writer.ExecContext(t.Context(), "create trigger gone before delete on ollama_api_key_journal begin select raise(ignore); end"); err != nil {
		t.Fatal(err)
	}
	if more, err := s.foldSome(t.Context(), tables{gateway.Ollama}, 1<<40); more || err != nil {
		t.Errorf("%v, %v", more, err)
	}
	for id, c := range countsOf(t, s) {
		if c.Total != 1 {
			t.Fatalf("key %s has %d attempts", id, c.Total)
		}
	}
}

// TestJournalRows holds that a row has not too much for one fold.
func TestJournalRows(t *testing.T) {
	t.Parallel()
	s, _, ids := storeOf(t, 100)
	for i := range 5000 { // of those that are no keys it does not know
		ids = append(ids, gateway.IDOfKey(secretOf(i)))
	}
	if err := s.Apply(t.Context(), []gateway.Delta{onceEach(ids, noon)}); err != nil {
		t.Fatal(err)
	}
	rows, err := s.reader.QueryContext(t.Context(), "select part, counts from ollama_api_key_journal")
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		part int
		text string
	}
	all, err := collect(rows, func(r *row) []any { return []any{&r.part, &r.text} })
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, r := range all {
		sums := newKeySums(0)
		if err := sums.read(r.text); err != nil {
			t.Fatal(err)
		}
		for id := range sums.of {
			if id.part() != r.part {
				t.Fatalf("key %s is in part %d", id.id(), r.part)
			}
		}
		if total += len(sums.of); len(sums.of) > defaultFold {
			t.Errorf("%d keys in a row", len(sums.of))
		}
	}
	if total < len(ids) {
		t.Errorf("%d of %d keys", total, len(ids))
	}
}

func TestRawIDs(t *testing.T) {
	for id, want := range map[gateway.KeyID]bool{
		"0123456789abcdef": true, "0123456789ABCDEF": false, "0123456789abcde": false, "0123456789abcdef0": false, "0123456789abcdeg": false, "": false,
	} {
		raw, ok := rawIDOf(id)
		if ok != want || ok && raw.id() != id {
			t.Errorf("%q: %v, %v", id, raw, ok)
		}
	}
	if raw, _ := rawIDOf("f0000000000000ff"); raw.part() != 15 {
		t.Errorf("part %d", raw.part())
	}
}
