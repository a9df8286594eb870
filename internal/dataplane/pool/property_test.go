package pool

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// TestAgainstReference plays random events to the pool and to its slow double,
// and compares both after each.
func TestAgainstReference(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(200) {
		d := newDuel(t, seed)
		d.play(400)
		for what, n := range d.r.seen {
			seen[what] += n
		}
	}
	// What never happens is not tested.
	for _, what := range []string{"outage", "breaker", "probe", "held", "stale", "later end", "again", "auto", "followed", "followed late", "refused by the store", "row of changes", string(Empty), string(AllTried), string(AllResting), string(AllOut), string(NoneForPlan), string(BreakerOpen)} {
		if seen[what] == 0 {
			t.Errorf("%q never happened", what)
		}
	}
}

// FuzzAgainstReference looks for more of the same.
func FuzzAgainstReference(f *testing.F) {
	f.Add(uint64(1000), uint16(300))
	f.Fuzz(func(t *testing.T, seed uint64, steps uint16) { newDuel(t, seed).play(int(steps % 1000)) })
}

// duel is a pool and its double in the same events.
type duel struct {
	*testing.T
	rng    *rand.Rand
	seed   uint64
	step   int
	did    string // the latest event, for a failure's message
	mood   int    // what the upstream answers at present
	p      *Pool
	r      *reference
	leases []*duelLease
	gone   []gateway.Key // removed keys, to be put back
	store  duelStore
	counts map[gateway.KeyID]gateway.KeyCounts // what a store would have added up
}

type duelLease struct {
	*refLease
	lease   Lease
	want    Want
	tried   []*refKey
	settled bool
}

const moods = 5

var duelModels = []string{"", "small", "large", "huge"}

func newDuel(t *testing.T, seed uint64) *duel {
	s := Settings{FailedFor: 8 * time.Second, DisableThreshold: 3, DisabledFor: 20 * time.Second}
	return &duel{
		T: t, rng: rand.New(rand.NewPCG(seed, 7)), seed: seed,
		p:     New(gateway.Ollama, s),
		r:     &reference{settings: s, now: time.Date(2027, 1, 15, 8, 0, 0, 0, time.UTC), reserve: 10, seen: map[string]int{}},
		store: duelStore{rows: map[gateway.KeyID]*duelRow{}}, counts: map[gateway.KeyID]gateway.KeyCounts{},
	}
}

func (d *duel) play(steps int) {
	for range d.rng.IntN(18) {
		d.put()
	}
	for d.step = range steps {
		if d.rng.IntN(25) == 0 {
			d.mood = d.rng.IntN(moods)
		}
		d.event()
		d.compare()
	}
	d.hearAll()
	d.compare()
	d.drain()
}

func (d *duel) failf(format string, args ...any) {
	d.Helper()
	d.Fatalf("seed %d, step %d, after %q: %s", d.seed, d.step, d.did, fmt.Sprintf(format, args...))
}

func pickOne[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }

func (d *duel) event() {
	switch n := d.rng.IntN(100); {
	case n < 40:
		d.acquire(&duelLease{want: Want{Model: pickOne(d.rng, duelModels)}})
	case n < 78:
		d.answer()
	case n < 88:
		d.pass()
	case n < 91:
		d.put()
	case n < 92:
		d.remove()
	case n < 94:
		d.setState()
	case n < 95:
		d.other()
	case n < 96:
		d.hear()
	case n < 97:
		d.refusals()
	case n < 98:
		d.drain()
	case n < 99:
		d.did = "settle"
		d.store.settle(d.r.now)
	default:
		d.did = "may repeat"
		if got, want := d.p.MayRepeat(), d.r.mayRepeat(); got != want {
			d.failf("may repeat: %v, want %v", got, want)
		}
	}
}

func (d *duel) pass() {
	by := pickOne(d.rng, []time.Duration{1, 50 * time.Millisecond, 300 * time.Millisecond, time.Second, 3 * time.Second, 11 * time.Second, 35 * time.Second, 10 * time.Minute, 25 * time.Hour})
	if by > time.Minute && d.rng.IntN(3) > 0 || by > time.Second && d.mood == 1 {
		by = 300 * time.Millisecond
	}
	d.did = fmt.Sprint("passing ", by)
	d.r.advance(by)
	d.p.Tick(d.r.now)
}

