package pool

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Returns tells when the next key returns by itself, the zero time if none
// does, and how many do so sooner or later.
func (p *Pool) Returns() (next time.Time, keys int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fromNano(p.returns.first()), len(p.returns.heap)
}

// Masked shows as much of a key as may be shown, false if the pool lacks it.
func (p *Pool) Masked(id gateway.KeyID) (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	slot, ok := p.byID[idNumber(id)]
	if !ok {
		return "", false
	}
	return gateway.MaskKey(gateway.Secret(strings.TrimPrefix(p.keys[slot].bearer, bearerPrefix))), true
}

// groupBatch is how many keys are looked at under one hold of the lock.
const groupBatch = 512

// Groups groups the keys that are out: those that rest by the minute in which
// they return and by the reason, the soonest first; the others by status and
// reason, the most keys first. It looks at every key, some at a time.
func (p *Pool) Groups() (rests []gateway.RestGroup, outs []gateway.OutGroup) {
	g := groups{settings: &p.settings, rests: map[restKey]*restSum{}, outs: map[outKey]*outSum{}}
	for from, more := 0, true; more; from += groupBatch {
		p.mu.Lock()
		until := min(from+groupBatch, len(p.keys))
		for slot := from; slot < until; slot++ {
			if e := &p.keys[slot]; e.live && e.status != active {
				g.take(e, p.returns.at(int32(slot)))
			}
		}
		more = until < len(p.keys)
		p.mu.Unlock()
	}
	return g.lists()
}

type restKey struct {
	minute int64
	reason string
}

type outKey struct {
	status   status
	disabled uint8
	reason   string
}

// restSum is a group of resting keys while it is made.
type restSum struct {
	group    gateway.RestGroup
	accounts map[uint64]struct{}
	until    int64
}

// outSum is a group of other keys that are out while it is made.
type outSum struct {
	group    gateway.OutGroup
	accounts map[uint64]struct{}
	returns  int64
	since    int64
}

// groups are the groups while they are made.
type groups struct {
	settings *Settings
	rests    map[restKey]*restSum
	outs     map[outKey]*outSum
}

func (g *groups) take(e *entry, returns int64) {
	if e.status == resting {
		until := max(returns, e.marks.restsUntil)
		k := restKey{until / int64(time.Minute), e.marks.lastError}
		r := g.rests[k]
		if r == nil {
			r = &restSum{accounts: map[uint64]struct{}{}, group: gateway.RestGroup{Reason: k.reason}}
			g.rests[k] = r
		}
		r.group.Keys++
		r.until = max(r.until, until)
		if e.account != 0 {
			r.accounts[e.account] = struct{}{}
		}
		return
	}
	k := outKey{e.status, e.marks.disabled, e.marks.lastError}
	if e.status != disabled {
		k.disabled = nobody
	}
	o := g.outs[k]
	if o == nil {
		o = &outSum{accounts: map[uint64]struct{}{}, group: gateway.OutGroup{
			Status: statusNames[k.status], Disabled: disabledReasons[k.disabled], Reason: k.reason,
		}}
		g.outs[k] = o
	}
	o.group.Keys++
	if e.account != 0 {
		o.accounts[e.account] = struct{}{}
	}
	if returns != 0 && (o.returns == 0 || returns < o.returns) {
		o.returns = returns
	}
	if since := g.since(e); since != 0 && (o.since == 0 || since < o.since) {
		o.since = since
	}
}

// since tells when a key was refused by which it is out, from when that is over
// and how long it lasts; 0 where nobody refused it or that has no end. Of a key
// that was refused again meanwhile it is the last time.
func (g *groups) since(e *entry) int64 {
	switch {
	case e.status == failed:
		return e.marks.failedUntil - int64(g.settings.FailedFor)
	case e.status == disabled && e.marks.disabled == automatic && e.marks.disabledUntil != never:
		return e.marks.disabledUntil - int64(g.settings.DisabledFor)
	}
	return 0
}

func (g *groups) lists() (rests []gateway.RestGroup, outs []gateway.OutGroup) {
	for _, r := range g.rests {
		r.group.Until, r.group.Accounts = fromNano(r.until), len(r.accounts)
		rests = append(rests, r.group)
	}
	slices.SortFunc(rests, func(a, b gateway.RestGroup) int {
		return cmp.Or(a.Until.Compare(b.Until), strings.Compare(a.Reason, b.Reason))
	})
	for _, o := range g.outs {
		o.group.Accounts, o.group.Returns, o.group.Since = len(o.accounts), fromNano(o.returns), fromNano(o.since)
		outs = append(outs, o.group)
	}
	slices.SortFunc(outs, func(a, b gateway.OutGroup) int {
		return cmp.Or(cmp.Compare(b.Keys, a.Keys), strings.Compare(string(a.Status), string(b.Status)), strings.Compare(a.Reason, b.Reason))
	})
	return rests, outs
}
