package pool

import (
	"fmt"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

func TestAccountRestsAsAWhole(t *testing.T) {
	tests := []struct {
		other string // user name of the second key; the first one's is "Ada@Example.com"
		rests bool
	}{
		{"Ada@Example.com", true},
		{"ada@example.COM", true},
		{"  ada@example.com ", true},
		{"bob@example.com", false},
		{"", false},
		{"N/A", false},
	}
	for _, test := range tests {
		s := newScene(t)
		first, other := s.put(1, "Ada@Example.com")[0], s.put(1, test.other)[0]
		s.tryKey(first, quota(s.now.Add(time.Hour)))
		s.wantStatus(first, gateway.KeyResting)
		if _, got, _ := s.p.State(other); (got == gateway.KeyResting) != test.rests {
			t.Errorf("key of %q is %s", test.other, got)
		}
	}
}

func TestNoNameIsNoAccount(t *testing.T) {
	for _, name := range []string{"", "N/A", "n/a", " N/a "} {
		s := newScene(t)
		ids := s.put(3, name)
		s.tryKey(ids[0], quota(s.now.Add(time.Hour)))
		s.wantStatus(ids[0], gateway.KeyResting)
		s.wantUntouched(ids[1:]...)
	}
}

func TestKeyThatRestsAlone(t *testing.T) {
	s := newScene(t)
	ids := s.put(3, "ada")
	v := quota(s.now.Add(time.Hour))
	v.Action = gateway.ActionRestKey
	s.tryKey(ids[0], v)
	s.wantStatus(ids[0], gateway.KeyResting)
	s.wantUntouched(ids[1:]...)
}

func TestRestEndsOnTimeByItself(t *testing.T) {
	for _, ticking := range []bool{true, false} {
		t.Run(fmt.Sprint("ticking ", ticking), func(t *testing.T) {
			s := newScene(t)
			id := s.put(1, "")[0]
			end := s.now.Add(90 * time.Minute)
			s.try(quota(end))
			for _, before := range []time.Duration{90 * time.Minute, time.Minute, time.Nanosecond} {
				s.now = end.Add(-before)
				if ticking {
					s.wait(0)
				}
				s.wantNone(&Want{}, AllResting, before)
			}
			s.now = end
			if ticking {
				s.wait(0)
				s.wantStatus(id, gateway.KeyActive)
			}
			if got := s.try(served); got != id {
				t.Errorf("lent %s", got)
			}
			s.wantUntouched(id)
		})
	}
}

func TestRestLengths(t *testing.T) {
	at := time.Date(2027, 1, 15, 8, 0, 0, 0, time.UTC).UnixNano()
	tests := map[string]struct {
		v    gateway.Verdict
		step uint8
		want time.Duration
		next uint8
	}{
		"told":                      {quota(time.Unix(0, at).Add(5 * time.Minute)), 3, 5 * time.Minute, 3},
		"told, beyond an hour":      {quota(time.Unix(0, at).Add(72 * time.Hour)), 0, 72 * time.Hour, 0},
		"told, but past":            {quota(time.Unix(0, at-1)), 0, 30 * time.Second, 1},
		"fixed by the rule":         {gateway.Verdict{For: 2 * time.Second}, 2, 2 * time.Second, 2},
		"unknown, first":            {unknownEnd, 0, 30 * time.Second, 1},
		"unknown, second":           {unknownEnd, 1, time.Minute, 2},
		"unknown, seventh":          {unknownEnd, 6, 32 * time.Minute, 7},
		"unknown, eighth":           {unknownEnd, 7, time.Hour, 7},
		"unknown, a mad step":       {unknownEnd, 255, time.Hour, 255},
		"told beats fixed":          {gateway.Verdict{Until: time.Unix(0, at).Add(time.Minute), For: time.Hour}, 0, time.Minute, 0},
		"past and fixed: the fixed": {gateway.Verdict{Until: time.Unix(0, at-1), For: time.Hour}, 0, time.Hour, 0},
	}
	for name, test := range tests {
		until, _, next := restEnd(&test.v, test.step, at)
		if got := time.Duration(until - at); got != test.want || next != test.next {
			t.Errorf("%s: rests %v, step %d; want %v, %d", name, got, next, test.want, test.next)
		}
	}
}

// Rests of unknown length grow from 30 s to an hour, one probe each.
func TestRestsOfUnknownLengthGrow(t *testing.T) {
	s := newScene(t)
	s.put(2, "ada")
	s.try(unknownEnd)
	for _, want := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute, time.Hour, time.Hour} {
		s.wantNone(&Want{}, AllResting, want)
		s.wait(want)
		probe := s.lend(&Want{})
		s.wantNone(&Want{}, AllResting, time.Second) // the account's other key waits for the probe
		probe.Release(&unknownEnd, s.now)
	}
}

func TestSuccessEndsTheGrowth(t *testing.T) {
	s := newScene(t)
	ids := s.put(2, "ada")
	s.try(unknownEnd)
	s.wait(30 * time.Second)
	s.try(unknownEnd)
	s.wait(time.Minute)
	s.try(served)
	for _, id := range ids {
		s.wantStatus(id, gateway.KeyActive)
		if got := s.state(id).RestStep; got != 0 {
			t.Errorf("after a success the next rest would be number %d in a row", got+1)
		}
	}
	s.lend(&Want{})
	s.lend(&Want{}) // both serve at once again
	s.try(unknownEnd)
	s.wantNone(&Want{}, AllResting, 30*time.Second)
}

