package pool

import (
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
)

// maxRestricted bounds how many models have a rotation of their own; beyond
// it the one that the fewest keys are refused is forgotten and learnt anew.
const maxRestricted = 64

// restricted is a model that some keys may not use: a rotation of the keys
// that may, as far as is known.
type restricted struct {
	rotation rotation
	until    map[int32]int64 // refused slots
	queue    []refusedUntil  // the same in the order in which they were refused, and so end
}

type refusedUntil struct {
	at   int64
	slot int32
	gen  uint32
}

// PutRefusal restores a refusal from the store.
func (p *Pool) PutRefusal(r gateway.Refusal, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slot, ok := p.byID[idNumber(r.Key)]; ok && r.Until.After(now) {
		p.refuse(slot, r.Model, r.Until.UnixNano())
	}
}

// refuse passes a key over for a model until a time.
func (p *Pool) refuse(slot int32, model string, until int64) {
	m := p.models[model]
	if m == nil {
		if len(p.models) >= maxRestricted {
			p.forgetModel()
		}
		m = &restricted{rotation: p.main.clone(), until: map[int32]int64{}}
		p.models[strings.Clone(model)] = m
	}
	m.until[slot] = until
	m.queue = append(m.queue, refusedUntil{until, slot, p.keys[slot].gen})
	m.rotation.remove(slot)
}

func (p *Pool) forgetModel() {
	var least string
	for name, m := range p.models {
		if least == "" || len(m.until) < len(p.models[least].until) {
			least = name
		}
	}
	delete(p.models, least)
}

// readmit lets a key be used for a model again.
func (p *Pool) readmit(model string, slot int32) {
	m := p.models[model]
	if _, ok := m.until[slot]; !ok {
		return
	}
	delete(m.until, slot)
	if p.main.has(slot) {
		m.rotation.add(slot)
	}
	if len(m.until) == 0 {
		delete(p.models, model)
	}
}

// settleRefusals ends up to limit refusals per model that are over and reports
// whether more may be.
func (p *Pool) settleRefusals(now int64, limit int) bool {
	more := false
	for model, m := range p.models {
		more = p.settleModel(model, m, now, limit) || more
	}
	return more
}

func (p *Pool) settleModel(model string, m *restricted, now int64, limit int) bool {
	for n := 0; len(m.queue) > 0 && m.queue[0].at <= now; n++ {
		if n == limit {
			return true
		}
		q := m.queue[0]
		m.queue = m.queue[1:]
		if m.until[q.slot] == q.at && p.keys[q.slot].gen == q.gen {
			p.readmit(model, q.slot)
		}
	}
	return false
}

// rotationFor is the ring of keys that may be used for a model.
func (p *Pool) rotationFor(model string, now int64) *rotation {
	if len(p.models) == 0 {
		return &p.main
	}
	m := p.models[model]
	if m == nil {
		return &p.main
	}
	p.settleModel(model, m, now, pickBatch)
	if len(m.until) == 0 {
		return &p.main
	}
	return &m.rotation
}

func (p *Pool) joinRotations(slot int32) {
	p.main.add(slot)
	for _, m := range p.models {
		if _, refused := m.until[slot]; !refused {
			m.rotation.add(slot)
		}
	}
}

func (p *Pool) leaveRotations(slot int32) {
	p.main.remove(slot)
	for _, m := range p.models {
		m.rotation.remove(slot)
	}
}
