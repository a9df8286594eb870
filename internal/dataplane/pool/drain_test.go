package pool

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

func TestDrainHandsOutWhatHappened(t *testing.T) {
	s := newScene(t)
	ids := s.put(4, "")
	if d := s.p.Drain(); !d.Empty() || d.Provider != gateway.Ollama || s.p.Learnt() {
		t.Fatalf("before anything happened: %+v", d)
	}
	began := s.now
	s.tryKey(ids[0], served)
	s.wait(time.Minute)
	s.tryKey(ids[0], fault)
	s.wait(time.Minute)
	s.tryKey(ids[0], wentAway)
	s.tryKey(ids[1], refused("unauthorized"))
	s.tryKey(ids[2], served)
	s.p.Remove(ids[2])
	learnt := s.p.Learnt()
	d := s.p.Drain()
	if !learnt || s.p.Learnt() {
		t.Errorf("states that were yet to be drained: before %v, after %v", learnt, s.p.Learnt())
	}
	counts, states := map[gateway.KeyID]gateway.KeyCounts{}, map[gateway.KeyID]gateway.KeyState{}
	for _, k := range d.Keys {
		counts[k.Key] = k.Counts
	}
	for _, c := range d.States {
		states[c.Key] = c.State
	}
	want := gateway.KeyCounts{
		Total: 3, Success: 1, Failure: 1,
		LastUsed: s.now, LastSuccess: began, LastFailure: began.Add(time.Minute),
	}
	if len(counts) != 2 || counts[ids[0]] != want || counts[ids[1]].Failure != 1 {
		t.Errorf("counts %+v", counts)
	}
	if len(states) != 1 || states[ids[1]] != s.state(ids[1]) || states[ids[1]].ConsecutiveFailures != 1 {
		t.Errorf("states %+v", states)
	}
	if again := s.p.Drain(); !again.Empty() {
		t.Errorf("handed out twice: %+v", again)
	}
}

// A mark that time ends is not written down, as everybody sees that it is over:
// it goes with the key's next change, which is made from the version that set it.
func TestDrainLeavesReturns(t *testing.T) {
	until := func(s *scene) time.Time { return s.now.Add(time.Minute) }
	for name, state := range map[string]func(s *scene) gateway.KeyState{
		"a rest": func(s *scene) gateway.KeyState {
			return gateway.KeyState{RestsUntil: until(s), LastError: "quota", RestStep: 2}
		},
		"a refusal": func(s *scene) gateway.KeyState {
			return gateway.KeyState{FailedUntil: until(s), ConsecutiveFailures: 1}
		},
		"being disabled": func(s *scene) gateway.KeyState {
			return gateway.KeyState{Disabled: gateway.DisabledAuto, DisabledUntil: until(s), ConsecutiveFailures: 3}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			was := state(s)
			id := s.putKey(gateway.Key{State: was, Version: 5})
			s.wait(time.Minute)
			s.wantStatus(id, gateway.KeyActive)
			if d := s.p.Drain(); !d.Empty() || s.p.Learnt() {
				t.Errorf("time alone: %+v", d)
			}
			if got := s.state(id); got.RestStep != was.RestStep || got.ConsecutiveFailures != was.ConsecutiveFailures || got.LastError != was.LastError {
				t.Errorf("time took more than the mark: %+v", got)
			}
			s.tryKey(id, served)
			if got := s.oneState(); got.Version != 5 || got.State != (gateway.KeyState{}) {
				t.Errorf("the next change: %+v", got)
			}
		})
	}
	s := newScene(t)
	id := s.putKey(gateway.Key{ExpiresAt: until(s)})
	s.wait(time.Minute)
	s.wantStatus(id, gateway.KeyExpired)
	if d := s.p.Drain(); !d.Empty() {
		t.Errorf("a life that ends: %+v", d)
	}
}