func (d *duel) put() {
	k := gateway.Key{Secret: gateway.Secret(fmt.Sprintf("example-key-%d", d.rng.IntN(1<<30)))}
	if len(d.gone) > 0 && d.rng.IntN(2) == 0 {
		k = pickOne(d.rng, d.gone) // with the state that it was put with the first time
	} else {
		k.Username = pickOne(d.rng, []string{"", "N/A", "n/a ", "a@example.com", "A@example.com", "b", "c", "", "", ""})
		if d.rng.IntN(2) == 0 {
			k.Counts.LastSuccess = d.r.now.Add(-time.Duration(d.rng.IntN(16)) * 12 * time.Hour)
		}
		if d.rng.IntN(6) == 0 {
			k.ExpiresAt = d.r.now.Add(time.Duration(d.rng.IntN(60)-2) * time.Second)
		}
		if d.rng.IntN(3) == 0 {
			k.State, k.Version = d.someState(), int64(d.rng.IntN(4))
		}
	}
	id := gateway.IDOfKey(k.Secret)
	d.did = fmt.Sprint("put ", id)
	if d.r.find(id) == nil {
		d.r.put(k)
		d.store.put(id, k)
		d.counts[id] = gateway.KeyCounts{}
		d.gone = append(d.gone, k)
		if !d.p.Put(k, d.r.now) {
			d.failf("the pool had the key already")
		}
	} else if d.p.Put(k, d.r.now) {
		d.failf("the pool took a key that it had")
	}
}

func (d *duel) someState() gateway.KeyState {
	var s gateway.KeyState
	soon := func() time.Time { return d.r.now.Add(time.Duration(d.rng.IntN(40)-5) * time.Second) }
	if d.rng.IntN(3) == 0 {
		s.FailedUntil, s.ConsecutiveFailures = soon(), 1+d.rng.IntN(3)
	}
	if d.rng.IntN(3) == 0 {
		s.RestsUntil, s.RestStep = soon(), d.rng.IntN(9)
	}
	if d.rng.IntN(3) == 0 {
		s.Disabled = pickOne(d.rng, []gateway.DisabledReason{gateway.DisabledAuto, gateway.DisabledManual})
		s.DisabledUntil = soon()
		if d.rng.IntN(4) == 0 {
			s.DisabledUntil = time.Time{}
		}
	}
	return s
}

func (d *duel) someKey() *refKey {
	if len(d.r.keys) == 0 {
		return nil
	}
	return pickOne(d.rng, d.r.keys)
}

func (d *duel) remove() {
	k := d.someKey()
	if k == nil {
		return
	}
	d.did = fmt.Sprint("remove ", k.id)
	d.r.remove(k)
	delete(d.counts, k.id)
	d.store.remove(k.id)
	if !d.p.Remove(k.id) || d.p.Remove(k.id) {
		d.failf("the key was not there, or twice")
	}
}

func (d *duel) setState() {
	k := d.someKey()
	if k == nil {
		return
	}
	var s gateway.KeyState
	if d.rng.IntN(2) == 0 {
		s = d.someState()
	}
	d.did = fmt.Sprintf("set %s to %+v", k.id, s)
	d.r.setState(k, s)
	d.store.force(k.id, s)
	if !d.p.SetState(k.id, s, d.r.now) {
		d.failf("the pool does not know the key")
	}
}

func (d *duel) refusals() {
	k := d.someKey()
	if k == nil {
		return
	}
	if d.rng.IntN(2) == 0 {
		d.did = fmt.Sprint("clear refusals of ", k.id)
		d.r.clearRefusals(k)
		d.p.ClearRefusals(k.id)
		return
	}
	model, until := pickOne(d.rng, duelModels[1:]), d.r.now.Add(time.Duration(d.rng.IntN(50)-3)*time.Second)
	d.did = fmt.Sprintf("refuse %s for %s", k.id, model)
	d.r.refuse(k, model, until)
	d.p.PutRefusal(gateway.Refusal{Key: k.id, Model: model, Until: until}, d.r.now)
}

