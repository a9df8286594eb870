package app

import (
	"context"
	"time"
	_ "time/tzdata" // the names of time zones are known on every machine

	"ollama-api-pool/internal/controlplane/admin"
	"ollama-api-pool/internal/gateway"
)

// Settle writes down what has been counted, so that what is read next has it.
// The figures below are as they are in the store: whoever reads several calls
// this once.
func (r *Roster) Settle(ctx context.Context) error { return r.writer.settle(ctx) }

// Tallies returns sums by name, the most requests first.
func (r *Roster) Tallies(ctx context.Context, p gateway.ProviderName, q gateway.TallyQuery) ([]gateway.NamedTally, error) {
	return asked(ctx, r.ask, func(ctx context.Context) ([]gateway.NamedTally, error) { return r.store.Tallies(ctx, p, q) })
}

// TallySeries returns records by period and name, in the order of time.
func (r *Roster) TallySeries(ctx context.Context, p gateway.ProviderName, q gateway.TallyQuery) ([]gateway.TallyPoint, error) {
	return asked(ctx, r.ask, func(ctx context.Context) ([]gateway.TallyPoint, error) { return r.store.TallySeries(ctx, p, q) })
}

// KeyRanks returns a page of the keys in the order of a count, and how many
// keys there are.
func (r *Roster) KeyRanks(ctx context.Context, p gateway.ProviderName, by string, ascending bool, offset, limit int) ([]gateway.Key, int, error) {
	var keys []gateway.Key
	var total int
	err := r.ask(ctx, func(ctx context.Context) (err error) {
		keys, total, err = r.store.KeyRanks(ctx, p, by, ascending, offset, limit)
		return err
	})
	return keys, total, err
}

// Groups groups the keys that are out, as they are in memory: those that rest by
// when they return and why, the others by why.
func (r *Roster) Groups(p gateway.ProviderName) ([]gateway.RestGroup, []gateway.OutGroup) {
	return r.pools[p].Groups()
}

// ExpiringKeys counts the keys whose life ends in a span of time.
func (r *Roster) ExpiringKeys(ctx context.Context, p gateway.ProviderName, from, until time.Time) (int, error) {
	return asked(ctx, r.ask, func(ctx context.Context) (int, error) { return r.store.ExpiringKeys(ctx, p, from, until) })
}

// Requests returns a page of the request log, the newest first.
func (r *Roster) Requests(ctx context.Context, q gateway.LogQuery) (gateway.LogPage, error) {
	return asked(ctx, r.ask, func(ctx context.Context) (gateway.LogPage, error) { return r.store.Requests(ctx, q) })
}

// CountRequests counts the entries of the request log that a query finds, up to
// most.
func (r *Roster) CountRequests(ctx context.Context, q gateway.LogQuery, most int) (int, error) {
	return asked(ctx, r.ask, func(ctx context.Context) (int, error) { return r.store.CountRequests(ctx, q, most) })
}

// Request returns the newest entry of the request log with an id.
func (r *Roster) Request(ctx context.Context, id string) (gateway.LogEntry, bool, error) {
	var entry gateway.LogEntry
	var found bool
	err := r.ask(ctx, func(ctx context.Context) (err error) {
		entry, found, err = r.store.Request(ctx, id)
		return err
	})
	return entry, found, err
}

// LogFigures tells how much the request log holds.
func (r *Roster) LogFigures(ctx context.Context) (gateway.LogFigures, error) {
	return asked(ctx, r.ask, func(ctx context.Context) (gateway.LogFigures, error) { return r.store.LogFigures(ctx) })
}

// live shows the admin API how things stand. It may be used concurrently.
type live struct{ app *App }

// Standing tells how a provider stands.
func (l *live) Standing(p gateway.ProviderName) admin.Standing {
	pl := l.app.pools[p]
	health := pl.Health()
	s := admin.Standing{
		Enabled: !l.app.cfg.Disabled(p), Keys: pl.Counts(), InFlight: int(l.app.flight.Now(p)),
		Open: health.Open, OpenedAt: health.OpenedAt, Refusal: health.Refusal,
	}
	s.NextReturn, s.Returning = pl.Returns()
	return s
}

// Peak is the most requests that were in flight at a time.
func (l *live) Peak(p gateway.ProviderName, since time.Time) (n int, at time.Time) {
	peak, at := l.app.flight.Peak(p, since)
	return int(peak), at
}

// Masked shows as much of a key as may be shown.
func (l *live) Masked(p gateway.ProviderName, id gateway.KeyID) (string, bool) {
	pl := l.app.pools[p]
	if pl == nil {
		return "", false
	}
	return pl.Masked(id)
}

// RunningJobs lists the jobs that run, on whatever instance.
func (l *live) RunningJobs() []gateway.Job { return l.app.checks.Running() }
