package app

import (
	"context"
	"fmt"
	"slices"
	"time"

	"ollama-api-pool/internal/gateway"
)

// send sends a batch and takes in what the store says. The caller has the turn.
func (w *writer) send(ctx context.Context, b gateway.Batch) error {
	caller := ctx
	if w.standing.shared() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, w.patience)
		defer cancel()
	}
	ours := b.Writer == w.instance
	b, applied, err := w.apply(ctx, b)
	switch {
	case err == nil:
		w.patience = askPatience
	case ctx.Err() != nil && caller.Err() == nil: // it may need more than that
		w.patience = min(2*w.patience, changePatience)
	}
	if err == nil && applied.Again {
		if ours && b.Number <= w.known {
			return nil // it is known what became of it
		}
		applied.Stale, err = w.otherwise(ctx, b)
	}
	if err != nil {
		return err
	}
	if !ours {
		return nil // of an earlier run: the pools never knew
	}
	w.known = b.Number
	changed := w.tell(b, applied.Stale)
	if changed && w.hint != nil {
		w.hint()
	}
	for name, ids := range applied.Stale {
		w.unread[name] = append(w.unread[name], ids...)
	}
	return w.reload(caller)
}

// reload takes over how keys are stored of which others have stored something
// else. The caller has the turn.
func (w *writer) reload(ctx context.Context) error {
	for name, ids := range w.unread {
		if err := w.followMarks(ctx, name, ids); err != nil {
			return err
		}
		delete(w.unread, name)
	}
	return nil
}

// tell tells the pools which of a batch's states are stored, and reports whether
// there were any.
func (w *writer) tell(b gateway.Batch, gone stale) (some bool) {
	for i := range b.Deltas {
		d := &b.Deltas[i]
		if len(d.States) == 0 {
			continue
		}
		some = true
		stored := d.States
		if len(gone[d.Provider]) > 0 {
			is := map[gateway.KeyID]bool{}
			for _, id := range gone[d.Provider] {
				is[id] = true
			}
			stored = slices.DeleteFunc(slices.Clone(stored), func(c gateway.StateChange) bool { return is[c.Key] })
		}
		w.pools[d.Provider].Written(stored)
	}
	return some
}

// otherwise gives the keys of a batch that had arrived before of which something
// else is stored than the batch says. The caller has the turn.
func (w *writer) otherwise(ctx context.Context, b gateway.Batch) (stale, error) {
	other := stale{}
	for i := range b.Deltas {
		d := &b.Deltas[i]
		if len(d.States) == 0 {
			continue
		}
		ids := make([]gateway.KeyID, len(d.States))
		for j := range d.States {
			ids[j] = d.States[j].Key
		}
		marks, err := w.store.KeyMarks(ctx, d.Provider, ids)
		if err != nil {
			return nil, fmt.Errorf("look how %s keys are stored: %w", d.Provider, err)
		}
		stored := make(map[gateway.KeyID]*gateway.KeyMark, len(marks))
		for j := range marks {
			stored[marks[j].Key] = &marks[j]
		}
		for _, s := range d.States {
			if m := stored[s.Key]; m == nil || m.Version != s.Version+1 || !sameState(&m.State, &s.State) {
				other[d.Provider] = append(other[d.Provider], s.Key)
			}
		}
	}
	return other, nil
}

// followMarks takes over how keys are stored, whatever is known of them. The
// caller has the turn.
func (w *writer) followMarks(ctx context.Context, name gateway.ProviderName, ids []gateway.KeyID) error {
	marks, err := w.store.KeyMarks(ctx, name, ids)
	if err != nil {
		return fmt.Errorf("look how %s keys are stored: %w", name, err)
	}
	now := w.now()
	for i := range marks {
		w.pools[name].Reload(marks[i], now)
	}
	return nil
}

// roundedTimes is by how much a stored time may differ from what it was: engines
// keep microseconds.
const roundedTimes = time.Millisecond

// sameState reports whether a stored state is one that was to be written.
func sameState(a, b *gateway.KeyState) bool {
	same := func(x, y time.Time) bool { return x.IsZero() == y.IsZero() && x.Sub(y).Abs() < roundedTimes }
	return a.Disabled == b.Disabled && a.ConsecutiveFailures == b.ConsecutiveFailures && a.RestStep == b.RestStep &&
		same(a.FailedUntil, b.FailedUntil) && same(a.DisabledUntil, b.DisabledUntil) && same(a.RestsUntil, b.RestsUntil)
}
