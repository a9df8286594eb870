package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"ollama-api-pool/internal/gateway"
)

// ModelTotal is what was counted for one model, ever.
type ModelTotal struct {
	Model    string
	Counts   gateway.Counts
	LastUsed time.Time
}

// ModelHour is what was counted for one model in one hour.
type ModelHour struct {
	Model  string
	Hour   time.Time // its beginning, UTC
	Counts gateway.Counts
}

const usageColumns = "coalesce(input_tokens, 0), coalesce(output_tokens, 0)"

func intoCounts(c *gateway.Counts) []any {
	return []any{&c.Requests, &c.Success, &c.Failure, &c.Usage.Input, &c.Usage.Output}
}

// Totals returns what was counted for a provider, ever.
func (s *Store) Totals(ctx context.Context, p gateway.ProviderName) (c gateway.Counts, err error) {
	t, err := tablesOf(p)
	if err != nil {
		return c, err
	}
	err = s.read(ctx, "read the totals from the store", func(ctx context.Context, tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, t.sql("select coalesce(total_requests, 0), coalesce(success_count, 0), coalesce(failure_count, 0), "+
			usageColumns+" from {p}global_stats where id = 'global'")).Scan(intoCounts(&c)...)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return c, err
}

// ModelTotals returns a provider's totals by model, the most requested first.
func (s *Store) ModelTotals(ctx context.Context, p gateway.ProviderName) (totals []ModelTotal, err error) {
	t, err := tablesOf(p)
	if err != nil {
		return nil, err
	}
	err = s.read(ctx, "read the models' totals from the store", func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, t.sql("select last_used, coalesce(model, ''), coalesce(total_requests, 0), coalesce(success_count, 0), coalesce(failure_count, 0), "+
			usageColumns+" from {p}model_stats where provider = ? order by coalesce(total_requests, 0) desc, model collate binary"), string(p))
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var m ModelTotal
			var used when
			if err := rows.Scan(append([]any{&used, &m.Model}, intoCounts(&m.Counts)...)...); err != nil {
				return err
			}
			m.LastUsed = used.Time
			totals = append(totals, m)
		}
		return rows.Err()
	})
	return totals, err
}

// ModelHours returns a provider's counts by model and hour for the hours that
// begin at since or later, in the order of time.
func (s *Store) ModelHours(ctx context.Context, p gateway.ProviderName, since time.Time) (hours []ModelHour, err error) {
	t, err := tablesOf(p)
	if err != nil {
		return nil, err
	}
	err = s.read(ctx, "read the models' hours from the store", func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, t.sql("select hour, coalesce(model, ''), coalesce(requests, 0), coalesce(success, 0), coalesce(failure, 0), "+
			usageColumns+" from {p}model_hourly where provider = ? and hour >= ? order by hour, model collate binary"), string(p), at(since))
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var m ModelHour
			var hour when
			if err := rows.Scan(append([]any{&hour, &m.Model}, intoCounts(&m.Counts)...)...); err != nil {
				return err
			}
			m.Hour = hour.Time
			hours = append(hours, m)
		}
		return rows.Err()
	})
	return hours, err
}
