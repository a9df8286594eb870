package pool

import (
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
)

// maxRestricted bounds how many models have a rotation of their own; beyond
// it the one that the fewest keys are refused is forgotten and learnt anew.
const maxRestricted = 16

// passOverFor is how long a key is not tried for a model that it was refused
// (contract, section 1), where the verdict does not say.
const passOverFor = 24 * time.Hour

// restricted is a model that some keys may not use: a rotation of the keys
// that may, as far as is known, and when the refusals of the others end.
type restricted struct {
	rotation rotation
	ends     agenda
}

func (m *restricted) refused(slot int32) bool { return m.ends.at(slot) != 0 }

// PutRefusal restores a refusal from the store, for a key that was put before.
func (p *Pool) PutRefusal(r gateway.Refusal, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slot, ok := p.byID[idNumber(r.Key)]; ok && r.Until.After(now) {
		p.refuse(slot, r.Model, r.Until.UnixNano())
	}
}

// refuse passes a key over for a model until a time. Of several times the
// latest counts.
func (p *Pool) refuse(slot int32, model string, until int64) {
	m := p.models[model]
	if m == nil {
		if len(p.models) >= maxRestricted {
			p.forgetModel()
		}
		m = &restricted{rotation: p.main.clone()}
		m.ends.grow(len(p.keys))
		p.models[strings.Clone(model)] = m
	}
	m.ends.set(slot, max(until, m.ends.at(slot)))
	m.rotation.remove(slot)
}

func (p *Pool) forgetModel() {
	var least string
	for name, m := range p.models {
		if least == "" || len(m.ends.heap) < len(p.models[least].ends.heap) {
			least = name
		}
	}
	delete(p.models, least)
}

// readmit lets a key be used for a model again.
func (p *Pool) readmit(model string, m *restricted, slot int32) {
	if !m.refused(slot) {
		return
	}
	m.ends.set(slot, 0)
	if p.main.has(slot) {
		m.rotation.add(slot)
	}
	if m.ends.first() == 0 {
		delete(p.models, model)
	}
}

// readmitAll lets a key be used for every model again.
func (p *Pool) readmitAll(slot int32) {
	for model, m := range p.models {
		p.readmit(model, m, slot)
	}
}

// settleRefusals ends up to limit refusals that are over and reports whether
// more may be.
func (p *Pool) settleRefusals(now int64, limit int) bool {
	for model, m := range p.models {
		if limit = p.settleModel(model, m, now, limit); limit == 0 {
			return true
		}
	}
	return false
}

// settleModel ends up to limit refusals for one model that are over, and
// returns what is left of the limit.
func (p *Pool) settleModel(model string, m *restricted, now int64, limit int) int {
	for ; limit > 0 && m.ends.due(now); limit-- {
		p.readmit(model, m, m.ends.heap[0].slot)
	}
	return limit
}

// rotationFor is the queue of keys that may be used for a model.
func (p *Pool) rotationFor(model string, now int64) *rotation {
	if len(p.models) == 0 {
		return &p.main
	}
	m := p.models[model]
	if m == nil {
		return &p.main
	}
	p.settleModel(model, m, now, pickBatch)
	if m.ends.first() == 0 {
		return &p.main
	}
	return &m.rotation
}

func (p *Pool) joinRotations(slot int32) {
	p.main.add(slot)
	for _, m := range p.models {
		if !m.refused(slot) {
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
