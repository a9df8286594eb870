package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"hash/maphash"
	"strconv"
	"time"

	"ollama-api-pool/internal/gateway"
)

// A mirror is a local store that holds what an instance needs to start from
// while the database is out of reach: keys with their states and versions, which
// models they may not use, client tokens with their limits. It has no counts.

// Names in pool_meta of a store that is a mirror.
const (
	metaMirrorOf = "mirror_of" // the fingerprint of the database's address
	metaMirrorID = "mirror_id" // its StoreID
	metaMirrored = "mirrored"  // when all of it had been compared the last time, in seconds since 1970
)

// defaultMirror is how many keys are compared at a time.
const defaultMirror = 5_000

// MirrorOf tells of which database this store has the mirror, by the fingerprint
// of its address, and when all of it was compared the last time: the zero time
// means never, so that keys may be missing.
func (s *Store) MirrorOf(ctx context.Context) (fingerprint string, compared time.Time, err error) {
	err = s.read(ctx, "look what the local store mirrors", func(ctx context.Context, tx *sql.Tx) error {
		if fingerprint, err = meta(ctx, tx, metaMirrorOf); err != nil {
			return err
		}
		text, err := meta(ctx, tx, metaMirrored)
		if err != nil || text == "" {
			return err
		}
		seconds, err := strconv.ParseInt(text, 10, 64)
		compared = time.Unix(seconds, 0).UTC()
		return err
	})
	return fingerprint, compared, err
}

// BelongTo makes this store the local one of a database. If it was that of
// another, what it mirrored is deleted; batches that wait for the other one stay
// and are not shown any more, see Spooled. Mirror does the same first.
func (s *Store) BelongTo(ctx context.Context, from *Store) error {
	id, err := from.StoreID(ctx)
	if err != nil {
		return err
	}
	of := from.Fingerprint()
	var hasOf, hasID string
	err = s.read(ctx, "look what the local store mirrors", func(ctx context.Context, tx *sql.Tx) error {
		if hasOf, err = meta(ctx, tx, metaMirrorOf); err != nil {
			return err
		}
		hasID, err = meta(ctx, tx, metaMirrorID)
		return err
	})
	if err != nil || hasOf == of && hasID == id {
		return err
	}
	return s.write(ctx, "prepare the local store for another database", func(ctx context.Context, tx *sql.Tx) error {
		if hasID != id {
			if err := emptyMirror(ctx, tx); err != nil {
				return err
			}
			if hasID == "" { // what waited when no database was known waits for this one
				if _, err := tx.ExecContext(ctx, "update pool_spool set store = ? where store = ''", id); err != nil {
					return err
				}
			}
		}
		return errors.Join(setMeta(ctx, tx, metaMirrorOf, of), setMeta(ctx, tx, metaMirrorID, id))
	})
}

// emptyMirror deletes what Mirror writes.
func emptyMirror(ctx context.Context, tx *sql.Tx) error {
	for _, p := range gateway.Providers() {
		if _, err := execAll(ctx, tx, tables{p}, nil, "delete from {p}key_stats", "delete from {p}key_refusals", "delete from {p}keys", "delete from {p}client_tokens"); err != nil {
			return err
		}
	}
	return setMeta(ctx, tx, metaMirrored, "")
}

// Mirror makes keys, their states and refusals and the client tokens of this
// store those of another, by writing down the differences, and tells how many
// there were. It reads from in short transactions, some thousand keys each, and
// writes each stretch of keys that differs in one of its own. So a Mirror that
// is cut off leaves the store with some stretches as they are now and others as
// they were, each key whole; the next one goes over all of them again. Rows that
// other programs have put into from and that nobody has taken in yet are left
// out. Tokens that from holds as they are become their hashes.
func (s *Store) Mirror(ctx context.Context, from *Store) (changed int, err error) {
	if err := s.BelongTo(ctx, from); err != nil {
		return 0, err
	}
	for _, p := range gateway.Providers() {
		m := mirroring{to: s, from: from, t: tables{p}}
		for _, step := range []func(context.Context) (int, error){m.keys, m.refusals, m.tokens} {
			n, err := step(ctx)
			changed += n
			if err != nil {
				return changed, err
			}
		}
	}
	return changed, s.write(ctx, "note that the mirror is complete", func(ctx context.Context, tx *sql.Tx) error {
		return setMeta(ctx, tx, metaMirrored, strconv.FormatInt(s.now().Unix(), 10))
	})
}

// mirroring is a Mirror of one provider's tables.
type mirroring struct {
	to, from *Store
	t        tables
}

// glance is what tells whether a key is as it was: the version of its state, and
// a number of what else may change.
type glance struct {
	version int64
	rest    uint64
}

// mirrorSeed is of the numbers in glances.
var mirrorSeed = maphash.MakeSeed()

