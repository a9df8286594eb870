package sqlstore

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"

	"ollama-api-pool/internal/gateway"
)

// defaultFold is about how many keys are added up in one transaction, so that
// other writes need not wait for all of them.
const defaultFold = 500

// foldRows is how many rows of the journal are asked for at once: of a database
// that is far away all of them come, whether they are needed or not.
const foldRows = 200

// Fold adds what is in the journals to the keys' statistics, in several short
// transactions. It is called now and then while there is traffic; it does
// nothing when there is nothing, or when it runs already.
func (s *Store) Fold(ctx context.Context) error {
	if !s.journalled.Swap(false) {
		return nil
	}
	for _, p := range gateway.Providers() {
		if err := s.foldProvider(ctx, tables{p}); err != nil {
			s.journalled.Store(true)
			return err
		}
	}
	return nil
}

// foldProvider folds what the journal holds now; what comes meanwhile is left
// for the next time.
func (s *Store) foldProvider(ctx context.Context, t tables) error {
	var last int64
	err := s.read(ctx, "look into the journal of key counts", func(inside context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(inside, t.sql("select coalesce(max(id), 0) from {p}key_journal")).Scan(&last)
	})
	for more := last > 0; more && err == nil; {
		more, err = s.foldSome(ctx, t, last)
	}
	return err
}

// errFolded says that somebody else has folded the same rows.
var errFolded = errors.New("the journal was folded by another process")

// foldSome folds rows of the journal up to one, and tells whether there are more.
func (s *Store) foldSome(ctx context.Context, t tables, last int64) (more bool, err error) {
	err = s.write(ctx, "add up the counts of keys", func(inside context.Context, tx *sql.Tx) error {
		sums := newKeySums(0)
		taken, all, err := s.takeRows(inside, tx, t, last, sums)
		if err != nil || len(taken) == 0 {
			return err
		}
		more = !all
		b := s.batch(inside, ctx, tx, t)
		b.addSums(sums)
		gone := int64(0)
		b.counted("delete from {p}key_journal where id = ?", func(exec func(args ...any) func() int64) {
			deleted := make([]func() int64, len(taken))
			for i, id := range taken {
				deleted[i] = exec(id)
			}
			for _, n := range deleted {
				gone += n()
			}
		})
		if b.err == nil && gone != int64(len(taken)) {
			return errFolded
		}
		return b.err
	})
	if errors.Is(err, errFolded) {
		s.journalled.Store(true) // the next fold looks what is left
		return false, nil
	}
	return more, err
}

// takeRows adds up rows of the journal until there are enough keys, and returns
// their numbers, and whether those were all.
func (s *Store) takeRows(ctx context.Context, tx *sql.Tx, t tables, last int64, sums *keySums) (taken []int64, all bool, err error) {
	rows, err := tx.QueryContext(ctx, t.sql("select id, counts from {p}key_journal where id <= ? order by part, id limit ?"), last, foldRows)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = rows.Close() }()
	var id int64
	var text string
	for rows.Next() {
		if len(sums.of) >= s.fold {
			return taken, false, rows.Close()
		}
		if err := rows.Scan(&id, &text); err != nil {
			return nil, false, err
		}
		if err := sums.read(text); err != nil {
			return nil, false, err
		}
		taken = append(taken, id)
	}
	return taken, len(taken) < foldRows, rows.Err()
}

// strike takes out of the journal what it holds of keys.
func (b *batch) strike(ids []gateway.KeyID) {
	if b.err != nil {
		return
	}
	gone := sumsOf(0, ids...)
	type row struct {
		id   int64
		text string
	}
	text, args := gone.journalled("select id, counts from {p}key_journal")
	rows, err := b.tx.QueryContext(b.ctx, b.t.sql(text), args...)
	if err != nil {
		b.err = err
		return
	}
	all, err := collect(rows, func(r *row) []any { return []any{&r.id, &r.text} })
	if err != nil {
		b.err = err
		return
	}
	b.run("update {p}key_journal set counts = ? where id = ?", func(exec func(args ...any)) {
		var left, buffer []byte
		for _, r := range all {
			found := false
			left = left[:0]
			buffer, err = eachEntry(r.text, buffer, func(kind byte, id rawID, r *rowReader) {
				from := r.rest
				if r.pass(kind); gone.of[id] != nil {
					found = true
					return
				}
				left = append(appendID(left, kind, id), from[:len(from)-len(r.rest)]...)
			})
			if err == nil && found { // what is damaged must not keep anybody from deleting keys
				exec(journalForm+base64.RawStdEncoding.EncodeToString(left), r.id)
			}
		}
	})
}
