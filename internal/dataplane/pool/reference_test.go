package pool

import (
	"cmp"
	"slices"
	"time"

	"ollama-api-pool/internal/gateway"
)

// reference is the whole pool once more, without any thought of speed: every
// question is answered by looking at every key. The rules stand here as the
// contract words them, so that the pool can be compared with it step by step.
type reference struct {
	settings Settings
	now      time.Time
	event    int // counts everything that happens
	keys     []*refKey
	seen     map[string]int
	queues   []string // "" and the models that have a queue of their own

	// The breaker.
	faults  []time.Time // upstream faults since the last answer of another kind
	open    bool
	refusal string
	probeAt time.Time
	reserve int

	// The outage guard.
	reason   string
	suspects map[any]refSuspect // by account, or by key where it has none
	marks    []refMark
	accepted *refKey // the key that was accepted last, unless it was refused since
}

type refKey struct {
	id        gateway.KeyID
	account   string
	expiresAt time.Time
	state     gateway.KeyState
	provenAt  time.Time            // its last known success
	excused   int                  // how often it was let off since
	changed   int                  // the event of its last change of state
	status    gateway.KeyStatus    // after the last event
	refused   map[string]time.Time // by model, until when
	since     map[string]int       // by queue ("" is the one of all models): the event since which it waits in it
	heldFor   *refLease            // the probe that it waits for
	gone      bool
	counts    gateway.KeyCounts // since the last Drain
}

type refLease struct {
	key   *refKey
	model string
	began int
}

type refSuspect struct {
	at     time.Time
	weight int
}

type refMark struct {
	key    *refKey
	at     time.Time
	before gateway.KeyState
}

func (r *reference) find(id gateway.KeyID) *refKey {
	i := slices.IndexFunc(r.keys, func(k *refKey) bool { return k.id == id })
	if i < 0 {
		return nil
	}
	return r.keys[i]
}

func (r *reference) accountOf(k *refKey) []*refKey {
	if k.account == "" {
		return []*refKey{k}
	}
	var all []*refKey
	for _, o := range r.keys {
		if o.account == k.account {
			all = append(all, o)
		}
	}
	return all
}

func (r *reference) refusedFor(k *refKey, model string) bool { return k.refused[model].After(r.now) }

// queueFor names the queue that serves a model: its own one if any key is
// refused for it.
func (r *reference) queueFor(model string) string {
	if slices.ContainsFunc(r.keys, func(k *refKey) bool { return r.refusedFor(k, model) }) {
		return model
	}
	return ""
}

// settle draws the consequences of an event: who is in which queue since when.
func (r *reference) settle() {
	queues := []string{""}
	for _, k := range r.keys {
		for m := range k.refused {
			if r.queueFor(m) == m && !slices.Contains(queues, m) {
				queues = append(queues, m)
			}
		}
	}
	// A new queue begins in the order of the common one, before this event.
	for _, q := range queues {
		if q != "" && !slices.Contains(r.queues, q) {
			for _, k := range r.keys {
				if at, ok := k.since[""]; ok {
					k.since[q] = at
				}
			}
		}
	}
	r.queues = queues
	for _, k := range r.keys {
		status := k.state.StatusAt(r.now, k.expiresAt)
		if status != k.status {
			k.status, k.changed = status, r.event
		}
		for q := range k.since {
			if !slices.Contains(queues, q) {
				delete(k.since, q)
			}
		}
		for _, q := range queues {
			_, in := k.since[q]
			usable := status == gateway.KeyActive && k.heldFor == nil && (q == "" || !r.refusedFor(k, q))
			switch {
			case usable && !in:
				k.since[q] = r.event
			case !usable:
				delete(k.since, q)
			}
		}
	}
}

func (r *reference) advance(d time.Duration) {
	r.event++
	r.now = r.now.Add(d)
	r.settle()
}

func (r *reference) put(k gateway.Key) {
	r.event++
	r.keys = append(r.keys, &refKey{
		id: gateway.IDOfKey(k.Secret), account: gateway.AccountOf(k.Username), expiresAt: k.ExpiresAt,
		state: k.State, provenAt: k.Counts.LastSuccess, status: k.State.StatusAt(r.now, k.ExpiresAt),
		refused: map[string]time.Time{}, since: map[string]int{},
	})
	r.settle()
}

func (r *reference) remove(k *refKey) {
	r.event++
	k.gone = true
	r.distrust(k)
	r.keys = slices.DeleteFunc(r.keys, func(o *refKey) bool { return o == k })
	for _, o := range r.keys {
		if o.heldFor != nil && o.heldFor.key == k {
			o.heldFor = nil
		}
	}
	r.settle()
}

func (r *reference) setState(k *refKey, s gateway.KeyState) {
	r.event++
	k.state, k.heldFor, k.excused, k.changed = s, nil, 0, r.event
	r.marks = slices.DeleteFunc(r.marks, func(m refMark) bool { return m.key == k })
	r.settle()
}

