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
	keepMinutes  = 3 * time.Hour       // statistics by the minute
	keepKeyHours = 48 * time.Hour      // attempts of one key by the hour
	keepEvents   = 90 * 24 * time.Hour // what happened to keys
	keepJobs     = 500
)

// tidy deletes what is older than it is to be kept. What fails is tried again
// at the next call; nobody waits for it.
func (a *App) tidy(ctx context.Context) error {
	now := time.Now()
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
