package pool

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// TestRotationAgainstSlice compares the queue with a plain slice, in which
// everything is moved one by one.
func TestRotationAgainstSlice(t *testing.T) {
	packed := 0
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 3))
		slots := 1 + rng.IntN(12)
		r := newRotation(slots)
		var queue []int32
		for range 2000 {
			full := r.size == len(r.queue)
			switch slot := int32(rng.IntN(slots)); rng.IntN(8) {
			case 0:
				if slots < 40 && rng.IntN(40) == 0 {
					slots++
					r.grow(slots)
				}
			case 1, 2:
				r.add(slot)
				if !slices.Contains(queue, slot) {
					queue = append(queue, slot)
				}
			case 3:
				r.remove(slot)
				queue = slices.DeleteFunc(queue, func(s int32) bool { return s == slot })
			default:
				except := make([]int32, rng.IntN(4))
				for i := range except {
					except[i] = int32(rng.IntN(slots))
				}
				want := none
				if i := slices.IndexFunc(queue, func(s int32) bool { return !slices.Contains(except, s) }); i >= 0 {
					want = queue[i]
					queue = append(slices.Delete(queue, i, i+1), want)
				}
				if got := r.take(except); got != want {
					t.Fatalf("seed %d: took %d except %v, want %d", seed, got, except, want)
				}
			}
			if full && r.size < len(r.queue) {
				packed++
			}
			var got []int32
			r.each(func(s int32) { got = append(got, s) })
			if !slices.Equal(got, queue) || r.n != len(queue) {
				t.Fatalf("seed %d: queue %v (%d), want %v", seed, got, r.n, queue)
			}
			for s := range int32(slots) {
				if r.has(s) != slices.Contains(queue, s) {
					t.Fatalf("seed %d: slot %d in the queue: %v", seed, s, r.has(s))
				}
			}
		}
	}
	if packed == 0 {
		t.Error("the gaps never filled the buffer")
	}
}

func TestRoundRobinIsFair(t *testing.T) {
	for _, n := range []int{1, 2, 3, 10, 101} {
		s := newScene(t)
		s.put(n, "")
		s.checkFair(n, 3*n+n/2, served)
	}
}

func TestRoundRobinIsFairWhateverTheAnswer(t *testing.T) {
	for _, v := range []gateway.Verdict{served, badRequest, wentAway, unknown} {
		s := newScene(t)
		s.put(7, "")
		s.checkFair(7, 100, v)
	}
}

// checkFair makes attempts, after each of which every key has had its share,
// give or take one.
func (s *scene) checkFair(n, attempts int, v gateway.Verdict) {
	s.Helper()
	count := map[gateway.KeyID]int{}
	for m := 1; m <= attempts; m++ {
		count[s.try(v)]++
		for id, c := range count {
			if c < m/n || c > (m+n-1)/n {
				s.Fatalf("%d keys, %d attempts: key %s served %d", n, m, id, c)
			}
		}
	}
}

// The healthy ones take turns strictly, whoever comes and goes among them: no
// two turns of one of them without a turn of each other one in between.
func TestRoundRobinAmongNeighboursOfKeysThatAreOut(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 5))
		s := newScene(t)
		all := s.put(12, "")
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		healthy := all[:5]
		var turns []gateway.KeyID
		for range 600 {
			s.wait(time.Second)
			// A request goes on to the next key until one serves it, as the proxy does.
			w := &Want{}
			for {
				l := s.lend(w)
				if slices.Contains(healthy, l.Key()) {
					l.Release(&served, s.now)
					turns = append(turns, l.Key())
					break
				}
				bad := []gateway.Verdict{refused("unauthorized"), quota(s.now.Add(time.Duration(rng.IntN(9)) * time.Second)), unknown, badRequest}
				l.Release(&bad[rng.IntN(len(bad))], s.now)
			}
			if rng.IntN(4) == 0 {
				s.p.SetState(all[5+rng.IntN(7)], gateway.KeyState{}, s.now)
			}
		}
		for i := range len(turns) - len(healthy) {
			if next := turns[i+1 : i+len(healthy)]; slices.Contains(next, turns[i]) {
				t.Fatalf("seed %d: turn %d: key %s comes again in %v", seed, i, turns[i], next)
			}
		}
	}
}

func TestAKeyIsTriedOncePerRequest(t *testing.T) {
	s := newScene(t)
	ids := s.put(MaxTried, "")
	w := &Want{}
	var tried []gateway.KeyID
	for range ids {
		l := s.lend(w)
		s.try(served) // another request passes in between
		if slices.Contains(tried, l.Key()) {
			t.Fatalf("key %s was lent twice", l.Key())
		}
		tried = append(tried, l.Key())
		l.Release(&unknown, s.now)
	}
	s.wantNone(w, AllTried, 0)
	s.wantUntouched(ids...)
}

func TestAgainOnlyWhenNothingElseIsLeft(t *testing.T) {
	s := newScene(t)
	s.put(3, "")
	w := &Want{Again: true}
	first := []gateway.KeyID{s.lend(w).Key(), s.lend(w).Key(), s.lend(w).Key()}
	for i, id := range first {
		if slices.Contains(first[:i], id) {
			t.Fatalf("key %s was lent twice while another was left", id)
		}
	}
	if got := s.lend(w).Key(); got != first[0] {
		t.Errorf("the fourth attempt has key %s, want the one that waits longest, %s", got, first[0])
	}
	w.Again = false
	s.wantNone(w, AllTried, 0)
}

// A request that makes more attempts than can be remembered still gets keys.
func TestMoreAttemptsThanAreRemembered(t *testing.T) {
	s := newScene(t)
	ids := s.put(MaxTried+4, "")
	w := &Want{}
	for i := range ids {
		if got := s.lend(w).Key(); got != ids[i] {
			t.Fatalf("attempt %d with key %s, want %s", i, got, ids[i])
		}
	}
	w = &Want{Again: true}
	s.p.Remove(ids[0])
	for range 3 * len(ids) {
		s.lend(w)
	}
}

// The turn of a key that a request has tried already is kept for others.
func TestSkippedKeyKeepsItsTurn(t *testing.T) {
	s := newScene(t)
	ids := s.put(3, "")
	w := &Want{}
	s.lend(w) // the first key
	s.lend(&Want{})
	s.lend(&Want{}) // now it is the first key's turn again
	if got := s.lend(w).Key(); got != ids[1] {
		t.Fatalf("second attempt with key %s, want %s", got, ids[1])
	}
	if got := s.lend(&Want{}).Key(); got != ids[0] {
		t.Fatalf("next request has key %s, want the skipped one, %s", got, ids[0])
	}
}

// A key that comes into the place of a removed one was not tried by anybody.
func TestTriedKeyReplacedByAnother(t *testing.T) {
	s := newScene(t)
	old := s.put(1, "")[0]
	w := &Want{}
	s.lend(w)
	s.p.Remove(old)
	fresh := s.put(1, "")[0]
	if got := s.lend(w).Key(); got != fresh {
		t.Fatalf("key %s, want %s", got, fresh)
	}
	s.wantNone(w, AllTried, 0)
}
