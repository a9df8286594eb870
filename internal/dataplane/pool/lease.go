package pool

import (
	"math"
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
	n     int
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
	trial    bool // a probe after a rest of unknown length
	settled  bool
	released bool
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
	if at := p.agenda.first(); at != 0 && at <= t {
		p.settleDue(t, pickBatch)
		for p.main.n == 0 && p.settleDue(t, pickBatch) {
			continue
		}
	}
	if len(p.byID) == 0 {
		return Lease{}, &Exhausted{Reason: Empty}
	}
	rotation := p.rotationFor(want.Model, t)
	tried := want.tried[:want.n]
	slot := none
	if rotation.n > 0 {
		if _, wait, ok := p.breaker.admit(t); !ok {
			return Lease{}, &Exhausted{Reason: BreakerOpen, RetryAfter: wait, Refusal: p.breaker.refusal}
		}
		if slot = rotation.take(tried); slot == none && want.Again {
			slot = rotation.take(nil)
		}
	}
	if slot == none {
		return Lease{}, p.whyNone(rotation, t)
	}
	if want.n < MaxTried && !contains(tried, slot) {
		want.tried[want.n] = slot
		want.n++
	}
	if rotation.takes%warmKeys == 0 {
		p.warm(rotation)
	}
	e := &p.keys[slot]
	l := Lease{pool: p, bearer: e.bearer, model: want.Model, id: e.id, seq: p.seq, slot: slot, gen: e.gen}
	if e.careful && e.marks.restStep > 0 {
		l.trial = true
		p.hold(slot, true, t)
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

// hold keeps the keys of an account out of the rotation while one of them
// probes whether its quota is back, or ends that.
func (p *Pool) hold(slot int32, held bool, now int64) {
	p.eachOfAccount(slot, func(s int32) {
		if e := &p.keys[s]; e.held != held {
			e.held = held
			p.refresh(s, now)
		}
	})
}

// whyNone explains why the rotation yields no key.
func (p *Pool) whyNone(r *rotation, now int64) *Exhausted {
	soonest := time.Duration(0)
	if at := p.agenda.first(); at > now {
		soonest = time.Duration(at - now)
	}
	switch {
	case r.n > 0:
		return &Exhausted{Reason: AllTried}
	case p.main.n > 0:
		return &Exhausted{Reason: NoneForPlan, RetryAfter: p.soonestRefusal(r, soonest, now)}
	case p.counts[active] > 0: // held back while one probes its account's quota
		return &Exhausted{Reason: AllResting, RetryAfter: time.Second}
	case p.counts[resting] > 0 && p.counts[failed] == 0 && p.counts[disabled] == 0:
		return &Exhausted{Reason: AllResting, RetryAfter: soonest}
	}
	return &Exhausted{Reason: AllOut, RetryAfter: soonest}
}

// soonestRefusal is the sooner of the first return of a key that is out and
// the end of the first refusal in the rotation's model.
func (p *Pool) soonestRefusal(r *rotation, soonest time.Duration, now int64) time.Duration {
	for _, m := range p.models {
		if &m.rotation != r || len(m.queue) == 0 {
			continue
		}
		if d := time.Duration(m.queue[0].at - now); soonest == 0 || d < soonest {
			return d
		}
	}
	return soonest
}

// MayRepeat asks whether a request that met an upstream fault may be repeated,
// and counts it if so. While the breaker is open nothing is.
func (p *Pool) MayRepeat() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.breaker.spendRetry()
}

// Settle applies what the head of the answer proved, before the body has
// passed. It counts nothing yet; Release does.
func (l *Lease) Settle(v *gateway.Verdict, now time.Time) {
	if l.pool == nil || l.settled || l.released {
		return
	}
	l.settled = true
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
	if !l.settled || v.Action > gateway.ActionNothing && v.Action != gateway.ActionStrike {
		p.apply(l, v, t)
	}
	e := p.leased(l)
	if e == nil {
		return
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
	if l.trial && e != nil {
		l.trial = false
		p.hold(l.slot, false, now)
	}
	switch {
	case v.Scope == gateway.ScopeClient:
		return
	case v.Action == gateway.ActionStrike:
		p.breaker.strike(now)
		return
	case v.Action == gateway.ActionFail:
		if e != nil {
			p.applyFail(l, e, v, now)
		}
		return
	}
	p.breaker.answered()
	p.guard.clear()
	if e == nil {
		return
	}
	fresh := e.changed <= l.seq
	switch v.Action {
	case gateway.ActionRest, gateway.ActionRestKey:
		p.applyRest(l, e, v, fresh, now)
	case gateway.ActionPassOver:
		until := now + int64(v.For)
		if l.model != "" {
			p.refuse(l.slot, l.model, until)
			p.dirtyRefusals = append(p.dirtyRefusals, gateway.Refusal{Key: idName(e.id), Model: l.model, Until: fromNano(until)})
		}
	default:
		if v.OK {
			e.proven = true
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
			if k := &p.keys[s]; k.marks.restStep != 0 {
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
// time only the first lengthens the next rest, but a later end always counts.
func (p *Pool) applyRest(l *Lease, e *entry, v *gateway.Verdict, fresh bool, now int64) {
	until, step := restEnd(v, e.marks.restStep, now)
	if !fresh {
		if told := !v.Until.IsZero() || v.For > 0; !told || until <= e.marks.restsUntil {
			return
		}
		step = e.marks.restStep
	}
	if v.Action == gateway.ActionRestKey {
		p.restOne(l.slot, until, step, v.Reason, now)
		return
	}
	p.restAccount(l.slot, until, step, v.Reason, now)
}

// applyFail marks a refused key, or its whole account where the verdict blames
// that, unless the same befalls everybody.
func (p *Pool) applyFail(l *Lease, e *entry, v *gateway.Verdict, now int64) {
	if p.breaker.open {
		if p.breaker.refusal == v.Reason {
			return
		}
		p.breaker.answered()
	}
	if e.changed > l.seq {
		return
	}
	if p.suspect(l.slot, e, v.Reason, now) {
		return
	}
	if v.Scope == gateway.ScopeAccount {
		p.eachOfAccount(l.slot, func(s int32) { p.failOne(s, v.Reason, now) })
		return
	}
	p.failOne(l.slot, v.Reason, now)
}

// suspect tells the guard of a refusal. When that is one too many, the marks
// of all that it remembers are taken back and the breaker opens.
func (p *Pool) suspect(slot int32, e *entry, reason string, now int64) bool {
	s := suspicion{slot: slot, gen: e.gen, account: -1 - slot, at: now, weight: weightUnproven, before: e.marks}
	if e.account != "" {
		s.account = p.accounts[e.account]
	}
	if e.proven {
		s.weight = weightProven
	}
	if !p.guard.note(reason, s) {
		return false
	}
	for _, o := range p.guard.noted {
		k := &p.keys[o.slot]
		if !k.live || k.gen != o.gen {
			continue
		}
		k.marks = o.before
		p.touch(k)
		p.refresh(o.slot, now)
		p.markState(o.slot)
	}
	p.guard.clear()
	p.breaker.trip(now, reason)
	return true
}

// SoonestReturn is how long it takes until the first key that is out returns,
// 0 if none will by itself; usable means that there is no need to wait.
func (p *Pool) SoonestReturn(now time.Time) (wait time.Duration, usable bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at, t := p.agenda.first(), now.UnixNano(); at > t {
		wait = time.Duration(at - t)
	}
	return wait, p.main.n > 0
}
