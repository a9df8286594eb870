package sqlstore

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
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
	t.Parallel()
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
	t.Parallel()
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
	if _, err := s.foldSome(t.Context(), tables{gateway.Ollama}, 3); err != nil {
		t.Fatal(err)
	}
	for id, c := range countsOf(t, s) {
		if want := int64(slices.Index(ids, id) + 1); c.Total != want {
			t.Fatalf("key %s has %d attempts, want %d", id, c.Total, want)
		}
	}
}

// formerRow encodes counts as versions before tallies did.
func formerRow(t testing.TB, d gateway.Delta) string {
	t.Helper()
	var data []byte
	for i := range d.Keys {
		id, err := hex.DecodeString(string(d.Keys[i].Key))
		if err != nil {
			t.Fatal(err)
		}
		data = appendCounts(append(data, id...), &d.Keys[i].Counts)
	}
	return base64.RawStdEncoding.EncodeToString(data)
}

// TestFormerJournal folds what an earlier version left beside what this one wrote.
func TestFormerJournal(t *testing.T) {
	t.Parallel()
	s, _, ids := storeOf(t, journalFrom)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	d := used(ids, now)
	var same []gateway.KeyDelta // of one part, as in a row
	for _, k := range d.Keys {
		if k.Key[0] == ids[0][0] {
			same = append(same, k)
		}
	}
	raw, _ := rawIDOf(ids[0])
	text := formerRow(t, gateway.Delta{Keys: same})
	if _, err := s.writer.ExecContext(t.Context(), "insert into ollama_api_key_journal (part, counts) values (?, ?)", raw.part(), text); err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(t.Context(), []gateway.Delta{d}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // before it is folded, and after
		got := countsOf(t, s)
		for i, id := range ids {
			want := int64(i + 1)
			if id[0] == ids[0][0] {
				want *= 2
			}
			if got[id].Total != want {
				t.Errorf("key %d has %d attempts, want %d", i, got[id].Total, want)
			}
		}
		hours, err := s.KeyHours(t.Context(), gateway.Ollama, ids[0], now.Add(-time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, "hours", hours, []gateway.KeyHour{{Hour: now.Truncate(time.Hour), Total: 2, Failure: 2}})
		if err := s.Fold(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := journalRows(t, s); n != 0 {
		t.Errorf("%d rows of the journal are left", n)
	}
}

func TestDamagedJournal(t *testing.T) {
	id := strings.Repeat("A", 10) // seven bytes and a half
	for _, text := range []string{"%", "2:%", "2:A", "2:AA", "2:Aw" + id + "AAAA", "2:AQ" + id, "AAAA", "3:AAAA", "2:Ag" + id + "AAAAAAAAAAB" + "gAA"} {
		if err := newKeySums(0).read(text); !errors.Is(err, errJournal) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzReadJournal(f *testing.F) {
	f.Add("")
	f.Add("AAAAAAAAAAACAgICAgI")
	f.Add(journalForm)
	id, _ := rawIDOf(gateway.IDOfKey("fake-key-of-a-seed"))
	data := appendCounts(appendID(nil, entryCounts, id), &gateway.KeyCounts{Total: 3, Success: 1, LastUsed: noon})
	data = appendTally(appendID(data, entryTally, id), &gateway.Tally{Attempts: 4, Duration: gateway.Histogram{3: 300, 23: 1}, FirstByte: gateway.Histogram{0: 1}})
	f.Add(journalForm + base64.RawStdEncoding.EncodeToString(data))
	f.Fuzz(func(t *testing.T, text string) {
		sums, none := newKeySums(0), keySums{closed: true}
		err := sums.read(text)
		if passed := none.read(text); (passed == nil) != (err == nil) {
			t.Fatalf("read: %v, passed over: %v", err, passed)
		}
		if err != nil {
			return
		}
		// What was read can be written and read again, and is the same.
		var data []byte
		for id, sum := range sums.of {
			if sum.counted {
				data = appendCounts(appendID(data, entryCounts, id), &sum.counts)
			}
			if sum.tally != nil {
				data = appendTally(appendID(data, entryTally, id), sum.tally)
			}
			sum.hours = nil // of several entries
		}
		again := newKeySums(0)
		if err := again.read(journalForm + base64.RawStdEncoding.EncodeToString(data)); err != nil {
			t.Fatal(err)
		}
		for _, sum := range again.of {
			sum.hours = nil
		}
		if !reflect.DeepEqual(sums.of, again.of) {
			t.Fatalf("read %v, then %v", sums.of, again.of)
		}
	})
}

// served makes a delta in which each key served a request.
func served(ids []gateway.KeyID) gateway.Delta {
	d := gateway.Delta{Provider: gateway.Ollama}
	for _, id := range ids {
		var t gateway.Tally
		t.Counts = gateway.Counts{Requests: 1, Success: 1, Usage: gateway.Usage{Input: 900, Output: 400}}
		t.Attempts = 1
		t.Duration.Observe(time.Second, 1)
		t.FirstByte.Observe(300*time.Millisecond, 1)
		d.Tallies = append(d.Tallies, gateway.TallyDelta{Of: gateway.OfKey, Name: string(id), Tally: t})
	}
	return d
}

// BenchmarkFold writes and folds what 20,000 keys did: attempts and requests.
func BenchmarkFold(b *testing.B) {
	s, _, ids := storeOf(b, 20_000)
	d := []gateway.Delta{used(ids, time.Now()), served(ids)}
	var writing time.Duration
	for b.Loop() {
		begin := time.Now()
		if err := s.Apply(b.Context(), d); err != nil {
			b.Fatal(err)
		}
		writing += time.Since(begin)
		if err := s.Fold(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(ids)), "us/key")
	b.ReportMetric(float64(writing.Microseconds())/float64(b.N*len(ids)), "us/key-written")
}
