package pool

import (
	"time"

	"ollama-api-pool/internal/gateway"
)

// Several pools may work on one store. Each remembers of every key which version
// of its state the store has, as far as it knows, and hands it out with every
// change: the store writes a change only over the version that it was made from.

// stored is what a pool knows of how the store has a key. It stands beside the
// entries, since no pick looks at it.
type stored struct {
	version int64  // that was read last, or written by the changes that Written has confirmed
	sent    uint32 // changes that Drain gave away and nobody has confirmed yet
	wrote   uint32 // those confirmed since there were unconfirmed ones; version does not count them yet
}

// ahead reports whether the pool has a change that the store lacks.
func (s *stored) ahead(e *entry) bool { return e.stateDirty || s.sent > 0 }

// send notes that a change is given away, and returns the version it was made
// from. While others are under way they all are made from the same one: the
// store knows that they are one writer's and follow each other.
func (s *stored) send() int64 {
	s.sent++
	return s.version
}

// end notes what became of a change that was given away: it was written, or
// taken back. One from before somebody else decided about the key is of no
// interest any more.
func (s *stored) end(version int64, written bool) {
	if s.sent == 0 || s.version != version {
		return
	}
	s.sent--
	if written {
		s.wrote++
	}
	if s.sent == 0 {
		s.version, s.wrote = s.version+int64(s.wrote), 0
	}
}

// Written notes that changes which Drain has returned are stored: of their keys
// the version is one more.
func (p *Pool) Written(changes []gateway.StateChange) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range changes {
		if slot, ok := p.byID[idNumber(changes[i].Key)]; ok {
			p.stored[slot].end(changes[i].Version, true)
		}
	}
}

// Merged notes that changes which Drain has returned will not be written: of each
// of their keys a later one, made from the same version, says all.
func (p *Pool) Merged(changes []gateway.StateChange) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range changes {
		if slot, ok := p.byID[idNumber(changes[i].Key)]; ok {
			p.stored[slot].end(changes[i].Version, false)
		}
	}
}

// Follow takes over how a key is stored, as when another instance has changed
// it. What the pool has learnt since is dropped, for the store would refuse it.
// The state stays where the pool knows a newer version, or has a change of its
// own made from this one that is yet to be written. Of an act of the operator
// that is new the pool also forgets which models the key may not use.
//
// It reports false where the pool knows a newer version and has nothing to write
// that would show whether the store has it. If the mark was read after everything
// of this pool was written, the key was deleted and came again, or the store has
// gone back: then the mark is to be given to Reload.
func (p *Pool) Follow(m gateway.KeyMark, now time.Time) (plausible bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	slot, ok := p.byID[idNumber(m.Key)]
	if !ok {
		return true
	}
	p.takeEnd(slot, m.ExpiresAt, now)
	s, e := &p.stored[slot], &p.keys[slot]
	known, ahead := s.version+int64(s.wrote), s.ahead(e)
	if m.Version > known || m.Version == known && !ahead {
		p.takeOver(slot, m, now)
		return true
	}
	return ahead
}

// endsAlike is by how much the end of a key's life may differ from what is stored,
// which is kept to the microsecond.
const endsAlike = time.Millisecond

// takeEnd takes over when a key's life ends.
func (p *Pool) takeEnd(slot int32, end, now time.Time) {
	e, at := &p.keys[slot], nano(end)
	if (at == 0) == (e.expiresAt == 0) && time.Duration(at-e.expiresAt).Abs() < endsAlike {
		return
	}
	e.expiresAt = at
	p.touch(e)
	p.refresh(slot, now.UnixNano())
}

// Reload is Follow for a key whose change the store has refused: it takes over
// what is stored whatever the pool knows, also where the store has gone back to
// an earlier version, as after a backup was restored.
func (p *Pool) Reload(m gateway.KeyMark, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slot, ok := p.byID[idNumber(m.Key)]; ok {
		p.takeEnd(slot, m.ExpiresAt, now)
		p.takeOver(slot, m, now)
	}
}

// takeOver replaces what the pool knows of a key by what is stored.
func (p *Pool) takeOver(slot int32, m gateway.KeyMark, now time.Time) {
	s, e := &p.stored[slot], &p.keys[slot]
	acted := m.Forced > s.version
	*s = stored{version: m.Version}
	e.stateDirty = false
	if acted {
		p.forgetRefusals(slot)
	}
	t := now.UnixNano()
	was, is := e.marks, marksOf(m.State)
	was.expire(t)
	is.expire(t)
	if was.storedLike(&is) {
		return // nothing that began before is stale by this
	}
	p.replaceMarks(slot, is, t)
}

// storedLike compares marks as they come back from a store, which keeps times to
// the microsecond.
func (m *marks) storedLike(o *marks) bool {
	a, b := *m, *o
	for _, at := range [...]*int64{&a.failedUntil, &a.disabledUntil, &a.restsUntil, &b.failedUntil, &b.disabledUntil, &b.restsUntil} {
		if *at != never {
			*at -= *at % int64(time.Microsecond)
		}
	}
	return a == b
}

// replaceMarks gives a key other marks, as somebody else has decided.
func (p *Pool) replaceMarks(slot int32, m marks, now int64) {
	e := &p.keys[slot]
	e.marks = m
	e.heldBy, e.excused = 0, 0
	p.guard.forget(slot)
	p.touch(e)
	p.refresh(slot, now)
}
