package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"strconv"
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Several instances on one database tell each other what they change in a
// journal, pool_changes, to which every write of keys, states and tokens appends
// within its own transaction. Writes follow each other, so its numbers come in
// the order in which they are committed: the last one read is where to go on.
// On an engine that is not shared nothing is appended, see ChangedElsewhere.

const (
	// idsNoted is how many keys one row of the journal names, idsNamed how many
	// a change names at all: of more, all keys are to be compared, which takes
	// less than to ask for each.
	idsNoted = 2_000
	idsNamed = 20_000
	// changesRead is how many rows Changes reads at a time.
	changesRead = 1_000
)

// metaForgotten is the name in pool_meta of the number up to which changes were
// deleted.
const metaForgotten = "changes_forgotten"

// tells reports whether changes are noted for others.
func (s *Store) tells() bool { return s.dialect.shared() || s.telling }

// note appends changes to the journal, at the end of the transaction that made
// them, and wakes the others once it is committed.
func (s *Store) note(ctx context.Context, tx *sql.Tx, changes ...gateway.Change) error {
	if !s.tells() {
		return nil
	}
	if len(changes) == 0 {
		return nil
	}
	now, err := s.dialect.clock(ctx, tx, s.now)
	if err != nil {
		return err
	}
	rows := 0
	insert := func(c *gateway.Change, keys []gateway.KeyID) error {
		rows++
		origin := cmp.Or(c.Origin, s.instance)
		_, err := tx.ExecContext(ctx, "insert into pool_changes (happened_at, origin, kind, provider, keys, detail) values (?, ?, ?, ?, ?, ?)",
			at(now), origin, string(c.Kind), string(c.Provider), joinIDs(keys), clean(c.Detail))
		return err
	}
	for i := range changes {
		c := &changes[i]
		switch {
		case c.Keys == nil || len(c.Keys) > idsNamed:
			if err := insert(c, nil); err != nil {
				return err
			}
		default:
			for some := range slices.Chunk(c.Keys, idsNoted) {
				if err := insert(c, some); err != nil {
					return err
				}
			}
		}
	}
	if rows == 0 {
		return nil
	}
	return s.dialect.wake(ctx, tx)
}

// foreignOrigin stands for other programs, whose changes every instance has to
// follow, also the one that found them.
const foreignOrigin = "another program"

// noteForeign notes that another program brought keys.
func (s *Store) noteForeign(ctx context.Context, tx *sql.Tx, p gateway.ProviderName, ids []gateway.KeyID) error {
	if len(ids) == 0 {
		return nil
	}
	return s.note(ctx, tx, gateway.Change{Origin: foreignOrigin, Kind: gateway.ChangeKeys, Provider: p, Keys: ids})
}

// noteKeys notes that keys came, went or have another state.
func (s *Store) noteKeys(ctx context.Context, tx *sql.Tx, p gateway.ProviderName, ids []gateway.KeyID) error {
	if len(ids) == 0 {
		return nil
	}
	return s.note(ctx, tx, gateway.Change{Kind: gateway.ChangeKeys, Provider: p, Keys: ids})
}

// noteTokens notes that client tokens changed.
func (s *Store) noteTokens(ctx context.Context, tx *sql.Tx) error {
	return s.note(ctx, tx, gateway.Change{Kind: gateway.ChangeTokens})
}

// joinIDs makes one text of ids, "" of none; splitIDs takes it apart.
func joinIDs(ids []gateway.KeyID) string {
	var b strings.Builder
	b.Grow(len(ids) * (gateway.KeyIDLen + 1))
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(clean(string(id)))
	}
	return b.String()
}

func splitIDs(text string) []gateway.KeyID {
	if text == "" {
		return nil
	}
	ids := make([]gateway.KeyID, 0, len(text)/(gateway.KeyIDLen+1)+1)
	for id := range strings.SplitSeq(text, ",") {
		ids = append(ids, gateway.KeyID(id))
	}
	return ids
}