// keys compares keys in the order of their ids.
func (m *mirroring) keys(ctx context.Context) (changed int, err error) {
	for last := ""; ; {
		if err := ctx.Err(); err != nil {
			return changed, err
		}
		theirs, end, err := m.look(ctx, m.from, " limit "+strconv.Itoa(m.to.stretch), last)
		if err != nil {
			return changed, err
		}
		bounds := []any{last}
		if len(theirs) < m.to.stretch {
			end = "" // these were the last ones
		} else {
			bounds = append(bounds, end)
		}
		ours, _, err := m.look(ctx, m.to, "", bounds...)
		if err != nil {
			return changed, err
		}
		n, err := m.stretch(ctx, theirs, ours)
		if changed += n; err != nil || end == "" {
			return changed, err
		}
		last = end
	}
}

// look glances at the keys of a store that come after an id, up to another one
// or as many as the text's end says, and tells the last of them.
func (m *mirroring) look(ctx context.Context, s *Store, limit string, bounds ...any) (found map[gateway.KeyID]glance, end string, err error) {
	text := "select key_id, state_version, coalesce(username, ''), coalesce(category, ''), expires_at from {p}keys where key_id > ?"
	if len(bounds) > 1 {
		text += " and key_id <= ?"
	}
	err = s.read(ctx, "compare the keys of a mirror", func(ctx context.Context, tx *sql.Tx) error {
		found, end = make(map[gateway.KeyID]glance, m.to.stretch), ""
		rows, err := tx.QueryContext(ctx, m.t.sql(text+" order by key_id"+limit), bounds...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		var username, category sql.RawBytes
		var expires when
		var g glance
		into := []any{&end, &g.version, &username, &category, &expires}
		var sum maphash.Hash
		sum.SetSeed(mirrorSeed)
		for rows.Next() {
			if err := rows.Scan(into...); err != nil {
				return err
			}
			sum.Reset()
			_, _ = sum.Write(username)
			_ = sum.WriteByte(0)
			_, _ = sum.Write(category)
			_ = sum.WriteByte(0)
			maphash.WriteComparable(&sum, expires.UnixMicro())
			g.rest = sum.Sum64()
			found[gateway.KeyID(end)] = g
		}
		return rows.Err()
	})
	return found, end, err
}

// stretch writes down how some keys differ.
func (m *mirroring) stretch(ctx context.Context, theirs, ours map[gateway.KeyID]glance) (changed int, err error) {
	var differ, remove []gateway.KeyID
	for id, g := range theirs {
		has, there := ours[id]
		if there && has == g {
			continue
		}
		if differ = append(differ, id); there {
			remove = append(remove, id) // before it is written anew
		}
	}
	for id := range ours {
		if _, there := theirs[id]; !there {
			changed++
			remove = append(remove, id)
		}
	}
	changed += len(differ)
	if changed == 0 {
		return 0, nil
	}
	rows, err := m.read(ctx, differ)
	if err != nil {
		return 0, err
	}
	err = m.to.write(ctx, "write keys to a mirror", func(inside context.Context, tx *sql.Tx) error {
		if err := m.to.checkSeal(inside, tx); err != nil {
			return err
		}
		b := m.to.batch(inside, ctx, tx, m.t)
		b.byIDs("delete from {p}keys where key_id in {ids}", remove)
		b.run(insertMirrored, func(exec func(args ...any)) {
			for i := range rows {
				exec(rows[i]...)
			}
		})
		return b.err
	})
	if err != nil {
		return 0, err
	}
	return changed, nil
}

const insertMirrored = `insert into {p}keys (api_key, key_id, username, category, created_at, expires_at,
	status, disabled_reason, failed_until, disabled_until, rests_until,
	consecutive_failures, rest_step, last_error, state_version, forced_version)
	values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

// read reads keys of the other store, each as the values for insertMirrored.
func (m *mirroring) read(ctx context.Context, ids []gateway.KeyID) (values [][]any, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	sealed := m.from.seal.markOf() == m.to.seal.markOf() // in the same way: no key is decrypted
	err = m.from.read(ctx, "read keys for a mirror", func(inside context.Context, tx *sql.Tx) error {
		if err := m.from.checkSeal(inside, tx); err != nil {
			return err
		}
		values = make([][]any, 0, len(ids))
		return m.from.readKeys(inside, ctx, tx, m.t, keyColumns+", coalesce(k.status, ''), k.forced_version", "{p}keys k", ids, func(rows *sql.Rows) error {
			var r keyRow
			var status string
			var forced int64
			into := append(r.into(), &status, &forced)
			for rows.Next() {
				if err := rows.Scan(into...); err != nil {
					return err
				}
				if !sealed {
					key, err := m.from.seal.plain(m.t.provider, r.stored)
					if err != nil {
						return m.from.unreadable(m.t, r.id.String, err)
					}
					r.stored = m.to.seal.stored(m.t.provider, key)
				}
				values = append(values, []any{
					r.stored, r.id.String, r.username, r.category, at(r.created.Time), at(r.expires.Time),
					status, string(r.reason), at(r.failed.Time), at(r.disabled.Time), at(r.rests.Time),
					r.failures, r.restStep, r.lastError, r.version, forced,
				})
			}
			return nil
		})
	})
	return values, err
}
