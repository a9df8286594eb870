package app_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ollama-api-pool/internal/dataplane/pool"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/sqlstore"
	"ollama-api-pool/internal/testkit/servers"
)

// TestPoolsAgree lets two instances with four goroutines each do as they like
// with the same keys: traffic, acts of an operator, writes that are put off or
// whose answer is lost. Once everything is written and followed, both pools and
// the database say the same of every key.
func TestPoolsAgree(t *testing.T) {
	t.Parallel()
	const keys, goroutines, steps = 10, 4, 60
	url := gateway.Secret(servers.SharedPostgres(t).Database(t))
	var clock atomic.Int64
	clock.Store(time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	now := func() time.Time { return time.Unix(0, clock.Load()).UTC() }
	var minds []*mind
	for i := range 2 {
		s, err := sqlstore.Open(t.Context(), sqlstore.Options{URL: url, Instance: fmt.Sprint("instance ", i), Now: now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		minds = append(minds, &mind{T: t, store: s, now: now, writer: fmt.Sprint("run ", i), pool: pool.New(gateway.Ollama, pool.Settings{
			FailedFor: 20 * time.Second, DisableThreshold: 3, DisabledFor: 40 * time.Second,
		})})
	}
	var ids []gateway.KeyID
	_, _, err := minds[0].store.AddKeys(t.Context(), gateway.Ollama, func(yield func(gateway.Key, error) bool) {
		for n := range keys {
			k := gateway.Key{Secret: gateway.Secret(fmt.Sprintf("fake-key-%06d", n)), Username: fmt.Sprint("user", n/2, "@example.com")}
			ids = append(ids, gateway.IDOfKey(k.Secret))
			if !yield(k, nil) {
				return
			}
		}
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range minds {
		if m.cursor, err = m.store.LastChange(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := m.store.EachKey(t.Context(), gateway.Ollama, func(k gateway.Key) error { m.pool.Put(k, now()); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range minds { // both learn of one key before they hear of each other
		trial, _, _ := m.pool.BeginCheck(ids[0])
		m.pool.EndCheck(trial, gateway.CheckRefused, "401 at "+m.writer, now())
		m.flush(false)
	}
	var wg sync.WaitGroup
	for _, m := range minds {
		for g := range goroutines {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(g), uint64(len(m.writer))+uint64(m.writer[4])))
				for range steps {
					m.step(rng, ids, &clock)
				}
			})
		}
	}
	wg.Wait()
	for range 4 { // what one writes the other may have to follow, and answer
		for _, m := range minds {
			m.mu.Lock()
			m.flush(false)
			m.follow()
			m.mu.Unlock()
		}
	}
	marks, err := minds[0].store.KeyMarks(t.Context(), gateway.Ollama, nil)
	if err != nil || len(marks) != keys {
		t.Fatalf("%d marks, %v", len(marks), err)
	}
	for _, mark := range marks {
		want := settled(mark.State, now())
		for _, m := range minds {
			st, _, ok := m.pool.State(mark.Key)
			if got := settled(st, now()); !ok || got != want {
				t.Errorf("%s thinks of %s (version %d): %+v\nstored is %+v", m.writer, mark.Key, mark.Version, got, want)
			}
		}
	}
	if minds[1].stale == 0 {
		t.Error("what the second instance learnt later was taken")
	}
}

// settled is a state without what is over, to the microsecond.
func settled(s gateway.KeyState, now time.Time) gateway.KeyState {
	for _, at := range []*time.Time{&s.FailedUntil, &s.RestsUntil, &s.DisabledUntil} {
		if !at.After(now) {
			*at = time.Time{}
		}
		*at = at.Truncate(time.Microsecond)
	}
	if s.DisabledUntil.IsZero() && s.Disabled != gateway.DisabledManual {
		s.Disabled = gateway.NotDisabled
	}
	return s
}

// mind is what an instance has in the place of the whole program.
type mind struct {
	*testing.T
	store *sqlstore.Store
	pool  *pool.Pool
	now   func() time.Time

	mu      sync.Mutex // what the program calls the turn: one writes or follows at a time
	writer  string
	number  int64
	waiting []gateway.Batch // spooled
	cursor  int64
	stale   int
}

func (m *mind) step(rng *rand.Rand, ids []gateway.KeyID, clock *atomic.Int64) {
	switch n := rng.IntN(20); {
	case n < 9:
		m.try(rng)
	case n < 13:
		m.mu.Lock()
		defer m.mu.Unlock()
		m.flush(rng.IntN(4) == 0)
	case n < 15:
		m.mu.Lock()
		defer m.mu.Unlock()
		m.drain()
	case n < 18:
		m.mu.Lock()
		defer m.mu.Unlock()
		m.follow()
	case n < 19:
		clock.Add(int64(rng.IntN(5000)) * int64(time.Millisecond))
		m.pool.Tick(m.now())
	default:
		m.mu.Lock()
		defer m.mu.Unlock()
		m.flush(false)
		m.act(ids[rng.IntN(len(ids))], rng.IntN(2) == 0)
	}
}

// try is an attempt with a key.
func (m *mind) try(rng *rand.Rand) {
	lease, err := m.pool.Acquire(&pool.Want{}, m.now())
	if err != nil {
		return
	}
	rest := gateway.Verdict{Scope: gateway.ScopeAccount, Action: gateway.ActionRest, Next: gateway.NextKey, Reason: "quota"}
	told := rest
	told.Until = m.now().Add(time.Duration(1+rng.IntN(30_000)) * time.Millisecond)
	all := []gateway.Verdict{
		rest,
		told,
		{OK: true, Reason: "ok"},
		{Scope: gateway.ScopeKey, Action: gateway.ActionFail, Next: gateway.NextKey, Reason: "401"},
	}
	lease.Release(&all[rng.IntN(len(all))], m.now())
}

// drain takes what has been learnt, to be sent later.
func (m *mind) drain() {
	if d := m.pool.Drain(); !d.Empty() {
		m.number++
		m.waiting = append(m.waiting, gateway.Batch{Writer: m.writer, Number: m.number, Deltas: []gateway.Delta{d}})
	}
}

// flush sends everything; where an answer is lost the same batch is sent again.
func (m *mind) flush(lost bool) {
	m.drain()
	for _, b := range m.waiting {
		done, err := m.store.ApplyBatch(m.Context(), b)
		if lost && err == nil {
			done, err = m.store.ApplyBatch(m.Context(), b)
		}
		if err != nil || done.Again != lost {
			m.Errorf("sent: again %v, %v; want %v", done.Again, err, lost)
		}
		states := b.Deltas[0].States
		doubtful := done.Stale[gateway.Ollama]
		m.stale += len(doubtful)
		if lost {
			for i := range states {
				doubtful = append(doubtful, states[i].Key)
			}
		}
		m.pool.Written(slices.DeleteFunc(slices.Clone(states), func(c gateway.StateChange) bool { return slices.Contains(doubtful, c.Key) }))
		m.read(doubtful, m.pool.Reload)
	}
	m.waiting = nil
}

func (m *mind) follow() {
	for {
		changes, last, whole, err := m.store.Changes(m.Context(), m.cursor)
		if err != nil || !whole {
			m.Errorf("whole %v, %v", whole, err)
		}
		for _, c := range changes {
			m.read(c.Keys, m.heard)
		}
		if last == m.cursor {
			return
		}
		m.cursor = last
	}
}

// heard is what is done with a mark that somebody else may have made.
func (m *mind) heard(mark gateway.KeyMark, now time.Time) { m.pool.Follow(mark, now) }

// act is what an operator does.
func (m *mind) act(id gateway.KeyID, enable bool) {
	var err error
	if enable {
		err = m.store.EnableKeys(m.Context(), gateway.Ollama, []gateway.KeyID{id})
	} else {
		off := gateway.KeyState{Disabled: gateway.DisabledManual, LastError: "by hand"}
		err = m.store.Apply(m.Context(), []gateway.Delta{{Provider: gateway.Ollama, States: []gateway.StateChange{{Key: id, State: off, Forced: true}}}})
	}
	if err != nil {
		m.Error(err)
	}
	m.read([]gateway.KeyID{id}, m.heard)
}

func (m *mind) read(ids []gateway.KeyID, take func(gateway.KeyMark, time.Time)) {
	if len(ids) == 0 {
		return
	}
	marks, err := m.store.KeyMarks(m.Context(), gateway.Ollama, ids)
	if err != nil {
		m.Error(err)
	}
	for _, mark := range marks {
		take(mark, m.now())
	}
}
