package pool

import (
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// mark is how a store has a key.
func (s *scene) mark(id gateway.KeyID, version int64, st gateway.KeyState) gateway.KeyMark {
	return gateway.KeyMark{Key: id, State: st, Version: version}
}

// oneState drains and returns the only state among it.
func (s *scene) oneState() gateway.StateChange {
	s.Helper()
	d := s.p.Drain()
	if len(d.States) != 1 {
		s.Fatalf("drained %+v", d.States)
	}
	return d.States[0]
}

func TestVersionsGoAlong(t *testing.T) {
	s := newScene(t)
	id := s.putKey(gateway.Key{Version: 5})
	s.tryKey(id, refused("401"))
	first := s.oneState()
	if first.Version != 5 || first.Forced {
		t.Errorf("the first change: %+v", first)
	}
	s.p.Written([]gateway.StateChange{first})
	s.p.Written([]gateway.StateChange{first, {Key: "0123456789abcdef", Version: 6}}) // told twice, and of a key that is gone
	s.p.SetState(id, gateway.KeyState{}, s.now)                                      // stored by whoever calls: one more
	s.tryKey(id, refused("401"))
	if second := s.oneState(); second.Version != 7 {
		t.Errorf("the second change: %+v", second)
	}
}

// What is drained before it is known whether the first arrived is made from the
// same version; it goes on once all of it has arrived.
func TestVersionsOfARow(t *testing.T) {
	s := newScene(t)
	id := s.put(1, "")[0]
	var sent []gateway.StateChange
	for range 3 {
		s.tryKey(id, quota(s.now.Add(time.Minute)))
		sent = append(sent, s.oneState())
		s.now = s.now.Add(2 * time.Minute)
		s.p.Tick(s.now)
		s.tryKey(id, served)
		sent = append(sent, s.oneState())
	}
	for _, c := range sent {
		if c.Version != 0 {
			t.Errorf("a change from version %d before any arrived", c.Version)
		}
	}
	s.p.Written(sent[:4])
	s.tryKey(id, refused("401"))
	last := s.oneState()
	if last.Version != 0 {
		t.Errorf("a change from version %d while others are under way", last.Version)
	}
	s.p.Restore(gateway.Delta{States: []gateway.StateChange{last}}) // could not be sent
	s.p.Written(sent[4:])
	if again := s.oneState(); again.Version != 6 || again.State.LastError != "401" {
		t.Errorf("after all arrived: %+v", again)
	}
}

func TestFollow(t *testing.T) {
	failed := gateway.KeyState{ConsecutiveFailures: 1, LastError: "elsewhere"}
	for name, c := range map[string]struct {
		before func(s *scene, id gateway.KeyID) // of a key at version 5
		mark   int64
		taken  bool
	}{
		"a newer version":                           {nil, 6, true},
		"the same version, which somebody changed":  {nil, 5, true},
		"an older version":                          {nil, 4, false},
		"the same, own change not drained":          {func(s *scene, id gateway.KeyID) { s.tryKey(id, refused("401")) }, 5, false},
		"newer, own change not drained":             {func(s *scene, id gateway.KeyID) { s.tryKey(id, refused("401")) }, 6, true},
		"the same, own change under way":            {func(s *scene, id gateway.KeyID) { s.tryKey(id, refused("401")); s.p.Drain() }, 5, false},
		"newer, own change under way":               {func(s *scene, id gateway.KeyID) { s.tryKey(id, refused("401")); s.p.Drain() }, 6, true},
		"the version that an own change made":       {func(s *scene, id gateway.KeyID) { s.tryKey(id, refused("401")); s.p.Written(s.p.Drain().States) }, 6, true},
		"the one before an own change":              {func(s *scene, id gateway.KeyID) { s.tryKey(id, refused("401")); s.p.Written(s.p.Drain().States) }, 5, false},
		"own, half of a row has arrived":            {row, 6, false},
		"another's, half of a row has arrived":      {row, 7, true},
		"the same, own change taken back":           {func(s *scene, id gateway.KeyID) { s.tryKey(id, refused("401")); s.p.Restore(s.p.Drain()) }, 5, false},
		"the same, own change drained once more":    {func(s *scene, id gateway.KeyID) { s.tryKey(id, refused("401")); s.p.Restore(s.p.Drain()); s.p.Drain() }, 5, false},
		"the same, after a slot was used otherwise": {reused, 5, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			id := s.putKey(gateway.Key{Secret: "example-key-to-follow", Version: 5})
			if c.before != nil {
				c.before(s, id)
			}
			s.p.Follow(s.mark(id, c.mark, failed), s.now)
			if st, _, _ := s.p.State(id); (st.LastError == "elsewhere") != c.taken {
				t.Errorf("the state is %+v; taken over: want %v", st, c.taken)
			}
			if !c.taken {
				return
			}
			if d := s.p.Drain(); len(d.States) != 0 {
				t.Errorf("what was taken over is written again: %+v", d.States)
			}
			s.tryKey(id, refused("403"))
			if got := s.oneState(); got.Version != c.mark {
				t.Errorf("the next change is made from %d, want %d", got.Version, c.mark)
			}
		})
	}
}