// Two instances whose keys rest until the same moment have nothing to write
// after it, and agree with each other and with a store that has taken the marks
// away.
func TestManyReturnAtOnce(t *testing.T) {
	const n = 100_000
	now := time.Date(2027, 1, 15, 8, 0, 0, 0, time.UTC)
	week := now.Add(time.Hour)
	pools := []*Pool{New(gateway.Ollama, Settings{}), New(gateway.Ollama, Settings{})}
	ids := make([]gateway.KeyID, n)
	for i := range n {
		k := gateway.Key{Secret: gateway.Secret(fmt.Sprintf("example-key-%06d", i)), Version: 7, State: gateway.KeyState{RestsUntil: week, RestStep: 1, LastError: "quota"}}
		ids[i] = gateway.IDOfKey(k.Secret)
		for _, p := range pools {
			p.Put(k, now)
		}
	}
	pools[0].Tick(week) // the other one's clock is behind
	for _, id := range ids {
		m := gateway.KeyMark{Key: id, Version: 7, State: gateway.KeyState{RestStep: 1, LastError: "quota"}}
		for _, p := range pools {
			if !p.Follow(m, week) {
				t.Fatalf("what is stored of %s is not plausible", id)
			}
		}
	}
	pools[1].Tick(week)
	for i, p := range pools {
		if d := p.Drain(); !d.Empty() || p.Counts()[gateway.KeyActive] != n {
			t.Errorf("pool %d: %d states to write, %v", i, len(d.States), p.Counts())
		}
		if got, status, _ := p.State(ids[n/2]); status != gateway.KeyActive || got != (gateway.KeyState{RestStep: 1, LastError: "quota"}) {
			t.Errorf("pool %d: %s, %+v", i, status, got)
		}
	}
}

// A key that takes the place of one with something to write down is written
// down once, and only with its own.
func TestDrainAfterSlotReuse(t *testing.T) {
	s := newScene(t)
	for range 3 {
		id := s.put(1, "")[0]
		s.try(refused("unauthorized"))
		s.p.Remove(id)
	}
	id := s.put(1, "")[0]
	s.try(refused("forbidden"))
	d := s.p.Drain()
	if len(d.Keys) != 1 || d.Keys[0].Key != id || d.Keys[0].Counts.Total != 1 {
		t.Errorf("counts %+v", d.Keys)
	}
	if len(d.States) != 1 || d.States[0].Key != id || d.States[0].State.LastError != "forbidden" {
		t.Errorf("states %+v", d.States)
	}
}

func TestRestoreTakesEverythingBack(t *testing.T) {
	s := newScene(t)
	ids := s.put(4, "")
	s.tryKey(ids[0], served)
	s.tryKey(ids[1], refused("unauthorized"))
	s.tryKey(ids[3], refused("unauthorized"))
	s.lendKey(ids[2], "large").Release(&plan, s.now)
	lost := s.p.Drain()
	// More happens before the failed write comes back.
	s.tryKey(ids[0], served)
	s.p.SetState(ids[1], gateway.KeyState{}, s.now)
	s.p.Remove(ids[2])
	s.p.Restore(lost)
	d := s.p.Drain()
	if len(d.Keys) != 3 || len(d.States) != 2 || len(d.Refusals) != 0 {
		t.Fatalf("drained %+v", d)
	}
	for _, k := range d.Keys {
		if want := map[gateway.KeyID]int64{ids[0]: 2, ids[1]: 1, ids[3]: 1}[k.Key]; k.Counts.Total != want {
			t.Errorf("key %s: %d attempts, want %d", k.Key, k.Counts.Total, want)
		}
	}
	for _, got := range d.States { // states as they are now
		if want := map[gateway.KeyID]int{ids[1]: 0, ids[3]: 1}; got.State.ConsecutiveFailures != want[got.Key] || int(got.Version) != 1-want[got.Key] {
			t.Errorf("the state that is handed out: %+v", got)
		}
	}
}

