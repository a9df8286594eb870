package pool

import "time"

// The outage guard keeps a bad hour upstream from burning the pool: when the
// same refusal (401, 402, 403) comes from many accounts within seconds and
// nothing else does, the fault is not with the accounts. It then takes back the
// marks it has seen and opens the breaker, under which no key is punished.
//
// A key that has served before speaks louder than one that never has: a list
// of stale keys, freshly imported, must still be weeded out.
const (
	guardWindow     = 10 * time.Second
	guardLimit      = 20 // five proven accounts, or twenty unproven ones
	weightProven    = 4
	weightUnproven  = 1
	guardMaxEntries = 64 // several keys of one account count once but are all remembered
)

// suspicion is one refusal that the guard remembers, with the state that the
// key had before it was marked.
type suspicion struct {
	slot    int32
	gen     uint32
	account int32 // its account, or a number of its own
	at      int64
	weight  int
	before  marks
}

// guard is guarded by the pool's lock.
type guard struct {
	reason string
	noted  []suspicion
}

// clear forgets everything: the upstream accepted somebody.
func (g *guard) clear() { g.noted = g.noted[:0] }

// note remembers a refusal and reports whether it is one too many.
func (g *guard) note(reason string, s suspicion) bool {
	if reason != g.reason {
		g.reason = reason
		g.clear()
	}
	keep := g.noted[:0]
	sum := s.weight
	for _, o := range g.noted {
		if s.at-o.at > int64(guardWindow) {
			continue
		}
		keep = append(keep, o)
		if o.account == s.account {
			s.weight = 0 // one account speaks once
			sum -= o.weight
		}
		sum += o.weight
	}
	if len(keep) == guardMaxEntries {
		keep = append(keep[:0], keep[1:]...)
	}
	g.noted = append(keep, s)
	return sum >= guardLimit
}
