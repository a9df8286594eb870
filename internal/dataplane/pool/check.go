package pool

import (
	"time"

	"ollama-api-pool/internal/gateway"
)

// Standing is what a check of many keys has to know of each.
type Standing struct {
	Account uint64 // the same for all keys of an account; 0: none
	Good    bool   // it serves, or would but for its quota
}

// Standing tells how a key stands; false means that the pool does not have it.
func (p *Pool) Standing(id gateway.KeyID) (Standing, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	slot, ok := p.byID[idNumber(id)]
	if !ok {
		return Standing{}, false
	}
	e := &p.keys[slot]
	return Standing{Account: e.account, Good: e.status == active || e.status == resting}, true
}

// Trial is the check of a key, from its beginning on.
type Trial struct {
	slot int32
	gen  uint32
	seq  uint64 // Pool.seq when it began
}

// BeginCheck gives a key that is about to be checked and remembers when that
// was; false means that the pool does not have it.
func (p *Pool) BeginCheck(id gateway.KeyID) (Trial, gateway.Secret, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	slot, ok := p.byID[idNumber(id)]
	if !ok {
		return Trial{}, "", false
	}
	e := &p.keys[slot]
	return Trial{slot: slot, gen: e.gen, seq: p.seq}, gateway.Secret(e.bearer[len(bearerPrefix):]), true
}

// EndCheck applies what a check showed and reports whether it counts. It does
// not if the key was removed or its state changed since the check began, if the
// check showed nothing, or if the key was refused while everybody is. A valid
// key loses its mark of failure, that of being disabled by failures, and its
// failures in a row; the operator's own word and a rest for quota stay. A
// refused one fails as it would in traffic, and the outage guard does not take
// that back: who checks has made sure that the upstream still knows good keys.
func (p *Pool) EndCheck(t Trial, outcome gateway.CheckOutcome, reason string, at time.Time) bool {
	now := at.UnixNano()
	p.mu.Lock()
	defer p.mu.Unlock()
	e := &p.keys[t.slot]
	if !e.live || e.gen != t.gen || e.changed > t.seq {
		return false
	}
	switch {
	case outcome == gateway.CheckValid:
		p.acquit(t.slot, now)
	case outcome == gateway.CheckRefused && !p.breaker.frozen():
		p.failOne(t.slot, reason, now)
		p.guard.distrust(t.slot)
	default:
		return false
	}
	p.guard.forget(t.slot)
	return true
}

// acquit drops the marks that speak against a key which proved good.
func (p *Pool) acquit(slot int32, now int64) {
	e := &p.keys[slot]
	m := e.marks
	m.expire(now)
	m.failedUntil, m.consecutive = 0, 0
	if m.disabled == automatic {
		m.disabled, m.disabledUntil = nobody, 0
	}
	if m.disabled == nobody && m.restsUntil == 0 {
		m.lastError = ""
	}
	e.excused = 0
	if m == e.marks {
		return
	}
	e.marks = m
	p.touch(e)
	p.refresh(slot, now)
	p.markState(slot)
}
