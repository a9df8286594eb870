package pool

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

func TestRefusedForAPlan(t *testing.T) {
	s := newScene(t)
	ids := s.put(3, "ada")
	s.lendKey(ids[1], "large").Release(&plan, s.now)
	s.wantUntouched(ids...)
	for _, test := range []struct {
		model string
		after time.Duration
		lent  bool
	}{
		{"large", 0, false},
		{"small", 0, true},
		{"", 0, true},
		{"large", 24*time.Hour - 1, false},
		{"large", 1, true},
	} {
		s.now = s.now.Add(test.after) // without a tick
		var got []gateway.KeyID
		for range 6 {
			got = append(got, s.lend(&Want{Model: test.model}).Key())
		}
		if lent := slices.Contains(got, ids[1]); lent != test.lent {
			t.Errorf("lent for %q after %v: %v", test.model, test.after, lent)
		}
	}
	if len(s.p.models) != 0 {
		t.Error("the model keeps a queue of its own that it does not need")
	}
}

// The keys that may serve a model take strict turns among themselves.
func TestFairWithinAModel(t *testing.T) {
	s := newScene(t)
	ids := s.put(10, "")
	for _, id := range ids[:4] {
		s.lendKey(id, "large").Release(&plan, s.now)
	}
	count := map[gateway.KeyID]int{}
	for range 60 {
		count[s.lend(&Want{Model: "large"}).Key()]++
		s.try(served)
	}
	for _, id := range ids[4:] {
		if count[id] != 10 {
			t.Errorf("key %s served %d of 60", id, count[id])
		}
	}
}

func TestNoneForPlan(t *testing.T) {
	s := newScene(t)
	ids := s.put(2, "")
	w := &Want{Model: "large"}
	s.lend(w).Release(&plan, s.now)
	s.wait(time.Hour)
	s.lend(w).Release(&plan, s.now)
	s.wantNone(w, NoneForPlan, 23*time.Hour)
	s.wantNone(&Want{Model: "large"}, NoneForPlan, 23*time.Hour)
	// A key that comes back sooner may be allowed to.
	other := s.putKey(gateway.Key{State: gateway.KeyState{RestsUntil: s.now.Add(time.Minute)}})
	s.wantNone(&Want{Model: "large"}, NoneForPlan, time.Minute)
	s.wait(time.Minute)
	if got := s.lend(&Want{Model: "large"}).Key(); got != other {
		t.Errorf("lent %s", got)
	}
	s.wantUntouched(ids...)
}

// A key that is refused, rests and returns is still refused; one that is new
// is not.
func TestRefusalOutlivesARest(t *testing.T) {
	s := newScene(t)
	ids := s.put(2, "")
	s.lendKey(ids[0], "large").Release(&plan, s.now)
	s.tryKey(ids[0], quota(s.now.Add(time.Minute)))
	s.tryKey(ids[1], quota(s.now.Add(time.Minute)))
	s.wait(time.Minute)
	fresh := s.put(1, "")[0]
	for range 6 {
		if got := s.lend(&Want{Model: "large"}).Key(); got != ids[1] && got != fresh {
			t.Fatal("the refused key was lent")
		}
	}
	s.lendKey(ids[0], "small")
}

// Refusals restored in any order, and keys put before and after, make no
// difference; each ends at its own time.
func TestRestoredRefusals(t *testing.T) {
	s := newScene(t)
	ids := s.put(6, "")
	for _, hours := range []int{5, 2, 4, 1, 3} {
		s.p.PutRefusal(gateway.Refusal{Key: ids[hours], Model: "large", Until: s.now.Add(time.Duration(hours) * time.Hour)}, s.now)
	}
	s.p.PutRefusal(gateway.Refusal{Key: ids[3], Model: "large", Until: s.now.Add(time.Minute)}, s.now) // an older one
	s.p.PutRefusal(gateway.Refusal{Key: ids[0], Model: "large", Until: s.now}, s.now)                  // over
	s.p.PutRefusal(gateway.Refusal{Key: "0123456789abcdef", Model: "large", Until: s.now.Add(time.Hour)}, s.now)
	ids = append(ids, s.put(1, "")...)
	for hour := range 6 {
		var got []gateway.KeyID
		for range 20 {
			if id := s.lend(&Want{Model: "large"}).Key(); !slices.Contains(got, id) {
				got = append(got, id)
			}
		}
		if len(got) != 2+hour {
			t.Fatalf("after %d h %d keys serve the model", hour, len(got))
		}
		for i, id := range ids[:6] {
			if slices.Contains(got, id) != (i <= hour) {
				t.Fatalf("after %d h the key refused for %d h serves: %v", hour, i, slices.Contains(got, id))
			}
		}
		s.now = s.now.Add(time.Hour)
	}
	if d := s.p.Drain(); len(d.Refusals) != 0 {
		t.Errorf("what came from the store is handed back: %+v", d.Refusals)
	}
}

