package pool

import (
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

func TestPickAllocatesNothing(t *testing.T) {
	const n = 5000
	tests := map[string]func(s *scene, ids []gateway.KeyID){
		"all healthy": func(*scene, []gateway.KeyID) {},
		"half of them rest": func(s *scene, ids []gateway.KeyID) {
			for _, id := range ids[:n/2] {
				s.p.SetState(id, gateway.KeyState{RestsUntil: s.now.Add(time.Hour)}, s.now)
			}
		},
		"rests end all the time": func(s *scene, ids []gateway.KeyID) {
			for i, id := range ids[:n/2] {
				s.p.SetState(id, gateway.KeyState{RestsUntil: s.now.Add(time.Duration(i) * time.Microsecond)}, s.now)
			}
		},
		"probes after rests of unknown length": func(s *scene, ids []gateway.KeyID) {
			for _, id := range ids {
				s.p.SetState(id, gateway.KeyState{RestStep: 1}, s.now)
			}
		},
		"some keys may not use the model": func(s *scene, ids []gateway.KeyID) {
			for _, id := range ids[:n/2] {
				s.p.PutRefusal(gateway.Refusal{Key: id, Model: "large", Until: s.now.Add(time.Hour)}, s.now)
			}
		},
	}
	for name, prepare := range tests {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			prepare(s, s.put(n, ""))
			allocs := testing.AllocsPerRun(1000, func() {
				s.now = s.now.Add(time.Microsecond)
				w := Want{Model: "large"}
				for range 3 { // with retries
					l, err := s.p.Acquire(&w, s.now)
					if err != nil {
						t.Fatal(err)
					}
					l.Settle(&served, s.now)
				}
			})
			if allocs != 0 {
				t.Errorf("%v allocations", allocs)
			}
		})
	}
}

// However many rests end at the same instant, a pick brings back a few.
func TestPickIsNotStalledByManyReturns(t *testing.T) {
	const n = 10_000
	s := newScene(t)
	for _, id := range s.put(n, "") {
		s.p.SetState(id, gateway.KeyState{RestsUntil: s.now.Add(time.Minute)}, s.now)
	}
	s.wantNone(&Want{}, AllResting, time.Minute)
	s.now = s.now.Add(time.Minute)
	for picks := 1; picks <= n/pickBatch; picks++ {
		s.try(served)
		if back := s.p.Counts()[gateway.KeyActive]; back != picks*pickBatch {
			t.Fatalf("%d keys are back after %d picks, want %d", back, picks, picks*pickBatch)
		}
	}
	s.checkFair(n, n/4, served)
}

// Nor is it by many keys whose life ends at the same instant, and none of them
// is lent.
func TestPickIsNotStalledByManyExpiries(t *testing.T) {
	s := newScene(t)
	const n = 3 * tickBatch
	for range n {
		s.putKey(gateway.Key{ExpiresAt: s.now.Add(time.Minute)})
	}
	last := s.put(1, "")[0]
	s.now = s.now.Add(time.Minute)
	for range n / tickBatch {
		before := s.p.Counts()[gateway.KeyExpired]
		l, err := s.p.Acquire(&Want{}, s.now)
		if buried := s.p.Counts()[gateway.KeyExpired] - before; buried > tickBatch+pickBatch {
			t.Fatalf("one pick dealt with %d keys", buried)
		}
		if err == nil {
			if l.Key() != last {
				t.Fatal("a key was lent whose life is over")
			}
			return
		}
		if e := s.none(&Want{}); e.Reason != AllOut || e.RetryAfter != time.Second {
			t.Fatalf("no key because %q, retry after %v", e.Reason, e.RetryAfter)
		}
	}
	if got := s.try(served); got != last {
		t.Fatalf("key %s, want the only living one", got)
	}
}

func TestExpiredKeyIsNeverLent(t *testing.T) {
	s := newScene(t)
	for i := range 40 {
		s.putKey(gateway.Key{ExpiresAt: s.now.Add(time.Duration(1+i/10) * time.Second)})
	}
	s.putKey(gateway.Key{ExpiresAt: s.now})
	for second := range 4 {
		for range 100 {
			l := s.lend(&Want{})
			if k := &s.p.keys[l.slot]; k.expiresAt <= s.now.UnixNano() {
				t.Fatalf("second %d: a key was lent whose life is over", second)
			}
		}
		s.now = s.now.Add(time.Second)
	}
	s.wantNone(&Want{}, AllOut, 0)
	if got := s.p.Counts()[gateway.KeyExpired]; got < 40 {
		t.Errorf("%d keys count as expired", got)
	}
	s.wait(0)
	if got := s.p.Counts()[gateway.KeyExpired]; got != 41 {
		t.Errorf("%d keys count as expired after a tick", got)
	}
}

func TestTickBringsBackEverybodyThatIsDue(t *testing.T) {
	s := newScene(t)
	ids := s.put(3*tickBatch, "")
	for i, id := range ids {
		s.p.SetState(id, gateway.KeyState{RestsUntil: s.now.Add(time.Minute + time.Duration(i%2)*time.Second)}, s.now)
		s.p.PutRefusal(gateway.Refusal{Key: id, Model: "large", Until: s.now.Add(time.Minute)}, s.now)
	}
	s.wait(time.Minute)
	counts := s.p.Counts()
	if half := len(ids) / 2; counts[gateway.KeyActive] != half || counts[gateway.KeyResting] != half {
		t.Errorf("%v after the first half is due", counts)
	}
	if len(s.p.models) != 0 {
		t.Error("refusals that are over still have a queue")
	}
	s.wait(time.Second)
	if got := s.p.Counts()[gateway.KeyActive]; got != len(ids) {
		t.Errorf("%d of %d are back", got, len(ids))
	}
}
