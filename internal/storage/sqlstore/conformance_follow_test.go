package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// heard reads what others did since a cursor, which it moves on.
func heard(t *testing.T, s *Store, after *int64) []gateway.Change {
	t.Helper()
	var all []gateway.Change
	for {
		changes, last, whole, err := s.Changes(t.Context(), *after)
		if err != nil || !whole {
			t.Fatalf("Changes(%d): whole %v, %v", *after, whole, err)
		}
		all = append(all, changes...)
		if last == *after {
			return all
		}
		*after = last
	}
}

func cursor(t *testing.T, s *Store) *int64 {
	t.Helper()
	last, err := s.LastChange(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &last
}

// conformJournal: every write of keys, states and tokens is heard of by the
// others, and nothing else.
func conformJournal(t *testing.T, open openStore) {
	a, b := open(Options{telling: true, Instance: "a"}), open(Options{telling: true, Instance: "b"})
	ctx, at := t.Context(), cursor(t, b)
	id := func(n int) gateway.KeyID { return gateway.IDOfKey(secretOf(n)) }
	keys := func(ids ...gateway.KeyID) []gateway.Change {
		return []gateway.Change{{Origin: "a", Kind: gateway.ChangeKeys, Provider: gateway.Ollama, Keys: ids}}
	}
	tokens := []gateway.Change{{Origin: "a", Kind: gateway.ChangeTokens}}
	foreign := []gateway.Change{{Origin: foreignOrigin, Kind: gateway.ChangeKeys, Provider: gateway.Ollama, Keys: []gateway.KeyID{gateway.IDOfKey("plain-and-new-0001")}}}
	token := gateway.Token{Hash: gateway.HashToken("sk-fake"), Name: "x", Providers: []gateway.ProviderName{gateway.Ollama}}
	plain := func() {
		if _, err := a.writer.ExecContext(ctx, "insert into ollama_api_client_tokens (token, name) values ('sk-plain', 'p')"); err != nil {
			t.Fatal(err)
		}
	}
	name := "y"
	steps := []struct {
		what string
		do   func() error
		want []gateway.Change
	}{
		{"keys are added", func() error {
			_, _, err := a.AddKeys(ctx, gateway.Ollama, yield(someKeys(0, 3), nil), nil)
			return err
		}, keys(id(0), id(1), id(2))},
		{"keys are there already", func() error {
			_, _, err := a.AddKeys(ctx, gateway.Ollama, yield(someKeys(0, 3), nil), nil)
			return err
		}, nil},
		{"states are learnt, one stale", func() error {
			_, err := a.ApplyBatch(ctx, learn("a", 1, gateway.StateChange{Key: id(1)}, gateway.StateChange{Key: id(2), Version: 8}))
			return err
		}, keys(id(1))},
		{"requests are counted", func() error { _, err := a.ApplyBatch(ctx, one("a", 2)); return err }, nil},
		{"a batch comes again", func() error { _, err := a.ApplyBatch(ctx, learn("a", 1, gateway.StateChange{Key: id(1)})); return err }, nil},
		{"keys are enabled", func() error { return a.EnableKeys(ctx, gateway.Ollama, []gateway.KeyID{id(0)}) }, keys(id(0))},
		{"keys are deleted", func() error {
			_, err := a.DeleteKeys(ctx, gateway.Ollama, []gateway.KeyID{id(2), "0123456789abcdef"})
			return err
		}, keys(id(2))},
		{"a token is added", func() error { return a.AddToken(ctx, token) }, tokens},
		{"a token changes", func() error {
			_, _, err := a.UpdateToken(ctx, token.Hash, gateway.TokenChange{Name: &name})
			return err
		}, tokens},
		{"a token is deleted", func() error { _, err := a.DeleteToken(ctx, token.Hash); return err }, tokens},
		{"no token is deleted", func() error { _, err := a.DeleteToken(ctx, token.Hash); return err }, nil},
		{"a plain token is hashed", func() error { plain(); return a.HashPlainToken(ctx, gateway.Token{Plain: "sk-plain"}) }, tokens},
		{"a row of another program is taken in", func() error {
			if _, err := a.writer.ExecContext(ctx, "insert into ollama_api_keys (api_key) values ('plain-and-new-0001')"); err != nil {
				return err
			}
			return a.Adopt(ctx)
		}, foreign},
		{"nothing is to be taken in", func() error { return a.Adopt(ctx) }, nil},
		{"the caches are cleared", func() error {
			return a.Announce(ctx, gateway.Change{Kind: gateway.ChangeCache, Detail: "kimi*"})
		}, []gateway.Change{{Origin: "a", Kind: gateway.ChangeCache, Detail: "kimi*"}}},
		{"anything may have changed", func() error {
			return a.Announce(ctx, gateway.Change{Kind: gateway.ChangeKeys, Provider: gateway.OpenRouter})
		}, []gateway.Change{{Origin: "a", Kind: gateway.ChangeKeys, Provider: gateway.OpenRouter}}},
		{"b does something itself", func() error { return b.EnableKeys(ctx, gateway.Ollama, []gateway.KeyID{id(0)}) }, nil},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		got := heard(t, b, at)
		for i := range got {
			slices.Sort(got[i].Keys)
		}
		for i := range step.want {
			slices.Sort(step.want[i].Keys)
		}
		wantEqual(t, step.what, got, step.want)
	}
	// Whoever takes rows of another program in follows them like everybody.
	if got := heard(t, a, new(int64)); !slices.ContainsFunc(got, func(c gateway.Change) bool { return c.Origin == foreignOrigin }) {
		t.Errorf("the one that took a row in hears of %v", got)
	}
}

// conformJournalGaps: who was away for too long, or follows another database, is
// told that the journal is not whole.
func conformJournalGaps(t *testing.T, open openStore) {
	a := open(Options{telling: true, Instance: "a"})
	b := open(Options{telling: true, Instance: "b"})
	tell := func(detail string) {
		t.Helper()
		if err := a.Announce(t.Context(), gateway.Change{Kind: gateway.ChangeCache, Detail: detail}); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(after int64) (details []string, last int64, whole bool) {
		t.Helper()
		changes, last, whole, err := b.Changes(t.Context(), after)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			details = append(details, c.Detail)
		}
		return details, last, whole
	}
	first := *cursor(t, b)
	tell("1")
	second := *cursor(t, b)
	tell("2")
	err := a.write(t.Context(), "test", func(ctx context.Context, tx *sql.Tx) error { // by whatever clock
		_, err := tx.ExecContext(ctx, "update pool_changes set happened_at = ?", at(time.Unix(0, 0)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	tell("3")
	newest := *cursor(t, b)
	if details, last, whole := ask(first); !whole || last != newest || !slices.Equal(details, []string{"1", "2", "3"}) {
		t.Errorf("from the beginning: %v, %d, %v", details, last, whole)
	}
	if err := a.PruneChanges(t.Context(), noon.Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	for _, after := range []int64{first, second, newest + 5} {
		if details, last, whole := ask(after); whole || last != newest || details != nil {
			t.Errorf("after %d, of which something is gone: %v, %d, %v; want not whole, and %d", after, details, last, whole, newest)
		}
	}
	if details, last, whole := ask(newest); !whole || last != newest || details != nil {
		t.Errorf("after the newest: %v, %d, %v", details, last, whole)
	}
	if err := a.PruneChanges(t.Context(), noon.Add(24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := *cursor(t, b); got != newest {
		t.Errorf("the cursor went from %d to %d as the journal was emptied", newest, got)
	}
	if _, _, whole := ask(newest); !whole {
		t.Error("whoever knows all is told that something is missing")
	}
	tell("4")
	if details, _, whole := ask(newest); !whole || !slices.Equal(details, []string{"4"}) {
		t.Errorf("after the journal was emptied: %v, %v", details, whole)
	}
}

// conformJournalSizes: many keys are named in several rows, too many not at all,
// and a long journal is read in several steps.
func conformJournalSizes(t *testing.T, open openStore) {
	a, b := open(Options{telling: true, Instance: "a"}), open(Options{telling: true, Instance: "b"})
	at := cursor(t, b)
	note := func(n int) {
		t.Helper()
		ids := make([]gateway.KeyID, n)
		for i := range ids {
			ids[i] = gateway.KeyID(fmt.Sprintf("%016x", i))
		}
		if err := a.Announce(t.Context(), gateway.Change{Kind: gateway.ChangeKeys, Provider: gateway.Ollama, Keys: ids}); err != nil {
			t.Fatal(err)
		}
	}
	note(idsNoted + 1)
	got := heard(t, b, at)
	if len(got) != 2 || len(got[0].Keys) != idsNoted || len(got[1].Keys) != 1 || got[1].Keys[0] != gateway.KeyID(fmt.Sprintf("%016x", idsNoted)) {
		t.Errorf("%d changes for %d keys", len(got), idsNoted+1)
	}
	note(idsNamed + 1)
	if got := heard(t, b, at); len(got) != 1 || got[0].Keys != nil {
		t.Errorf("%d changes for more keys than are named", len(got))
	}
	err := a.write(t.Context(), "note", func(ctx context.Context, tx *sql.Tx) error {
		return a.note(ctx, tx, slices.Repeat([]gateway.Change{{Kind: gateway.ChangeTokens}}, changesRead+10)...)
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := heard(t, b, at); len(got) != changesRead+10 {
		t.Errorf("%d changes of a long journal", len(got))
	}
}

// conformFollowing: several writers on two stores change the states of the same
// keys as they like, each on its own idea of the versions; whoever follows the
// journal ends with what is stored.
func conformFollowing(t *testing.T, open openStore) {
	const stores, writers, rounds, keys = 2, 4, 25, 12
	var all []*Store
	for i := range stores {
		all = append(all, open(Options{telling: true, Instance: fmt.Sprint("instance ", i)}))
	}
	add(t, all[0], gateway.Ollama, someKeys(0, keys)...)
	var minds []*mind
	for i, s := range all {
		m := &mind{t: t, s: s, writer: fmt.Sprint("run ", i), after: *cursor(t, s), known: map[gateway.KeyID]gateway.KeyMark{}}
		m.compare()
		minds = append(minds, m)
	}
	for _, m := range minds { // all learn of one key before they hear of each other
		m.learn(gateway.StateChange{Key: gateway.IDOfKey(secretOf(0)), State: gateway.KeyState{RestStep: 1}})
	}
	var wg sync.WaitGroup
	for i := range stores * writers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 11))
			for range rounds {
				minds[i%stores].act(rng, keys)
			}
		})
	}
	wg.Wait()
	stored, err := all[0].KeyMarks(t.Context(), gateway.Ollama, nil)
	if err != nil {
		t.Fatal(err)
	}
	var versions int64
	for _, m := range minds {
		m.follow()
		for _, mark := range stored {
			versions += mark.Version
			if m.known[mark.Key] != mark {
				t.Errorf("%s thinks %+v, stored is %+v", m.writer, m.known[mark.Key], mark)
			}
		}
	}
	if minds[1].stale == 0 {
		t.Error("what the second instance learnt later was taken")
	}
	if versions == 0 {
		t.Error("nothing was written")
	}
}

// mind is what an instance thinks of keys, in the place of its pools.
type mind struct {
	t      *testing.T
	s      *Store
	writer string

	mu     sync.Mutex // one writes or follows at a time, as the program does
	number int64
	after  int64
	known  map[gateway.KeyID]gateway.KeyMark
	stale  int
}

func (m *mind) act(rng *rand.Rand, keys int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if rng.IntN(5) == 0 {
		m.follow()
		return
	}
	id := gateway.IDOfKey(secretOf(rng.IntN(keys)))
	if rng.IntN(8) == 0 {
		if err := m.s.EnableKeys(m.t.Context(), gateway.Ollama, []gateway.KeyID{id}); err != nil {
			m.t.Error(err)
		}
		m.read(id)
		return
	}
	c := gateway.StateChange{Key: id, Version: m.known[id].Version, State: gateway.KeyState{RestStep: rng.IntN(100)}}
	if rng.IntN(2) == 0 {
		c.State.RestsUntil = noon.Add(time.Duration(1+rng.IntN(3600)) * time.Second)
	}
	m.learn(c)
}

// learn writes a change down and takes over what is said of it.
func (m *mind) learn(c gateway.StateChange) {
	m.number++
	done, err := m.s.ApplyBatch(m.t.Context(), learn(m.writer, m.number, c))
	switch {
	case err != nil || done.Again:
		m.t.Errorf("%+v, %v", done, err)
	case len(done.Stale) > 0:
		m.stale++
		m.read(done.Stale[gateway.Ollama]...)
	default:
		mark := m.known[c.Key]
		mark.State, mark.Version = c.State, mark.Version+1
		m.known[c.Key] = mark
	}
}

func (m *mind) follow() {
	for {
		changes, last, whole, err := m.s.Changes(m.t.Context(), m.after)
		if err != nil || !whole {
			m.t.Errorf("whole %v, %v", whole, err)
		}
		for _, c := range changes {
			m.read(c.Keys...)
		}
		if last == m.after {
			return
		}
		m.after = last
	}
}

func (m *mind) compare() { m.read(nil...) }

func (m *mind) read(ids ...gateway.KeyID) {
	marks, err := m.s.KeyMarks(m.t.Context(), gateway.Ollama, ids)
	if err != nil {
		m.t.Error(err)
	}
	for _, mark := range marks {
		m.known[mark.Key] = mark
	}
}

// conformListen: whoever listens is woken by what others commit, and by nothing
// that was rolled back; where that is not possible it is said at once.
func conformListen(t *testing.T, open openStore) {
	a, b := open(Options{}), open(Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	woken, ended := make(chan struct{}, 100), make(chan error, 1)
	go func() { ended <- b.Listen(ctx, func() { woken <- struct{}{} }) }()
	next := func() bool {
		select {
		case <-woken:
			return true
		case err := <-ended:
			if !errors.Is(err, ErrNoListen) {
				t.Errorf("listening ended: %v", err)
			}
			return false
		case <-time.After(20 * time.Second):
			t.Error("nobody was woken")
			return false
		}
	}
	if !next() { // once at the beginning
		return
	}
	add(t, a, gateway.Ollama, someKeys(0, 2)...)
	if !next() {
		return
	}
	_, _, err := a.AddKeys(t.Context(), gateway.Ollama, yield(someKeys(2, 4), errors.New("broken")), nil)
	if err == nil {
		t.Error("a broken import succeeds")
	}
	if err := a.Announce(t.Context(), gateway.Change{Kind: gateway.ChangeCache}); err != nil {
		t.Fatal(err)
	}
	next()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("after its end: %v", err)
	}
	if len(woken) != 0 {
		t.Errorf("woken %d times too often", len(woken))
	}
}
