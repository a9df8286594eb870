package pool

import (
	"maps"
	"slices"
	"time"

	"ollama-api-pool/internal/gateway"
)

// compare looks at everything that the pool shows of itself, and at what it
// keeps inside.
func (d *duel) compare() {
	counts := map[gateway.KeyStatus]int{}
	for _, s := range gateway.KeyStatuses() {
		counts[s] = 0
	}
	for _, k := range d.r.keys {
		counts[k.status]++
		state, status, ok := d.p.State(k.id)
		if !ok || status != k.status {
			d.failf("key %s is %q, want %q", k.id, status, k.status)
		}
		if got, want := live(state, d.r.now), live(k.state, d.r.now); got != want {
			d.failf("key %s: %+v, want %+v", k.id, got, want)
		}
	}
	if got := d.p.Counts(); !maps.Equal(got, counts) {
		d.failf("counts %v, want %v", got, counts)
	}
	if d.p.Len() != len(d.r.keys) {
		d.failf("%d keys, want %d", d.p.Len(), len(d.r.keys))
	}
	if h := d.p.Health(); h.Open != d.r.open || h.Refusal != d.r.refusal {
		d.failf("health %+v, want open %v %q", h, d.r.open, d.r.refusal)
	}
	checkRotation(d, "", &d.p.main)
	for model, m := range d.p.models {
		checkRotation(d, model, &m.rotation)
		checkAgenda(d, &m.ends)
	}
	checkAgenda(d, &d.p.returns)
	checkAgenda(d, &d.p.changes)
}

// live is a state without the marks whose time is over.
func live(s gateway.KeyState, now time.Time) gateway.KeyState {
	for _, at := range []*time.Time{&s.FailedUntil, &s.RestsUntil} {
		if !at.After(now) {
			*at = time.Time{}
		}
	}
	if s.Disabled != gateway.NotDisabled && !s.DisabledUntil.IsZero() && !s.DisabledUntil.After(now) || s.Disabled == gateway.NotDisabled {
		s.Disabled, s.DisabledUntil = gateway.NotDisabled, time.Time{}
	}
	return s
}

// checkRotation compares a queue's members with the reference, and what the
// queue knows of itself with its cells.
func checkRotation(d *duel, model string, r *rotation) {
	var got []gateway.KeyID
	r.each(func(slot int32) {
		got = append(got, idName(d.p.keys[slot].id))
		if r.queue[r.place[slot]] != slot {
			d.failf("slot %d of %q is not in its place", slot, model)
		}
	})
	want := make([]gateway.KeyID, 0, len(got))
	for _, k := range d.r.keys {
		if _, in := k.since[model]; in {
			want = append(want, k.id)
		}
	}
	slices.SortFunc(want, func(a, b gateway.KeyID) int { return d.r.find(a).since[model] - d.r.find(b).since[model] })
	if len(got) != len(want) || r.n != len(want) {
		d.failf("queue of %q: %v, want %v", model, got, want)
		return
	}
	for i := range got { // those that came at the same time may stand in any order
		if a, b := d.r.find(got[i]), d.r.find(want[i]); a == nil || a.since[model] != b.since[model] {
			d.failf("queue of %q: %v, want %v", model, got, want)
			return
		}
	}
	if first, last := r.head, r.cell(r.head+r.size-1); r.n > 0 && (r.queue[first] != slotOf(d, got[0]) || r.queue[last] != slotOf(d, got[len(got)-1])) {
		d.failf("queue of %q does not begin or end with a slot", model)
	}
}

func slotOf(d *duel, id gateway.KeyID) int32 { return d.p.byID[idNumber(id)] }

func checkAgenda(d *duel, a *agenda) {
	kept := 0
	for slot, i := range a.pos {
		if i == none {
			continue
		}
		kept++
		if int(a.heap[i].slot) != slot {
			d.failf("agenda: slot %d is not where it is thought", slot)
		}
		if parent := (i - 1) / 2; a.heap[parent].at > a.heap[i].at {
			d.failf("agenda: an appointment stands behind a later one")
		}
	}
	if kept != len(a.heap) {
		d.failf("agenda: %d appointments, %d of them known", len(a.heap), kept)
	}
}

// drain writes down what has happened, as a store would, and compares that
// with what there is. Now and then the store fails.
func (d *duel) drain() {
	d.did = "drain"
	delta := d.p.Drain()
	if d.rng.IntN(3) == 0 {
		d.p.Restore(delta)
		delta = d.p.Drain()
	}
	d.write(delta.States)
	for _, c := range delta.Keys {
		sum := d.counts[c.Key]
		sum.Total, sum.Success, sum.Failure = sum.Total+c.Counts.Total, sum.Success+c.Counts.Success, sum.Failure+c.Counts.Failure
		d.counts[c.Key] = sum
	}
	for _, f := range delta.Refusals {
		if d.r.find(f.Key) == nil {
			d.failf("a refusal of key %s, which is gone, for %q", f.Key, f.Model)
		}
	}
	for _, k := range d.r.keys {
		if got, want := live(d.store.rows[k.id].State, d.r.now), live(k.state, d.r.now); !d.behind(k.id) && got != want {
			d.failf("stored state of %s: %+v, want %+v", k.id, got, want)
		}
		if got := d.counts[k.id]; got != k.counts {
			d.failf("stored counts of %s: %+v, want %+v", k.id, got, k.counts)
		}
	}
	if again := d.p.Drain(); !again.Empty() {
		d.failf("drained twice: %+v", again)
	}
}
