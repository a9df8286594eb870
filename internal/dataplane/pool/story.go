package pool

import (
	"slices"
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Refusals are the models that a key may not use, by name.
func (p *Pool) Refusals(id gateway.KeyID) []gateway.Refusal {
	p.mu.Lock()
	defer p.mu.Unlock()
	slot, ok := p.byID[idNumber(id)]
	if !ok {
		return nil
	}
	var refused []gateway.Refusal
	for model, m := range p.models {
		if until := m.ends.at(slot); until != 0 {
			refused = append(refused, gateway.Refusal{Key: id, Model: model, Until: fromNano(until)})
		}
	}
	slices.SortFunc(refused, func(a, b gateway.Refusal) int { return strings.Compare(a.Model, b.Model) })
	return refused
}

// Account counts the keys of the account to which a key belongs, the key
// included, and those of them that rest. A key without an account is alone.
func (p *Pool) Account(id gateway.KeyID) (keys, rest int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	slot, ok := p.byID[idNumber(id)]
	if !ok {
		return 0, 0
	}
	p.eachOfAccount(slot, func(s int32) {
		keys++
		if p.keys[s].status == resting {
			rest++
		}
	})
	return keys, rest
}

// ClearRest ends the rest of a key and leaves its other marks. It reports
// whether there was a rest, and the state without it. The change is not handed
// to Drain: whoever calls stores it, or hands it to Restore where that fails.
func (p *Pool) ClearRest(id gateway.KeyID, at time.Time) (gateway.KeyState, bool) {
	now := at.UnixNano()
	p.mu.Lock()
	defer p.mu.Unlock()
	slot, ok := p.byID[idNumber(id)]
	if !ok {
		return gateway.KeyState{}, false
	}
	e := &p.keys[slot]
	e.marks.expire(now)
	if e.marks.restsUntil == 0 {
		return e.marks.state(), false
	}
	e.marks.restsUntil, e.marks.restStep, e.heldBy = 0, 0, 0
	if e.marks.status() == active {
		e.marks.lastError = ""
	}
	p.touch(e)
	p.refresh(slot, now)
	return e.marks.state(), true
}
