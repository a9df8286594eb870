package sqlstore

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// one is a batch that counts one request.
func one(writer string, number int64) gateway.Batch {
	return gateway.Batch{Writer: writer, Number: number, Deltas: []gateway.Delta{{Provider: gateway.Ollama, Global: gateway.Counts{Requests: 1}}}}
}

func send(t *testing.T, s *Store, b gateway.Batch) Applied {
	t.Helper()
	done, err := s.ApplyBatch(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func wantRequests(t *testing.T, s *Store, want int64) {
	t.Helper()
	if c, err := s.Totals(t.Context(), gateway.Ollama); err != nil || c.Requests != want {
		t.Errorf("%d requests, %v; want %d", c.Requests, err, want)
	}
}

func conformBatches(t *testing.T, open openStore) {
	a, b := open(Options{}), open(Options{})
	if done := send(t, a, one("a", 1)); done.Again || done.Stale != nil {
		t.Errorf("the first batch: %+v", done)
	}
	for _, s := range []*Store{a, b} { // whoever sends it
		if done := send(t, s, one("a", 1)); !done.Again {
			t.Error("a batch that was sent twice is taken twice")
		}
	}
	send(t, b, one("b", 7)) // numbers are each writer's own
	send(t, a, one("a", 2))
	if done := send(t, a, one("a", 1)); !done.Again {
		t.Error("a batch with a former number is taken")
	}
	for range 2 {
		send(t, a, one("", 1)) // without a writer nothing is remembered
	}
	wantRequests(t, a, 5)
	if done := send(t, a, gateway.Batch{Writer: "a", Number: 3, Deltas: []gateway.Delta{{Provider: gateway.Ollama}}}); done.Again {
		t.Error("a batch with nothing in it was taken before")
	}
	if done := send(t, a, one("a", 3)); done.Again {
		t.Error("a batch with nothing in it uses up a number")
	}
	bad := one("a", 4)
	bad.Deltas = append(bad.Deltas, gateway.Delta{Provider: "nobody", Global: gateway.Counts{Requests: 1}})
	if _, err := a.ApplyBatch(t.Context(), bad); err == nil {
		t.Error("a batch for an unknown provider is taken")
	}
	if done := send(t, a, one("a", 4)); done.Again {
		t.Error("a batch that failed uses up a number")
	}
	wantRequests(t, b, 7)
}

// conformBatchesAtOnce sends each batch from two connections at the same time, as
// after an error whose outcome is not known.
func conformBatchesAtOnce(t *testing.T, open openStore) {
	stores := []*Store{open(Options{}), open(Options{})}
	const writers, batches = 3, 12
	var taken atomic.Int64
	var wg sync.WaitGroup
	for w := range writers {
		for _, s := range stores {
			wg.Go(func() {
				for n := range batches {
					done, err := s.ApplyBatch(t.Context(), one(fmt.Sprint("writer ", w), int64(n+1)))
					if err != nil {
						t.Error(err)
					}
					if !done.Again {
						taken.Add(1)
					}
				}
			})
		}
	}
	wg.Wait()
	// A batch that comes after a later one counts as taken, and both senders of
	// a writer go on at their own pace: never is one taken twice.
	wantRequests(t, stores[0], taken.Load())
	if n := taken.Load(); n < batches || n > writers*batches {
		t.Errorf("%d batches were taken, of %d", n, writers*batches)
	}
}

// stateNow reads how a key is stored.
func stateNow(t *testing.T, s *Store, id gateway.KeyID) gateway.KeyMark {
	t.Helper()
	marks, err := s.KeyMarks(t.Context(), gateway.Ollama, []gateway.KeyID{id})
	if err != nil || len(marks) != 1 || marks[0].Key != id {
		t.Fatalf("KeyMarks = %+v, %v", marks, err)
	}
	return marks[0]
}

func learn(writer string, number int64, changes ...gateway.StateChange) gateway.Batch {
	return gateway.Batch{Writer: writer, Number: number, Deltas: []gateway.Delta{{Provider: gateway.Ollama, States: changes}}}
}

func wantStale(t *testing.T, what string, done Applied, ids ...gateway.KeyID) {
	t.Helper()
	if got := done.Stale[gateway.Ollama]; !slices.Equal(got, ids) {
		t.Errorf("%s: stale are %v, want %v", what, got, ids)
	}
}

// conformFrozen: an instance stands still while others go on. What it learnt
// before undoes nothing, but a rest that ends later counts.
func conformFrozen(t *testing.T, open openStore) {
	a, b := open(Options{}), open(Options{})
	add(t, a, gateway.Ollama, someKeys(0, 3)...)
	id := gateway.IDOfKey(secretOf(0))
	failed := gateway.KeyState{FailedUntil: noon.Add(time.Hour), ConsecutiveFailures: 2, LastError: "401"}
	wantStale(t, "a change from the present version", send(t, a, learn("a", 1, gateway.StateChange{Key: id, State: failed})))
	wantEqual(t, "version 1", stateNow(t, b, id), gateway.KeyMark{Key: id, State: failed, Version: 1})

	// b's operator enables it; a, which knows version 1, wakes.
	if err := b.EnableKeys(t.Context(), gateway.Ollama, []gateway.KeyID{id}); err != nil {
		t.Fatal(err)
	}
	failed.ConsecutiveFailures = 3
	done := send(t, a, learn("a", 2, gateway.StateChange{Key: id, State: failed, Version: 1}, gateway.StateChange{Key: "0123456789abcdef", State: failed}))
	wantStale(t, "after an operator's act", done, id, "0123456789abcdef")
	wantEqual(t, "what the operator did stays", stateNow(t, a, id), gateway.KeyMark{Key: id, Version: 2, Forced: 2})

	// A refusal from before is dropped, a later one taken.
	day := noon.Add(24 * time.Hour)
	refuse := func(version int64, model string) {
		apply(t, a, gateway.Delta{Provider: gateway.Ollama, Refusals: []gateway.Refusal{{Key: id, Model: model, Until: day, Version: version}}})
	}
	refuse(2, "new")
	refuse(1, "old")
	refuse(1, "new")
	var models []string
	if err := a.EachRefusal(t.Context(), gateway.Ollama, func(r gateway.Refusal) error { models = append(models, r.Model); return nil }); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "refusals", models, []string{"new"})

	// Rests: the later end counts while the key rests, whoever knows it.
	rest := func(d time.Duration, why string) gateway.KeyState {
		return gateway.KeyState{RestsUntil: noon.Add(d), RestStep: 1, LastError: why}
	}
	wantStale(t, "a rest", send(t, b, learn("b", 1, gateway.StateChange{Key: id, State: rest(time.Hour, "hourly"), Version: 2})))
	wantStale(t, "a shorter rest", send(t, a, learn("a", 3, gateway.StateChange{Key: id, State: rest(time.Minute, "busy"), Version: 2})), id)
	wantEqual(t, "after a shorter rest", stateNow(t, a, id), gateway.KeyMark{Key: id, State: rest(time.Hour, "hourly"), Version: 3, Forced: 2})
	wantStale(t, "a longer rest", send(t, a, learn("a", 4, gateway.StateChange{Key: id, State: rest(2*time.Hour, "weekly"), Version: 2})), id)
	wantEqual(t, "after a longer rest", stateNow(t, a, id), gateway.KeyMark{Key: id, State: rest(2*time.Hour, "weekly"), Version: 4, Forced: 2})

	// No rest is merged into a key that does not rest.
	active := gateway.IDOfKey(secretOf(1))
	send(t, b, learn("b", 2, gateway.StateChange{Key: active, State: failed}))
	wantStale(t, "a rest of a key that failed", send(t, a, learn("a", 5, gateway.StateChange{Key: active, State: rest(time.Hour, "hourly")})), active)
	wantEqual(t, "a key that failed", stateNow(t, a, active), gateway.KeyMark{Key: active, State: failed, Version: 1})
}

// conformRow: what a writer sends before it hears of its first change is its own
// row of changes, as long as nobody comes between.
func conformRow(t *testing.T, open openStore) {
	a, b := open(Options{}), open(Options{})
	add(t, a, gateway.Ollama, someKeys(0, 1)...)
	id := gateway.IDOfKey(secretOf(0))
	step := func(n int) gateway.StateChange {
		return gateway.StateChange{Key: id, State: gateway.KeyState{RestStep: n}}
	}
	for n := range 3 {
		wantStale(t, fmt.Sprint("change ", n), send(t, a, learn("a", int64(n+1), step(n))))
	}
	if m := stateNow(t, b, id); m.State.RestStep != 2 || m.Version != 3 {
		t.Errorf("after three changes from one version: %+v", m)
	}
	wantStale(t, "another writer's from the same version", send(t, b, learn("b", 1, step(8))), id)
	other := step(9)
	other.Version = 3
	wantStale(t, "another writer's from the last version", send(t, b, learn("b", 2, other)))
	wantStale(t, "the first writer's after that", send(t, a, learn("a", 4, step(4))), id)
	for range 2 { // nor is a row continued by those without a writer
		send(t, b, learn("", 0, gateway.StateChange{Key: id, State: gateway.KeyState{RestStep: 5}, Version: 4}))
	}
	if m := stateNow(t, b, id); m.State.RestStep != 5 || m.Version != 5 {
		t.Errorf("at the end: %+v", m)
	}
	// Within one batch, too.
	twice := func(n int) gateway.StateChange {
		c := step(n)
		c.Version = 5
		return c
	}
	wantStale(t, "twice in one batch", send(t, a, learn("a", 5, twice(6), twice(7))))
	if m := stateNow(t, b, id); m.State.RestStep != 7 || m.Version != 7 {
		t.Errorf("after two changes in one batch: %+v", m)
	}
}

// conformManyStates writes more states than a statement takes.
func conformManyStates(t *testing.T, open openStore) {
	s := open(Options{})
	const n = 1234
	add(t, s, gateway.Ollama, someKeys(0, n)...)
	off := gateway.KeyState{Disabled: gateway.DisabledManual, LastError: "by hand"}
	var forced, learnt []gateway.StateChange
	for i := range n {
		id := gateway.IDOfKey(secretOf(i))
		forced = append(forced, gateway.StateChange{Key: id, State: off, Forced: true, Version: 17})
		c := gateway.StateChange{Key: id, State: gateway.KeyState{RestsUntil: noon.Add(time.Duration(i+1) * time.Second)}, Version: 1}
		if i%100 == 99 {
			c.Version = 0
		}
		learnt = append(learnt, c)
	}
	wantStale(t, "an act of the operator", send(t, s, learn("a", 1, forced...)))
	done := send(t, s, learn("a", 2, learnt...))
	if len(done.Stale[gateway.Ollama]) != n/100 {
		t.Errorf("%d are stale, want %d", len(done.Stale[gateway.Ollama]), n/100)
	}
	marks, err := s.KeyMarks(t.Context(), gateway.Ollama, nil)
	if err != nil || len(marks) != n {
		t.Fatalf("%d marks, %v", len(marks), err)
	}
	byID := map[gateway.KeyID]gateway.KeyMark{}
	for _, m := range marks {
		byID[m.Key] = m
	}
	for i, c := range learnt {
		want := gateway.KeyMark{Key: c.Key, State: c.State, Version: 2, Forced: 1}
		if i%100 == 99 {
			want.State, want.Version = off, 1
		}
		if byID[c.Key] != want {
			t.Fatalf("key %d: %+v, want %+v", i, byID[c.Key], want)
		}
	}
}

func conformMarks(t *testing.T, open openStore) {
	s := open(Options{})
	keys := someKeys(0, 3)
	keys[1].State = gateway.KeyState{FailedUntil: noon.Add(time.Minute), ConsecutiveFailures: 1, LastError: "401"}
	keys[1].ExpiresAt = noon.Add(time.Hour)
	add(t, s, gateway.Ollama, keys...)
	if _, err := s.writer.ExecContext(t.Context(), "insert into ollama_api_keys (api_key, status) values ('plain-and-new-0001', 'disabled')"); err != nil {
		t.Fatal(err)
	}
	marks, err := s.KeyMarks(t.Context(), gateway.Ollama, nil)
	if err != nil || len(marks) != 3 { // the other program's is not taken in yet
		t.Fatalf("%d marks, %v", len(marks), err)
	}
	if err := s.Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	foreign := gateway.IDOfKey("plain-and-new-0001")
	wantEqual(t, "the other program's", stateNow(t, s, foreign), gateway.KeyMark{Key: foreign, State: gateway.KeyState{Disabled: gateway.DisabledManual}})
	if _, err := s.writer.ExecContext(t.Context(), "update ollama_api_keys set expires_at = ? where key_id = ?", at(noon.Add(time.Hour)), string(foreign)); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "its new end", stateNow(t, s, foreign).ExpiresAt, noon.Add(time.Hour))
	if _, err := s.writer.ExecContext(t.Context(), "update ollama_api_keys set expires_at = null where key_id = ?", string(foreign)); err != nil {
		t.Fatal(err)
	}
	if marks, err := s.KeyMarks(t.Context(), gateway.Ollama, []gateway.KeyID{}); err != nil || len(marks) != 0 {
		t.Errorf("of no keys: %d marks, %v", len(marks), err)
	}
	ids := []gateway.KeyID{gateway.IDOfKey(secretOf(1)), "0123456789abcdef", foreign}
	var got []gateway.Key
	if err := s.KeysByID(t.Context(), gateway.Ollama, ids, func(k gateway.Key) error { got = append(got, k); return nil }); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, func(a, b gateway.Key) int { return len(b.Secret) - len(a.Secret) })
	wantEqual(t, "keys by id", got, []gateway.Key{keys[1], {Secret: "plain-and-new-0001", CreatedAt: noon, State: gateway.KeyState{Disabled: gateway.DisabledManual}}})
}
