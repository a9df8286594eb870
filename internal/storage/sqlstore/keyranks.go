package sqlstore

import (
	"context"
	"database/sql"
	"math"

	"ollama-api-pool/internal/gateway"
)

// rankColumns are the counts by which keys can be put in an order, from
// {p}key_stats as s: first what says that there is none, where that can be, for
// every column more makes sorting dearer.
var rankColumns = map[string][2]string{
	"requests": {"", "coalesce(s.total_requests, 0)"},
	"success":  {"", "coalesce(s.success_count, 0)"},
	"failure":  {"", "coalesce(s.failure_count, 0)"},
	"lastUsed": {"s.last_used is null, ", "s.last_used"},
}

// KeyRanks returns a page of the keys in the order of a count (requests,
// success, failure or lastUsed), the largest first unless ascending, and how
// many keys there are. Keys that were never used come last either way. Only the
// keys of the page are joined with their counts, so a page at the beginning
// costs one look at the counts, however many keys there are.
func (s *Store) KeyRanks(ctx context.Context, p gateway.ProviderName, by string, ascending bool, offset, limit int) (page []gateway.Key, total int, err error) {
	t, err := tablesOf(p)
	if err != nil {
		return nil, 0, err
	}
	column, known := rankColumns[by]
	if !known {
		return nil, 0, gateway.Errorf(gateway.KindInvalid, "cannot put keys in the order of %q", gateway.Clip(by, 40))
	}
	if err := s.Fold(ctx); err != nil {
		return nil, 0, err
	}
	if limit <= 0 {
		limit = math.MaxInt32
	}
	order := column[0] + column[1] + " desc, s.api_key"
	if ascending {
		order = column[0] + column[1] + ", s.api_key"
	}
	err = s.read(ctx, "rank the keys in the store", func(inside context.Context, tx *sql.Tx) error {
		var used int
		row := tx.QueryRowContext(inside, t.sql("select (select count(*) from {p}keys), (select count(*) from {p}key_stats)"))
		if err := row.Scan(&total, &used); err != nil {
			return err
		}
		ranked := t.sql("select " + keyColumns + ", " + countColumns +
			" from (select s.api_key from {p}key_stats s order by " + order + " limit ? offset ?) o" +
			" join {p}key_stats s on s.api_key = o.api_key join {p}keys k on k.api_key = o.api_key order by " + order)
		if page, err = s.rankedKeys(ctx, inside, tx, t, ranked, limit, max(offset, 0)); err != nil || len(page) == limit {
			return err
		}
		unused := t.sql("select " + keyColumns + ", 0, 0, 0, null, null, null" +
			" from (select api_key from {p}keys except select api_key from {p}key_stats order by api_key limit ? offset ?) o" +
			" join {p}keys k on k.api_key = o.api_key order by o.api_key")
		rest, err := s.rankedKeys(ctx, inside, tx, t, unused, limit-len(page), max(offset-used, 0))
		page = append(page, rest...)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return page, total, nil
}

func (s *Store) rankedKeys(ctx, inside context.Context, tx *sql.Tx, t tables, text string, limit, offset int) ([]gateway.Key, error) {
	rows, err := tx.QueryContext(inside, text, limit, offset)
	if err != nil {
		return nil, err
	}
	return s.keysOf(ctx, t, rows)
}
