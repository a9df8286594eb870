package upstream

import (
	"slices"
	"sync"
	"time"
)

// sweepEvery is how often connections without work are looked at: what the
// other side has closed is let go of no later.
const sweepEvery = 10 * time.Second

// idleConns are the connections to one address that nothing uses now. The one
// that was used last is taken first, so that the others can end.
type idleConns struct {
	timeout time.Duration // 0: none
	max     int           // 0: no limit

	// mu guards what follows. It is not held while a connection is looked at
	// or closed.
	mu      sync.Mutex
	conns   []*conn // taken and added at the end
	timer   *time.Timer
	ticking bool // the timer will call sweep
}

// put keeps a connection, unless there are enough.
func (p *idleConns) put(c *conn) bool {
	c.idleAt = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.max > 0 && len(p.conns) >= p.max {
		return false
	}
	p.conns = append(p.conns, c)
	if !p.ticking {
		p.tick(c.idleAt)
	}
	return true
}

// take returns a connection that is alive, or nil.
func (p *idleConns) take() *conn {
	for {
		c := p.pop()
		if c == nil {
			return nil
		}
		if c.idled = time.Since(c.idleAt); !p.expired(c.idled) && c.alive(c.idled) {
			c.reused = true
			return c
		}
		c.retire()
	}
}

func (p *idleConns) pop() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.conns)
	if n == 0 {
		return nil
	}
	c := p.conns[n-1]
	p.conns[n-1] = nil
	p.conns = p.conns[:n-1]
	return c
}

func (p *idleConns) expired(idled time.Duration) bool {
	return p.timeout > 0 && idled >= p.timeout
}

// tick sets the timer for the next look, at the latest when the first in line
// expires. The caller holds mu, and there is a connection.
func (p *idleConns) tick(now time.Time) {
	next := sweepEvery
	if p.timeout > 0 {
		next = min(next, p.timeout-now.Sub(p.conns[0].idleAt))
	}
	next = max(next, time.Millisecond)
	p.ticking = true
	if p.timer == nil {
		p.timer = time.AfterFunc(next, p.sweep)
		return
	}
	p.timer.Reset(next)
}

// sweep looks at every connection, each taken out of the line meanwhile, and
// lets go of those that have expired or are dead.
func (p *idleConns) sweep() {
	for i := 0; ; {
		c := p.remove(i)
		if c == nil {
			break
		}
		if idled := time.Since(c.idleAt); p.expired(idled) || !c.alive(idled) {
			c.retire()
			continue
		}
		p.mu.Lock()
		p.conns = slices.Insert(p.conns, min(i, len(p.conns)), c)
		p.mu.Unlock()
		i++
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ticking = false; len(p.conns) > 0 {
		p.tick(time.Now())
	}
}

func (p *idleConns) remove(i int) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i >= len(p.conns) {
		return nil
	}
	c := p.conns[i]
	p.conns = slices.Delete(p.conns, i, i+1)
	return c
}

func (p *idleConns) closeAll() {
	p.mu.Lock()
	conns := p.conns
	p.conns = nil
	if p.ticking && p.timer.Stop() {
		p.ticking = false
	}
	p.mu.Unlock()
	for _, c := range conns {
		c.retire()
	}
}