func (d *duel) acquire(l *duelLease) {
	d.did = fmt.Sprintf("acquire for %q", l.want.Model)
	choices, want := d.r.choices(l.want.Model, l.tried, l.want.Again)
	lease, err := d.p.Acquire(&l.want, d.r.now)
	if want != nil {
		d.r.seen[string(want.Reason)]++
		if got, ok := err.(*Exhausted); !ok || *got != *want { //nolint:errorlint // what Acquire promises
			d.failf("%#v instead of %#v", err, want)
		}
		return
	}
	i := slices.IndexFunc(choices, func(k *refKey) bool { return err == nil && k.id == lease.Key() })
	if i < 0 {
		d.failf("got %s, %v; want one of %d others", lease.Key(), err, len(choices))
		return
	}
	if slices.Contains(l.tried, choices[i]) {
		d.r.seen["again"]++
	}
	l.refLease, l.lease, l.settled = d.r.lent(choices[i], l.want.Model), lease, false
	l.tried = append(l.tried, choices[i])
	d.leases = append(d.leases, l)
}

// answer ends one of the running attempts, and often begins another for the
// same request.
func (d *duel) answer() {
	if len(d.leases) == 0 {
		return
	}
	i := d.rng.IntN(len(d.leases))
	l := d.leases[i]
	v := d.verdict()
	if l.settled { // the answer's head was good; what can still happen is its end
		v = pickOne(d.rng, []gateway.Verdict{served, wentAway, fault})
	}
	d.did = fmt.Sprintf("answer %+v for %s, settled %v", v, l.key.id, l.settled)
	if v.OK && !l.settled && d.rng.IntN(2) == 0 {
		l.settled = true
		d.r.prove(l.refLease, &v)
		l.lease.Settle(&v, d.r.now)
		return
	}
	d.leases = slices.Delete(d.leases, i, i+1)
	if !l.settled {
		d.r.prove(l.refLease, &v)
	}
	d.r.count(l.refLease, &v)
	l.lease.Release(&v, d.r.now)
	l.lease.Release(&refusedAgain, d.r.now) // changes nothing
	if !v.OK && v.Scope != gateway.ScopeClient && len(l.tried) < MaxTried && d.rng.IntN(3) > 0 {
		d.compare()
		l.want.Again = v.Action == gateway.ActionStrike
		d.acquire(l)
	}
}

var refusedAgain = refused("a second release")

// verdict is an answer as the mood of the upstream has it.
func (d *duel) verdict() gateway.Verdict {
	keyQuota := gateway.Verdict{Scope: gateway.ScopeKey, Action: gateway.ActionRestKey, Reason: "key quota"}
	told := quota(d.r.now.Add(time.Duration(d.rng.IntN(20)-2) * time.Second))
	short := gateway.Verdict{Scope: gateway.ScopeAccount, Action: gateway.ActionRest, For: 2 * time.Second, Reason: "busy"}
	usual := []gateway.Verdict{served, served, served, refused("unauthorized"), refused("forbidden"), noCredit, unknownEnd, told, short, keyQuota, plan, plan, unknown, badRequest, wentAway, fault}
	switch d.mood {
	case 1:
		return pickOne(d.rng, []gateway.Verdict{refused("unauthorized"), refused("unauthorized"), refused("unauthorized"), refused("unauthorized"), refused("unauthorized"), wentAway, fault})
	case 2:
		return pickOne(d.rng, []gateway.Verdict{fault, fault, fault, fault, wentAway})
	case 3:
		return pickOne(d.rng, []gateway.Verdict{unknownEnd, unknownEnd, served, keyQuota, wentAway, fault})
	case 4:
		return pickOne(d.rng, []gateway.Verdict{noCredit, noCredit, noCredit, fault})
	}
	return pickOne(d.rng, usual)
}
