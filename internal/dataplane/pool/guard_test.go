package pool

import (
	"fmt"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

func TestWhatIsAnOutage(t *testing.T) {
	type who struct {
		proven  bool
		account string
	}
	many := func(n int, w who) []who {
		all := make([]who, n)
		for i := range all {
			all[i] = w
		}
		return all
	}
	accounts := func(n int, proven bool) []who {
		all := make([]who, n)
		for i := range all {
			all[i] = who{proven, fmt.Sprint("user", i)}
		}
		return all
	}
	tests := []struct {
		name   string
		keys   []who
		every  time.Duration
		outage bool
	}{
		{"five proven", many(5, who{proven: true}), 0, true},
		{"four proven", many(4, who{proven: true}), 0, false},
		{"five proven accounts", accounts(5, true), 0, true},
		{"twenty unproven", many(20, who{}), 0, true},
		{"nineteen unproven", many(19, who{}), 0, false},
		{"twenty unproven accounts", accounts(20, false), 0, true},
		{"four proven, four unproven", append(many(4, who{proven: true}), many(4, who{})...), 0, true},
		{"four proven, three unproven", append(many(4, who{proven: true}), many(3, who{})...), 0, false},
		{"many keys of one account", many(50, who{true, "ada"}), 0, false},
		{"many keys of four accounts", append(append(many(20, who{true, "a"}), many(20, who{true, "b"})...), append(many(20, who{true, "c"}), many(20, who{true, "d"})...)...), 0, false},
		{"many keys of five accounts", append(append(many(20, who{true, "a"}), many(20, who{true, "b"})...), append(many(20, who{true, "c"}), who{true, "d"}, who{true, "e"})...), 0, true},
		{"five within ten seconds", many(5, who{proven: true}), 2500 * time.Millisecond, true},
		{"five in more", many(5, who{proven: true}), 2500*time.Millisecond + 1, false},
		{"an account that goes on and on", append(many(50, who{true, "ada"}), many(4, who{proven: true})...), 500 * time.Millisecond, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t)
			for _, w := range test.keys {
				k := gateway.Key{Username: w.account}
				if w.proven {
					k.Counts.LastSuccess = s.now
				}
				s.putKey(k)
			}
			for i := range test.keys {
				if i > 0 {
					s.wait(test.every)
				}
				if s.p.Health().Open {
					t.Fatalf("taken for an outage after %d refusals", i)
				}
				s.try(refused("unauthorized"))
			}
			h := s.p.Health()
			if h.Open != test.outage || h.Open && h.Refusal != "unauthorized" {
				t.Errorf("%+v, want open: %v", h, test.outage)
			}
			if out := s.p.Counts()[gateway.KeyFailed]; h.Open && test.every*time.Duration(len(test.keys)) <= guardWindow+test.every && out > 0 {
				t.Errorf("%d keys are still marked", out)
			}
		})
	}
}

// What comes in between shows that the upstream does not refuse everybody, or
// not for the same reason.
func TestNothingElseMayComeInBetween(t *testing.T) {
	tests := []struct {
		between gateway.Verdict
		outage  bool
	}{
		{served, false},
		{badRequest, false},
		{unknownEnd, false},
		{refused("forbidden"), false},
		{fault, true},
		{wentAway, true},
	}
	for _, test := range tests {
		s := newScene(t)
		s.putProven(10)
		for range 4 {
			s.try(refused("unauthorized"))
		}
		s.try(test.between)
		s.try(refused("unauthorized"))
		if got := s.p.Health().Open; got != test.outage {
			t.Errorf("%q in between: outage %v", test.between.Reason, got)
		}
	}
}

