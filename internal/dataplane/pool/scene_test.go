package pool

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// What the upstream may answer, as the pool hears of it.
var (
	served     = gateway.Verdict{OK: true, Reason: "ok"}
	fault      = gateway.Verdict{Scope: gateway.ScopeProvider, Action: gateway.ActionStrike, Next: gateway.NextAfterPause, Reason: "upstream: 503"}
	badRequest = gateway.Verdict{Scope: gateway.ScopeRequest, Next: gateway.NextDeliver, Reason: "bad request"}
	unknown    = gateway.Verdict{Scope: gateway.ScopeUnknown, Next: gateway.NextKey, Reason: "403"}
	wentAway   = gateway.Verdict{Scope: gateway.ScopeClient, Next: gateway.NextStop, Reason: "client closed the request"}
	plan       = gateway.Verdict{Scope: gateway.ScopeKeyModel, Action: gateway.ActionPassOver, Next: gateway.NextKeyOnce, For: 24 * time.Hour, Reason: "plan"}
	unknownEnd = gateway.Verdict{Scope: gateway.ScopeAccount, Action: gateway.ActionRest, Next: gateway.NextKey, Reason: "quota"}
	noCredit   = gateway.Verdict{Scope: gateway.ScopeAccount, Action: gateway.ActionFail, Next: gateway.NextKey, Reason: "no credit"}
)

// refused is a refusal of the key for a reason.
func refused(reason string) gateway.Verdict {
	return gateway.Verdict{Scope: gateway.ScopeKey, Action: gateway.ActionFail, Next: gateway.NextKey, Reason: reason}
}

// quota says that the account is out of quota until a time.
func quota(until time.Time) gateway.Verdict {
	v := unknownEnd
	v.Until = until
	return v
}

// scene is a pool with a clock that only the test moves.
type scene struct {
	*testing.T
	p    *Pool
	now  time.Time
	made int // keys so far
}

func newScene(t *testing.T) *scene {
	t.Helper()
	return &scene{
		T:   t,
		p:   New(gateway.Ollama, Settings{FailedFor: time.Hour, DisableThreshold: 3, DisabledFor: 2 * time.Hour}),
		now: time.Date(2027, 1, 15, 8, 0, 0, 0, time.UTC),
	}
}

// put adds n keys that belong to an account, "" for none.
func (s *scene) put(n int, username string) []gateway.KeyID {
	s.Helper()
	ids := make([]gateway.KeyID, n)
	for i := range ids {
		ids[i] = s.putKey(gateway.Key{Username: username})
	}
	return ids
}

// putProven adds n keys without an account that have served before.
func (s *scene) putProven(n int) []gateway.KeyID {
	s.Helper()
	ids := make([]gateway.KeyID, n)
	for i := range ids {
		ids[i] = s.putKey(gateway.Key{Counts: gateway.KeyCounts{LastSuccess: s.now.Add(-time.Hour)}})
	}
	return ids
}

// putKey adds a key, with a made-up secret where it has none.
func (s *scene) putKey(k gateway.Key) gateway.KeyID {
	s.Helper()
	s.made++
	if k.Secret == "" {
		k.Secret = gateway.Secret(fmt.Sprintf("example-key-%d", s.made))
	}
	if !s.p.Put(k, s.now) {
		s.Fatal("the pool had the key already")
	}
	return gateway.IDOfKey(k.Secret)
}

// wait lets time pass.
func (s *scene) wait(d time.Duration) {
	s.now = s.now.Add(d)
	s.p.Tick(s.now)
}

// lend borrows a key that there must be.
func (s *scene) lend(w *Want) *Lease {
	s.Helper()
	l, err := s.p.Acquire(w, s.now)
	if err != nil {
		s.Fatalf("no key: %v", err)
	}
	return &l
}

// lendKey borrows one certain key, which must come up within a few turns.
func (s *scene) lendKey(id gateway.KeyID, model string) *Lease {
	s.Helper()
	for range 2 * s.p.Len() {
		if l := s.lend(&Want{Model: model}); l.Key() == id {
			return l
		}
	}
	s.Fatalf("key %s does not come up", id)
	return nil
}

// try makes one attempt with the next key in turn.
func (s *scene) try(v gateway.Verdict) gateway.KeyID {
	s.Helper()
	l := s.lend(&Want{})
	l.Release(&v, s.now)
	return l.Key()
}

// tryKey makes one attempt with a certain key.
func (s *scene) tryKey(id gateway.KeyID, v gateway.Verdict) {
	s.Helper()
	s.lendKey(id, "").Release(&v, s.now)
}

// none asks for a key where there must be none, and returns why.
func (s *scene) none(w *Want) *Exhausted {
	s.Helper()
	l, err := s.p.Acquire(w, s.now)
	if err == nil {
		s.Fatalf("key %s was lent", l.Key())
	}
	var e *Exhausted
	if !errors.As(err, &e) {
		s.Fatalf("%T instead of *Exhausted: %v", err, err)
	}
	return e
}

// wantNone asks for a key where there must be none for a certain reason.
func (s *scene) wantNone(w *Want, reason Reason, retryAfter time.Duration) {
	s.Helper()
	if e := s.none(w); e.Reason != reason || e.RetryAfter != retryAfter {
		s.Fatalf("no key because %q, retry after %v; want %q, %v", e.Reason, e.RetryAfter, reason, retryAfter)
	}
}

func (s *scene) state(id gateway.KeyID) gateway.KeyState {
	s.Helper()
	state, _, ok := s.p.State(id)
	if !ok {
		s.Fatalf("the pool does not know key %s", id)
	}
	return state
}

func (s *scene) wantStatus(id gateway.KeyID, want gateway.KeyStatus) {
	s.Helper()
	if _, got, _ := s.p.State(id); got != want {
		s.Fatalf("key %s is %s, want %s", id, got, want)
	}
}

// wantUntouched checks that keys are active and bear no mark at all.
func (s *scene) wantUntouched(ids ...gateway.KeyID) {
	s.Helper()
	for i, id := range ids {
		s.wantStatus(id, gateway.KeyActive)
		if got := s.state(id); got != (gateway.KeyState{}) {
			s.Fatalf("key %d is marked: %+v", i, got)
		}
	}
}
