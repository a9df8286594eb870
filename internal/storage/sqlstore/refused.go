package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"ollama-api-pool/internal/gateway"
)

// asideMost is how many batches are kept that the database refuses; of more the
// newest.
const asideMost = 1000

// asideMark begins what pool_spool says of a batch that was set aside, instead of
// naming the database that it waits for.
const asideMark = "refused by "

// Refused reports whether an error of this Store is about what was to be written,
// so that the same is refused however often it is tried: a value that a column
// does not take, a provider that this version does not know.
func (s *Store) Refused(err error) bool {
	if err == nil || Unavailable(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var said *gateway.Error
	return errors.As(err, &said) && said.Kind == gateway.KindInvalid || s.dialect.refused(err)
}

// SetAside keeps batches that the database refuses where Spooled does not show
// them: some that were spooled, and others. Whoever mends the database may give
// the rows their store back.
func (s *Store) SetAside(ctx context.Context, ids []int64, others ...gateway.Batch) error {
	texts := make([]string, len(others))
	for i := range others {
		var err error
		if texts[i], err = packDeltas(others[i].Deltas); err != nil {
			return err
		}
	}
	return s.write(ctx, "set a batch aside", func(inside context.Context, tx *sql.Tx) error {
		b := s.batch(inside, ctx, tx, tables{})
		b.run("update pool_spool set store = ? || store where id = ?", func(exec func(args ...any)) {
			for _, id := range ids {
				exec(asideMark, id)
			}
		})
		b.run(`insert into pool_spool (store, writer, number, batch)
			values (? || coalesce((select value from pool_meta where name = ?), ''), ?, ?, ?)`, func(exec func(args ...any)) {
			for i := range others {
				exec(asideMark, metaMirrorID, clean(others[i].Writer), others[i].Number, texts[i])
			}
		})
		b.run(`delete from pool_spool where store like ? and id not in
			(select id from pool_spool where store like ? order by id desc limit ?)`, func(exec func(args ...any)) {
			exec(asideMark+"%", asideMark+"%", asideMost)
		})
		return b.err
	})
}
