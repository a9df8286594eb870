package forward

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// errSilent means that an answer stopped coming.
var errSilent = errors.New("the upstream fell silent")

// looks is how often a watch looks during the longest allowed silence.
const looks = 4

// watch breaks off an attempt whose answer has been silent for too long. It
// looks a few times per allowed silence instead of being wound up at every
// read, so a silence is noticed at most a quarter late.
type watch struct {
	ctx    context.Context // of the attempt; ends with it
	cancel context.CancelFunc
	reads  atomic.Uint32
	dead   atomic.Bool

	mu    sync.Mutex // guards what follows, which the timer's goroutine shares
	timer *time.Timer
	every time.Duration
	seen  uint32 // reads at the last look
	quiet int    // looks without a read
}

func newWatch(parent context.Context) *watch {
	w := &watch{}
	w.ctx, w.cancel = context.WithCancel(parent)
	return w
}

// start begins to watch for silences longer than limit.
func (w *watch) start(limit time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.every, w.quiet = limit/looks, 0
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
	if n := w.reads.Load(); n == w.seen {
		w.quiet++
	} else {
		w.seen, w.quiet = n, 0
	}
	if w.quiet >= looks {
		w.dead.Store(true)
		w.cancel()
		return
	}
	w.timer.Reset(w.every)
}

// saw notes that something came.
func (w *watch) saw() { w.reads.Add(1) }

// fired reports whether the attempt was broken off for its silence.
func (w *watch) fired() bool { return w.dead.Load() }

// stop ends the attempt.
func (w *watch) stop() {
	w.cancel()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
}