// What a probe may end with, and what that means for the account's other keys.
func TestProbeEnds(t *testing.T) {
	tests := []struct {
		name string
		v    gateway.Verdict
		then string // of the next picks: free, probe, resting
	}{
		{"served", served, "free"},
		{"upstream fault", fault, "probe"},
		{"client gone", wentAway, "probe"},
		{"bad request", badRequest, "probe"},
		{"still out of quota", unknownEnd, "resting"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t)
			s.put(3, "ada")
			s.try(unknownEnd)
			s.wait(30 * time.Second)
			s.try(test.v)
			if test.then == "resting" {
				s.wantNone(&Want{}, AllResting, time.Minute)
				return
			}
			s.lend(&Want{})
			_, err := s.p.Acquire(&Want{}, s.now)
			if got := err == nil; got != (test.then == "free") {
				t.Errorf("a second key is lent: %v", got)
			}
		})
	}
}

func TestProbeHoldsItsAccountOnly(t *testing.T) {
	s := newScene(t)
	ids := s.put(2, "ada")
	other := s.put(1, "bob")[0]
	for range 2 {
		if l := s.lend(&Want{}); l.Key() != other {
			l.Release(&unknownEnd, s.now)
		}
	}
	s.wait(30 * time.Second)
	s.lendKey(ids[0], "")
	for range 5 {
		if got := s.try(served); got != other {
			t.Fatalf("key %s was lent while its account probes", got)
		}
	}
}

// A key that has rested alone probes alone.
func TestProbeOfOneKeyHoldsNoSiblings(t *testing.T) {
	s := newScene(t)
	ids := s.put(3, "ada")
	v := unknownEnd
	v.Action = gateway.ActionRestKey
	s.tryKey(ids[0], v)
	s.wait(30 * time.Second)
	probe := s.lendKey(ids[0], "")
	for range 6 {
		if got := s.try(served); got == ids[0] {
			t.Fatal("the probing key was lent twice")
		}
	}
	probe.Release(&v, s.now)
	s.wantStatus(ids[0], gateway.KeyResting)
	s.wantUntouched(ids[1:]...)
	// A sibling's success says nothing about the key's own limit.
	s.try(served)
	if got := s.state(ids[0]).RestStep; got != 2 {
		t.Errorf("next rest would be number %d in a row, want 3", got+1)
	}
}

func TestProbeEndsWithItsKey(t *testing.T) {
	s := newScene(t)
	s.put(3, "ada")
	s.try(unknownEnd)
	s.wait(30 * time.Second)
	probe := s.lend(&Want{})
	s.wantNone(&Want{}, AllResting, time.Second)
	s.p.Remove(probe.Key())
	next := s.lend(&Want{}) // the next key probes
	s.wantNone(&Want{}, AllResting, time.Second)
	probe.Release(&served, s.now) // of a removed key: changes nothing
	s.wantNone(&Want{}, AllResting, time.Second)
	next.Release(&served, s.now)
	s.lend(&Want{})
	s.lend(&Want{})
}

// The end of a probe whose account rests and probes anew is nobody's business.
func TestLateProbe(t *testing.T) {
	s := newScene(t)
	ids := s.put(2, "ada")
	s.try(unknownEnd)
	s.wait(30 * time.Second)
	late := s.lend(&Want{})
	// The operator frees one key, which meets the limit again.
	s.p.SetState(ids[0], gateway.KeyState{}, s.now)
	s.tryKey(ids[0], unknownEnd)
	s.wait(30 * time.Second)
	s.lend(&Want{})
	late.Release(&wentAway, s.now)
	s.wantNone(&Want{}, AllResting, time.Second)
}

func TestStoredRestStepMeansAProbe(t *testing.T) {
	s := newScene(t)
	for range 2 {
		s.putKey(gateway.Key{Username: "ada", State: gateway.KeyState{RestStep: 4, RestsUntil: s.now.Add(time.Minute)}})
	}
	s.wait(time.Minute)
	probe := s.lend(&Want{})
	s.wantNone(&Want{}, AllResting, time.Second)
	probe.Release(&unknownEnd, s.now)
	s.wantNone(&Want{}, AllResting, 8*time.Minute)
}

// Several attempts that ran at the same time meet the limit: one failure, the
// latest end.
func TestParallelQuotaFailures(t *testing.T) {
	s := newScene(t)
	s.put(1, "ada")
	leases := []*Lease{s.lend(&Want{}), s.lend(&Want{}), s.lend(&Want{}), s.lend(&Want{})}
	leases[0].Release(&unknownEnd, s.now)
	leases[1].Release(&unknownEnd, s.now)
	s.wantNone(&Want{}, AllResting, 30*time.Second)
	later, sooner := quota(s.now.Add(time.Hour)), quota(s.now.Add(time.Minute))
	leases[2].Release(&later, s.now)
	s.wantNone(&Want{}, AllResting, time.Hour)
	leases[3].Release(&sooner, s.now)
	s.wantNone(&Want{}, AllResting, time.Hour)
}

// A sooner end told later does not shorten a rest either.
func TestLaterEndWins(t *testing.T) {
	s := newScene(t)
	ids := s.put(2, "ada")
	a, b := s.lendKey(ids[0], ""), s.lendKey(ids[1], "")
	week, hour := quota(s.now.Add(7*24*time.Hour)), quota(s.now.Add(time.Hour))
	a.Release(&week, s.now)
	b.Release(&hour, s.now)
	for _, id := range ids {
		if got := s.state(id).RestsUntil.Sub(s.now); got != 7*24*time.Hour {
			t.Errorf("rests %v", got)
		}
	}
}

func TestQuotaDoesNotCountTowardsDisabling(t *testing.T) {
	s := newScene(t)
	id := s.put(1, "")[0]
	for range 10 {
		s.try(unknownEnd)
		s.wait(2 * time.Hour)
	}
	s.wantStatus(id, gateway.KeyActive)
	if got := s.state(id).ConsecutiveFailures; got != 0 {
		t.Errorf("%d failures in a row", got)
	}
}
