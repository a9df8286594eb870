package app

import (
	"context"
	"slices"
	"sync"
	"time"

	"ollama-api-pool/internal/dataplane/pool"
	"ollama-api-pool/internal/dataplane/usage"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/sqlstore"
)

// flushEvery is how often counters and states are written down. What a kill
// can cost is this and the time of one write, together under a second.
const flushEvery = 900 * time.Millisecond

// writer writes down what memory has counted and learnt.
type writer struct {
	store  *sqlstore.Store
	pools  map[gateway.ProviderName]*pool.Pool
	ledger *usage.Ledger
	trail  *usage.Trail

	// mu keeps writes to the store and the changes of memory that belong to
	// them in one order. No request of the data plane waits for it.
	mu sync.Mutex
}

// flush writes what is pending, all of it or, after an error, none: then it
// stays pending.
func (w *writer) flush(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.flushLocked(ctx)
}

// alone writes what is pending and then makes a change, with nothing written
// in between.
func (w *writer) alone(ctx context.Context, change func() error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.flushLocked(ctx); err != nil {
		return err
	}
	return change()
}

func (w *writer) flushLocked(ctx context.Context) error {
	counted, trail := w.ledger.Drain(), w.trail.Drain()
	learnt := make([]gateway.Delta, 0, len(w.pools))
	for _, p := range w.pools {
		if d := p.Drain(); !d.Empty() {
			learnt = append(learnt, d)
		}
	}
	all := slices.Concat(counted, trail, learnt)
	if len(all) == 0 {
		return nil
	}
	applied, err := w.store.ApplyBatch(ctx, gateway.Batch{Deltas: all})
	if err != nil {
		w.ledger.Restore(counted)
		w.trail.Restore(trail)
		for _, d := range learnt {
			w.pools[d.Provider].Restore(d)
		}
		return err
	}
	for _, d := range learnt {
		w.pools[d.Provider].Written(d.States)
	}
	for name, ids := range applied.Stale {
		if err := w.takeOver(ctx, name, ids); err != nil {
			return err
		}
	}
	return nil
}

// takeOver makes the states of keys in memory those that are stored.
func (w *writer) takeOver(ctx context.Context, name gateway.ProviderName, ids []gateway.KeyID) error {
	marks, err := w.store.KeyMarks(ctx, name, ids)
	if err != nil {
		return err
	}
	now := time.Now()
	for _, m := range marks {
		w.pools[name].Reload(m, now)
	}
	return nil
}
