package background

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

// Group is a set of named loops, each in a goroutine that the group owns. All
// methods may be called concurrently.
type Group struct {
	base context.Context // the parent of the loops' contexts
	log  *slog.Logger
	done chan struct{} // closed at the first failure

	mu      sync.Mutex // guards what follows
	loops   []*loop    // in the order in which they were started
	stopped bool
	failure error
}

type loop struct {
	name   string
	cancel context.CancelFunc
	ended  chan struct{}
}

// NewGroup makes an empty group. Its loops see the values of ctx but not its
// end: only Stop ends them, in order.
func NewGroup(ctx context.Context, log *slog.Logger) *Group {
	return &Group{base: context.WithoutCancel(ctx), log: log, done: make(chan struct{})}
}

// Go starts a loop. It should run until its context ends; when it returns nil
// before that it is through with its work. An error that it returns, or a
// panic, is a failure of the group, unless it only tells that the loop was
// asked to stop. On a group that was stopped Go starts nothing.
func (g *Group) Go(name string, run func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(g.base)
	l := &loop{name: name, cancel: cancel, ended: make(chan struct{})}
	g.mu.Lock()
	if g.stopped {
		g.mu.Unlock()
		cancel()
		return
	}
	g.loops = append(g.loops, l)
	g.mu.Unlock()
	go func() {
		defer close(l.ended)
		defer cancel()
		err := g.guard(ctx, name, run)
		if err != nil && (ctx.Err() == nil || !errors.Is(err, context.Canceled)) {
			g.fail(ctx, name, err)
		}
	}()
}

// guard runs a loop and makes an error of a panic.
func (g *Group) guard(ctx context.Context, name string, run func(ctx context.Context) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			g.log.LogAttrs(ctx, slog.LevelError, "a background loop panicked",
				slog.String("loop", name), slog.Any("panic", v), slog.String("stack", string(debug.Stack())))
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return run(ctx)
}

func (g *Group) fail(ctx context.Context, name string, err error) {
	g.log.LogAttrs(ctx, slog.LevelError, "a background loop failed", slog.String("loop", name), slog.Any("error", err))
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failure == nil {
		g.failure = fmt.Errorf("background loop %s: %w", name, err)
		close(g.done)
	}
}

// Done is closed when the first loop has failed; Err tells how.
func (g *Group) Done() <-chan struct{} { return g.done }

// Err is the first failure of a loop, or nil.
func (g *Group) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failure
}

// Wait blocks until a loop fails and returns its error, or until ctx ends and
// returns nil.
func (g *Group) Wait(ctx context.Context) error {
	select {
	case <-g.done:
		return g.Err()
	case <-ctx.Done():
		return nil
	}
}

// Stop ends the loops, the last started first, each when the one before has
// returned. A loop that takes more than half of the time left before ctx's
// deadline is not waited for any longer before the next one is asked, so that
// one that hangs does not keep others from finishing. When ctx ends all are
// asked, and the error names those that have not returned.
func (g *Group) Stop(ctx context.Context) error {
	g.mu.Lock()
	g.stopped = true
	loops := g.loops
	g.mu.Unlock()
	for i := len(loops) - 1; i >= 0; i-- {
		loops[i].cancel()
		if i > 0 {
			loops[i].awaitHalf(ctx)
		}
	}
	var late []string
	for i := len(loops) - 1; i >= 0; i-- {
		if !loops[i].await(ctx) {
			late = append(late, loops[i].name)
		}
	}
	if len(late) > 0 {
		return fmt.Errorf("background loops still running: %s: %w", strings.Join(late, ", "), context.Cause(ctx))
	}
	return nil
}

// await reports whether the loop has returned before ctx ended.
func (l *loop) await(ctx context.Context) bool {
	select {
	case <-l.ended:
		return true
	default:
	}
	select {
	case <-l.ended:
		return true
	case <-ctx.Done():
		return false
	}
}

// awaitHalf waits for the loop no longer than half of ctx's time.
func (l *loop) awaitHalf(ctx context.Context) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	l.await(ctx)
}
