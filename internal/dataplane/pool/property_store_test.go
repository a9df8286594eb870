package pool

import (
	"fmt"
	"slices"
	"time"

	"ollama-api-pool/internal/gateway"
)

// duelStore is the store of the duel, which other instances use too. It takes
// changes as the real one does.
type duelStore struct {
	rows    map[gateway.KeyID]*duelRow
	spool   [][]gateway.StateChange // batches that were drained and are yet to arrive
	unheard []gateway.KeyMark       // what others did, to be heard of in any order
}

// duelRow is how a key is stored.
type duelRow struct {
	gateway.KeyMark
	base int64 // the version from which the pool's own row of changes was made; -1: another's was the last
}

func (s *duelStore) put(id gateway.KeyID, k gateway.Key) {
	s.rows[id] = &duelRow{gateway.KeyMark{Key: id, State: k.State, ExpiresAt: k.ExpiresAt, Version: k.Version}, -1}
}

func (s *duelStore) remove(id gateway.KeyID) {
	delete(s.rows, id)
	for i := range s.spool {
		s.spool[i] = slices.DeleteFunc(s.spool[i], func(c gateway.StateChange) bool { return c.Key == id })
	}
	s.unheard = slices.DeleteFunc(s.unheard, func(m gateway.KeyMark) bool { return m.Key == id })
}

// force is an act of the operator.
func (s *duelStore) force(id gateway.KeyID, st gateway.KeyState) {
	r := s.rows[id]
	r.State, r.base = st, -1
	r.Version++
	r.Forced = r.Version
}

// take takes one change of the pool, or refuses it.
func (s *duelStore) take(c gateway.StateChange) bool {
	r := s.rows[c.Key]
	if r.Version != c.Version && r.base != c.Version {
		return false
	}
	r.State, r.base = c.State, c.Version
	r.Version++
	return true
}

// settle takes marks away whose time is over, as somebody does now and then. No
// version tells of it.
func (s *duelStore) settle(now time.Time) {
	for _, r := range s.rows {
		r.State = live(r.State, now)
	}
}

// other is a change by another instance, of which the pool hears sooner or later.
func (d *duel) other() {
	k := d.someKey()
	if k == nil || d.mood == 1 { // else there would hardly ever be an outage
		return
	}
	st := d.someState()
	d.did = fmt.Sprintf("another sets %s to %+v", k.id, st)
	d.store.force(k.id, st)
	if r := d.store.rows[k.id]; d.rng.IntN(2) == 0 {
		r.Forced = 0 // it learnt that from its own traffic
	}
	d.store.unheard = append(d.store.unheard, d.store.rows[k.id].KeyMark)
	if d.rng.IntN(2) == 0 {
		d.hear()
	}
}

// hear lets the pool hear of something that another did, perhaps long ago.
func (d *duel) hear() {
	if n := len(d.store.unheard); n > 0 {
		i := d.rng.IntN(n)
		m := d.store.unheard[i]
		d.store.unheard = slices.Delete(d.store.unheard, i, i+1)
		d.follow(m)
	}
}

// hearAll writes down what is spooled and compares everything with the store.
func (d *duel) hearAll() {
	d.did = "compare with the store"
	d.arrive()
	for _, r := range d.store.rows {
		d.follow(r.KeyMark)
	}
	d.store.unheard = nil
}

// follow hands the pool a mark, and the reference what should come of it.
func (d *duel) follow(m gateway.KeyMark) {
	d.did += fmt.Sprintf(", follow %+v", m)
	slot := slotOf(d, m.Key)
	s, dirty := d.p.stored[slot], d.p.keys[slot].stateDirty
	d.p.Follow(m, d.r.now)
	known := s.version + int64(s.wrote)
	if m.Version < known || m.Version == known && (dirty || s.sent > 0) {
		d.r.seen["followed late"]++
		return
	}
	d.r.seen["followed"]++
	d.replace(m, s.version)
}

// replace does to the reference what taking over a mark does.
func (d *duel) replace(m gateway.KeyMark, known int64) {
	k := d.r.find(m.Key)
	if m.Forced > known {
		d.r.clearRefusals(k)
	}
	if micros(live(k.state, d.r.now)) != micros(live(m.State, d.r.now)) {
		d.r.setState(k, m.State)
	}
}

func micros(s gateway.KeyState) gateway.KeyState {
	for _, at := range []*time.Time{&s.FailedUntil, &s.RestsUntil, &s.DisabledUntil} {
		*at = at.Truncate(time.Microsecond)
	}
	return s
}

// write writes states down, at once or later.
func (d *duel) write(states []gateway.StateChange) {
	d.store.spool = append(d.store.spool, states)
	if d.rng.IntN(3) > 0 {
		d.arrive()
	}
}

// arrive lets everything that waits arrive in the store, and tells the pool what
// became of it.
func (d *duel) arrive() {
	batches := d.store.spool
	d.store.spool = nil
	for _, batch := range batches {
		var refused []gateway.KeyID
		for _, c := range batch {
			if r := d.store.rows[c.Key]; r.Version != c.Version && r.base == c.Version {
				d.r.seen["row of changes"]++
			}
			if !d.store.take(c) {
				refused = append(refused, c.Key)
			}
		}
		d.p.Written(batch)
		for _, id := range refused {
			d.r.seen["refused by the store"]++
			m := d.store.rows[id].KeyMark
			known := d.p.stored[slotOf(d, id)].version
			d.p.Reload(m, d.r.now)
			d.replace(m, known)
		}
	}
}

// behind reports whether the store has to be told, or the pool has to hear, more
// about a key.
func (d *duel) behind(id gateway.KeyID) bool {
	s := d.p.stored[slotOf(d, id)]
	return s.sent > 0 || s.version != d.store.rows[id].Version
}
