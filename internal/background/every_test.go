package background

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestEveryKeepsTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := newGroup(t.Context())
		began := time.Now()
		var starts []time.Duration // the loop's until Stop
		g.Every("tick", 10*time.Second, 0, func(context.Context) error {
			starts = append(starts, time.Since(began))
			time.Sleep(3 * time.Second) // a slow call is never overtaken
			return nil
		})
		time.Sleep(40 * time.Second)
		if err := g.Stop(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(starts, []time.Duration{10 * time.Second, 23 * time.Second, 36 * time.Second}) {
			t.Errorf("called after %v", starts)
		}
	})
}

func TestEveryJitters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := newGroup(t.Context())
		last := time.Now()
		pauses := map[time.Duration]bool{} // the loop's until Stop
		g.Every("tick", time.Second, 100*time.Millisecond, func(context.Context) error {
			p := time.Since(last)
			if p < time.Second || p >= 1100*time.Millisecond {
				t.Errorf("a pause of %s", p)
			}
			pauses[p] = true
			last = time.Now()
			return nil
		})
		time.Sleep(time.Minute)
		if err := g.Stop(within(t, time.Second)); err != nil {
			t.Fatal(err)
		}
		if len(pauses) < 10 {
			t.Errorf("%d different pauses in a minute", len(pauses))
		}
	})
}

func TestEveryOutlivesErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, log := newGroup(t.Context())
		var down atomic.Bool
		var calls atomic.Int32
		down.Store(true)
		g.Every("flush", time.Second, 0, func(context.Context) error {
			calls.Add(1)
			if down.Load() {
				return errors.New("no database")
			}
			return nil
		})
		time.Sleep(150*time.Second + 500*time.Millisecond)
		if n := calls.Load(); n != 150 {
			t.Errorf("%d calls in 150 s", n)
		}
		if said := log.Take(); strings.Count(said, "no database") != 3 {
			t.Errorf("logged in 150 s of failures: %s", said)
		}
		down.Store(false)
		time.Sleep(10 * time.Second)
		if said := log.Take(); strings.Count(said, "\n") != 1 || !strings.Contains(said, "failures=150") {
			t.Errorf("back again: %s", said)
		}
		if g.Err() != nil {
			t.Errorf("%v", g.Err())
		}
		if err := g.Stop(within(t, time.Second)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestEveryStopsACallThatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, log := newGroup(t.Context())
		g.Every("slow", time.Second, 0, untilAsked)
		time.Sleep(2 * time.Second)
		if err := g.Stop(within(t, time.Second)); err != nil {
			t.Fatal(err)
		}
		if said := log.Take(); g.Err() != nil || said != "" {
			t.Errorf("%v %s", g.Err(), said)
		}
	})
}

func TestEveryReportsAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := newGroup(t.Context())
		g.Every("bad", time.Second, 0, func(context.Context) error { panic("boom") })
		if err := g.Wait(t.Context()); err == nil || err.Error() != "background loop bad: panic: boom" {
			t.Errorf("%v", err)
		}
	})
}

func TestEveryRefusesNoInterval(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("an interval of 0 was accepted")
		}
	}()
	g, _ := newGroup(t.Context())
	g.Every("busy", 0, 0, untilAsked)
}