// row lets two changes be made, of which the first has arrived.
func row(s *scene, id gateway.KeyID) {
	s.tryKey(id, refused("401"))
	first := s.p.Drain().States
	s.now = s.now.Add(2 * time.Hour)
	s.p.Tick(s.now)
	s.tryKey(id, served)
	s.p.Drain()
	s.p.Written(first)
}

// reused lets another key have been where this one is, with changes under way.
func reused(s *scene, id gateway.KeyID) {
	s.p.Remove(id)
	other := s.put(1, "")[0]
	s.tryKey(other, refused("401"))
	lost := s.p.Drain()
	s.p.Remove(other)
	s.putKey(gateway.Key{Secret: "example-key-to-follow", Version: 5})
	s.p.Restore(lost)
	s.p.Written(lost.States)
}

// Following does what an operator's act does: it starts and ends rests, and what
// began before is stale.
func TestFollowTakesEffect(t *testing.T) {
	s := newScene(t)
	ids := s.put(2, "")
	until := s.now.Add(time.Minute)
	lease := s.lendKey(ids[0], "")
	s.p.Follow(s.mark(ids[0], 1, gateway.KeyState{RestsUntil: until, LastError: "hourly"}), s.now)
	s.wantStatus(ids[0], gateway.KeyResting)
	v := refused("401")
	lease.Release(&v, s.now)
	s.wantStatus(ids[0], gateway.KeyResting) // the refusal began before
	if d := s.p.Drain(); len(d.States) != 0 || len(d.Keys) != 1 {
		t.Errorf("drained %+v", d)
	}
	s.p.Follow(s.mark(ids[0], 2, gateway.KeyState{}), s.now)
	s.wantStatus(ids[0], gateway.KeyActive)
	s.p.Follow(s.mark(ids[1], 3, gateway.KeyState{Disabled: gateway.DisabledManual}), s.now)
	s.wantStatus(ids[1], gateway.KeyDisabled)
	s.p.Follow(s.mark("0123456789abcdef", 3, gateway.KeyState{}), s.now) // is not here
	s.now = until.Add(time.Hour)
	s.p.Tick(s.now)
	s.wantStatus(ids[1], gateway.KeyDisabled)
}

// What comes back from the store is cut to microseconds, and is no news.
func TestFollowOwnState(t *testing.T) {
	s := newScene(t)
	s.now = s.now.Add(123456789)
	id := s.put(1, "")[0]
	s.tryKey(id, quota(s.now.Add(time.Minute+777)))
	d := s.p.Drain()
	s.p.Written(d.States)
	s.now = s.now.Add(time.Second)
	mine := d.States[0].State
	mine.RestsUntil = mine.RestsUntil.Truncate(time.Microsecond)
	seq := s.p.seq
	s.p.Follow(s.mark(id, 1, mine), s.now)
	if s.p.seq != seq {
		t.Error("the pool's own state counts as a change")
	}
	mine.RestsUntil = mine.RestsUntil.Add(time.Microsecond)
	s.p.Follow(s.mark(id, 1, mine), s.now)
	if s.p.seq == seq {
		t.Error("another state does not count as a change")
	}
}

// Marks that others decided about are not taken back by the outage guard.
func TestFollowIsFinalForTheGuard(t *testing.T) {
	s := newScene(t)
	ids := s.putProven(6)
	s.tryKey(ids[0], refused("401"))
	st, _, _ := s.p.State(ids[0])
	s.p.Written(s.p.Drain().States)
	st.ConsecutiveFailures = 2 // another instance was refused, too
	s.p.Follow(s.mark(ids[0], 2, st), s.now)
	for _, id := range ids[1:5] {
		s.tryKey(id, refused("401"))
	}
	if !s.p.Health().Open {
		t.Fatal("no outage was noticed")
	}
	if got, _, _ := s.p.State(ids[0]); got != st {
		t.Errorf("taken back: %+v, want %+v", got, st)
	}
}

// A rest that ends elsewhere lets those serve that waited for a probe.
func TestFollowEndsWaiting(t *testing.T) {
	s := newScene(t)
	ids := s.put(2, "one@example.com")
	s.tryKey(ids[0], unknownEnd)
	s.p.Written(s.p.Drain().States)
	s.now = s.now.Add(firstRest)
	s.p.Tick(s.now)
	s.p.Written(s.p.Drain().States)
	if _, err := s.p.Acquire(&Want{}, s.now); err != nil { // the probe
		t.Fatal(err)
	}
	if _, err := s.p.Acquire(&Want{}, s.now); err == nil {
		t.Fatal("the account is asked twice before its quota is known to be back")
	}
	for _, id := range ids {
		s.p.Follow(s.mark(id, 9, gateway.KeyState{}), s.now)
	}
	if _, err := s.p.Acquire(&Want{}, s.now); err != nil {
		t.Errorf("nobody serves: %v", err)
	}
}

