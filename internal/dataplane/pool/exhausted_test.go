package pool

import (
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

func TestWhyThereIsNoKey(t *testing.T) {
	const minute, hour = time.Minute, time.Hour
	rests := func(s *scene, d time.Duration) gateway.Key {
		return gateway.Key{State: gateway.KeyState{RestsUntil: s.now.Add(d)}}
	}
	fails := func(s *scene, d time.Duration) gateway.Key {
		return gateway.Key{State: gateway.KeyState{FailedUntil: s.now.Add(d)}}
	}
	byHand := func(s *scene, d time.Duration) gateway.Key {
		k := gateway.Key{State: gateway.KeyState{Disabled: gateway.DisabledManual}}
		if d > 0 {
			k.State.DisabledUntil = s.now.Add(d)
		}
		return k
	}
	expires := func(s *scene, k gateway.Key, d time.Duration) gateway.Key {
		k.ExpiresAt = s.now.Add(d)
		return k
	}
	tests := []struct {
		name   string
		keys   func(s *scene) []gateway.Key
		reason Reason
		after  time.Duration
	}{
		{"no keys", func(*scene) []gateway.Key { return nil }, Empty, 0},
		{"all rest", func(s *scene) []gateway.Key { return []gateway.Key{rests(s, hour), rests(s, minute)} }, AllResting, minute},
		{"all failed", func(s *scene) []gateway.Key { return []gateway.Key{fails(s, hour), fails(s, 2*hour)} }, AllOut, hour},
		{"one of them failed", func(s *scene) []gateway.Key { return []gateway.Key{rests(s, hour), fails(s, minute)} }, AllOut, minute},
		{"one of them disabled", func(s *scene) []gateway.Key { return []gateway.Key{rests(s, hour), byHand(s, 0)} }, AllOut, hour},
		{"one of them expired", func(s *scene) []gateway.Key {
			return []gateway.Key{rests(s, hour), expires(s, gateway.Key{}, 0)}
		}, AllResting, hour},
		{"disabled for a while", func(s *scene) []gateway.Key { return []gateway.Key{byHand(s, minute)} }, AllOut, minute},
		{"disabled until enabled", func(s *scene) []gateway.Key { return []gateway.Key{byHand(s, 0)} }, AllOut, 0},
		{"expired", func(s *scene) []gateway.Key { return []gateway.Key{expires(s, gateway.Key{}, -hour)} }, AllOut, 0},
		{"one expires before it is back", func(s *scene) []gateway.Key {
			return []gateway.Key{expires(s, rests(s, minute), 30*time.Second), rests(s, hour)}
		}, AllResting, hour},
		{"another's life ends sooner", func(s *scene) []gateway.Key {
			return []gateway.Key{expires(s, byHand(s, 0), time.Second), fails(s, hour)}
		}, AllOut, hour},
		{"two marks: the later end", func(s *scene) []gateway.Key {
			k := rests(s, minute)
			k.State.FailedUntil = s.now.Add(hour)
			return []gateway.Key{k}
		}, AllOut, hour},
		{"resting, and disabled until enabled", func(s *scene) []gateway.Key {
			k := byHand(s, 0)
			k.State.RestsUntil = s.now.Add(minute)
			return []gateway.Key{k}
		}, AllOut, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t)
			for _, k := range test.keys(s) {
				s.putKey(k)
			}
			s.wantNone(&Want{}, test.reason, test.after)
			if wait, usable := s.p.SoonestReturn(s.now); wait != test.after || usable {
				t.Errorf("the soonest return is in %v, usable now: %v", wait, usable)
			}
		})
	}
}

func TestSoonestReturnWithAUsableKey(t *testing.T) {
	s := newScene(t)
	s.put(1, "")
	s.putKey(gateway.Key{State: gateway.KeyState{RestsUntil: s.now.Add(time.Minute)}})
	if wait, usable := s.p.SoonestReturn(s.now); wait != time.Minute || !usable {
		t.Errorf("%v, %v", wait, usable)
	}
}

// When the keys that a request has tried are out, it hears why, not that they
// were tried.
func TestRequestThatTriedThemAll(t *testing.T) {
	s := newScene(t)
	s.put(2, "")
	w := &Want{}
	for range 2 {
		v := quota(s.now.Add(time.Minute))
		s.lend(w).Release(&v, s.now)
	}
	s.wantNone(w, AllResting, time.Minute)
}

func TestExhaustedNamesItsReason(t *testing.T) {
	if got := (&Exhausted{Reason: AllResting}).Error(); got != "every key is out of quota" {
		t.Errorf("%q", got)
	}
}
