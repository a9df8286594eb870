package pool

import (
	"time"

	"ollama-api-pool/internal/gateway"
)

// prove is what an attempt's answer does to the reference.
func (r *reference) prove(l *refLease, v *gateway.Verdict) {
	r.event++
	for _, o := range r.keys {
		if o.heldFor == l {
			o.heldFor = nil
		}
	}
	r.learn(l, v)
	r.settle()
}

// count counts an attempt that is over.
func (r *reference) count(l *refLease, v *gateway.Verdict) {
	c := &l.key.counts
	c.Total++
	switch {
	case v.Scope == gateway.ScopeClient:
	case v.OK:
		c.Success++
		l.key.provenAt = r.now
	default:
		c.Failure++
	}
}

func (r *reference) learn(l *refLease, v *gateway.Verdict) {
	switch {
	case v.Scope == gateway.ScopeClient:
		return
	case v.Action == gateway.ActionStrike:
		r.faults = append(r.faults, r.now)
		if n := len(r.faults); !r.open && n >= 5 && r.now.Sub(r.faults[n-5]) <= 10*time.Second {
			r.openBreaker("")
		}
		return
	case v.Action == gateway.ActionFail && r.open && r.refusal != "":
		r.distrust(l.key)
		if !r.proven(l.key) {
			l.key.excused = max(l.key.excused, 1)
		}
		return
	}
	r.faults, r.open, r.refusal = nil, false, ""
	r.reserve = min(r.reserve+1, 10)
	k := l.key
	fresh := !k.gone && k.changed <= l.began
	if !k.gone && !fresh {
		r.seen["stale"]++
	}
	if v.Action == gateway.ActionFail {
		if fresh {
			r.fail(k, v)
		}
		return
	}
	r.suspects, r.marks = nil, nil
	switch {
	case k.gone:
	case v.Action == gateway.ActionRest, v.Action == gateway.ActionRestKey:
		r.rest(k, v, fresh)
	case v.Action == gateway.ActionPassOver:
		if fresh && l.model != "" {
			k.refused[l.model] = r.now.Add(v.For)
		}
	case v.OK:
		k.excused, r.accepted = 0, k
		if fresh {
			r.succeed(k)
		}
	}
}

func (r *reference) openBreaker(refusal string) {
	r.seen["breaker"]++
	r.open, r.refusal, r.probeAt = true, refusal, r.now.Add(time.Second)
}

func (r *reference) succeed(k *refKey) {
	if k.state.RestStep > 0 {
		for _, o := range r.accountOf(k) {
			if o.status != gateway.KeyResting {
				o.state.RestStep = 0
			}
		}
	}
	k.state.ConsecutiveFailures, k.state.LastError = 0, ""
}

func (r *reference) rest(k *refKey, v *gateway.Verdict, fresh bool) {
	until, step := v.Until, k.state.RestStep
	switch {
	case until.After(r.now):
	case v.For > 0:
		until = r.now.Add(v.For)
	case !fresh:
		return
	default:
		length := 30 * time.Second
		for range step {
			length *= 2
		}
		if length <= time.Hour {
			step++
		}
		until = r.now.Add(min(length, time.Hour))
	}
	if !fresh && (!k.state.RestsUntil.After(r.now) || !until.After(k.state.RestsUntil)) {
		return
	}
	if !fresh {
		r.seen["later end"]++
	}
	whom := []*refKey{k}
	if v.Action == gateway.ActionRest {
		whom = r.accountOf(k)
	}
	for _, o := range whom {
		if until.After(o.state.RestsUntil) {
			o.state.RestsUntil = until
		}
		o.state.RestStep, o.state.LastError = step, v.Reason
		o.heldFor, o.changed = nil, r.event
	}
}

func (r *reference) fail(k *refKey, v *gateway.Verdict) {
	if r.isOutage(k, v) {
		r.seen["outage"]++
		k.changed = r.event
		k.excused = min(k.excused+1, 3)
		for i := len(r.marks) - 1; i >= 0; i-- {
			if m := r.marks[i]; !m.key.gone {
				m.key.state, m.key.changed = m.before, r.event
				m.key.excused = min(m.key.excused+1, 3)
			}
		}
		r.suspects, r.marks = nil, nil
		r.openBreaker(v.Reason)
		return
	}
	whom := []*refKey{k}
	if v.Scope == gateway.ScopeAccount {
		whom = r.accountOf(k)
	}
	for _, o := range whom {
		r.marks = append(r.marks, refMark{o, r.now, o.state})
		s := &o.state
		s.ConsecutiveFailures++
		s.LastError = v.Reason
		switch {
		case s.ConsecutiveFailures < r.settings.DisableThreshold:
			s.FailedUntil = r.now.Add(r.settings.FailedFor)
		case s.Disabled == gateway.DisabledManual && (s.DisabledUntil.IsZero() || s.DisabledUntil.After(r.now)):
			s.FailedUntil = time.Time{}
		default:
			r.seen["auto"]++
			s.FailedUntil = time.Time{}
			s.Disabled, s.DisabledUntil = gateway.DisabledAuto, r.now.Add(r.settings.DisabledFor)
		}
		o.heldFor, o.changed = nil, r.event
	}
}

func (r *reference) distrust(k *refKey) {
	if r.accepted == k {
		r.accepted = nil
	}
}

func (r *reference) proven(k *refKey) bool {
	return !k.provenAt.IsZero() && r.now.Sub(k.provenAt) <= 7*24*time.Hour && k.state.ConsecutiveFailures == 0
}

// isOutage counts the accounts that were refused with the same words lately: a
// proven one for four, another for one, and twenty are an outage. Who was let
// off too often does not count.
func (r *reference) isOutage(k *refKey, v *gateway.Verdict) bool {
	if r.reason != v.Reason {
		r.reason, r.suspects, r.marks = v.Reason, nil, nil
	}
	recent := func(at time.Time) bool { return r.now.Sub(at) <= 10*time.Second }
	for len(r.marks) > 0 && !recent(r.marks[0].at) {
		r.marks = r.marks[1:]
	}
	var who any = k.id
	if k.account != "" {
		who = k.account
	}
	weight := 0
	switch {
	case r.proven(k) && k.excused < 3:
		weight = 4
	case !r.proven(k) && k.excused == 0:
		weight = 1
	}
	r.distrust(k)
	if before := r.suspects[who]; recent(before.at) {
		weight = max(weight, before.weight)
	}
	if r.suspects == nil {
		r.suspects = map[any]refSuspect{}
	}
	r.suspects[who] = refSuspect{r.now, weight}
	sum := 0
	for _, s := range r.suspects {
		if recent(s.at) {
			sum += s.weight
		}
	}
	return sum >= 20
}
