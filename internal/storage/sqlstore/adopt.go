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
		for more := true; more; {
			some, err := s.foreignRows(inside, tx, t)
			if err != nil {
				return err
			}
			more = len(some) == s.dialect.atOnce()
			b := s.batch(inside, ctx, tx, t)
			for _, id := range s.takeRowsIn(&b, some) {
				if len(ids) <= idsNamed && s.tells() {
					ids = append(ids, id)
				}
			}
			if b.err != nil {
				return b.err
			}
		}
		return s.noteForeign(inside, tx, t.provider, ids)
	})
}

// foreignRows reads some rows of other programs.
func (s *Store) foreignRows(ctx context.Context, tx *sql.Tx, t tables) ([]foreignRow, error) {
	rows, err := tx.QueryContext(ctx, t.sql(`select k.api_key, k.created_at, k.expires_at, k.failed_until, k.disabled_until, k.rests_until,
		s.last_used, s.last_success, s.last_failure
		from {p}keys k left join {p}key_stats s on s.api_key = k.api_key where k.key_id is null limit ?`), s.dialect.atOnce())
	if err != nil {
		return nil, err
	}
	return collect(rows, (*foreignRow).into)
}

// takeRowsIn makes rows of other programs like our own and tells whose they are.
func (s *Store) takeRowsIn(b *batch, rows []foreignRow) []gateway.KeyID {
	ids := make([]gateway.KeyID, len(rows))
	stored := make([]string, len(rows)) // as they are to be stored
	for i := range rows {
		key, err := s.seal.plain(b.t.provider, rows[i].stored)
		if err != nil {
			b.err = s.unreadable(b.t, gateway.Clip(rows[i].stored, 24), err)
			return nil
		}
		ids[i], stored[i] = gateway.IDOfKey(key), s.seal.stored(b.t.provider, key)
		if rows[i].created.IsZero() {
			rows[i].created.Time = b.now
		}
	}
	there := b.stored(ids)
	var take, double []int
	for i := range rows {
		if there[ids[i]] { // the same key, stored in another form
			double = append(double, i)
			continue
		}
		there[ids[i]] = true
		take = append(take, i)
	}
	for _, text := range []string{
		"with d (stored) as ({rows text}) delete from {p}key_stats where api_key in (select stored from d)",
		"with d (stored) as ({rows text}) delete from {p}keys where api_key in (select stored from d)",
	} {
		b.runRows(text, len(double), func(args []any, i int) []any { return append(args, rows[double[i]].stored) })
	}
	var from, to []string
	for _, i := range take {
		if rows[i].stored != stored[i] {
			from, to = append(from, rows[i].stored), append(to, stored[i])
		}
	}
	b.rename(from, to)
	b.runRows(`with d (stored, used, ok, bad) as ({rows text, timestamptz, timestamptz, timestamptz})
		update {p}key_stats as s set last_used = d.used, last_success = d.ok, last_failure = d.bad from d where s.api_key = d.stored`,
		len(take), func(args []any, i int) []any {
			r := &rows[take[i]]
			return append(args, stored[take[i]], at(r.lastUsed.Time), at(r.lastSuccess.Time), at(r.lastFailure.Time))
		})
	b.runRows(`with d (stored, id, created, expires, failed, disabled, rests) as ({rows text, text, timestamptz, timestamptz, timestamptz, timestamptz, timestamptz})
		update {p}keys as k set key_id = d.id, created_at = d.created, expires_at = d.expires, failed_until = d.failed, disabled_until = d.disabled,
			rests_until = d.rests from d where k.api_key = d.stored`,
		len(take), func(args []any, i int) []any {
			r := &rows[take[i]]
			return append(args, stored[take[i]], string(ids[take[i]]), at(r.created.Time), at(r.expires.Time), at(r.failed.Time), at(r.disabled.Time), at(r.rests.Time))
		})
	return ids
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
