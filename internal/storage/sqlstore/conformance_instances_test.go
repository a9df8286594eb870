package sqlstore

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

func conformLeases(t *testing.T, open openStore) {
	a, b := open(Options{Instance: "a"}), open(Options{Instance: "b"})
	take := func(s *Store, want bool, when string) {
		t.Helper()
		got, err := s.TakeLease(t.Context(), "checks", time.Hour)
		if err != nil || got != want {
			t.Errorf("%s: %s takes it: %v, %v; want %v", when, s.instance, got, err, want)
		}
	}
	// The clock of a server cannot be moved: the lease is.
	over := func() {
		t.Helper()
		if _, err := a.writer.ExecContext(t.Context(), "update pool_leases set until = ?", at(time.Unix(0, 0))); err != nil {
			t.Fatal(err)
		}
	}
	drop := func(s *Store) {
		t.Helper()
		if err := s.DropLease(t.Context(), "checks"); err != nil {
			t.Fatal(err)
		}
	}
	take(a, true, "free")
	take(b, false, "held")
	take(a, true, "renewed")
	drop(b)
	take(b, false, "another gave back what it did not hold")
	if got, err := b.TakeLease(t.Context(), "other", time.Hour); !got || err != nil {
		t.Errorf("another lease: %v, %v", got, err)
	}
	over()
	take(a, true, "over, and nobody else took it")
	over()
	take(b, true, "over")
	take(a, false, "lost")
	take(a, false, "held by the other")
	drop(b)
	take(a, true, "given back")

	// Lost, and given back before the former holder looks: it notices all the same.
	over()
	take(b, true, "over again")
	drop(b)
	take(a, false, "lost and free again")
	take(a, true, "free, asked again")
	for _, bad := range []time.Duration{0, -time.Second} {
		_, err := a.TakeLease(t.Context(), "checks", bad)
		wantKind(t, "a lease of no length", err, gateway.KindInvalid)
	}
}

// conformLeaseRace lets many ask for one lease at the same time.
func conformLeaseRace(t *testing.T, open openStore) {
	var wg sync.WaitGroup
	var mu sync.Mutex // guards got
	got := 0
	for i := range 6 {
		s := open(Options{Instance: fmt.Sprint("i", i)})
		wg.Go(func() {
			took, err := s.TakeLease(t.Context(), "job", time.Hour)
			if err != nil {
				t.Error(err)
			}
			if took {
				mu.Lock()
				defer mu.Unlock()
				got++
			}
		})
	}
	wg.Wait()
	if got != 1 {
		t.Errorf("%d took the same lease", got)
	}
}

func conformInstances(t *testing.T, open openStore) {
	a, b := open(Options{}), open(Options{})
	ctx := t.Context()
	send(t, a, one("run 1", 5)) // has written before it said anything, as when its batches wait on a disk
	if list, err := b.Instances(ctx, time.Unix(0, 0)); err != nil || len(list) != 0 {
		t.Errorf("nobody is there: %+v, %v", list, err)
	}
	say := func(i gateway.Instance) {
		t.Helper()
		if err := a.SayHere(ctx, i); err != nil {
			t.Fatal(err)
		}
	}
	started := noon.Add(-time.Hour)
	say(gateway.Instance{ID: "run 1", Name: "one", Version: "1.0", StartedAt: started})
	say(gateway.Instance{ID: "run 2", Name: "two", Version: "1.1", StartedAt: started.Add(-time.Minute)})
	say(gateway.Instance{ID: "run 1", Name: "one", Version: "1.2", StartedAt: started})
	list, err := b.Instances(ctx, noon.Add(-time.Minute)) // by the clock of b, whatever that of the database says
	if err != nil || len(list) != 2 {
		t.Fatalf("instances %+v, %v", list, err)
	}
	for i, want := range []gateway.Instance{{ID: "run 2", Name: "two", Version: "1.1", StartedAt: started.Add(-time.Minute)}, {ID: "run 1", Name: "one", Version: "1.2", StartedAt: started}} {
		if seen := list[i].SeenAt; seen.Before(noon.Add(-30*time.Second)) || seen.After(noon.Add(30*time.Second)) {
			t.Errorf("%s was seen at %v", list[i].ID, seen)
		}
		list[i].SeenAt = time.Time{}
		wantEqual(t, "instance", list[i], want)
	}
	if !send(t, b, one("run 1", 5)).Again {
		t.Error("a batch is forgotten when its writer says that it is there")
	}
	if list, err := b.Instances(ctx, noon.Add(time.Minute)); err != nil || len(list) != 0 {
		t.Errorf("seen in a minute from now: %+v, %v", list, err)
	}
	if err := a.PruneInstances(ctx, noon.Add(-time.Minute)); err != nil { // by the clock of a, whatever that of the database says
		t.Fatal(err)
	}
	if list, err := b.Instances(ctx, noon.Add(-time.Minute)); err != nil || len(list) != 2 {
		t.Errorf("after what is older was forgotten: %+v, %v", list, err)
	}
	if err := a.PruneInstances(ctx, time.Now().Add(200*365*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if send(t, b, one("run 1", 5)).Again {
		t.Error("an instance that was forgotten is remembered")
	}
	wantKind(t, "an instance without an id", a.SayHere(ctx, gateway.Instance{}), gateway.KindInvalid)
}

func conformStoreID(t *testing.T, open openStore) {
	var ids [4]string
	var wg sync.WaitGroup
	for i := range ids {
		s := open(Options{})
		wg.Go(func() {
			var err error
			if ids[i], err = s.StoreID(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if ids[0] == "" || ids[1] != ids[0] || ids[2] != ids[0] || ids[3] != ids[0] {
		t.Errorf("one database has the names %q", ids)
	}
}

func conformIdleJobs(t *testing.T, open openStore) {
	s := open(Options{})
	for i, idle := range []time.Duration{0, 30 * time.Second, 2 * time.Minute} {
		j := gateway.Job{ID: fmt.Sprintf("%016x", i), Kind: gateway.JobCheck, Provider: gateway.Ollama, State: gateway.JobRunning, UpdatedAt: noon.Add(-idle), StartedAt: noon.Add(-time.Hour)}
		if err := s.PutJob(t.Context(), j); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		idle time.Duration
		want int
	}{{time.Minute, 1}, {time.Minute, 0}, {30 * time.Second, 1}, {0, 1}} {
		if n, err := s.InterruptJobs(t.Context(), c.idle); err != nil || n != c.want {
			t.Errorf("idle for %v: %d, %v; want %d", c.idle, n, err, c.want)
		}
	}
}
