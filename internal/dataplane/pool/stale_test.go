package pool

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// A pool of which three in five keys are stale is weeded out, wherever they
// stand and however the requests come, and the good ones are not touched.
func TestStaleKeysAreWeededOut(t *testing.T) {
	const keys, requests = 500, 3000
	steady := func(i int) time.Duration { return time.Duration(i) * 50 * time.Millisecond }
	bursts := func(i int) time.Duration { return time.Duration(i/64) * 10 * time.Second }
	mixed := func(rng *rand.Rand, _ int) bool { return rng.IntN(5) < 3 }
	row := func(_ *rand.Rand, i int) bool { return i < keys*3/5 }
	tests := []struct {
		name   string
		stale  func(rng *rand.Rand, i int) bool
		served time.Duration // how long ago every key has served; 0: never
		at     func(i int) time.Duration
		want   int // requests served, per cent
	}{
		{"mixed, steady", mixed, 0, steady, 95},
		{"mixed, in bursts", mixed, 0, bursts, 85},
		{"in a row, steady", row, 0, steady, 70},
		{"in a row, in bursts", row, 0, bursts, 70},
		{"mixed, steady, served last month", mixed, 30 * 24 * time.Hour, steady, 95},
		{"mixed, steady, served yesterday", mixed, 24 * time.Hour, steady, 90},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for seed := range uint64(3) {
				c := &clients{scene: newScene(t)}
				rng := rand.New(rand.NewPCG(seed, 11))
				stale := map[gateway.KeyID]bool{}
				for i := range keys {
					k := gateway.Key{Username: fmt.Sprint("user", i)}
					if test.served > 0 {
						k.Counts.LastSuccess = c.now.Add(-test.served)
					}
					stale[c.putKey(k)] = test.stale(rng, i)
				}
				for i := range requests {
					c.after(test.at(i), func() { c.browse(stale, &Want{}) })
				}
				c.run()
				c.wait(0)
				left := 0
				for id, bad := range stale {
					_, status, _ := c.p.State(id)
					switch {
					case !bad:
						c.wantUntouched(id)
					case status == gateway.KeyActive:
						left++
					}
				}
				if left > 0 || len(c.served)*100 < requests*test.want {
					t.Errorf("seed %d: %d stale keys are still in turn; %d of %d requests were served", seed, left, len(c.served), requests)
				}
			}
		})
	}
}

// browse is a request that goes on until a key is accepted, four times at most.
// A refusal comes sooner than an answer.
func (c *clients) browse(stale map[gateway.KeyID]bool, w *Want) {
	l, err := c.p.Acquire(w, c.now)
	if err != nil {
		return
	}
	v, takes := served, 400*time.Millisecond
	if stale[l.Key()] {
		v, takes = refused("unauthorized"), 20*time.Millisecond
	}
	c.after(takes, func() {
		l.Release(&v, c.now)
		if v.OK {
			c.served = append(c.served, c.now)
		} else if w.n < 4 {
			c.browse(stale, w)
		}
	})
}

// While everybody is refused the key that was accepted last asks first.
func TestTheAcceptedKeyAsks(t *testing.T) {
	s := newScene(t)
	good := s.putProven(1)[0]
	s.put(30, "")
	s.tryKey(good, served)
	for range 20 {
		if got := s.try(refused("unauthorized")); got == good {
			t.Fatal("the good key came up")
		}
	}
	s.wait(time.Second)
	l := s.lend(&Want{})
	if l.Key() != good {
		t.Fatalf("key %s asks", l.Key())
	}
	v := refused("unauthorized")
	l.Release(&v, s.now)
	s.wantUntouched(good)
	// It is refused as well: now others ask.
	for range 3 {
		s.wait(time.Second)
		if got := s.try(v); got == good {
			t.Fatal("the same key asks again")
		}
	}
}

// The key that took its place in memory does not inherit that.
func TestTheAcceptedKeyIsRemoved(t *testing.T) {
	s := newScene(t)
	good := s.putProven(1)[0]
	s.tryKey(good, served)
	s.p.Remove(good)
	if s.putProven(30); s.p.guard.accepted != none {
		t.Error("a key that never served counts as accepted last")
	}
}

