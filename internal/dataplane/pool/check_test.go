package pool

import (
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// check makes a whole check of a key.
func (s *scene) check(id gateway.KeyID, outcome gateway.CheckOutcome) bool {
	s.Helper()
	t, _, ok := s.p.BeginCheck(id)
	if !ok {
		s.Fatalf("key %s is not there", id)
	}
	return s.p.EndCheck(t, outcome, "401 unauthorized", s.now)
}

func (s *scene) status(id gateway.KeyID) gateway.KeyStatus {
	s.Helper()
	_, status, ok := s.p.State(id)
	if !ok {
		s.Fatalf("key %s is not there", id)
	}
	return status
}

func TestCheckedValid(t *testing.T) {
	soon := func(s *scene) time.Time { return s.now.Add(time.Hour).UTC() }
	for name, c := range map[string]struct {
		before, after func(s *scene) gateway.KeyState
		status        gateway.KeyStatus
	}{
		"failed": {
			func(s *scene) gateway.KeyState {
				return gateway.KeyState{FailedUntil: soon(s), ConsecutiveFailures: 2, LastError: "401"}
			},
			func(*scene) gateway.KeyState { return gateway.KeyState{} }, gateway.KeyActive,
		},
		"disabled by failures": {
			func(s *scene) gateway.KeyState {
				return gateway.KeyState{Disabled: gateway.DisabledAuto, DisabledUntil: soon(s), ConsecutiveFailures: 3, LastError: "401"}
			},
			func(*scene) gateway.KeyState { return gateway.KeyState{} }, gateway.KeyActive,
		},
		"disabled by hand": {
			func(s *scene) gateway.KeyState {
				return gateway.KeyState{Disabled: gateway.DisabledManual, FailedUntil: soon(s), ConsecutiveFailures: 1, LastError: "by hand"}
			},
			func(*scene) gateway.KeyState {
				return gateway.KeyState{Disabled: gateway.DisabledManual, LastError: "by hand"}
			}, gateway.KeyDisabled,
		},
		"resting": {
			func(s *scene) gateway.KeyState {
				return gateway.KeyState{RestsUntil: soon(s), RestStep: 2, ConsecutiveFailures: 1, LastError: "quota"}
			},
			func(s *scene) gateway.KeyState {
				return gateway.KeyState{RestsUntil: soon(s), RestStep: 2, LastError: "quota"}
			}, gateway.KeyResting,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			id := s.putKey(gateway.Key{State: c.before(s)})
			if !s.check(id, gateway.CheckValid) {
				t.Error("the check does not count")
			}
			if got, want := s.state(id), c.after(s); got != want {
				t.Errorf("state %+v, want %+v", got, want)
			}
			if got := s.status(id); got != c.status {
				t.Errorf("status %s, want %s", got, c.status)
			}
			if d := s.p.Drain(); len(d.States) != 1 || d.States[0].State != c.after(s) {
				t.Errorf("to be written: %+v", d.States)
			}
			if s.check(id, gateway.CheckValid); len(s.p.Drain().States) != 0 {
				t.Error("a check that changes nothing is written down")
			}
		})
	}
}

func TestCheckedRefused(t *testing.T) {
	s := newScene(t)
	id := s.putKey(gateway.Key{})
	for n := 1; n <= 3; n++ {
		if !s.check(id, gateway.CheckRefused) {
			t.Fatal("the check does not count")
		}
		want := gateway.KeyState{ConsecutiveFailures: n, LastError: "401 unauthorized", FailedUntil: s.now.Add(time.Hour)}
		if n == 3 {
			want.FailedUntil, want.Disabled, want.DisabledUntil = time.Time{}, gateway.DisabledAuto, s.now.Add(2*time.Hour)
		}
		if got := s.state(id); got != want {
			t.Errorf("after %d refusals: %+v, want %+v", n, got, want)
		}
	}
	if s.check(id, gateway.CheckInconclusive) || s.state(id).ConsecutiveFailures != 3 {
		t.Error("a check that showed nothing counts")
	}
}

