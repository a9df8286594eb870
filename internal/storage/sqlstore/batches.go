package sqlstore

import (
	"context"
	"database/sql"

	"ollama-api-pool/internal/gateway"
)

// Applied is what became of a batch.
type Applied struct {
	// Again: the batch had been taken before. Nothing was done now, and nothing
	// is known of what was stale in it.
	Again bool
	// Stale are keys whose state was changed by others since the version that
	// the batch's change was made from, or that are gone. Their stored states
	// are to be read again, see KeyMarks.
	Stale map[gateway.ProviderName][]gateway.KeyID
}

// Apply is ApplyBatch for a batch that need not be known again.
func (s *Store) Apply(ctx context.Context, deltas []gateway.Delta) error {
	_, err := s.ApplyBatch(ctx, gateway.Batch{Deltas: deltas})
	return err
}

// ApplyBatch writes down what happened, in one transaction: counts are added to
// those that are stored, states and refusals replace them, the request log and
// the keys' events are added to. A refusal whose time is over is deleted. Keys
// and tokens that are not there any more are skipped.
//
// A batch with a writer is taken once, however often it is sent: after an error
// whose outcome is not known the same one is to be sent again. A writer's
// batches must come in the order of their numbers, since one with a smaller
// number than the last counts as taken. See states.go for what is stale.
func (s *Store) ApplyBatch(ctx context.Context, b gateway.Batch) (Applied, error) {
	nothing := true
	for i := range b.Deltas {
		nothing = nothing && b.Deltas[i].Empty()
	}
	if nothing {
		return Applied{}, nil
	}
	var done Applied
	journalled := false
	err := s.write(ctx, "write counters to the store", func(inside context.Context, tx *sql.Tx) (err error) {
		done, journalled = Applied{}, false
		if done.Again, err = s.taken(inside, tx, &b); err != nil || done.Again {
			return err
		}
		for i := range b.Deltas {
			w, err := s.applyDelta(inside, ctx, tx, &b, i)
			if err != nil {
				return err
			}
			p := b.Deltas[i].Provider
			journalled = journalled || w.journalled
			if err := s.noteKeys(inside, tx, p, w.changed); err != nil {
				return err
			}
			if len(w.stale) > 0 {
				if done.Stale == nil {
					done.Stale = map[gateway.ProviderName][]gateway.KeyID{}
				}
				done.Stale[p] = append(done.Stale[p], w.stale...)
			}
		}
		return nil
	})
	if err != nil {
		return Applied{}, err
	}
	// After the commit: a Fold that runs at the same time must not take the
	// mark away before there is anything to see.
	if journalled {
		s.journalled.Store(true)
	}
	return done, nil
}

// taken notes the number of a batch and reports whether it was noted before.
func (s *Store) taken(ctx context.Context, tx *sql.Tx, b *gateway.Batch) (bool, error) {
	if b.Writer == "" {
		return false, nil
	}
	now := at(s.now())
	res, err := tx.ExecContext(ctx, `insert into pool_instances as i (id, last_batch, started_at, seen_at) values (?, ?, ?, ?)
		on conflict (id) do update set last_batch = excluded.last_batch where i.last_batch < excluded.last_batch`,
		clean(b.Writer), b.Number, now, now)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == 0, err
}

// applyDelta writes one provider's delta of a batch.
func (s *Store) applyDelta(inside, until context.Context, tx *sql.Tx, all *gateway.Batch, i int) (written, error) {
	d := &all.Deltas[i]
	t, err := tablesOf(d.Provider)
	if err != nil {
		return written{}, err
	}
	b := s.batch(inside, until, tx, t)
	b.requests(d)
	b.tokens(d.Tokens)
	b.refusals(d.Refusals) // before the states, whose versions they name
	w := b.states(d.States, all.Writer)
	w.journalled = b.keys(d)
	b.tallies(d.Tallies)
	b.log(d.Log)
	b.events(d.Events)
	return w, b.err
}
