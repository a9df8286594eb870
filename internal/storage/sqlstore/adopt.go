package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"ollama-api-pool/internal/gateway"
)

// foreignRow is a key that another program has inserted: it has no key_id, its
// times may be in any form, and in an encrypted store it is plain.
type foreignRow struct {
	stored                                    string
	created, expires, failed, disabled, rests when
	lastUsed, lastSuccess, lastFailure        when // of its statistics
}

func (r *foreignRow) into() []any {
	return []any{&r.stored, &r.created, &r.expires, &r.failed, &r.disabled, &r.rests, &r.lastUsed, &r.lastSuccess, &r.lastFailure}
}

// adopt makes rows of other programs, and those of a database that is opened
// for the first time, like our own.
func (s *Store) adopt(ctx context.Context, t tables) error {
	if !s.opened.Load() {
		return errNotOpen
	}
	return s.takeIn(ctx, t)
}

// takeIn is adopt while the store is being opened.
func (s *Store) takeIn(ctx context.Context, t tables) error {
	err := againTx(ctx, s.dialect, s.reader, readOnly, func(ctx context.Context, tx *sql.Tx) error {
		var one int
		return tx.QueryRowContext(ctx, t.sql("select 1 from {p}keys where key_id is null limit 1")).Scan(&one)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return againTx(ctx, s.dialect, s.writer, nil, func(inside context.Context, tx *sql.Tx) error {
		if err := s.checkSeal(inside, tx); err != nil {
			return err
		}
		if err := s.dialect.deferKeys(inside, tx); err != nil {
			return err
		}
		var ids []gateway.KeyID // of those that were taken in, no more than are named
		for {
			if err := ctx.Err(); err != nil {
				return err
			}
			rows, err := tx.QueryContext(inside, t.sql(`select k.api_key, k.created_at, k.expires_at, k.failed_until, k.disabled_until, k.rests_until,
				s.last_used, s.last_success, s.last_failure
				from {p}keys k left join {p}key_stats s on s.api_key = k.api_key where k.key_id is null limit ?`), rewriteBatch)
			if err != nil {
				return err
			}
			batch, err := collect(rows, (*foreignRow).into)
			if err != nil {
				return err
			}
			if len(batch) == 0 {
				return s.noteKeys(inside, tx, t.provider, ids)
			}
			for i := range batch {
				id, err := s.adoptRow(inside, tx, t, &batch[i])
				if err != nil {
					return err
				}
				if len(ids) <= idsNamed && s.tells() {
					ids = append(ids, id)
				}
			}
		}
	})
}

func (s *Store) adoptRow(ctx context.Context, tx *sql.Tx, t tables, r *foreignRow) (gateway.KeyID, error) {
	key, err := s.seal.plain(t.provider, r.stored)
	if err != nil {
		return "", s.unreadable(t, gateway.Clip(r.stored, 24), err)
	}
	id := gateway.IDOfKey(key)
	var one int
	err = tx.QueryRowContext(ctx, t.sql("select 1 from {p}keys where key_id = ?"), id).Scan(&one)
	switch {
	case err == nil: // the same key, stored in another form
		_, err := execAll(ctx, tx, t, []any{r.stored}, "delete from {p}key_stats where api_key = ?", "delete from {p}keys where api_key = ?")
		return id, err
	case !errors.Is(err, sql.ErrNoRows):
		return id, err
	}
	stored := s.seal.stored(t.provider, key)
	if stored != r.stored {
		if err := rename(ctx, tx, t, r.stored, stored); err != nil {
			return id, err
		}
	}
	if r.created.IsZero() {
		r.created.Time = s.now()
	}
	_, err = tx.ExecContext(ctx, t.sql("update {p}key_stats set last_used = ?, last_success = ?, last_failure = ? where api_key = ?"),
		at(r.lastUsed.Time), at(r.lastSuccess.Time), at(r.lastFailure.Time), stored)
	if err != nil {
		return id, err
	}
	_, err = tx.ExecContext(ctx, t.sql(`update {p}keys set key_id = ?, created_at = ?, expires_at = ?, failed_until = ?, disabled_until = ?, rests_until = ?
		where api_key = ?`), id, at(r.created.Time), at(r.expires.Time), at(r.failed.Time), at(r.disabled.Time), at(r.rests.Time), stored)
	return id, err
}

// Adopt takes rows in that other programs have inserted. EachKey and others do
// so first, too; where there is nothing it costs one look for each provider.
func (s *Store) Adopt(ctx context.Context) error {
	for _, p := range gateway.Providers() {
		if err := s.adopt(ctx, tables{p}); err != nil {
			return s.dialect.fault("take rows of other programs in", err)
		}
	}
	return nil
}
