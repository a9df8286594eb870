package pool

import (
	"cmp"
	"slices"
	"time"

	"ollama-api-pool/internal/gateway"
)

// The outage guard keeps a bad hour upstream from burning the pool: when the
// same refusal (401, 402, 403) comes from many accounts within seconds and
// nothing else does, the fault is not with the accounts. It then takes back the
// marks that these refusals made and opens the breaker, under which no key is
// punished.
//
// A pool with many stale keys must be weeded out all the same, also when they
// stand in one long row. So a key that served lately speaks louder than others;
// one that is let off again and again, although others are accepted in between,
// speaks no more until it serves; and while everybody is refused the keys that
// ask anew are not those next in the row.
const (
	guardWindow    = 10 * time.Second
	guardLimit     = 20 // five proven accounts, or twenty unproven ones
	weightProven   = 4
	weightUnproven = 1
	letOffProven   = 3                  // how often a proven key is let off
	letOffUnproven = 1                  // how often another one is
	provenFor      = 7 * 24 * time.Hour // for so long a success speaks for a key
)

// suspect is an account that was refused lately. One account speaks once,
// however many of its keys are refused.
type suspect struct {
	account uint64
	key     uint64 // tells keys without an account apart
	at      int64
	weight  int
}

func (s *suspect) is(o *suspect) bool {
	return s.account == o.account && (s.account != 0 || s.key == o.key)
}

// mark is what a refusal did to a key: the state that the key had before.
type mark struct {
	slot   int32
	gen    uint32
	at     int64
	before marks
}

// guard is guarded by the pool's lock.
type guard struct {
	reason   string
	suspects []suspect // fewer than guardLimit
	made     []mark    // in the order in which they were made
	accepted int32     // the slot of the key that was accepted last; none: refused since
	asked    int       // the slot that asked last while everybody was refused
}

// clear forgets everything: the upstream had another answer for somebody.
func (g *guard) clear() {
	g.suspects = g.suspects[:0]
	if g.made = g.made[:0]; cap(g.made) > guardKeep {
		g.made = nil
	}
}

// guardKeep is how many marks' room is kept for the next time.
const guardKeep = 256

// note remembers a refusal and reports whether it is one too many.
func (g *guard) note(reason string, s suspect) bool {
	if reason != g.reason {
		g.clear()
		g.reason = reason
	}
	sum := 0
	g.suspects = slices.DeleteFunc(g.suspects, func(o suspect) bool {
		if s.at-o.at > int64(guardWindow) {
			return true
		}
		if s.is(&o) {
			s.weight = max(s.weight, o.weight)
			return true
		}
		sum += o.weight
		return false
	})
	if s.weight > 0 {
		g.suspects = append(g.suspects, s)
	}
	return sum+s.weight >= guardLimit
}

// marked remembers how a key stood before a mark is made.
func (g *guard) marked(m mark) {
	old := 0
	for old < len(g.made) && m.at-g.made[old].at > int64(guardWindow) {
		old++
	}
	g.made = append(slices.Delete(g.made, 0, old), m)
}

// distrust forgets that a key was accepted last.
func (g *guard) distrust(slot int32) {
	if g.accepted == slot {
		g.accepted = none
	}
}

// forget makes a key's marks final: somebody has decided about it.
func (g *guard) forget(slot int32) {
	g.made = slices.DeleteFunc(g.made, func(m mark) bool { return m.slot == slot })
}

// applyFail marks a refused key, or its whole account where the verdict blames
// that, unless the same befalls everybody: then all marks of the kind are taken
// back and the breaker opens.
func (p *Pool) applyFail(slot int32, v *gateway.Verdict, now int64) {
	e := &p.keys[slot]
	s := suspect{account: e.account, key: e.id, at: now, weight: e.weight(now)}
	p.guard.distrust(slot)
	switch {
	case p.guard.note(v.Reason, s):
		p.touch(e)
		e.excuse()
		p.takeBack(now)
		p.breaker.trip(now, cmp.Or(v.Reason, "no reason given"))
	case v.Scope == gateway.ScopeAccount:
		p.eachOfAccount(slot, func(s int32) { p.failOne(s, v.Reason, now) })
	default:
		p.failOne(slot, v.Reason, now)
	}
}

// takeBack undoes the marks that the guard remembers, the latest first.
func (p *Pool) takeBack(now int64) {
	for _, m := range slices.Backward(p.guard.made) {
		e := &p.keys[m.slot]
		if !e.live || e.gen != m.gen {
			continue
		}
		e.marks = m.before
		p.touch(e)
		p.refresh(m.slot, now)
		p.markState(m.slot)
		e.excuse()
	}
	p.guard.clear()
}

// proven reports whether the key has served lately and was not refused since.
func (e *entry) proven(now int64) bool {
	return e.lastOK != 0 && now-e.lastOK <= int64(provenFor) && e.marks.consecutive == 0
}

// weight is how loudly a key's refusal speaks for an outage.
func (e *entry) weight(now int64) int {
	switch proven := e.proven(now); {
	case proven && e.excused < letOffProven:
		return weightProven
	case !proven && e.excused < letOffUnproven:
		return weightUnproven
	}
	return 0
}

// excuse notes that the key was let off.
func (e *entry) excuse() {
	if e.excused < letOffProven {
		e.excused++
	}
}

// stillRefused notes a refusal while everybody is refused: nothing but that the
// key has been let off.
func (p *Pool) stillRefused(slot int32, now int64) {
	p.guard.distrust(slot)
	if e := &p.keys[slot]; e.excused == 0 && !e.proven(now) {
		e.excused = 1
	}
}

// control takes the key that asks whether everybody is still refused: the one
// that was accepted last, or else some key far from the one that asked before.
func (p *Pool) control(r *rotation, tried []int32, now int64) int32 {
	free := func(slot int32) bool {
		return r.has(slot) && !contains(tried, slot) && !p.keys[slot].over(now)
	}
	slot := p.guard.accepted
	if slot == none || !free(slot) {
		slot = none
		for range controlTries {
			// Steps by the golden section come near every place soon.
			p.guard.asked = (p.guard.asked + len(p.keys)*618/1000 + 1) % len(p.keys)
			if s := int32(p.guard.asked); free(s) { //nolint:gosec // a slot
				slot = s
				break
			}
		}
	}
	if slot != none {
		r.use(slot)
	}
	return slot
}

// controlTries is how many places are looked at for a key that can ask; if none
// of them has one, the next in turn asks.
const controlTries = 8
