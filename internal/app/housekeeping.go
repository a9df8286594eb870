package app

import (
	"context"
	"errors"
	"time"

	"ollama-api-pool/internal/storage/sqlstore"
)

// How much of what piles up is kept. What the operator decides is in the
// settings: the statistics by hour and day, and the request log.
const (
	tidyEvery    = 10 * time.Minute
	settleEvery  = 10 * time.Second    // other programs see which keys have come back
	keepMinutes  = 3 * time.Hour       // statistics by the minute
	keepKeyHours = 48 * time.Hour      // attempts of one key by the hour
	keepEvents   = 90 * 24 * time.Hour // what happened to keys
	keepJobs     = 500
)

// tidy deletes what is older than it is to be kept. What fails is tried again
// at the next call; nobody waits for it. Of several instances one does so for
// all, and also forgets what only they need.
func (a *App) tidy(ctx context.Context) error {
	if !a.standing.up() || !a.leases.leads() {
		return nil
	}
	now := time.Now()
	if a.store.Shared() {
		err := errors.Join(a.store.PruneChanges(ctx, now.Add(-keepChanges)), a.store.PruneInstances(ctx, now.Add(-keepInstances)))
		if err != nil {
			return err
		}
	}
	days := func(n int) time.Time { return now.AddDate(0, 0, -n) }
	return errors.Join(
		a.store.PruneStats(ctx, sqlstore.StatsKeep{
			Minutes: now.Add(-keepMinutes), KeyHours: now.Add(-keepKeyHours),
			Hours: days(a.cfg.StatsRetention.Hours), Days: days(a.cfg.StatsRetention.Days),
		}),
		a.store.PruneRequests(ctx, now.Add(-a.cfg.RequestLogMaxAge), a.cfg.RequestLogMaxBytes),
		a.store.PruneEvents(ctx, now.Add(-keepEvents)),
		a.store.PruneJobs(ctx, keepJobs),
		a.store.PruneSessions(ctx),
	)
}

// fold adds the journal of key counts up. Of several instances one does so.
func (a *App) fold(ctx context.Context) error {
	if !a.standing.up() || !a.leases.leads() {
		return nil
	}
	return a.store.Fold(ctx)
}

// settle shows other programs which keys have come back. Of several instances one
// does so.
func (a *App) settle(ctx context.Context) error {
	if !a.standing.up() || !a.leases.leads() {
		return nil
	}
	_, err := a.store.SettleStates(ctx)
	return err
}

// How the journal of key counts is added up: with a pause so many times as long
// as that took the last time, a twentieth of one core at the most, but not later
// than after foldLatest. What waits is part of what is shown all the same.
const (
	foldPause  = 20
	foldLatest = time.Minute
)

// folding adds the journal of key counts up. It belongs to one loop.
type folding struct {
	fold  func(ctx context.Context) error
	ended time.Time
	took  time.Duration
}

// runOnce folds, unless the last time is not long enough ago.
func (f *folding) runOnce(ctx context.Context) error {
	begin := time.Now()
	if begin.Sub(f.ended) < min(foldPause*f.took, foldLatest) {
		return nil
	}
	err := f.fold(ctx)
	f.ended = time.Now()
	f.took = f.ended.Sub(begin)
	return err
}