func TestRefusalsAreHandedOut(t *testing.T) {
	s := newScene(t)
	ids := s.put(3, "")
	for _, id := range ids {
		s.lendKey(id, "large").Release(&plan, s.now)
	}
	s.lendKey(ids[0], "").Release(&plan, s.now) // names no model: nothing to remember
	s.p.ClearRefusals("0123456789abcdef")
	s.wantNone(&Want{Model: "large"}, NoneForPlan, 24*time.Hour)
	s.p.ClearRefusals(ids[0])
	s.p.Remove(ids[1])
	want := []gateway.Refusal{{Key: ids[2], Model: "large", Until: s.now.Add(24 * time.Hour)}}
	got := s.p.Drain()
	if !slices.Equal(got.Refusals, want) {
		t.Errorf("refusals %+v, want %+v", got.Refusals, want)
	}
	s.p.Restore(got)
	if again := s.p.Drain().Refusals; !slices.Equal(again, want) {
		t.Errorf("restored refusals %+v, want %+v", again, want)
	}
	if got := s.lend(&Want{Model: "large"}).Key(); got != ids[0] {
		t.Errorf("lent %s, want the cleared one", got)
	}
}

func TestARefusalLastsADayUnlessTold(t *testing.T) {
	s := newScene(t)
	s.put(1, "")
	v := plan
	v.For = 0
	s.lend(&Want{Model: "large"}).Release(&v, s.now)
	s.wantNone(&Want{Model: "large"}, NoneForPlan, 24*time.Hour)
}

// Only so many models have a queue of their own; the one that means least is
// forgotten.
func TestModelsWithAQueueAreBounded(t *testing.T) {
	s := newScene(t)
	ids := s.put(4, "")
	model := func(i int) string { return fmt.Sprint("model-", i) }
	for i := range maxRestricted {
		for _, id := range ids[:2+i%2] {
			s.p.PutRefusal(gateway.Refusal{Key: id, Model: model(i), Until: s.now.Add(time.Hour)}, s.now)
		}
	}
	for i := range 1000 {
		s.lendKey(ids[0], model(1000+i)).Release(&plan, s.now)
		if len(s.p.models) > maxRestricted {
			t.Fatalf("%d queues", len(s.p.models))
		}
	}
	for i := 1; i < maxRestricted; i += 2 { // three keys refused: dearer to forget
		if got := s.lend(&Want{Model: model(i)}).Key(); got != ids[3] {
			t.Fatalf("model %d was forgotten", i)
		}
	}
}

func TestModelWhoseRefusedKeysAreRemovedNeedsNoQueue(t *testing.T) {
	s := newScene(t)
	ids := s.put(2, "")
	s.lendKey(ids[0], "large").Release(&plan, s.now)
	s.p.Remove(ids[0])
	if len(s.p.models) != 0 {
		t.Error("the queue is still there")
	}
	if got := s.lend(&Want{Model: "large"}).Key(); got != ids[1] {
		t.Errorf("lent %s", got)
	}
}

// The key that may use the model is held back by a probe: it is a matter of
// moments, not of a day.
func TestNoneForPlanWhileTheOthersProbe(t *testing.T) {
	s := newScene(t)
	poor := s.put(1, "")[0]
	s.p.PutRefusal(gateway.Refusal{Key: poor, Model: "large", Until: s.now.Add(24 * time.Hour)}, s.now)
	for range 2 {
		s.putKey(gateway.Key{Username: "ada", State: gateway.KeyState{RestStep: 1}})
	}
	s.lend(&Want{Model: "large"})
	s.wantNone(&Want{Model: "large"}, NoneForPlan, time.Second)
}
