package sqlstore

import (
	"context"
	"database/sql"
	"iter"

	"ollama-api-pool/internal/gateway"
)

// markColumns are what a gateway.KeyMark is made of, from {p}keys as k.
const markColumns = `k.key_id, ` + disabledReason + `, k.failed_until, k.disabled_until, k.rests_until,
	coalesce(k.consecutive_failures, 0), coalesce(k.rest_step, 0), coalesce(k.last_error, ''), k.state_version, k.forced_version, k.expires_at`

// markInto reads markColumns into the fields of a keyRow.
func (r *keyRow) markInto(forced *int64) []any {
	return []any{
		&r.id, (*string)(&r.reason), &r.failed, &r.disabled, &r.rests, &r.failures, &r.restStep, &r.lastError, &r.version, forced, &r.expires,
	}
}

// KeyMarks returns how the states of keys are stored, in no particular order:
// those of some keys, or with nil of all. Keys that are not there are left out.
// No key is decrypted.
func (s *Store) KeyMarks(ctx context.Context, p gateway.ProviderName, ids []gateway.KeyID) ([]gateway.KeyMark, error) {
	t, err := tablesOf(p)
	if err != nil {
		return nil, err
	}
	var marks []gateway.KeyMark
	err = s.read(ctx, "read the states of keys from the store", func(inside context.Context, tx *sql.Tx) error {
		marks = make([]gateway.KeyMark, 0, len(ids))
		return s.readKeys(inside, ctx, tx, t, markColumns, "{p}keys k", ids, func(rows *sql.Rows) error {
			var r keyRow
			var forced int64
			into := r.markInto(&forced)
			for rows.Next() {
				if err := rows.Scan(into...); err != nil {
					return err
				}
				marks = append(marks, gateway.KeyMark{Key: gateway.KeyID(r.id.String), State: r.state(), ExpiresAt: r.expires.Time, Version: r.version, Forced: forced})
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return marks, nil
}

// KeysByID calls visit for some keys, in no particular order, and stops at its
// first error. Keys that are not there are left out, and rows of other programs
// that were not taken in yet. Of their counts there are the times, and of the
// numbers what was folded. Where others change keys meanwhile, one may be visited
// again, as it is then. visit must not call the Store.
func (s *Store) KeysByID(ctx context.Context, p gateway.ProviderName, ids []gateway.KeyID, visit func(gateway.Key) error) error {
	t, err := tablesOf(p)
	if err != nil || len(ids) == 0 {
		return err
	}
	return s.read(ctx, "read keys from the store", func(inside context.Context, tx *sql.Tx) error {
		if err := s.checkSeal(inside, tx); err != nil {
			return err
		}
		return s.readKeys(inside, ctx, tx, t, keyColumns+", "+countColumns, "{p}keys k left join {p}key_stats s on s.api_key = k.api_key", ids, func(rows *sql.Rows) error {
			var r keyRow
			var c countRow
			into := append(r.into(), c.into()...)
			for rows.Next() {
				if err := rows.Scan(into...); err != nil {
					return err
				}
				k, err := s.key(t, &r, c.counts())
				if err != nil {
					return err
				}
				if err := visit(k); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// readKeys asks for columns of {p}keys as k, alone or joined with other tables,
// of some keys or with nil of all, and calls read for each result.
func (s *Store) readKeys(inside, until context.Context, tx *sql.Tx, t tables, columns, from string, ids []gateway.KeyID, read func(*sql.Rows) error) (err error) {
	text := "select " + columns + " from " + from + " where "
	one := func(text string, args []any) error {
		if err := until.Err(); err != nil {
			return err
		}
		rows, err := tx.QueryContext(inside, t.sql(text), args...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		if err := read(rows); err != nil {
			return err
		}
		return rows.Err()
	}
	if ids == nil {
		return one(text+"k.key_id is not null", nil)
	}
	listIDs(s.dialect, text+"k.key_id in {ids}", ids, func(text string, lists iter.Seq[[]any]) {
		for list := range lists {
			if err != nil {
				return
			}
			err = one(text, list)
		}
	})
	return err
}
