package sqlstore

import (
	"context"
	"database/sql"
)

// defaultBulk is after how many new keys an import counts as a large one.
const defaultBulk = 4000

// bulkLoad makes a large import faster, within its transaction: with a larger
// cache, and where the table was small before, by making the indexes anew at the
// end instead of adding to them key by key.
type bulkLoad struct {
	s     *Store
	ctx   context.Context // does not end, see write
	tx    *sql.Tx
	t     tables
	again []string // what makes the indexes that were dropped
}

// begin is called when so many new keys are in the table.
func (l *bulkLoad) begin(news int) error {
	if err := l.s.dialect.growCache(l.ctx, l.tx, importCache); err != nil {
		return err
	}
	var n int
	if err := l.tx.QueryRowContext(l.ctx, l.t.sql("select count(*) from {p}keys")).Scan(&n); err != nil {
		return err
	}
	if before := n - news; before > news/2 {
		return nil // to make the indexes of all of them anew could take longer
	}
	var err error
	l.again, err = l.s.dialect.dropIndexes(l.ctx, l.tx, l.t.sql("{p}keys"))
	return err
}

// end is called when all keys are in the table.
func (l *bulkLoad) end(until context.Context) error {
	for _, text := range l.again {
		if err := until.Err(); err != nil {
			return err
		}
		if _, err := l.tx.ExecContext(l.ctx, text); err != nil {
			return err
		}
	}
	return nil
}
