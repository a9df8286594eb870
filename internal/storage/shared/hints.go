package shared

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// hints are how instances wake each other. A hint carries nothing but who gave
// it: what changed is in the database.
type hints struct {
	due   chan struct{} // a hint is to be given
	heard atomic.Int64

	mu    sync.Mutex // guards what follows
	wakes []func()
	owed  bool // a hint was not given yet
}

// How hints are given and heard.
const (
	gather      = 10 * time.Millisecond // changes that follow each other so closely make one hint
	quietAtMost = 5 * time.Second       // without a sign of life the subscription is made anew
)

func (h *hints) init() { h.due = make(chan struct{}, 1) }

// Hint lets the others look for changes, soon. It does not wait. Where the Redis
// is down they find the change by themselves.
func (r *Redis) Hint(context.Context) { r.hints.owe() }

// OnHint has a function called whenever another instance gave a hint, or may have
// given one that was not heard. It must not block. It comes before Run.
func (r *Redis) OnHint(wake func()) {
	r.hints.mu.Lock()
	defer r.hints.mu.Unlock()
	r.hints.wakes = append(r.hints.wakes, wake)
}

func (h *hints) owe() {
	h.mu.Lock()
	h.owed = true
	h.mu.Unlock()
	select {
	case h.due <- struct{}{}:
	default:
	}
}

func (h *hints) wake() {
	h.mu.Lock()
	wakes := h.wakes
	h.mu.Unlock()
	for _, w := range wakes {
		w()
	}
}

// missed is called when the Redis is back: what was owed is given.
func (h *hints) missed() {
	h.mu.Lock()
	owed := h.owed
	h.mu.Unlock()
	if owed {
		h.owe()
	}
}

// channel is where hints are given.
func (r *Redis) channel() string { return *r.prefix.Load() + "hints" }

// announce gives hints.
func (r *Redis) announce(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.hints.due:
		}
		if !r.Up() {
			continue // it stays owed
		}
		if err := r.flushHints(ctx); err != nil && ctx.Err() == nil {
			r.shut(ctx, err)
		}
		if !pause(ctx, gather) {
			return
		}
	}
}

// flushHints gives the hint that is owed, if any.
func (r *Redis) flushHints(ctx context.Context) error {
	h := &r.hints
	h.mu.Lock()
	owed := h.owed
	h.owed = false
	h.mu.Unlock()
	if !owed {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := r.client.Publish(ctx, r.channel(), r.run).Err(); err != nil {
		h.mu.Lock()
		h.owed = true
		h.mu.Unlock()
		return r.address.scrub("give a hint through Redis", err)
	}
	return nil
}

// listen hears hints, and subscribes anew whenever that ends.
func (r *Redis) listen(ctx context.Context) {
	for ctx.Err() == nil {
		if r.prefix.Load() != nil {
			r.subscribed(ctx)
		}
		if !pause(ctx, r.opts.Pause/2) {
			return
		}
	}
}

// subscribed listens until something goes wrong. What may have been missed before
// counts as heard.
func (r *Redis) subscribed(ctx context.Context) {
	sub := r.client.Subscribe(ctx)
	defer sub.Close() //nolint:errcheck // it is given up
	stop := context.AfterFunc(ctx, func() { _ = sub.Close() })
	defer stop()
	if err := sub.Subscribe(ctx, r.channel()); err != nil {
		return
	}
	first, asked := true, false
	for {
		m, err := sub.ReceiveTimeout(ctx, quietAtMost)
		var late net.Error
		switch {
		case err == nil:
		case errors.As(err, &late) && late.Timeout() && !asked && !first && sub.Ping(ctx) == nil:
			asked = true // one more chance
			continue
		default:
			return
		}
		asked = false
		if first || r.fromOthers(m) {
			r.hints.wake()
		}
		first = false
	}
}

// pause waits; false: the context ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// fromOthers reports whether a message is a hint of another instance.
func (r *Redis) fromOthers(message any) bool {
	m, ok := message.(*redis.Message)
	if !ok || m.Payload == r.run {
		return false
	}
	r.hints.heard.Add(1)
	return true
}