func (r *reference) refuse(k *refKey, model string, until time.Time) {
	r.event++
	if until.After(r.now) && until.After(k.refused[model]) {
		k.refused[model] = until
	}
	r.settle()
}

func (r *reference) clearRefusals(k *refKey) {
	r.event++
	clear(k.refused)
	r.settle()
}

func (r *reference) mayRepeat() bool {
	if r.open || r.reserve == 0 {
		return false
	}
	r.reserve--
	return true
}

// choices are the keys that may be lent now: of those in the queue that were
// not tried, the ones that wait longest.
func (r *reference) choices(model string, tried []*refKey, again bool) ([]*refKey, *Exhausted) {
	if len(r.keys) == 0 {
		return nil, &Exhausted{Reason: Empty}
	}
	q := r.queueFor(model)
	var fresh, used []*refKey
	for _, k := range r.keys {
		if _, in := k.since[q]; !in {
			continue
		}
		if slices.Contains(tried, k) {
			used = append(used, k)
		} else {
			fresh = append(fresh, k)
		}
	}
	if r.open && len(fresh)+len(used) > 0 && r.now.Before(r.probeAt) {
		return nil, &Exhausted{Reason: BreakerOpen, RetryAfter: r.probeAt.Sub(r.now), Refusal: r.refusal}
	}
	if r.open && r.refusal != "" && len(fresh) > 0 { // whoever asks whether everybody is still refused
		if slices.Contains(fresh, r.accepted) {
			return []*refKey{r.accepted}, nil
		}
		return fresh, nil
	}
	if len(fresh) == 0 && again {
		fresh, used = used, nil
	}
	if len(fresh) == 0 {
		return nil, r.whyNone(q, len(used) > 0)
	}
	longest := slices.MinFunc(fresh, func(a, b *refKey) int { return cmp.Compare(a.since[q], b.since[q]) }).since[q]
	return slices.DeleteFunc(fresh, func(k *refKey) bool { return k.since[q] != longest }), nil
}

func (r *reference) whyNone(q string, tried bool) *Exhausted {
	var wait time.Duration
	sooner := func(d time.Duration) {
		if d > 0 && (wait == 0 || d < wait) {
			wait = d
		}
	}
	var usable, held, resting, refusedOnce bool
	for _, k := range r.keys {
		_, in := k.since[""]
		usable = usable || in
		held = held || k.status == gateway.KeyActive && k.heldFor != nil
		resting = resting || k.status == gateway.KeyResting
		refusedOnce = refusedOnce || k.status == gateway.KeyFailed || k.status == gateway.KeyDisabled
		if k.status != gateway.KeyActive && k.status != gateway.KeyExpired {
			if back := k.returnsAt(); !back.IsZero() {
				sooner(back.Sub(r.now))
			}
		}
	}
	switch {
	case tried:
		return &Exhausted{Reason: AllTried}
	case usable:
		for _, k := range r.keys {
			sooner(k.refused[q].Sub(r.now))
		}
		if held {
			sooner(time.Second)
		}
		return &Exhausted{Reason: NoneForPlan, RetryAfter: wait}
	case held:
		return &Exhausted{Reason: AllResting, RetryAfter: time.Second}
	case resting && !refusedOnce:
		return &Exhausted{Reason: AllResting, RetryAfter: wait}
	}
	return &Exhausted{Reason: AllOut, RetryAfter: wait}
}

// returnsAt is when a key that is out comes back by itself; zero: never.
func (k *refKey) returnsAt() time.Time {
	if k.state.Disabled != gateway.NotDisabled && k.state.DisabledUntil.IsZero() {
		return time.Time{}
	}
	at := k.state.FailedUntil
	if k.state.Disabled != gateway.NotDisabled && k.state.DisabledUntil.After(at) {
		at = k.state.DisabledUntil
	}
	if k.state.RestsUntil.After(at) {
		at = k.state.RestsUntil
	}
	if !k.expiresAt.IsZero() && !at.Before(k.expiresAt) {
		return time.Time{}
	}
	return at
}

// lent notes which of the choices the pool has made.
func (r *reference) lent(k *refKey, model string) *refLease {
	r.event++
	l := &refLease{key: k, model: model, began: r.event}
	k.since[r.queueFor(model)] = r.event
	if r.open {
		r.probeAt = r.now.Add(time.Second)
	}
	if k.state.RestStep > 0 {
		r.seen["probe"]++
		for _, o := range r.accountOf(k) {
			if o.state.RestStep > 0 {
				o.heldFor = l
			}
			if o.heldFor == l && o != k && o.status == gateway.KeyActive {
				r.seen["held"]++
			}
		}
	}
	r.settle()
	return l
}
