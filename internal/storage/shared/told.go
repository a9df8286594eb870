package shared

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"ollama-api-pool/internal/gateway"
)

// told is what this instance has counted of tokens: what Redis knows of it, and
// what it is still to be told. Counts are sums, so one that waits stands for all
// before it, and nothing is lost while Redis is away.
type told struct {
	due  chan struct{} // something is to be told
	turn chan struct{} // full while somebody tells

	mu     sync.Mutex // guards what follows; never held while Redis is asked
	counts map[life]*count
	dirty  []life // each once, in the order in which they changed
	backs  []takenBack
}

// life is one count of one token.
type life struct {
	hash   string
	number int64
}

// count is the latest of a life.
type count struct {
	gateway.TokenCount
	dirty bool
}

// takenBack is a request that was counted and should not have been.
type takenBack struct {
	hash string
	at   int64
}

var errAnswer = errors.New("an answer of another form than the script gives")

// Bounds of what is told at once, and of what waits: of requests to take back
// each is over by itself after a minute.
const (
	tellAtOnce = 256
	maxBacks   = 10_000
)

func (t *told) init() {
	t.due, t.turn, t.counts = make(chan struct{}, 1), make(chan struct{}, 1), map[life]*count{}
}

// TellToken hands on what was counted of a token. It does not wait.
func (r *Redis) TellToken(c gateway.TokenCount) {
	if !c.PerDay && !c.Concurrent {
		return // nobody is interested
	}
	t := &r.told
	t.mu.Lock()
	t.mark(t.store(c))
	t.mu.Unlock()
	t.wake()
}

// TakeBack makes undone that a request was counted in a token's minute. It does
// not wait.
func (r *Redis) TakeBack(hash string, at int64) {
	t := &r.told
	t.mu.Lock()
	if len(t.backs) < maxBacks {
		t.backs = append(t.backs, takenBack{hash, at})
	}
	t.mu.Unlock()
	t.wake()
}

func (t *told) wake() {
	select {
	case t.due <- struct{}{}:
	default:
	}
}

// store keeps a count, unless a later one is known. t.mu is held.
func (t *told) store(c gateway.TokenCount) (life, *count) {
	l := life{c.Hash, c.Life}
	k := t.counts[l]
	if k == nil {
		k = &count{TokenCount: c}
		t.counts[l] = k
	} else if c.Number > k.Number {
		k.TokenCount = c
	}
	return l, k
}

// mark notes that a count is to be told. t.mu is held.
func (t *told) mark(l life, c *count) {
	if !c.dirty {
		c.dirty = true
		t.dirty = append(t.dirty, l)
	}
}

// remember keeps a count that Redis knows.
func (t *told) remember(c gateway.TokenCount) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.store(c)
}

// again has everything told anew: Redis was away, and perhaps has forgotten.
func (t *told) again() {
	t.mu.Lock()
	for l, c := range t.counts {
		t.mark(l, c)
	}
	t.mu.Unlock()
	t.wake()
}

// renew has told again what runs, so that it does not end by itself, and forgets
// what is over: counts of another day with nothing running. Of two days the one
// before stays for a while, since clocks differ.
func (t *told) renew(today int64) {
	t.mu.Lock()
	for l, c := range t.counts {
		switch {
		case c.Running > 0 && c.Concurrent:
			t.mark(l, c)
		case !c.dirty && c.Running == 0 && (!c.PerDay || c.Day < today-1):
			delete(t.counts, l)
		}
	}
	t.mu.Unlock()
	t.wake()
}

// tell tells what is to be told, and renews what runs.
func (r *Redis) tell(ctx context.Context) {
	tick := time.NewTicker(r.renews)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.told.renew(r.opts.Now().Unix() / 86400)
		case <-r.told.due:
		}
		if !r.Up() {
			continue
		}
		if err := r.flushTold(ctx); err != nil && ctx.Err() == nil {
			r.shut(ctx, err)
		}
	}
}

// take takes some of what is to be told.
func (t *told) take() (counts []gateway.TokenCount, backs []takenBack) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := min(len(t.dirty), tellAtOnce)
	for _, l := range t.dirty[:n] {
		c := t.counts[l]
		c.dirty = false
		counts = append(counts, c.TokenCount)
	}
	t.dirty = t.dirty[:copy(t.dirty, t.dirty[n:])]
	n = min(len(t.backs), tellAtOnce)
	backs = append(backs, t.backs[:n]...)
	t.backs = t.backs[:copy(t.backs, t.backs[n:])]
	return counts, backs
}

// failed puts back what could not be told.
func (t *told) failed(counts []gateway.TokenCount, backs []takenBack) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range counts {
		t.mark(t.store(c))
	}
	t.backs = append(backs, t.backs...)
}

// flushTold tells everything that is to be told, also what somebody else is just
// about to tell.
func (r *Redis) flushTold(ctx context.Context) error {
	select {
	case r.told.turn <- struct{}{}:
		defer func() { <-r.told.turn }()
	case <-ctx.Done():
		return r.address.scrub("tell Redis what was counted", ctx.Err())
	}
	for {
		counts, backs := r.told.take()
		if len(counts)+len(backs) == 0 {
			return nil
		}
		if err := r.tellSome(ctx, counts, backs); err != nil {
			r.told.failed(counts, backs)
			return r.address.scrub("tell Redis what was counted", err)
		}
	}
}

// tellSome sends counts in one go. Where a server does not know the scripts, as
// after a restart, it learns them.
func (r *Redis) tellSome(ctx context.Context, counts []gateway.TokenCount, backs []takenBack) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := r.pipeline(ctx, counts, backs)
	if err == nil || !strings.HasPrefix(err.Error(), "NOSCRIPT") {
		return err
	}
	if err := r.everywhere(ctx, load); err != nil {
		return err
	}
	return r.pipeline(ctx, counts, backs)
}

func (r *Redis) pipeline(ctx context.Context, counts []gateway.TokenCount, backs []takenBack) error {
	p, now := r.client.Pipeline(), r.opts.Now()
	for i := range counts {
		c := &counts[i]
		var keepDay, keepRunning int64
		if c.PerDay {
			keepDay = max(time.Unix((c.Day+1)*86400, 0).Add(afterMidnight).Sub(now).Milliseconds(), 0)
		}
		if c.Concurrent {
			keepRunning = r.holds.Milliseconds()
		}
		tellScript.EvalSha(ctx, p, r.tokenKeys(c)[1:], append(r.countArgs(c), keepDay, keepRunning)...)
	}
	for _, b := range backs {
		takeBackScript.EvalSha(ctx, p, []string{r.key("t", tagOf(b.hash), "m")}, b.at)
	}
	cmds, err := p.Exec(ctx)
	if err == nil {
		return nil
	}
	for _, c := range cmds {
		if e := c.Err(); e != nil && !harmless(e) {
			return e
		}
	}
	return nil // what is left concerns entries that are not what they should be
}