// An operator's act elsewhere also ends what models a key may not use, also what
// is yet to be written down; another's change does not.
func TestFollowForgetsRefusals(t *testing.T) {
	s := newScene(t)
	id := s.put(1, "")[0]
	s.lendKey(id, "large").Release(&plan, s.now)
	m := s.mark(id, 1, gateway.KeyState{})
	s.p.Follow(m, s.now)
	if _, err := s.p.Acquire(&Want{Model: "large"}, s.now); err == nil {
		t.Error("a change by another instance's traffic ended a refusal")
	}
	m.Version, m.Forced = 2, 2
	s.p.Follow(m, s.now)
	if _, err := s.p.Acquire(&Want{Model: "large"}, s.now); err != nil {
		t.Errorf("after an operator's act: %v", err)
	}
	if d := s.p.Drain(); len(d.Refusals) != 0 {
		t.Errorf("the refusal is written: %+v", d.Refusals)
	}
	// What is learnt after that counts, and says so.
	s.lendKey(id, "large").Release(&plan, s.now)
	m.Version = 3
	s.p.Follow(m, s.now)
	if d := s.p.Drain(); len(d.Refusals) != 1 || d.Refusals[0].Version != 3 {
		t.Errorf("refusals %+v", d.Refusals)
	}
}

// After a backup was restored the store is at an earlier version.
func TestReload(t *testing.T) {
	s := newScene(t)
	id := s.putKey(gateway.Key{Version: 40})
	s.tryKey(id, refused("401"))
	s.p.Drain()
	s.p.Reload(s.mark(id, 3, gateway.KeyState{}), s.now)
	s.wantStatus(id, gateway.KeyActive)
	s.tryKey(id, refused("401"))
	if got := s.oneState(); got.Version != 3 {
		t.Errorf("the next change is made from %d, want 3", got.Version)
	}
	s.p.Reload(s.mark("0123456789abcdef", 3, gateway.KeyState{}), s.now)
}

func BenchmarkFollowAll(b *testing.B) {
	const n = 100_000
	now := time.Now()
	p := New(gateway.Ollama, Settings{})
	p.Grow(n)
	marks := make([]gateway.KeyMark, n)
	for i := range n {
		k := gateway.Key{Secret: gateway.Secret("example-key-" + time.Duration(i).String())}
		p.Put(k, now)
		marks[i].Key = gateway.IDOfKey(k.Secret)
	}
	for b.Loop() { // a comparison of all keys that finds nothing
		for _, m := range marks {
			p.Follow(m, now)
		}
	}
}

// A key that was deleted elsewhere and came again begins anew, whatever the pool
// knows of it, and may live for another time.
func TestFollowKeyThatCameAgain(t *testing.T) {
	s := newScene(t)
	id := s.putKey(gateway.Key{Version: 7, State: gateway.KeyState{Disabled: gateway.DisabledManual}, ExpiresAt: s.now.Add(-time.Hour)})
	m := s.mark(id, 0, gateway.KeyState{})
	m.ExpiresAt = s.now.Add(time.Hour)
	if s.p.Follow(m, s.now) {
		t.Fatal("a version that has gone back is plausible")
	}
	if _, status, _ := s.p.State(id); status != gateway.KeyDisabled {
		t.Errorf("%s, and Follow must not go back by itself", status)
	}
	s.p.Reload(m, s.now)
	if _, status, _ := s.p.State(id); status != gateway.KeyActive {
		t.Errorf("%s after it came again", status)
	}
	s.tryKey(id, refused("401"))
	if s.p.Follow(m, s.now); s.oneState().Version != 0 {
		t.Error("the next change is not made from the stored version")
	}
	s.now = s.now.Add(2 * time.Hour)
	s.p.Tick(s.now)
	if _, status, _ := s.p.State(id); status != gateway.KeyExpired {
		t.Errorf("%s after its life", status)
	}
	m.ExpiresAt = time.Time{} // somebody lets it live on
	s.p.Follow(m, s.now)
	if _, status, _ := s.p.State(id); status != gateway.KeyActive {
		t.Errorf("%s though it lives for ever", status)
	}
}

// Of changes that give way to a later one nobody hears any more: with that one
// the row is over, and the version is one more.
func TestMergedChanges(t *testing.T) {
	s := newScene(t)
	id := s.putKey(gateway.Key{Version: 3})
	var sent []gateway.StateChange
	for range 4 {
		s.tryKey(id, quota(s.now.Add(time.Minute)))
		sent = append(sent, s.oneState())
		s.now = s.now.Add(2 * time.Minute)
		s.p.Tick(s.now)
		s.tryKey(id, served)
		s.p.Drain()
	}
	s.p.Merged(sent)
	s.p.Merged([]gateway.StateChange{{Key: "0123456789abcdef"}})                         // is gone
	s.p.Follow(s.mark(id, 3, gateway.KeyState{Disabled: gateway.DisabledManual}), s.now) // what there was before
	if _, status, _ := s.p.State(id); status != gateway.KeyActive {
		t.Errorf("an older state was taken over: %s", status)
	}
	last := sent[3]
	s.p.Merged([]gateway.StateChange{last, last, last})
	s.p.Written([]gateway.StateChange{last})
	s.tryKey(id, quota(s.now.Add(time.Minute)))
	if next := s.oneState(); next.Version != 4 {
		t.Errorf("the next change: %+v", next)
	}
}
