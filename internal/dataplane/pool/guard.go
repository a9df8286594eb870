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
// A key that has served before speaks louder than one that never has: a list
// of stale keys, freshly imported, must still be weeded out.
const (
	guardWindow    = 10 * time.Second
	guardLimit     = 20 // five proven accounts, or twenty unproven ones
	weightProven   = 4
	weightUnproven = 1
)

// suspect is an account that was refused lately. One account speaks once,
// however many of its keys are refused.
type suspect struct {
	account string
	slot    int32 // tells keys without an account apart
	at      int64
	weight  int
}

func (s *suspect) is(o *suspect) bool {
	return s.account == o.account && (s.account != "" || s.slot == o.slot)
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
		if s.is(&o) {
			s.weight = max(s.weight, o.weight)
			return true
		}
		if s.at-o.at > int64(guardWindow) {
			return true
		}
		sum += o.weight
		return false
	})
	g.suspects = append(g.suspects, s)
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

// forget makes a key's marks final: somebody has decided about it.
func (g *guard) forget(slot int32) {
	g.made = slices.DeleteFunc(g.made, func(m mark) bool { return m.slot == slot })
}

// applyFail marks a refused key, or its whole account where the verdict blames
// that, unless the same befalls everybody: then all marks of the kind are taken
// back and the breaker opens.
func (p *Pool) applyFail(slot int32, v *gateway.Verdict, now int64) {
	e := &p.keys[slot]
	s := suspect{account: e.account, slot: slot, at: now, weight: weightUnproven}
	if e.proven {
		s.weight = weightProven
	}
	switch {
	case p.guard.note(v.Reason, s):
		p.touch(e)
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
	}
	p.guard.clear()
}
