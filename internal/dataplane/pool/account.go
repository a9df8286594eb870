package pool

import "hash/maphash"

// The keys of one account form a ring, so that what befalls the account reaches
// all of them without a look at the others. An account is known by a 64-bit
// number of its name: of a million accounts two share one in one of ten million
// pools.

func (p *Pool) joinAccount(slot int32, name string) {
	e := &p.keys[slot]
	e.accNext, e.accPrev = slot, slot
	if name == "" {
		return
	}
	e.account = max(1, maphash.String(p.seed, name)) // 0 stands for none
	first, ok := p.accounts[e.account]
	if !ok {
		p.accounts[e.account] = slot
		return
	}
	f := &p.keys[first]
	e.accNext, e.accPrev = first, f.accPrev
	p.keys[f.accPrev].accNext = slot
	f.accPrev = slot
}

func (p *Pool) leaveAccount(slot int32) {
	e := &p.keys[slot]
	if e.account == 0 {
		return
	}
	if e.accNext == slot {
		delete(p.accounts, e.account)
		return
	}
	p.keys[e.accPrev].accNext = e.accNext
	p.keys[e.accNext].accPrev = e.accPrev
	if p.accounts[e.account] == slot {
		p.accounts[e.account] = e.accNext
	}
}

// eachOfAccount calls f for every key of the account that slot belongs to,
// slot included.
func (p *Pool) eachOfAccount(slot int32, f func(int32)) {
	for s := slot; ; {
		next := p.keys[s].accNext
		f(s)
		if next == slot {
			return
		}
		s = next
	}
}