// A result counts only if the check began after the key's last change of state.
func TestStaleChecks(t *testing.T) {
	s := newScene(t)
	id := s.putKey(gateway.Key{})
	first, secret, _ := s.p.BeginCheck(id)
	second, _, _ := s.p.BeginCheck(id)
	if gateway.IDOfKey(secret) != id {
		t.Error("another key is to be checked")
	}
	if !s.p.EndCheck(first, gateway.CheckRefused, "401", s.now) || s.p.EndCheck(second, gateway.CheckRefused, "401", s.now) {
		t.Error("two checks at the same time do not count as one")
	}
	if got := s.state(id).ConsecutiveFailures; got != 1 {
		t.Errorf("%d failures, want 1", got)
	}
	before, _, _ := s.p.BeginCheck(id)
	s.p.SetState(id, gateway.KeyState{Disabled: gateway.DisabledManual}, s.now)
	if s.p.EndCheck(before, gateway.CheckValid, "", s.now) {
		t.Error("a check that began before the operator spoke counts")
	}
	gone, _, _ := s.p.BeginCheck(id)
	s.p.Remove(id)
	other := s.putKey(gateway.Key{})
	if s.p.EndCheck(gone, gateway.CheckRefused, "401", s.now) || s.state(other).ConsecutiveFailures != 0 {
		t.Error("the check of a removed key counts for another one")
	}
	if _, _, ok := s.p.BeginCheck(id); ok {
		t.Error("a removed key can be checked")
	}
	if _, ok := s.p.Standing(id); ok {
		t.Error("a removed key stands")
	}
}

func TestChecksAndTheOutageGuard(t *testing.T) {
	s := newScene(t)
	ids := s.putProven(30)
	// A check may refuse many keys at once: it has its own guard.
	for _, id := range ids[:10] {
		if !s.check(id, gateway.CheckRefused) {
			t.Fatal("a check does not count")
		}
	}
	if s.p.Health().Open {
		t.Fatal("checks open the breaker")
	}
	// Traffic that everybody's refusal stops takes back its own marks only.
	for range 5 {
		s.try(refused("401 unauthorized"))
	}
	if !s.p.Health().Open {
		t.Fatal("the breaker is not open")
	}
	if n := s.p.Counts()[gateway.KeyFailed]; n != 10 {
		t.Errorf("%d keys are failed, want the 10 that were checked", n)
	}
	if s.check(ids[20], gateway.CheckRefused) || s.status(ids[20]) != gateway.KeyActive {
		t.Error("a key is refused by a check while everybody is")
	}
	if !s.check(ids[0], gateway.CheckValid) || s.status(ids[0]) != gateway.KeyActive {
		t.Error("a good key stays out")
	}
}

func TestStanding(t *testing.T) {
	s := newScene(t)
	anna := s.put(2, "anna@example.com")
	for _, c := range []struct {
		id   gateway.KeyID
		good bool
	}{
		{anna[0], true},
		{s.putKey(gateway.Key{State: gateway.KeyState{RestsUntil: s.now.Add(time.Hour)}}), true},
		{s.putKey(gateway.Key{State: gateway.KeyState{FailedUntil: s.now.Add(time.Hour)}}), false},
		{s.putKey(gateway.Key{State: gateway.KeyState{Disabled: gateway.DisabledManual}}), false},
		{s.putKey(gateway.Key{ExpiresAt: s.now}), false},
	} {
		if got, ok := s.p.Standing(c.id); !ok || got.Good != c.good {
			t.Errorf("%s: %+v, %v", s.status(c.id), got, ok)
		}
	}
	a, _ := s.p.Standing(anna[0])
	b, _ := s.p.Standing(anna[1])
	if a.Account == 0 || a.Account != b.Account {
		t.Errorf("one account: %d and %d", a.Account, b.Account)
	}
}
