package app

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ollama-api-pool/internal/gateway"
)

// What is older than the settings say goes, and nothing else does.
func TestTidy(t *testing.T) {
	o, closeStore := openRoster(t, t.TempDir())
	defer closeStore()
	cfg := *o.app.cfg
	cfg.StatsRetention.Hours, cfg.StatsRetention.Days = 7, 30
	cfg.RequestLogMaxAge = 24 * time.Hour
	o.app.cfg = &cfg

	now := time.Now().UTC().Truncate(time.Hour)
	day := func(n int) time.Time { return now.AddDate(0, 0, -n) }
	var delta gateway.Delta
	delta.Provider = gateway.Ollama
	for _, at := range []time.Time{now, now.Add(-4 * time.Hour), day(2), day(8), day(31), day(91)} {
		delta.Tallies = append(delta.Tallies, gateway.TallyDelta{Of: gateway.OfProvider, Minute: at, Tally: gateway.Tally{Counts: gateway.Counts{Requests: 1, Success: 1}}})
		delta.Log = append(delta.Log, gateway.LogEntry{ID: at.Format("r20060102T15"), Provider: gateway.Ollama, StartedAt: at, Status: 500})
	}
	if err := o.store.Apply(t.Context(), []gateway.Delta{delta}); err != nil {
		t.Fatal(err)
	}
	if err := o.store.AddSession(t.Context(), gateway.Session{Hash: gateway.HashToken("fake-cookie"), CSRF: "x", CreatedAt: day(9), ExpiresAt: day(8)}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing to do
		if err := o.app.tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for per, want := range map[gateway.Period]int64{gateway.PerMinute: 1, gateway.PerHour: 3, gateway.PerDay: 4, gateway.Ever: 6} {
		got, err := o.store.Tallies(t.Context(), gateway.Ollama, gateway.TallyQuery{Of: gateway.OfProvider, Per: per, Since: day(1000), Until: now.Add(time.Hour)})
		if err != nil || len(got) != 1 || got[0].Tally.Requests != want {
			t.Errorf("period %d: %+v %v, want %d requests", per, got, err, want)
		}
	}
	page, err := o.store.Requests(t.Context(), gateway.LogQuery{Limit: 100})
	var left []string
	for _, e := range page.Entries {
		left = append(left, e.ID)
	}
	want := []string{now.Format("r20060102T15"), now.Add(-4 * time.Hour).Format("r20060102T15")}
	slices.Sort(left)
	slices.Sort(want)
	if err != nil || !slices.Equal(left, want) {
		t.Errorf("the log keeps %v (%v), want %v", left, err, want)
	}
}

// Other programs see that a key is back, though nothing was learnt about it.
func TestOthersSeeWhoIsBack(t *testing.T) {
	o, closeStore := openRoster(t, t.TempDir())
	defer closeStore()
	until := time.Now().Add(-time.Minute)
	k := gateway.Key{Secret: "fake-upstream-key-00", State: gateway.KeyState{RestsUntil: until, RestStep: 2}}
	if _, _, err := o.AddKeys(t.Context(), gateway.Ollama, func(yield func(gateway.Key, error) bool) { yield(k, nil) }); err != nil {
		t.Fatal(err)
	}
	id := gateway.IDOfKey(k.Secret)
	forced := gateway.Delta{Provider: gateway.Ollama, States: []gateway.StateChange{{Key: id, State: k.State, Forced: true}}}
	if err := o.store.Apply(t.Context(), []gateway.Delta{forced}); err != nil {
		t.Fatal(err)
	}
	stored := func() gateway.KeyMark {
		t.Helper()
		marks, err := o.store.KeyMarks(t.Context(), gateway.Ollama, []gateway.KeyID{id})
		if err != nil || len(marks) != 1 {
			t.Fatal(marks, err)
		}
		return marks[0]
	}
	was := stored()
	if err := o.app.settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if is := stored(); is != was {
		t.Errorf("a row that is right was changed: %+v, was %+v", is, was)
	}
	behind := was
	behind.State.RestsUntil = time.Now().Add(50 * time.Millisecond).UTC().Truncate(time.Microsecond)
	forced.States[0].State = behind.State
	if err := o.store.Apply(t.Context(), []gateway.Delta{forced}); err != nil {
		t.Fatal(err)
	}
	for !stored().State.RestsUntil.IsZero() { // until its time has come
		if err := o.app.settle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if is := stored(); is.State.RestStep != 2 || is.Version != was.Version+1 || time.Now().Before(behind.State.RestsUntil) {
		t.Errorf("after its time: %+v", is)
	}
}

// The longer it takes to add up, the longer nothing is added up.
func TestFoldingPauses(t *testing.T) {
	for took, want := range map[time.Duration]int{ // within two minutes, asked every five seconds
		0: 24, 200 * time.Millisecond: 24, 400 * time.Millisecond: 12, 2 * time.Second: 3, 10 * time.Second: 2, time.Minute: 1,
	} {
		synctest.Test(t, func(t *testing.T) {
			n := 0
			f := folding{fold: func(context.Context) error {
				n++
				time.Sleep(took)
				return errors.New("one that is told")
			}}
			until := time.Now().Add(2 * time.Minute)
			for time.Now().Before(until) {
				before := n
				if err := f.runOnce(t.Context()); (err != nil) != (n > before) {
					t.Fatalf("folded %d times, told %v", n-before, err)
				}
				time.Sleep(5 * time.Second)
			}
			if n != want {
				t.Errorf("taking %s each: %d times, want %d", took, n, want)
			}
		})
	}
}
