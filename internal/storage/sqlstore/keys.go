package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"

	"ollama-api-pool/internal/gateway"
)

// keyColumns are what a gateway.Key is made of, from {p}keys as k. Rows of
// other programs may say disabled in their status alone: with a time they were
// disabled by failures, without one by hand.
const keyColumns = `k.api_key, k.key_id, coalesce(k.username, ''), coalesce(k.category, ''), k.created_at, k.expires_at,
	` + disabledReason + `,
	k.failed_until, k.disabled_until, k.rests_until,
	coalesce(k.consecutive_failures, 0), coalesce(k.rest_step, 0), coalesce(k.last_error, ''), k.state_version`

// disabledReason is who disabled a key, "" for one that is not, for {p}keys as k.
const disabledReason = `case when k.disabled_reason <> '' then k.disabled_reason
		when k.status <> 'disabled' or k.status is null then ''
		when k.disabled_until is null then 'manual' else 'auto' end`

// countColumns are a key's counts, from {p}key_stats as s, all NULL where a
// left join found none.
const countColumns = `coalesce(s.total_requests, 0), coalesce(s.success_count, 0), coalesce(s.failure_count, 0),
	s.last_used, s.last_success, s.last_failure`

// keyRow reads keyColumns.
type keyRow struct {
	stored, username, category, lastError     string
	id                                        sql.NullString
	reason                                    gateway.DisabledReason
	created, expires, failed, disabled, rests when
	failures, restStep                        int
	version                                   int64
}

func (r *keyRow) into() []any {
	return []any{
		&r.stored, &r.id, &r.username, &r.category, &r.created, &r.expires,
		(*string)(&r.reason), &r.failed, &r.disabled, &r.rests,
		&r.failures, &r.restStep, &r.lastError, &r.version,
	}
}

// state is what the row says of the key's state.
func (r *keyRow) state() gateway.KeyState {
	return gateway.KeyState{
		FailedUntil: r.failed.Time, DisabledUntil: r.disabled.Time, RestsUntil: r.rests.Time,
		Disabled: r.reason, ConsecutiveFailures: r.failures, RestStep: r.restStep, LastError: r.lastError,
	}
}

// countRow reads countColumns.
type countRow struct {
	total, success, failure            int64
	lastUsed, lastSuccess, lastFailure when
}

func (r *countRow) into() []any {
	return []any{&r.total, &r.success, &r.failure, &r.lastUsed, &r.lastSuccess, &r.lastFailure}
}

func (r *countRow) counts() gateway.KeyCounts {
	return gateway.KeyCounts{
		Total: r.total, Success: r.success, Failure: r.failure,
		LastUsed: r.lastUsed.Time, LastSuccess: r.lastSuccess.Time, LastFailure: r.lastFailure.Time,
	}
}

// key makes the key of a row.
func (s *Store) key(t tables, r *keyRow, counts gateway.KeyCounts) (gateway.Key, error) {
	secret, err := s.seal.plain(t.provider, r.stored)
	if err != nil {
		name := r.id.String
		if !r.id.Valid {
			name = gateway.Clip(r.stored, 24)
		}
		return gateway.Key{}, s.unreadable(t, name, err)
	}
	return gateway.Key{
		Secret: secret, Username: r.username, Category: r.category,
		CreatedAt: r.created.Time, ExpiresAt: r.expires.Time,
		State: r.state(), Version: r.version, Counts: counts,
	}, nil
}

