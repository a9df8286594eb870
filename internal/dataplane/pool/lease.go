package pool

import (
	"time"

	"ollama-api-pool/internal/gateway"
)

// MaxTried is how many keys one request can have tried at most.
const MaxTried = 16

// Want says what a request needs a key for.
type Want struct {
	Model string // "" where the request names none
	// Again allows keys that were tried before, for an upstream that failed
	// when no other key is left.
	Again bool
	tried [MaxTried]int32
	gens  [MaxTried]uint32 // of the tried slots
	n     int
}

// triedOf is the slots that a want has tried and that still hold the same keys.
func (p *Pool) triedOf(w *Want) []int32 {
	for i := w.n - 1; i >= 0; i-- {
		if p.keys[w.tried[i]].gen != w.gens[i] {
			w.n--
			w.tried[i], w.gens[i] = w.tried[w.n], w.gens[w.n]
		}
	}
	return w.tried[:w.n]
}

// Lease is one key on loan for one attempt. It belongs to the goroutine that
// acquired it.
type Lease struct {
	pool     *Pool
	bearer   string
	model    string
	id       uint64
	seq      uint64 // Pool.seq when it was lent
	slot     int32
	gen      uint32
	probe    uint32 // after a rest of unknown length: its number; 0: an ordinary attempt
	settled  bool
	did      gateway.Action // what Settle has done already
	released bool
	until    int64 // when the key returns, if Release found it to be out
}

// Bearer is the value of the Authorization header for this attempt.
func (l *Lease) Bearer() string { return l.bearer }

// Key names the key.
func (l *Lease) Key() gateway.KeyID { return idName(l.id) }

// Secret is the key itself.
func (l *Lease) Secret() gateway.Secret { return gateway.Secret(l.bearer[len(bearerPrefix):]) }

// Exhausted is why no key could be lent.
type Exhausted struct {
	Reason     Reason
	RetryAfter time.Duration // until the first key returns; 0 if none will by itself
	Refusal    string        // for BreakerOpen: what every account was refused with, if that opened it
}

// Error names the reason.
func (e *Exhausted) Error() string { return string(e.Reason) }

// Reason is why no key could be lent.
type Reason string

// Reasons.
const (
	Empty       Reason = "the pool has no keys"
	AllTried    Reason = "every usable key was tried"
	AllResting  Reason = "every key is out of quota"
	AllOut      Reason = "no key is usable"
	NoneForPlan Reason = "no usable key may use this model"
	BreakerOpen Reason = "the upstream is down"
)

// Acquire lends the next key in turn that the want has not tried, or tells why
// there is none. It neither scans nor allocates, however many keys there are.
// The error is always an *Exhausted.
func (p *Pool) Acquire(want *Want, now time.Time) (Lease, error) {
	t := now.UnixNano()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.returns.due(t) || p.changes.due(t) {
		p.settleDue(t, pickBatch)
		for p.main.n == 0 && p.settle(&p.returns, t, pickBatch) {
			continue
		}
	}
	if len(p.byID) == 0 {
		return Lease{}, &Exhausted{Reason: Empty}
	}
	rotation := p.rotationFor(want.Model, t)
	tried := p.triedOf(want)
	slot := none
	if rotation.n > 0 {
		if wait := p.breaker.wait(t); wait > 0 {
			return Lease{}, &Exhausted{Reason: BreakerOpen, RetryAfter: wait, Refusal: p.breaker.refusal}
		}
		if p.breaker.frozen() {
			slot = p.control(rotation, tried, t)
		}
		if slot == none {
			slot = p.choose(rotation, tried, t)
		}
		if slot == none && want.Again {
			slot = p.choose(rotation, nil, t)
		}
	}
	if slot == none {
		return Lease{}, p.whyNone(want, rotation, t)
	}
	if p.breaker.open {
		p.breaker.sent(t)
	}
	if rotation.takes%warmKeys == 0 {
		p.warm(rotation)
	}
	e := &p.keys[slot]
	if want.n < MaxTried && !contains(tried, slot) {
		want.tried[want.n], want.gens[want.n] = slot, e.gen
		want.n++
	}
	l := Lease{pool: p, bearer: e.bearer, model: want.Model, id: e.id, seq: p.seq, slot: slot, gen: e.gen}
	if e.careful && e.marks.restStep > 0 {
		l.probe = p.beginProbe(slot)
	}
	return l, nil
}

// warm touches the keys whose turns come next. In a large pool each of them is
// a miss in every cache of the processor; several at once wait together, so
// that a pick costs a fraction of a miss instead of a whole one.
func (p *Pool) warm(r *rotation) {
	var sum uint32
	for _, slot := range r.ahead(warmKeys) {
		if slot >= 0 { // else a gap
			sum += p.keys[slot].gen + uint32(r.place[slot]) //nolint:gosec // only read to be near
		}
	}
	p.warmed = sum
}

// warmKeys is how many keys are touched in advance, every so many picks.
const warmKeys = 16

// choose takes the next key of a rotation that is not among those tried. Keys
// whose life turns out to be over leave on the way, not more than a batch.
func (p *Pool) choose(r *rotation, tried []int32, now int64) int32 {
	for range tickBatch {
		slot := r.take(tried)
		if slot == none {
			return none
		}
		if !p.keys[slot].over(now) {
			return slot
		}
		p.passTime(slot, now)
	}
	return none
}

// over reports whether the key's life has ended.
func (e *entry) over(now int64) bool {
	return e.careful && e.expiresAt != 0 && e.expiresAt <= now
}

// whyNone explains why the rotation yields no key.
func (p *Pool) whyNone(want *Want, r *rotation, now int64) *Exhausted {
	wait := p.soonest(&p.returns, now, 0)
	held := p.counts[active] > p.main.n // an account's keys wait while one of them probes its quota
	switch {
	case r.n > want.n: // more keys ended their lives at once than one pick can bury
		return &Exhausted{Reason: AllOut, RetryAfter: time.Second}
	case r.n > 0:
		return &Exhausted{Reason: AllTried}
	case p.main.n > 0:
		wait = p.soonest(&p.models[want.Model].ends, now, wait)
		if held {
			wait = min(wait, time.Second)
		}
		return &Exhausted{Reason: NoneForPlan, RetryAfter: wait}
	case held:
		return &Exhausted{Reason: AllResting, RetryAfter: time.Second}
	case p.counts[resting] > 0 && p.counts[failed] == 0 && p.counts[disabled] == 0:
		return &Exhausted{Reason: AllResting, RetryAfter: wait}
	}
	return &Exhausted{Reason: AllOut, RetryAfter: wait}
}

// soonest is the time until an agenda's first appointment, or the wait given
// if that is sooner and not 0.
func (p *Pool) soonest(a *agenda, now int64, wait time.Duration) time.Duration {
	d := time.Duration(a.first() - now)
	if d > 0 && (wait == 0 || d < wait) {
		return d
	}
	return wait
}

// MayRepeat asks whether a request that met an upstream fault may be repeated,
// and counts it if so. While the breaker is open nothing is.
func (p *Pool) MayRepeat() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.breaker.spendRetry()
}

// SoonestReturn is how long it takes until the first key that is out returns,
// 0 if none will by itself; usable means that there is no need to wait.
func (p *Pool) SoonestReturn(now time.Time) (wait time.Duration, usable bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.soonest(&p.returns, now.UnixNano(), 0), p.main.n > 0
}
