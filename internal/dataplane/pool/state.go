package pool

import (
	"math"
	"time"

	"ollama-api-pool/internal/gateway"
)

// A rest whose end nobody told lasts firstRest, and twice as long each time up
// to longestRest (contract, section 1).
const (
	firstRest   = 30 * time.Second
	longestRest = time.Hour
)

// never stands for "until enabled by hand".
const never = math.MaxInt64

func marksOf(s gateway.KeyState) marks {
	m := marks{
		failedUntil:   nano(s.FailedUntil),
		disabledUntil: nano(s.DisabledUntil),
		restsUntil:    nano(s.RestsUntil),
		lastError:     s.LastError,
		consecutive:   int32(min(max(s.ConsecutiveFailures, 0), math.MaxInt32)),
		restStep:      uint8(min(max(s.RestStep, 0), math.MaxUint8)),
	}
	for i, r := range disabledReasons {
		if r == s.Disabled {
			m.disabled = uint8(i)
		}
	}
	if m.disabled != 0 && m.disabledUntil == 0 {
		m.disabledUntil = never
	}
	return m
}

func (m *marks) state() gateway.KeyState {
	s := gateway.KeyState{
		FailedUntil:         fromNano(m.failedUntil),
		RestsUntil:          fromNano(m.restsUntil),
		Disabled:            disabledReasons[m.disabled],
		ConsecutiveFailures: int(m.consecutive),
		RestStep:            int(m.restStep),
		LastError:           m.lastError,
	}
	if m.disabledUntil != never {
		s.DisabledUntil = fromNano(m.disabledUntil)
	}
	return s
}

// expire drops the marks whose time is over.
func (m *marks) expire(now int64) {
	if m.failedUntil <= now {
		m.failedUntil = 0
	}
	if m.restsUntil <= now {
		m.restsUntil = 0
	}
	if m.disabledUntil <= now {
		m.disabledUntil, m.disabled = 0, 0
	}
}

// status tells what the marks amount to, once those that are over are dropped.
func (m *marks) status() status {
	switch {
	case m.disabled != 0:
		return disabled
	case m.failedUntil != 0:
		return failed
	case m.restsUntil != 0:
		return resting
	}
	return active
}

// ends tells when the last of the marks ends, 0 for never, and when the first
// of several does, 0 if they end together.
func (m *marks) ends() (last, first int64) {
	for _, at := range [...]int64{m.failedUntil, m.disabledUntil, m.restsUntil} {
		last = max(last, at)
		if at != 0 && (first == 0 || at < first) {
			first = at
		}
	}
	if first == last {
		first = 0
	}
	if last == never {
		last = 0
	}
	return last, first
}

// refresh derives a key's status from its marks, puts it in or out of the
// rotation accordingly, and makes its next appointments.
func (p *Pool) refresh(slot int32, now int64) {
	e := &p.keys[slot]
	e.marks.expire(now)
	e.careful = e.marks.restStep > 0 || e.expiresAt != 0
	was := e.status
	e.status = e.marks.status()
	back, change := e.marks.ends()
	switch {
	case e.expiresAt == 0:
	case e.expiresAt <= now:
		e.status, back, change = expired, 0, 0
	default:
		if back >= e.expiresAt {
			back = 0 // its life ends first
		}
		if change == 0 || e.expiresAt < change {
			change = e.expiresAt
		}
	}
	if was != e.status {
		if was < statusKinds {
			p.counts[was]--
		}
		p.counts[e.status]++
	}
	p.returns.set(slot, back)
	p.changes.set(slot, change)
	p.enlist(slot)
}

// enlist puts a key in the rotations or takes it out of them, as it stands.
func (p *Pool) enlist(slot int32) {
	if e := &p.keys[slot]; e.status == active && e.heldBy == 0 {
		p.joinRotations(slot)
	} else {
		p.leaveRotations(slot)
	}
}

// beginProbe keeps the keys of an account that come from a rest of unknown
// length out of the rotations until one of them has found out whether their
// quota is back. It returns the probe's number.
func (p *Pool) beginProbe(slot int32) uint32 {
	p.probes = max(p.probes+1, 1) // 0 stands for none
	p.keys[slot].probe = p.probes
	p.eachOfAccount(slot, func(s int32) {
		if e := &p.keys[s]; e.marks.restStep > 0 {
			e.heldBy = p.probes
			p.enlist(s)
		}
	})
	return p.probes
}

// endProbe lets the keys that waited for a probe serve again.
func (p *Pool) endProbe(slot int32, probe uint32) {
	if probe == 0 {
		return
	}
	if e := &p.keys[slot]; e.probe == probe {
		e.probe = 0
	}
	p.eachOfAccount(slot, func(s int32) {
		if e := &p.keys[s]; e.heldBy == probe {
			e.heldBy = 0
			p.enlist(s)
		}
	})
}

// touch notes that a key's state changed: what began before cannot change it again.
func (p *Pool) touch(e *entry) {
	p.seq++
	e.changed = p.seq
}

func (p *Pool) markState(slot int32) {
	if e := &p.keys[slot]; !e.stateDirty {
		e.stateDirty = true
		p.dirtyStates = append(p.dirtyStates, slot)
	}
}

// restAccount lets all keys of an account rest until a time.
func (p *Pool) restAccount(slot int32, until int64, step uint8, reason string, now int64) {
	p.eachOfAccount(slot, func(s int32) { p.restOne(s, until, step, reason, now) })
}

func (p *Pool) restOne(slot int32, until int64, step uint8, reason string, now int64) {
	e := &p.keys[slot]
	e.marks.restsUntil = max(e.marks.restsUntil, until)
	e.marks.restStep = step
	e.marks.lastError = reason
	e.heldBy = 0
	p.touch(e)
	p.refresh(slot, now)
	p.markState(slot)
}

// restEnd is when a rest ends, whether the verdict told that, and how many
// rests of unknown length in a row that makes.
func restEnd(v *gateway.Verdict, step uint8, now int64) (until int64, told bool, next uint8) {
	switch {
	case !v.Until.IsZero() && v.Until.UnixNano() > now:
		return v.Until.UnixNano(), true, step
	case v.For > 0:
		return now + int64(v.For), true, step
	}
	d := firstRest << min(step, 16)
	if d > longestRest {
		return now + int64(longestRest), false, step
	}
	return now + int64(d), false, step + 1
}

// failOne marks a key as refused, and disables it after several in a row.
func (p *Pool) failOne(slot int32, reason string, now int64) {
	e := &p.keys[slot]
	m := &e.marks
	m.expire(now)
	p.guard.marked(mark{slot: slot, gen: e.gen, at: now, before: *m})
	m.consecutive++
	m.lastError = reason
	if int(m.consecutive) >= p.settings.DisableThreshold {
		m.failedUntil = 0
		if m.disabled != byHand { // the operator's own word stands
			m.disabled, m.disabledUntil = automatic, now+int64(p.settings.DisabledFor)
		}
	} else {
		m.failedUntil = now + int64(p.settings.FailedFor)
	}
	e.heldBy = 0
	p.touch(e)
	p.refresh(slot, now)
	p.markState(slot)
}
