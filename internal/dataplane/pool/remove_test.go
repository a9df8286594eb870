package pool

import (
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

func TestPutTwice(t *testing.T) {
	s := newScene(t)
	k := gateway.Key{Secret: "example-key-a", Username: "ada"}
	id := s.putKey(k)
	s.p.SetState(id, gateway.KeyState{Disabled: gateway.DisabledManual}, s.now)
	if s.p.Put(k, s.now) {
		t.Error("the same key was taken twice")
	}
	s.wantStatus(id, gateway.KeyDisabled)
	if s.p.Len() != 1 || !s.p.Has(id) {
		t.Errorf("%d keys", s.p.Len())
	}
}

func TestLeaseNamesItsKey(t *testing.T) {
	s := newScene(t)
	id := s.putKey(gateway.Key{Secret: "example-key-a"})
	l := s.lend(&Want{})
	if l.Key() != id || l.Secret() != "example-key-a" || l.Bearer() != "Bearer example-key-a" {
		t.Errorf("lease of %s with %q", l.Key(), l.Bearer())
	}
	if got := s.p.IDs(); len(got) != 1 || got[0] != id {
		t.Errorf("the keys are %v", got)
	}
	if s.p.Len() != 1 || s.p.Provider() != gateway.Ollama {
		t.Errorf("keys of %q", s.p.Provider())
	}
}

func TestRemove(t *testing.T) {
	s := newScene(t)
	ids := s.put(3, "ada")
	if !s.p.Remove(ids[1]) || s.p.Remove(ids[1]) || s.p.Remove("nonsense") {
		t.Error("removed what is not there, or not what is")
	}
	for range 4 {
		if got := s.try(served); got == ids[1] {
			t.Fatal("a removed key was lent")
		}
	}
	if _, _, ok := s.p.State(ids[1]); ok || s.p.Has(ids[1]) || s.p.Len() != 2 {
		t.Error("the pool still knows the key")
	}
	// The account holds together without it.
	s.tryKey(ids[0], quota(s.now.Add(time.Hour)))
	s.wantStatus(ids[2], gateway.KeyResting)
	s.p.Remove(ids[0])
	s.p.Remove(ids[2])
	s.wantNone(&Want{}, Empty, 0)
	// A new account of the same name does not inherit anything.
	s.wantUntouched(s.put(1, "ada")...)
}

// Whatever comes back for a removed key, the key that took its place in memory
// is not touched by it.
func TestSlotReuseNeverHitsTheWrongKey(t *testing.T) {
	for _, v := range []gateway.Verdict{served, fault, unknown, wentAway, refused("unauthorized"), noCredit, unknownEnd, quota(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)), plan} {
		for _, name := range []string{"", "ada"} {
			s := newScene(t)
			old := s.put(1, name)[0]
			settled, late := s.lendKey(old, "large"), s.lendKey(old, "large")
			s.p.Remove(old)
			fresh := s.put(1, name)[0]
			if s.p.byID[idNumber(fresh)] != settled.slot {
				t.Fatal("the slot was not used again: this tests nothing")
			}
			settled.Settle(&v, s.now)
			settled.Release(&v, s.now)
			late.Release(&v, s.now)
			s.wantUntouched(fresh)
			if d := s.p.Drain(); !d.Empty() {
				t.Errorf("after %q: to be written down: %+v", v.Reason, d)
			}
			if len(s.p.models) != 0 {
				t.Errorf("after %q: passed over for a model", v.Reason)
			}
			s.lendKey(fresh, "large")
		}
	}
}

// The same key, removed and put back, starts anew: attempts of its former life
// change nothing.
func TestSameKeyPutBack(t *testing.T) {
	s := newScene(t)
	k := gateway.Key{Secret: "example-key-a"}
	id := s.putKey(k)
	old := s.lend(&Want{})
	s.p.Remove(id)
	s.putKey(k)
	v := refused("unauthorized")
	old.Release(&v, s.now)
	s.wantUntouched(id)
}

func TestReleaseCountsOnce(t *testing.T) {
	s := newScene(t)
	s.put(1, "")
	l := s.lend(&Want{})
	l.Settle(&served, s.now)
	l.Settle(&served, s.now)
	v := refused("unauthorized")
	l.Release(&served, s.now)
	l.Release(&v, s.now)
	l.Settle(&v, s.now)
	d := s.p.Drain()
	if len(d.Keys) != 1 || d.Keys[0].Counts.Total != 1 || d.Keys[0].Counts.Success != 1 || len(d.States) != 0 {
		t.Errorf("drained %+v", d)
	}
	var nothing Lease
	nothing.Settle(&v, s.now)
	nothing.Release(&v, s.now)
}

// What an attempt proved at its head is not done once more at its end, what
// only its end shows is.
func TestSettleThenRelease(t *testing.T) {
	untilThen := gateway.Verdict{Scope: gateway.ScopeAccount, Action: gateway.ActionRest, For: time.Minute, Reason: "quota"}
	s := newScene(t)
	id := s.put(1, "")[0]
	l := s.lend(&Want{Model: "large"})
	l.Settle(&untilThen, s.now)
	s.wait(10 * time.Second)
	l.Release(&untilThen, s.now)
	s.wantNone(&Want{}, AllResting, 50*time.Second)
	s.wait(50 * time.Second)

	l = s.lend(&Want{}) // an error arrives inside a stream that began well
	l.Settle(&served, s.now)
	l.Release(&untilThen, s.now)
	s.wantStatus(id, gateway.KeyResting)
	s.wait(time.Minute)

	for range 10 { // streams that broke off: no word about whether the upstream answers
		l = s.lend(&Want{})
		l.Settle(&served, s.now)
		l.Release(&fault, s.now)
	}
	if s.p.Health().Open {
		t.Error("broken streams opened the breaker")
	}
	d := s.p.Drain()
	if got := d.Keys[0].Counts; got.Total != 12 || got.Success != 0 || got.Failure != 12 {
		t.Errorf("counts %+v", got)
	}
}
