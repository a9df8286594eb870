package sqlstore

import (
	"context"
	"database/sql"

	"ollama-api-pool/internal/gateway"
)

// CountRequests counts the entries of the request log that a query finds, up to
// most; its Limit has no meaning here.
func (s *Store) CountRequests(ctx context.Context, q gateway.LogQuery, most int) (n int, err error) {
	where, err := logWhere(&q)
	if err != nil {
		return 0, err
	}
	err = s.read(ctx, "count the requests in the log", func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "select count(*) from (select 1 from pool_requests "+where.text+" limit ?) r", append(where.args, most)...).Scan(&n)
	})
	return n, err
}
