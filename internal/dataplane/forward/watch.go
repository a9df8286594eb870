package forward

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// silence says that an answer, or the rest of it, did not come in time.
type silence struct{}

func (silence) Error() string { return "the upstream fell silent" }

// Timeout makes it a timeout as those of package net are.
func (silence) Timeout() bool { return true }

// looks is how often a watch looks during the longest allowed silence.
const looks = 4

// watch breaks off an attempt in which nothing has moved for too long. It
// looks a few times per allowed silence instead of being wound up at every
// read, so a silence is noticed at most a quarter late. What it finds is the
// upstream's fault unless the client is the one that is waited for.
type watch struct {
	ctx     context.Context // of the attempt; ends with it
	cancel  context.CancelFunc
	unblock func()        // ends a write that the client does not take
	moves   atomic.Uint32 // odd: the client has to take a piece
	dead    atomic.Bool

	mu    sync.Mutex // guards what follows, which the timer's goroutine shares
	timer *time.Timer
	every time.Duration
	seen  uint32 // moves at the last look
	quiet int    // looks without a move
}

func newWatch(parent context.Context, unblock func()) *watch {
	w := &watch{unblock: unblock}
	w.ctx, w.cancel = context.WithCancel(parent)
	return w
}

// start begins to watch for silences longer than limit.
func (w *watch) start(limit time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.every, w.quiet, w.seen = limit/looks, 0, w.moves.Load()
	if w.timer == nil {
		w.timer = time.AfterFunc(math.MaxInt64, w.look)
	}
	w.timer.Reset(w.every)
}

func (w *watch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx.Err() != nil {
		return
	}
	n := w.moves.Load()
	if n == w.seen {
		w.quiet++
	} else {
		w.seen, w.quiet = n, 0
	}
	if w.quiet < looks {
		w.timer.Reset(w.every)
		return
	}
	if n%2 == 1 {
		w.unblock()
	} else {
		w.dead.Store(true)
	}
	w.cancel()
}

// saw notes that the upstream sent something.
func (w *watch) saw() { w.moves.Add(2) }

// turn notes that a piece goes to the client, and, called again, that the
// client has taken it.
func (w *watch) turn() { w.moves.Add(1) }

// fired reports whether the attempt was broken off for the upstream's silence.
func (w *watch) fired() bool { return w.dead.Load() }

// stop ends the attempt. Nothing is unblocked after it.
func (w *watch) stop() {
	w.cancel()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
}
