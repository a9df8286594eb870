package pool

import (
	"cmp"
	"math"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Settle applies what the head of the answer proved, before the body has
// passed. It counts nothing yet; Release does.
func (l *Lease) Settle(v *gateway.Verdict, now time.Time) {
	if l.pool == nil || l.settled || l.released {
		return
	}
	l.settled, l.did = true, v.Action
	p := l.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	p.apply(l, v, now.UnixNano())
}

// Release gives the key back with the attempt's final verdict and counts the
// attempt. Only the first call does anything.
func (l *Lease) Release(v *gateway.Verdict, now time.Time) {
	if l.pool == nil || l.released {
		return
	}
	l.released = true
	p := l.pool
	t := now.UnixNano()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !l.settled || v.Action != l.did && v.Action != gateway.ActionNothing && v.Action != gateway.ActionStrike {
		p.apply(l, v, t)
	}
	e := p.leased(l)
	if e == nil {
		return
	}
	switch v.Action {
	case gateway.ActionFail, gateway.ActionRest, gateway.ActionRestKey:
		l.until = e.outUntil()
	}
	e.total = addOne(e.total)
	e.lastUsed = max(e.lastUsed, t)
	switch {
	case v.Scope == gateway.ScopeClient:
	case v.OK:
		e.ok = addOne(e.ok)
		e.lastOK = t
	default:
		e.bad = addOne(e.bad)
		e.lastBad = t
	}
	if !e.countsDirty {
		e.countsDirty = true
		p.dirtyCounts = append(p.dirtyCounts, l.slot)
	}
}

// Until is when the key returns that Release found to be out, once it was given
// back with a verdict against it; zero where it serves, or where nobody knows.
func (l *Lease) Until() time.Time { return fromNano(l.until) }

// outUntil is when a key returns by itself, 0 if it is not out or does not.
func (e *entry) outUntil() int64 {
	switch e.status {
	case failed:
		return e.marks.failedUntil
	case resting:
		return e.marks.restsUntil
	case disabled:
		if e.marks.disabledUntil != never {
			return e.marks.disabledUntil
		}
	}
	return 0
}

func addOne(n int32) int32 {
	if n == math.MaxInt32 {
		return n
	}
	return n + 1
}

// leased is the entry that a lease is for, nil if the key was removed meanwhile.
func (p *Pool) leased(l *Lease) *entry {
	e := &p.keys[l.slot]
	if !e.live || e.gen != l.gen {
		return nil
	}
	return e
}

// apply does what a verdict says: to the breaker, to the guard, to the key.
func (p *Pool) apply(l *Lease, v *gateway.Verdict, now int64) {
	e := p.leased(l)
	if e != nil {
		p.endProbe(l.slot, l.probe)
		l.probe = 0
	}
	switch {
	case v.Scope == gateway.ScopeClient:
		return
	case v.Action == gateway.ActionStrike:
		p.breaker.strike(now)
		return
	case v.Action == gateway.ActionFail && p.breaker.frozen():
		if e != nil {
			p.stillRefused(l.slot, now)
		}
		return
	}
	p.breaker.answered()
	fresh := e != nil && e.changed <= l.seq
	if v.Action == gateway.ActionFail {
		if fresh {
			p.applyFail(l.slot, v, now)
		}
		return
	}
	p.guard.clear()
	if e == nil {
		return
	}
	switch v.Action {
	case gateway.ActionRest, gateway.ActionRestKey:
		p.applyRest(l, e, v, fresh, now)
	case gateway.ActionPassOver:
		if l.model != "" && fresh {
			until := now + int64(cmp.Or(v.For, passOverFor))
			p.refuse(l.slot, l.model, until)
			p.dirtyRefusals = append(p.dirtyRefusals, gateway.Refusal{Key: idName(e.id), Model: l.model, Until: fromNano(until)})
		}
	default:
		if v.OK {
			e.excused = 0
			p.guard.accepted = l.slot
			if fresh {
				p.applySuccess(l.slot, e)
			}
		}
	}
}

// applySuccess forgets a key's failures in a row, and that its account was
// out of quota.
func (p *Pool) applySuccess(slot int32, e *entry) {
	if e.marks.restStep != 0 {
		p.eachOfAccount(slot, func(s int32) {
			// A sibling that rests now does so for a reason of its own.
			if k := &p.keys[s]; k.marks.restStep != 0 && k.status != resting {
				k.marks.restStep = 0
				p.markState(s)
			}
		})
	}
	if e.marks.consecutive != 0 || e.marks.lastError != "" {
		e.marks.consecutive, e.marks.lastError = 0, ""
		p.markState(slot)
	}
}

// applyRest lets a key or its account rest. Of failures that ran at the same
// time only the first lengthens the next rest, but while it lasts a later end
// that the upstream told counts.
func (p *Pool) applyRest(l *Lease, e *entry, v *gateway.Verdict, fresh bool, now int64) {
	until, told, step := restEnd(v, e.marks.restStep, now)
	if !fresh && (!told || e.marks.restsUntil <= now || until <= e.marks.restsUntil) {
		return
	}
	if v.Action == gateway.ActionRestKey {
		p.restOne(l.slot, until, step, v.Reason, now)
		return
	}
	p.restAccount(l.slot, until, step, v.Reason, now)
}
