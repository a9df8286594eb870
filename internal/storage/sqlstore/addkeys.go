package sqlstore

import (
	"context"
	"database/sql"
	"iter"

	"ollama-api-pool/internal/gateway"
)

// AddKeys adds keys in one transaction: all of them, or none when the sequence
// yields an error, when ctx ends or when anything else goes wrong. A key that
// is there already, or came before in the sequence, counts as existing and
// stays as it is. added is called for each new key, before it is certain that
// the call succeeds. Zero creation times become now; counts are not stored.
//
// Other writes wait until the sequence ends, so it should not wait for a
// network. It and added must not call the Store.
func (s *Store) AddKeys(ctx context.Context, p gateway.ProviderName, keys iter.Seq2[gateway.Key, error], added func(gateway.Key)) (news, existing int, err error) {
	t, err := tablesOf(p)
	if err != nil {
		return 0, 0, err
	}
	a := adding{s: s, until: ctx, t: t, added: added}
	err = s.writeOnce(ctx, "add keys to the store", func(inside context.Context, tx *sql.Tx) error {
		if err := s.checkSeal(inside, tx); err != nil {
			return err
		}
		a.ctx, a.tx, a.load = inside, tx, bulkLoad{s: s, ctx: inside, tx: tx, t: t}
		if err := a.all(keys); err != nil {
			return err
		}
		if err := a.load.end(ctx); err != nil {
			return err
		}
		return s.noteKeys(inside, tx, p, a.ids)
	})
	if a.news >= s.bulk {
		_ = s.dialect.growCache(context.WithoutCancel(ctx), s.writer, writerCache) // harmless where it stays
	}
	if err != nil {
		return 0, 0, err
	}
	return a.news, a.existing, nil
}

// adding is an AddKeys that is under way.
type adding struct {
	s     *Store
	ctx   context.Context // of the transaction
	until context.Context // the caller's
	tx    *sql.Tx
	t     tables
	load  bulkLoad
	one   *sql.Stmt // adds one key
	added func(gateway.Key)

	news, existing int
	ids            []gateway.KeyID // of the new ones, no more than are named
}

// addAtOnce is how many keys one statement adds where the database is far away.
const addAtOnce = 2000

// all adds the keys of a sequence, one by one or many at a time.
func (a *adding) all(keys iter.Seq2[gateway.Key, error]) error {
	_, _, types := splitRows(insertKeys)
	_, many := a.s.dialect.rows(types, 1)
	var waiting []gateway.Key
	now := a.s.now()
	for k, err := range keys {
		if err != nil {
			return err
		}
		if err := a.until.Err(); err != nil {
			return err
		}
		if wrong := gateway.CheckKey(k.Secret.Reveal()); wrong != "" {
			return gateway.Errorf(gateway.KindInvalid, "%s", wrong)
		}
		if k.CreatedAt.IsZero() {
			k.CreatedAt = now
		}
		if !many {
			err = a.insert(&k)
		} else if waiting = append(waiting, k); len(waiting) == addAtOnce {
			err = a.insertMany(waiting)
			waiting = waiting[:0]
		}
		if err != nil {
			return err
		}
	}
	if len(waiting) == 0 {
		return nil
	}
	return a.insertMany(waiting)
}

const (
	insertColumns = `insert into {p}keys (api_key, key_id, username, category, created_at, expires_at,
		status, disabled_reason, failed_until, disabled_until, rests_until, consecutive_failures, rest_step, last_error) `
	insertKey  = insertColumns + `values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict do nothing`
	insertKeys = insertColumns + `{rows text, text, text, text, timestamptz, timestamptz,
		text, text, timestamptz, timestamptz, timestamptz, bigint, bigint, text} on conflict do nothing returning key_id`
)

// appendValues appends what insertKey and insertKeys ask for.
func (a *adding) appendValues(args []any, k *gateway.Key) []any {
	st := &k.State
	return append(args,
		a.s.seal.stored(a.t.provider, k.Secret), string(gateway.IDOfKey(k.Secret)), clean(k.Username), clean(k.Category), at(k.CreatedAt), at(k.ExpiresAt),
		string(st.StatusAt(a.s.now(), k.ExpiresAt)), string(st.Disabled), at(st.FailedUntil), at(st.DisabledUntil), at(st.RestsUntil),
		st.ConsecutiveFailures, st.RestStep, clean(st.LastError))
}

// insert adds one key.
func (a *adding) insert(k *gateway.Key) (err error) {
	if a.one == nil { // the transaction's end closes it
		if a.one, err = a.tx.PrepareContext(a.ctx, a.t.sql(insertKey)); err != nil {
			return err
		}
	}
	res, err := a.one.ExecContext(a.ctx, a.appendValues(nil, k)...)
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err != nil {
		return err
	}
	return a.count(k, n > 0)
}

// insertMany adds keys, of which one may come several times.
func (a *adding) insertMany(keys []gateway.Key) error {
	b := a.s.batch(a.ctx, a.until, a.tx, a.t)
	news := make(map[gateway.KeyID]bool, len(keys))
	b.queryRows(insertKeys, len(keys), func(args []any, i int) []any { return a.appendValues(args, &keys[i]) },
		func(id gateway.KeyID) { news[id] = true })
	if b.err != nil {
		return b.err
	}
	for i := range keys {
		id := gateway.IDOfKey(keys[i].Secret)
		isNew := news[id]
		delete(news, id)
		if err := a.count(&keys[i], isNew); err != nil {
			return err
		}
	}
	return nil
}

// count counts a key and tells of it where it is new.
func (a *adding) count(k *gateway.Key, isNew bool) error {
	if !isNew {
		a.existing++
		return nil
	}
	a.news++
	if len(a.ids) <= idsNamed && a.s.tells() {
		a.ids = append(a.ids, gateway.IDOfKey(k.Secret))
	}
	if a.news == a.s.bulk {
		if err := a.load.begin(a.news); err != nil {
			return err
		}
	}
	if a.added != nil {
		a.added(*k)
	}
	return nil
}