// Nothing is lost and nothing counted twice, whatever runs at the same time.
func TestDrainAddsUpUnderLoad(t *testing.T) {
	const workers, attempts, keys = 8, 2000, 700
	s := newScene(t)
	ids := s.put(keys, "")
	s.put(50, "ada")
	start := s.now
	var working, writing sync.WaitGroup
	stop := make(chan struct{})

	var sum gateway.KeyCounts // what has been written down
	states := map[gateway.KeyID]gateway.KeyState{}
	write := func(rng *rand.Rand) {
		d := s.p.Drain()
		if rng.IntN(3) == 0 {
			s.p.Restore(d)
			return
		}
		for _, k := range d.Keys {
			sum.Total, sum.Success, sum.Failure = sum.Total+k.Counts.Total, sum.Success+k.Counts.Success, sum.Failure+k.Counts.Failure
		}
		for _, c := range d.States {
			states[c.Key] = c.State
		}
	}
	writing.Go(func() {
		rng := rand.New(rand.NewPCG(1, 1))
		for {
			select {
			case <-stop:
				return
			default:
				write(rng)
				s.p.Tick(start.Add(time.Duration(rng.IntN(5)) * time.Second))
			}
		}
	})
	// An operator works on keys that the others use, and looks at everything.
	writing.Go(func() {
		rng := rand.New(rand.NewPCG(2, 2))
		for {
			select {
			case <-stop:
				return
			default:
				id := ids[rng.IntN(keys)]
				s.p.SetState(id, gateway.KeyState{}, start)
				s.p.ClearRefusals(id)
				s.p.State(id)
				s.p.Counts()
				s.p.Health()
			}
		}
	})
	var want gateway.KeyCounts
	var counting sync.Mutex // guards want
	for w := range workers {
		working.Go(func() {
			rng := rand.New(rand.NewPCG(3, uint64(w)))
			var mine gateway.KeyCounts
			for i := range attempts {
				now := start.Add(time.Duration(i) * time.Millisecond)
				l, err := s.p.Acquire(&Want{Model: []string{"", "large"}[rng.IntN(2)]}, now)
				if err != nil {
					continue
				}
				answers := []gateway.Verdict{served, served, served, unknown, wentAway, plan, quota(now.Add(time.Second)), refused("unauthorized")}
				v := answers[rng.IntN(len(answers))]
				if v.OK {
					l.Settle(&v, now)
				}
				l.Release(&v, now)
				mine.Total++
				switch {
				case v.OK:
					mine.Success++
				case v.Scope != gateway.ScopeClient:
					mine.Failure++
				}
			}
			counting.Lock()
			defer counting.Unlock()
			want.Total, want.Success, want.Failure = want.Total+mine.Total, want.Success+mine.Success, want.Failure+mine.Failure
		})
	}
	working.Wait()
	close(stop)
	writing.Wait()
	rng := rand.New(rand.NewPCG(4, 4))
	for range 50 {
		write(rng)
	}
	if sum != want || want.Total < workers*attempts/10 {
		t.Errorf("written down %+v, happened %+v", sum, want)
	}
	s.now = start.Add(10 * time.Second)
	s.wait(0)
	for id, state := range states {
		written, is := live(state, s.now), live(s.state(id), s.now)
		if written != is && is != (gateway.KeyState{}) { // the operator's changes are not written here
			t.Errorf("key %s: written down %+v, is %+v", id, written, is)
		}
	}
}

func TestCountsDoNotOverflow(t *testing.T) {
	s := newScene(t)
	s.put(1, "")
	s.p.keys[0].total = 1<<31 - 1
	s.try(served)
	if got := s.p.Drain().Keys[0].Counts; got.Total != 1<<31-1 || got.Success != 1 {
		t.Errorf("counts %+v", got)
	}
}

func TestGrowKeepsWhatIsThere(t *testing.T) {
	s := newScene(t)
	ids := s.put(3, "ada")
	s.p.Grow(10_000)
	room := cap(s.p.keys)
	s.p.Grow(10)
	if cap(s.p.keys) != room || room < 10_003 {
		t.Errorf("room for %d keys, then %d", room, cap(s.p.keys))
	}
	s.checkFair(3, 30, served)
	s.wantUntouched(ids...)
}
