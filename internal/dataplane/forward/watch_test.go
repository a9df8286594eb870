package forward

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

const limit = 40 * time.Second

// watched runs f in a time of its own with a watch, and returns what became of
// it and when: silent, the client stuck, or nothing.
func watched(t *testing.T, f func(w *watch)) (what string, after time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		unblocked := false
		w := newWatch(t.Context(), func() { unblocked = true })
		context.AfterFunc(w.ctx, func() { after = time.Since(began) })
		f(w)
		synctest.Wait()
		switch {
		case w.fired() && unblocked:
			what = "both"
		case w.fired():
			what = "silent"
		case unblocked:
			what = "stuck"
		}
		if what != "" && w.ctx.Err() == nil {
			t.Error("the attempt goes on")
		}
		w.stop()
		if w.ctx.Err() == nil {
			t.Error("the attempt goes on after stop")
		}
		time.Sleep(10 * limit) // a timer left over would show
	})
	return what, after
}

func TestWatch(t *testing.T) {
	for _, tt := range []struct {
		name   string
		f      func(w *watch)
		what   string
		lo, hi time.Duration
	}{
		{"nothing ever", func(w *watch) { w.start(limit); time.Sleep(10 * limit) }, "silent", limit, limit},
		{"not yet", func(w *watch) { w.start(limit); time.Sleep(limit - 1) }, "", 0, limit},
		{"not started", func(*watch) { time.Sleep(10 * limit) }, "", 0, 10 * limit},
		{"steady", func(w *watch) {
			w.start(limit)
			for range 100 {
				time.Sleep(limit - 1)
				w.saw()
			}
		}, "", 0, 1000 * limit},
		{"silent after a while", func(w *watch) {
			w.start(limit)
			time.Sleep(limit - 1)
			w.saw()
			time.Sleep(10 * limit)
		}, "silent", 2*limit - 1, 2*limit + limit/looks},
		{"wound up again", func(w *watch) {
			w.start(limit)
			time.Sleep(limit - 1)
			w.start(2 * limit)
			time.Sleep(10 * limit)
		}, "silent", 3*limit - 1, 3*limit - 1},
		{"wound up shorter", func(w *watch) {
			w.start(10 * limit)
			w.saw()
			w.start(limit)
			time.Sleep(10 * limit)
		}, "silent", limit, limit},
		{"client takes nothing", func(w *watch) {
			w.start(limit)
			w.saw()
			w.turn()
			time.Sleep(10 * limit)
		}, "stuck", limit, limit + limit/looks},
		{"client is slow", func(w *watch) {
			w.start(limit)
			for range 10 {
				w.turn()
				time.Sleep(limit - 1)
				w.turn()
			}
		}, "", 0, 100 * limit},
		{"client took it, then silence", func(w *watch) {
			w.start(limit)
			w.turn()
			time.Sleep(limit / 2)
			w.turn()
			time.Sleep(10 * limit)
		}, "silent", limit, 2 * limit},
		{"ended", func(w *watch) { w.start(limit); w.cancel(); time.Sleep(10 * limit) }, "", 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			what, after := watched(t, tt.f)
			if what != tt.what || what != "" && (after < tt.lo || after > tt.hi) {
				t.Errorf("%q after %v, want %q after %v to %v", what, after, tt.what, tt.lo, tt.hi)
			}
		})
	}
}

// What a silence looks like, to the adapter and to the client.
func TestSilenceIsATimeout(t *testing.T) {
	if !isTimeout(silence{}) || isTimeout(errors.New("x")) || isTimeout(nil) || !isTimeout(context.DeadlineExceeded) {
		t.Error("wrong idea of a timeout")
	}
}