// EachKey calls visit for every key of a provider, in no particular order, and
// stops at its first error. Rows that another program has inserted are taken
// in first. visit must not call the Store.
func (s *Store) EachKey(ctx context.Context, p gateway.ProviderName, visit func(gateway.Key) error) error {
	const did = "load the keys from the store"
	t, err := tablesOf(p)
	if err != nil {
		return err
	}
	if err := s.adopt(ctx, t); err != nil {
		return s.dialect.fault(did, err)
	}
	return s.read(ctx, did, func(inside context.Context, tx *sql.Tx) error {
		if err := s.checkSeal(inside, tx); err != nil {
			return err
		}
		// Reading one table after the other, each in its own order, takes half
		// the time of a join, which looks up every row of the second.
		counts, err := loadCounts(inside, tx, t)
		if err != nil {
			return err
		}
		journalled := newKeySums(entryCounts)
		if err := readJournal(inside, ctx, tx, t, journalled); err != nil {
			return err
		}
		rows, err := tx.QueryContext(inside, t.sql("select "+keyColumns+" from {p}keys k"))
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		var r keyRow
		into := r.into()
		for rows.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := rows.Scan(into...); err != nil {
				return err
			}
			all, more := counts[r.stored], journalled.get(gateway.KeyID(r.id.String))
			addCounts(&all, &more.counts)
			k, err := s.key(t, &r, all)
			if err != nil {
				return err
			}
			if err := visit(k); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

// loadCounts reads the statistics of all keys, by stored key.
func loadCounts(ctx context.Context, tx *sql.Tx, t tables) (map[string]gateway.KeyCounts, error) {
	rows, err := tx.QueryContext(ctx, t.sql("select s.api_key, "+countColumns+" from {p}key_stats s"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	counts := map[string]gateway.KeyCounts{}
	var stored string
	var r countRow
	into := append([]any{&stored}, r.into()...)
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		counts[stored] = r.counts()
	}
	return counts, rows.Err()
}

// DeleteKeys deletes keys with all that is known about them, in one
// transaction, and returns those that were there.
func (s *Store) DeleteKeys(ctx context.Context, p gateway.ProviderName, ids []gateway.KeyID) ([]gateway.KeyID, error) {
	t, err := tablesOf(p)
	if err != nil {
		return nil, err
	}
	there := map[gateway.KeyID]bool{}
	err = s.write(ctx, "delete keys from the store", func(inside context.Context, tx *sql.Tx) error {
		b := s.batch(inside, ctx, tx, t)
		for _, text := range []string{
			"delete from {p}key_stats where api_key in (select api_key from {p}keys where key_id in {ids})", // tables from elsewhere may lack the cascade
			"delete from {p}key_refusals where key_id in {ids}",
			"delete from {p}key_events where key_id in {ids}",
			"delete from {p}key_hourly where key_id in {ids}",
			"delete from {p}tally_ever where subject = 'key' and name in {ids}",
		} {
			b.byIDs(text, ids)
		}
		b.strike(ids)
		clear(there)
		b.returning("delete from {p}keys where key_id in {ids} returning key_id", ids, func(id gateway.KeyID) { there[id] = true })
		if b.err != nil {
			return b.err
		}
		return s.noteKeys(inside, tx, p, slices.Collect(maps.Keys(there)))
	})
	if err != nil {
		return nil, err
	}
	var deleted []gateway.KeyID
	for _, id := range ids {
		if there[id] {
			deleted = append(deleted, id)
			delete(there, id)
		}
	}
	return deleted, nil
}

// EnableKeys clears every mark of keys, and which models they may not use, in
// one transaction with what is to be noted of it. Keys that are not there are
// skipped.
func (s *Store) EnableKeys(ctx context.Context, p gateway.ProviderName, ids []gateway.KeyID, notes ...gateway.KeyEvent) error {
	t, err := tablesOf(p)
	if err != nil {
		return err
	}
	cleared := make([]gateway.StateChange, len(ids))
	for i, id := range ids {
		cleared[i] = gateway.StateChange{Key: id, Forced: true}
	}
	return s.write(ctx, "enable keys in the store", func(inside context.Context, tx *sql.Tx) error {
		b := s.batch(inside, ctx, tx, t)
		w := b.states(cleared, "")
		b.byIDs("delete from {p}key_refusals where key_id in {ids}", ids)
		b.events(notes)
		if b.err != nil {
			return b.err
		}
		return s.noteKeys(inside, tx, p, w.changed)
	})
}

// execAll runs statements with the same arguments and tells how many rows the
// last one changed.
func execAll(ctx context.Context, tx *sql.Tx, t tables, args []any, texts ...string) (n int64, err error) {
	for _, text := range texts {
		res, err := tx.ExecContext(ctx, t.sql(text), args...)
		if err != nil {
			return 0, err
		}
		if n, err = res.RowsAffected(); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// Key returns one key with its exact counts, and whether it is there.
func (s *Store) Key(ctx context.Context, p gateway.ProviderName, id gateway.KeyID) (k gateway.Key, found bool, err error) {
	t, err := tablesOf(p)
	if err != nil {
		return gateway.Key{}, false, err
	}
	err = s.read(ctx, "read a key from the store", func(inside context.Context, tx *sql.Tx) error {
		var r keyRow
		var c countRow
		err := tx.QueryRowContext(inside, t.sql("select "+keyColumns+", "+countColumns+
			" from {p}keys k left join {p}key_stats s on s.api_key = k.api_key where k.key_id = ?"), id).Scan(append(r.into(), c.into()...)...)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		journalled := sumsOf(entryCounts, id)
		if err := readJournal(inside, ctx, tx, t, journalled); err != nil {
			return err
		}
		counts, more := c.counts(), journalled.get(id)
		addCounts(&counts, &more.counts)
		k, err = s.key(t, &r, counts)
		found = err == nil
		return err
	})
	return k, found, err
}

// SetCategory notes the model family of a key. Nothing happens when the key is
// not there.
func (s *Store) SetCategory(ctx context.Context, p gateway.ProviderName, id gateway.KeyID, category string) error {
	return s.SetCategories(ctx, p, map[gateway.KeyID]string{id: category})
}

// SetCategories notes the model families of many keys, in one transaction. Keys
// that are not there are skipped.
func (s *Store) SetCategories(ctx context.Context, p gateway.ProviderName, categories map[gateway.KeyID]string) error {
	t, err := tablesOf(p)
	if err != nil {
		return err
	}
	byCategory := map[string][]gateway.KeyID{}
	for id, category := range categories {
		category = clean(category)
		byCategory[category] = append(byCategory[category], id)
	}
	return s.write(ctx, "write categories of keys to the store", func(inside context.Context, tx *sql.Tx) error {
		b := s.batch(inside, ctx, tx, t)
		for category, ids := range byCategory {
			b.byIDs("update {p}keys set category = ? where key_id in {ids}", ids, category)
		}
		return b.err
	})
}

// EachRefusal calls visit for every model that a key may not use and whose
// time is not over. visit must not call the Store.
func (s *Store) EachRefusal(ctx context.Context, p gateway.ProviderName, visit func(gateway.Refusal) error) error {
	t, err := tablesOf(p)
	if err != nil {
		return err
	}
	return s.read(ctx, "load the refusals from the store", func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, t.sql("select key_id, model, until from {p}key_refusals where until > ?"), at(s.now()))
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var r gateway.Refusal
			var until when
			if err := rows.Scan(&r.Key, &r.Model, &until); err != nil {
				return err
			}
			r.Until = until.Time
			if err := visit(r); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}