// Marks are taken back to what they were, whatever that was.
func TestOutageTakesMarksBack(t *testing.T) {
	s := newScene(t)
	before := []gateway.KeyState{
		{},
		{ConsecutiveFailures: 1, LastError: "forbidden"},
		{ConsecutiveFailures: 2, LastError: "unauthorized"}, // is disabled at the next one
		{RestStep: 3, LastError: "quota"},
		{ConsecutiveFailures: 7},
	}
	var ids []gateway.KeyID
	for _, state := range before {
		ids = append(ids, s.putKey(gateway.Key{State: state, Counts: gateway.KeyCounts{LastSuccess: s.now}}))
	}
	others := s.putProven(3)
	for _, id := range append(ids, others[:2]...) {
		s.try(refused("unauthorized"))
		s.wait(time.Second)
		if _, status, _ := s.p.State(id); status == gateway.KeyActive {
			t.Fatal("the key is not even marked")
		}
	}
	s.p.Drain()
	s.try(refused("unauthorized"))
	s.wantUntouched(others...)
	for i, id := range ids {
		s.wantStatus(id, gateway.KeyActive)
		if got := s.state(id); got != before[i] {
			t.Errorf("key %d: %+v, was %+v", i, got, before[i])
		}
	}
	// The store hears of it too.
	written := map[gateway.KeyID]gateway.KeyState{}
	for _, change := range s.p.Drain().States {
		written[change.Key] = change.State
	}
	for i, id := range ids {
		if got, ok := written[id]; !ok || got != before[i] {
			t.Errorf("key %d is written down as %+v, %v", i, got, ok)
		}
	}
}

// A refusal that blames the account marks all its keys; all are taken back.
func TestOutageTakesWholeAccountsBack(t *testing.T) {
	s := newScene(t)
	var ids []gateway.KeyID
	for a := range 5 {
		for range 40 {
			ids = append(ids, s.putKey(gateway.Key{Username: fmt.Sprint("user", a), Counts: gateway.KeyCounts{LastSuccess: s.now}}))
		}
	}
	for a := range 5 {
		s.tryKey(ids[40*a], noCredit)
	}
	if h := s.p.Health(); !h.Open || h.Refusal != "no credit" {
		t.Fatalf("%+v", h)
	}
	s.wantUntouched(ids...)
}

// With failures that are over soon one key can be marked more than once.
func TestOutageTakesRepeatedMarksBack(t *testing.T) {
	s := newScene(t)
	s.p.settings.FailedFor = time.Second
	ids := s.putProven(2)
	for range 3 {
		s.try(refused("unauthorized"))
		s.try(refused("unauthorized"))
		s.wait(time.Second)
	}
	s.wantStatus(ids[0], gateway.KeyDisabled)
	more := s.putProven(3)
	for range more {
		s.try(refused("unauthorized"))
	}
	s.wantUntouched(append(ids, more...)...)
}

func TestOutageLeavesTheOperatorsWord(t *testing.T) {
	s := newScene(t)
	ids := s.putProven(7)
	for range 4 {
		s.try(refused("unauthorized"))
	}
	byHand := gateway.KeyState{Disabled: gateway.DisabledManual, LastError: "not this one"}
	s.p.SetState(ids[0], byHand, s.now)
	s.p.Remove(ids[1])
	inItsPlace := s.putKey(gateway.Key{State: byHand})
	s.try(refused("unauthorized"))
	if !s.p.Health().Open {
		t.Fatal("no outage")
	}
	for _, id := range []gateway.KeyID{ids[0], inItsPlace} {
		s.wantStatus(id, gateway.KeyDisabled)
		if got := s.state(id); got != byHand {
			t.Errorf("%+v, was %+v", got, byHand)
		}
	}
	s.wantUntouched(ids[2:]...)
}

// refusedScene is a pool in which everybody has just been refused.
func refusedScene(t *testing.T, keys int) (*scene, []gateway.KeyID) {
	t.Helper()
	s := newScene(t)
	ids := s.putProven(keys)
	for range 5 {
		s.try(refused("unauthorized"))
	}
	if e := s.none(&Want{}); e.Reason != BreakerOpen || e.RetryAfter != time.Second || e.Refusal != "unauthorized" {
		t.Fatalf("%+v", e)
	}
	return s, ids
}

