package pool

import (
	"maps"
	"slices"
	"time"

	"ollama-api-pool/internal/gateway"
)

// drainBatch is how many keys Drain copies under one hold of the lock.
const drainBatch = 512

// Learnt reports whether there are states that Drain has yet to return.
func (p *Pool) Learnt() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.dirtyStates) > 0
}

// Drain returns what has happened to keys since the last call and has not been
// written down: states, refusals and counts. Of the states Written has to be
// told when they are, or Restore when they are not.
func (p *Pool) Drain() gateway.Delta {
	d := gateway.Delta{Provider: p.provider}
	p.mu.Lock()
	states, counts := p.dirtyStates, p.dirtyCounts
	d.Refusals = slices.DeleteFunc(p.dirtyRefusals, func(r gateway.Refusal) bool {
		_, ok := p.byID[idNumber(r.Key)]
		return !ok // removed meanwhile
	})
	for i := range d.Refusals {
		r := &d.Refusals[i]
		r.Version = p.stored[p.byID[idNumber(r.Key)]].version
	}
	p.dirtyStates, p.dirtyCounts, p.dirtyRefusals = nil, nil, nil
	p.mu.Unlock()
	d.States = make([]gateway.StateChange, 0, len(states))
	for batch := range slices.Chunk(states, drainBatch) {
		p.mu.Lock()
		for _, slot := range batch {
			if e := &p.keys[slot]; e.live && e.stateDirty {
				e.stateDirty = false
				d.States = append(d.States, gateway.StateChange{Key: idName(e.id), State: e.marks.state(), Version: p.stored[slot].send()})
			}
		}
		p.mu.Unlock()
	}
	d.Keys = make([]gateway.KeyDelta, 0, len(counts))
	for batch := range slices.Chunk(counts, drainBatch) {
		p.mu.Lock()
		for _, slot := range batch {
			if e := &p.keys[slot]; e.live && e.countsDirty {
				d.Keys = append(d.Keys, e.takeCounts())
			}
		}
		p.mu.Unlock()
	}
	return d
}

func (e *entry) takeCounts() gateway.KeyDelta {
	d := gateway.KeyDelta{Key: idName(e.id), Counts: gateway.KeyCounts{
		Total: int64(e.total), Success: int64(e.ok), Failure: int64(e.bad),
		LastUsed: fromNano(e.lastUsed), LastSuccess: fromNano(e.lastOK), LastFailure: fromNano(e.lastBad),
	}}
	e.total, e.ok, e.bad, e.countsDirty = 0, 0, 0, false
	return d
}

// Restore takes back what Drain returned and could not be written down.
func (p *Pool) Restore(d gateway.Delta) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range d.States {
		if slot, ok := p.byID[idNumber(s.Key)]; ok {
			p.stored[slot].end(s.Version, false)
			p.markState(slot)
		}
	}
	p.dirtyRefusals = append(p.dirtyRefusals, d.Refusals...)
	for _, k := range d.Keys {
		slot, ok := p.byID[idNumber(k.Key)]
		if !ok {
			continue
		}
		e := &p.keys[slot]
		e.total += int32(k.Counts.Total) //nolint:gosec // Drain made it from an int32
		e.ok += int32(k.Counts.Success)  //nolint:gosec // as above
		e.bad += int32(k.Counts.Failure) //nolint:gosec // as above
		if !e.countsDirty {
			e.countsDirty = true
			p.dirtyCounts = append(p.dirtyCounts, slot)
		}
	}
}

// Health is what an operator sees of a provider's gate.
type Health struct {
	Open     bool
	Refusal  string    // every account was refused with this
	OpenedAt time.Time // while open
}

// Health reports the breaker's state.
func (p *Pool) Health() Health {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.breaker.open {
		return Health{}
	}
	return Health{Open: true, Refusal: p.breaker.refusal, OpenedAt: fromNano(p.breaker.openedAt)}
}

// IDs names every key of the pool.
func (p *Pool) IDs() []gateway.KeyID {
	p.mu.Lock()
	numbers := slices.Collect(maps.Keys(p.byID)) // names are made without the lock: they take longer
	p.mu.Unlock()
	ids := make([]gateway.KeyID, len(numbers))
	for i, n := range numbers {
		ids[i] = idName(n)
	}
	return ids
}