// LastChange is the number of the latest change, to begin following with: what
// is read from the store after it was asked for has all changes up to it.
func (s *Store) LastChange(ctx context.Context) (last int64, err error) {
	err = s.read(ctx, "look how far the changes in the store are", func(ctx context.Context, tx *sql.Tx) error {
		forgotten, newest, err := journalEnds(ctx, tx)
		last = max(forgotten, newest)
		return err
	})
	return last, err
}

// journalEnds gives the number up to which changes were deleted and that of the
// newest one, 0 where there is none.
func journalEnds(ctx context.Context, q querier) (forgotten, newest int64, err error) {
	var text string
	err = q.QueryRowContext(ctx, `select coalesce((select value from pool_meta where name = ?), '0'), coalesce((select max(id) from pool_changes), 0)`,
		metaForgotten).Scan(&text, &newest)
	if err != nil {
		return 0, 0, err
	}
	forgotten, err = strconv.ParseInt(text, 10, 64)
	return forgotten, newest, err
}

// noticeRow is a row of pool_changes.
type noticeRow struct {
	id                                   int64
	origin, kind, provider, keys, detail string
}

func (r *noticeRow) into() []any {
	return []any{&r.id, &r.origin, &r.kind, &r.provider, &r.keys, &r.detail}
}

// Changes returns what other instances did after the change of a number, the
// oldest first, and the number from which to go on. It reads some thousand
// changes at most; whoever was away for long asks until last stays the same.
// whole is false where the journal does not reach back so far, or the database
// is another one, or an older state of it: then anything may have happened.
func (s *Store) Changes(ctx context.Context, after int64) (changes []gateway.Change, last int64, whole bool, err error) {
	if !s.tells() {
		return nil, after, true, nil
	}
	err = s.read(ctx, "read the changes of other instances from the store", func(ctx context.Context, tx *sql.Tx) error {
		changes, last = nil, after
		forgotten, newest, err := journalEnds(ctx, tx)
		if err != nil {
			return err
		}
		newest = max(newest, forgotten)
		if whole = forgotten <= after && after <= newest; !whole {
			last = newest
			return nil
		}
		if after == newest {
			return nil
		}
		rows, err := tx.QueryContext(ctx, "select id, origin, kind, provider, keys, detail from pool_changes where id > ? order by id limit ?", after, changesRead)
		if err != nil {
			return err
		}
		found, err := collect(rows, (*noticeRow).into)
		for i := range found {
			r := &found[i]
			last = r.id
			if r.origin == s.instance {
				continue
			}
			changes = append(changes, gateway.Change{
				Origin: r.origin, Kind: gateway.ChangeKind(r.kind), Provider: gateway.ProviderName(r.provider), Keys: splitIDs(r.keys), Detail: r.detail,
			})
		}
		return err
	})
	if err != nil {
		return nil, after, false, err
	}
	return changes, last, whole, nil
}

// Announce tells other instances of something that is no write of keys or
// tokens. On an engine that is not shared nothing happens.
func (s *Store) Announce(ctx context.Context, c gateway.Change) error {
	if !s.tells() {
		return nil
	}
	return s.write(ctx, "tell other instances of a change", func(ctx context.Context, tx *sql.Tx) error {
		return s.note(ctx, tx, c)
	})
}

// PruneChanges deletes changes that happened before a time, which is meant by the
// clock of this process; they are noted by that of the database. Who has not read
// them until then compares everything.
func (s *Store) PruneChanges(ctx context.Context, before time.Time) error {
	return s.write(ctx, "delete old changes from the store", func(ctx context.Context, tx *sql.Tx) error {
		now, err := s.dialect.clock(ctx, tx, s.now)
		if err != nil {
			return err
		}
		var newest sql.NullInt64 // a clock may be set back: what lies before it goes too
		err = tx.QueryRowContext(ctx, "select max(id) from pool_changes where happened_at < ?", at(before.Add(now.Sub(s.now())))).Scan(&newest)
		if err != nil || !newest.Valid {
			return err
		}
		if _, err := tx.ExecContext(ctx, "delete from pool_changes where id <= ?", newest.Int64); err != nil {
			return err
		}
		return setMeta(ctx, tx, metaForgotten, strconv.FormatInt(newest.Int64, 10))
	})
}
