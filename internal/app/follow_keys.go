package app

import (
	"context"

	"ollama-api-pool/internal/gateway"
)

// keysAtOnce is how many keys are read by their ids in one go.
const keysAtOnce = 2000

// takeKeys takes over how keys are stored: those that came, those that changed,
// those that went.
func (r *Roster) takeKeys(ctx context.Context, name gateway.ProviderName, ids map[gateway.KeyID]struct{}) error {
	pl := r.pools[name]
	var known, fresh []gateway.KeyID
	for id := range ids {
		if pl.Has(id) {
			known = append(known, id)
		} else {
			fresh = append(fresh, id)
		}
	}
	if len(known) > 0 {
		marks, err := r.store.KeyMarks(ctx, name, known)
		if err != nil {
			return err
		}
		there := r.followAll(name, marks)
		for _, id := range known {
			if _, ok := there[id]; !ok {
				pl.Remove(id)
			}
		}
	}
	return r.readKeys(ctx, name, fresh)
}

// compareKeys takes over all that is stored of keys and differs from memory.
func (r *Roster) compareKeys(ctx context.Context, name gateway.ProviderName) error {
	pl := r.pools[name]
	marks, err := r.store.KeyMarks(ctx, name, nil)
	if err != nil {
		return err
	}
	there := r.followAll(name, marks)
	var fresh []gateway.KeyID
	for i := range marks {
		if id := marks[i].Key; !pl.Has(id) {
			fresh = append(fresh, id)
		}
	}
	for _, id := range pl.IDs() {
		if _, ok := there[id]; !ok {
			pl.Remove(id)
		}
	}
	pl.Grow(len(fresh))
	return r.readKeys(ctx, name, fresh)
}

// followAll takes over how keys are stored, and gives those that there are. The
// caller has written what was pending, so a state that is older than the known
// one is that of a key which was deleted and came again, or the store has gone
// back.
func (r *Roster) followAll(name gateway.ProviderName, marks []gateway.KeyMark) map[gateway.KeyID]struct{} {
	pl, now := r.pools[name], r.now()
	there := make(map[gateway.KeyID]struct{}, len(marks))
	for i := range marks {
		there[marks[i].Key] = struct{}{}
		if !pl.Follow(marks[i], now) {
			pl.Reload(marks[i], now)
		}
	}
	return there
}

// readKeys takes keys into memory that are not there.
func (r *Roster) readKeys(ctx context.Context, name gateway.ProviderName, ids []gateway.KeyID) error {
	pl, now := r.pools[name], r.now()
	for len(ids) > 0 {
		some := ids[:min(len(ids), keysAtOnce)]
		ids = ids[len(some):]
		if err := r.store.KeysByID(ctx, name, some, func(k gateway.Key) error { r.take(pl, k, now); return nil }); err != nil {
			return err
		}
	}
	return nil
}