func TestNoPunishmentDuringAnOutage(t *testing.T) {
	s, ids := refusedScene(t, 10)
	for _, v := range []gateway.Verdict{refused("unauthorized"), noCredit, refused("forbidden"), fault, wentAway, refused("unauthorized")} {
		s.wait(time.Second)
		s.try(v)
		s.wantUntouched(ids...)
		if !s.p.Health().Open {
			t.Fatalf("%q ends it", v.Reason)
		}
	}
}

// One outage, however long, lets each key off once.
func TestOneOutageCountsOnce(t *testing.T) {
	for _, proven := range []bool{true, false} {
		s := newScene(t)
		for range 20 {
			k := gateway.Key{}
			if proven {
				k.Counts.LastSuccess = s.now
			}
			s.putKey(k)
		}
		noticed := 20
		if proven {
			noticed = 5
		}
		for range noticed {
			s.try(refused("unauthorized"))
		}
		for range 100 {
			s.wait(time.Second)
			s.try(refused("unauthorized"))
		}
		for i := range s.p.keys {
			want := uint8(1)
			if proven && i >= noticed { // the others have only asked whether it is over
				want = 0
			}
			if got := s.p.keys[i].excused; got != want {
				t.Errorf("proven %v: key %d was let off %d times, want %d", proven, i, got, want)
			}
		}
	}
}

// Refusals that come in one by one for ever do not pile up.
func TestGuardForgetsWhatIsOver(t *testing.T) {
	s := newScene(t)
	s.put(500, "")
	for range 500 {
		s.try(refused("unauthorized"))
		s.wait(time.Second)
		if n, m := len(s.p.guard.suspects), len(s.p.guard.made); n > 11 || m > 11 {
			t.Fatalf("%d suspects and %d marks are remembered", n, m)
		}
	}
	if s.p.Health().Open {
		t.Error("eleven refusals in ten seconds are taken for an outage")
	}
}

// Attempts that were under way when the outage was noticed punish nobody, not
// even when they end after it.
func TestLateRefusalsOfAnOutage(t *testing.T) {
	s := newScene(t)
	ids := s.putProven(8)
	var running []*Lease
	for range 24 {
		running = append(running, s.lend(&Want{}))
	}
	v := refused("unauthorized")
	for i := range 5 {
		running[i].Release(&v, s.now)
	}
	if !s.p.Health().Open {
		t.Fatal("no outage")
	}
	for _, l := range running[5:16] {
		l.Release(&v, s.now)
	}
	s.wait(time.Second)
	s.try(served)
	for _, l := range running[16:21] { // of the five whose refusals were noticed
		l.Release(&v, s.now)
	}
	s.wantUntouched(ids...)
}

func TestASuccessEndsTheOutage(t *testing.T) {
	s, ids := refusedScene(t, 10)
	s.wait(time.Second)
	s.try(served)
	if s.p.Health().Open {
		t.Fatal("still open")
	}
	// From now on a refusal counts again, and five make another outage.
	id := s.try(refused("unauthorized"))
	s.wantStatus(id, gateway.KeyFailed)
	for range 4 {
		s.try(refused("unauthorized"))
	}
	s.wantUntouched(ids...)
}

func TestOutageWithoutAReason(t *testing.T) {
	s := newScene(t)
	ids := s.putProven(6)
	for range 5 {
		s.try(refused(""))
	}
	s.wait(time.Second)
	s.try(refused(""))
	s.wantUntouched(ids...)
	if h := s.p.Health(); !h.Open || h.Refusal == "" {
		t.Errorf("%+v", h)
	}
}

// The marks of a large account need much room, which is given back.
func TestGuardGivesRoomBack(t *testing.T) {
	s := newScene(t)
	id := s.put(10*guardKeep, "ada")[0]
	s.put(1, "")
	s.tryKey(id, noCredit)
	if got := len(s.p.guard.made); got != 10*guardKeep {
		t.Fatalf("%d marks are remembered", got)
	}
	s.try(served)
	if got := cap(s.p.guard.made); got > guardKeep {
		t.Errorf("room for %d marks is kept", got)
	}
}