// Without such a key they ask who stand far from each other.
func TestDistantKeysAsk(t *testing.T) {
	s := newScene(t)
	ids := s.put(1000, "")
	stale := map[gateway.KeyID]bool{}
	for _, id := range ids[:600] {
		stale[id] = true
	}
	for range 20 {
		s.try(refused("unauthorized"))
	}
	for asked := 1; ; asked++ {
		s.wait(time.Second)
		if l := s.lend(&Want{}); !stale[l.Key()] {
			return
		}
		if asked == 5 {
			t.Fatal("five keys of one row have asked")
		}
	}
}

// Of a large pool few are usable: one of those asks.
func TestUsableKeyAsks(t *testing.T) {
	s := newScene(t)
	var usable []gateway.KeyID
	for i := range 2000 {
		k := gateway.Key{State: gateway.KeyState{Disabled: gateway.DisabledManual}}
		if i%100 == 0 {
			k = gateway.Key{Counts: gateway.KeyCounts{LastSuccess: s.now}}
		}
		if id := s.putKey(k); i%100 == 0 {
			usable = append(usable, id)
		}
	}
	for range 5 {
		s.try(refused("unauthorized"))
	}
	for range 50 {
		s.wait(time.Second)
		s.try(refused("unauthorized"))
	}
	s.wantUntouched(usable...)
	// The key that was accepted last is out: it does not ask.
	s.p.guard.accepted = s.p.byID[idNumber(usable[0])]
	s.p.SetState(usable[0], gateway.KeyState{Disabled: gateway.DisabledManual}, s.now)
	for range 50 {
		s.wait(time.Second)
		if got := s.lend(&Want{}).Key(); got == usable[0] {
			t.Fatal("a disabled key was lent")
		}
	}
	s.wait(time.Second)
	w := &Want{}
	for range MaxTried {
		s.lend(w) // no key twice
		s.wait(time.Second)
	}
	if got := len(s.p.triedOf(w)); got != MaxTried {
		t.Errorf("%d different keys asked in %d attempts", got, MaxTried)
	}
}

// Who was let off, and is refused again when others are accepted, is marked and
// says nothing about an outage.
func TestLetOffAndRefusedAgain(t *testing.T) {
	for _, proven := range []bool{false, true} {
		s := newScene(t)
		var stale []gateway.KeyID
		for range 20 {
			k := gateway.Key{}
			if proven {
				k.Counts.LastSuccess = s.now
			}
			stale = append(stale, s.putKey(k))
		}
		letOff, enough := letOffUnproven, 20
		if proven {
			letOff, enough = letOffProven, 5
		}
		good := s.putProven(1)[0]
		v := refused("unauthorized")
		for round := range letOff {
			for _, id := range stale[:enough] {
				s.tryOnly(id, v)
			}
			if !s.p.Health().Open {
				t.Fatalf("proven %v, round %d: no outage", proven, round)
			}
			s.wantUntouched(stale[:enough]...)
			s.wait(time.Second)
			s.tryOnly(good, served)
		}
		for _, id := range stale[:enough] {
			s.tryOnly(id, v)
			s.wantStatus(id, gateway.KeyFailed)
		}
		if s.p.Health().Open {
			t.Errorf("proven %v: an outage once more", proven)
		}
	}
}

// tryOnly makes an attempt with a key, whatever the rotation says.
func (s *scene) tryOnly(id gateway.KeyID, v gateway.Verdict) {
	s.Helper()
	slot := s.p.byID[idNumber(id)]
	e := &s.p.keys[slot]
	if e.status != active {
		s.Fatalf("key %s is not usable", id)
	}
	l := Lease{pool: s.p, id: e.id, seq: s.p.seq, slot: slot, gen: e.gen}
	l.Release(&v, s.now)
}

// A success that was followed by a refusal, or long ago, proves nothing.
func TestWhoIsProven(t *testing.T) {
	tests := []struct {
		name   string
		served time.Duration // ago
		failed int
		outage bool // when five of them are refused
	}{
		{"served lately", time.Hour, 0, true},
		{"served within the week", 7 * 24 * time.Hour, 0, true},
		{"served before that", 7*24*time.Hour + 1, 0, false},
		{"refused since", time.Hour, 1, false},
	}
	for _, test := range tests {
		s := newScene(t)
		for range 6 {
			s.putKey(gateway.Key{
				Counts: gateway.KeyCounts{LastSuccess: s.now.Add(-test.served)},
				State:  gateway.KeyState{ConsecutiveFailures: test.failed},
			})
		}
		for range 5 {
			s.try(refused("unauthorized"))
		}
		if got := s.p.Health().Open; got != test.outage {
			t.Errorf("%s: outage %v", test.name, got)
		}
	}
}
