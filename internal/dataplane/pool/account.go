package pool

import "strings"

// The keys of one account form a ring, so that what befalls the account reaches
// all of them without a look at the others.

func (p *Pool) joinAccount(slot int32, account string) {
	e := &p.keys[slot]
	e.accNext, e.accPrev = slot, slot
	if account == "" {
		return
	}
	first, ok := p.accounts[account]
	if !ok {
		account = strings.Clone(account)
		p.accounts[account] = slot
		e.account = account
		return
	}
	f := &p.keys[first]
	e.account = f.account
	e.accNext, e.accPrev = first, f.accPrev
	p.keys[f.accPrev].accNext = slot
	f.accPrev = slot
}

func (p *Pool) leaveAccount(slot int32) {
	e := &p.keys[slot]
	if e.account == "" {
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
