package sqlstore

import (
	"context"
	"time"

	"ollama-api-pool/internal/gateway"
)

// StatsKeep says which statistics are kept: those whose period begins at the
// time or later. The zero time keeps all.
type StatsKeep struct {
	Minutes  time.Time
	Hours    time.Time // those of models in {p}model_hourly as well
	Days     time.Time
	KeyHours time.Time // attempts of keys by hour
}

// pruneRows is how many rows are deleted in one transaction, so that counters
// need not wait for all of them.
const pruneRows = 1000

// PruneStats deletes statistics that are not to be kept, in small transactions:
// when ctx ends, what was deleted until then stays so.
func (s *Store) PruneStats(ctx context.Context, keep StatsKeep) error {
	for _, p := range gateway.Providers() {
		t := tables{p}
		for per, since := range map[gateway.Period]time.Time{
			gateway.PerMinute: keep.Minutes, gateway.PerHour: keep.Hours, gateway.PerDay: keep.Days,
		} {
			for _, of := range []gateway.Subject{gateway.OfProvider, gateway.OfModel, gateway.OfToken} {
				if err := s.prune(ctx, t, since, pruneTallies(per), string(of), at(since)); err != nil {
					return err
				}
			}
		}
		if err := s.prune(ctx, t, keep.Hours, pruneModelHours, at(keep.Hours)); err != nil {
			return err
		}
		if err := s.prune(ctx, t, keep.KeyHours, pruneKeyHours, firstHour(keep.KeyHours)); err != nil {
			return err
		}
	}
	return nil
}

// pruneTallies deletes rows of one subject, so that the primary key finds them.
func pruneTallies(per gateway.Period) string {
	return "delete from " + tallyTable(per) + " where (subject, period, name) in (select subject, period, name from " +
		tallyTable(per) + " where subject = ? and period < ? limit ?)"
}

const (
	pruneModelHours = "delete from {p}model_hourly where id in (select id from {p}model_hourly where hour < ? limit ?)"
	pruneKeyHours   = "delete from {p}key_hourly where (key_id, hour) in (select key_id, hour from {p}key_hourly where hour < ? limit ?)"
)

// prune runs a statement, whose last argument limits its rows, until it finds
// no more.
func (s *Store) prune(ctx context.Context, t tables, since time.Time, text string, args ...any) error {
	if since.IsZero() {
		return nil
	}
	return s.deleteInSteps(ctx, "delete old statistics from the store", t.sql(text), args...)
}
