package app

import (
	"context"
	"fmt"
	"time"

	"ollama-api-pool/internal/storage/sqlstore"
)

// How often the local mirror of the database is brought up to date: soon after
// something has changed, but where that takes long at most a twentieth of the
// time, and now and then in any case.
const (
	mirrorLook   = 2 * time.Second
	mirrorEvery  = 30 * time.Second
	mirrorWithin = time.Minute
	mirrorShare  = 20
)

// mirror keeps the local mirror of the database. It belongs to one loop.
type mirror struct {
	from, to *sqlstore.Store
	standing *standing
	now      func() time.Time

	last int64         // the last change that the mirror has
	at   time.Time     // when it was made; zero: not in this run
	rest time.Duration // until it is made again at the earliest
}

// runOnce brings the mirror up to date, if it is time to.
func (m *mirror) runOnce(ctx context.Context) error {
	if !m.standing.up() || !m.at.IsZero() && m.now().Sub(m.at) < m.rest {
		return nil
	}
	return m.renew(ctx)
}

// renew brings the mirror up to date. Nobody waits for it.
func (m *mirror) renew(ctx context.Context) error {
	return m.standing.within(ctx, mirrorWithin, func(ctx context.Context) error {
		last, err := m.from.LastChange(ctx)
		if err != nil {
			return err
		}
		began := m.now()
		if !m.at.IsZero() && last == m.last && began.Sub(m.at) < compareEvery {
			return nil
		}
		if _, err := m.to.Mirror(ctx, m.from); err != nil {
			return fmt.Errorf("bring the local mirror of the database up to date: %w", err)
		}
		m.last, m.at = last, began
		m.rest = min(m.now().Sub(began)*mirrorShare, mirrorEvery)
		return nil
	})
}

// relive puts what was learnt about keys and could not be sent yet over what the
// mirror says of them.
func (r *Roster) relive(waiting []sqlstore.Spooled) {
	now := r.now()
	for i := range waiting {
		for j := range waiting[i].Batch.Deltas {
			d := &waiting[i].Batch.Deltas[j]
			pl := r.pools[d.Provider]
			if pl == nil {
				continue
			}
			for _, s := range d.States {
				pl.SetState(s.Key, s.State, now)
			}
			for _, f := range d.Refusals {
				if f.Until.After(now) {
					pl.PutRefusal(f, now)
				}
			}
		}
	}
}
