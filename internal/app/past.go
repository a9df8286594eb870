package app

import (
	"context"
	"fmt"

	"ollama-api-pool/internal/gateway"
)

// AddPast writes down what is said to have happened before now: counts, the
// request log, what happened to keys, and jobs that are over. Keys and tokens it
// is about must be there; states of keys come with the keys, see AddKeys. It is
// for who shows the program with a history, and leaves what is stored in place.
func (r *Roster) AddPast(ctx context.Context, deltas []gateway.Delta, jobs []gateway.Job) error {
	return r.writer.alone(ctx, func(ctx context.Context) error {
		if err := r.store.Apply(ctx, deltas); err != nil {
			return fmt.Errorf("write down the past: %w", err)
		}
		for _, j := range jobs {
			if err := r.store.PutJob(ctx, j); err != nil {
				return fmt.Errorf("write down a job of the past: %w", err)
			}
		}
		now := r.now()
		for i := range deltas {
			for _, f := range deltas[i].Refusals {
				r.pools[deltas[i].Provider].PutRefusal(f, now)
			}
		}
		if err := r.readTokens(ctx, r.store, true); err != nil { // what they have used today counts for their limits
			return err
		}
		r.hint()
		return nil
	})
}
