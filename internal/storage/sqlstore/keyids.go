package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"time"

	"ollama-api-pool/internal/gateway"
)

// KeyIDs returns the ids of all keys that a filter chooses, in no particular
// order: the same ones that Keys lists.
func (s *Store) KeyIDs(ctx context.Context, p gateway.ProviderName, f gateway.KeyFilter) ([]gateway.KeyID, error) {
	t, err := tablesOf(p)
	if err != nil {
		return nil, err
	}
	if err := checkFilter(&f); err != nil {
		return nil, err
	}
	const did = "choose keys in the store"
	if err := s.adopt(ctx, t); err != nil {
		return nil, s.dialect.fault(did, err)
	}
	var ids []gateway.KeyID
	err = s.read(ctx, did, func(inside context.Context, tx *sql.Tx) error {
		where, err := s.where(inside, tx, t, f, at(s.now()))
		if err != nil {
			return err
		}
		rows, err := tx.QueryContext(inside, t.sql("select coalesce(k.key_id, '') from {p}keys k "+where.text), where.args...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		var id string
		for rows.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := rows.Scan(&id); err != nil {
				return err
			}
			if id != "" { // of a row that has come this moment
				ids = append(ids, gateway.KeyID(id))
			}
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

// Categories counts a provider's keys by category, by its name. An index holds
// all that it reads.
func (s *Store) Categories(ctx context.Context, p gateway.ProviderName) (list []gateway.CategoryCount, err error) {
	t, err := tablesOf(p)
	if err != nil {
		return nil, err
	}
	err = s.read(ctx, "count the keys in the store by category", func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, t.sql("select category, count(*) from {p}keys group by category"))
		if err != nil {
			return err
		}
		type row struct {
			category sql.NullString
			keys     int
		}
		all, err := collect(rows, func(r *row) []any { return []any{&r.category, &r.keys} })
		slices.SortFunc(all, func(a, b row) int { return cmp.Compare(a.category.String, b.category.String) })
		list = nil
		for _, r := range all {
			if n := len(list); n > 0 && list[n-1].Category == r.category.String { // none and "" are the same
				list[n-1].Keys += r.keys
				continue
			}
			list = append(list, gateway.CategoryCount{Category: r.category.String, Keys: r.keys})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// ExpiringKeys counts the keys whose time to live ends at from or later and
// before until.
func (s *Store) ExpiringKeys(ctx context.Context, p gateway.ProviderName, from, until time.Time) (n int, err error) {
	t, err := tablesOf(p)
	if err != nil {
		return 0, err
	}
	if from.IsZero() {
		from = time.Unix(0, 0)
	}
	err = s.read(ctx, "count the keys in the store that will expire", func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, t.sql("select count(*) from {p}keys where expires_at >= ? and expires_at < ?"), at(from), at(until)).Scan(&n)
	})
	return n, err
}
