package sqlstore

import (
	"context"
	"database/sql"

	"ollama-api-pool/internal/gateway"
)

// SetKeyCounts writes down what keys were used for before they came here, in
// place of what was counted of them. Keys that are not there, and those of which
// nothing was counted, are passed over.
func (s *Store) SetKeyCounts(ctx context.Context, p gateway.ProviderName, keys []gateway.Key) error {
	t, err := tablesOf(p)
	if err != nil {
		return err
	}
	return s.write(ctx, "write counts of keys to the store", func(inside context.Context, tx *sql.Tx) error {
		stmt, err := tx.PrepareContext(inside, t.sql(`insert into {p}key_stats (api_key, total_requests, success_count, failure_count, success_rate,
				last_used, last_success, last_failure, consecutive_failures, created_at)
			select api_key, ?, ?, ?, ?, ?, ?, ?, consecutive_failures, created_at from {p}keys where key_id = ?
			on conflict (api_key) do update set
				total_requests = excluded.total_requests, success_count = excluded.success_count, failure_count = excluded.failure_count,
				success_rate = excluded.success_rate, last_used = excluded.last_used, last_success = excluded.last_success,
				last_failure = excluded.last_failure`))
		if err != nil {
			return err
		}
		defer func() { _ = stmt.Close() }()
		for i := range keys {
			if err := ctx.Err(); err != nil {
				return err
			}
			c := &keys[i].Counts
			if *c == (gateway.KeyCounts{}) {
				continue
			}
			if _, err := stmt.ExecContext(inside, c.Total, c.Success, c.Failure, float64(percent(c.Success, c.Failure))/100,
				at(c.LastUsed), at(c.LastSuccess), at(c.LastFailure), string(gateway.IDOfKey(keys[i].Secret))); err != nil {
				return err
			}
		}
		return nil
	})
}
