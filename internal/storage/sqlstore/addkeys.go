package sqlstore

import (
	"context"
	"database/sql"
	"iter"
	"time"

	"ollama-api-pool/internal/gateway"
)

// AddKeys adds keys in one transaction: all of them, or none when the sequence
// yields an error, when ctx ends or when anything else goes wrong. A key that
// is there already, or came before in the sequence, counts as existing and
// stays as it is. added is called for each new key, before it is certain that
// the call succeeds. Zero creation times become now; counts are not stored.
//
// Other writes may have to wait until the sequence ends, so it should not wait
// for a network. It and added must not call the Store.
func (s *Store) AddKeys(ctx context.Context, p gateway.ProviderName, keys iter.Seq2[gateway.Key, error], added func(gateway.Key)) (news, existing int, err error) {
	t, err := tablesOf(p)
	if err != nil {
		return 0, 0, err
	}
	if added == nil {
		added = func(gateway.Key) {}
	}
	const did = "add keys to the store"
	a := adding{s: s, until: ctx, t: t, now: s.now(), added: added}
	if _, many := s.dialect.rows([]string{"text"}, 1); !many {
		err = s.writeOnce(ctx, did, a.oneByOne(keys))
	} else if err = a.gather(keys); err == nil { // whatever the sequence does, nobody waits for it
		err = s.write(ctx, did, a.manyAtOnce)
	}
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
	now   time.Time
	load  bulkLoad
	one   *sql.Stmt // adds one key
	added func(gateway.Key)

	news, existing int
	ids            []gateway.KeyID // of the new ones, no more than are named
	gathered       []gateway.Key
	told           []bool // which of them were told of, so that a second try tells nothing twice
}

// next looks at a key of the sequence.
func (a *adding) next(k *gateway.Key, err error) error {
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
		k.CreatedAt = a.now
	}
	return nil
}

// oneByOne is a transaction that adds each key when it comes.
func (a *adding) oneByOne(keys iter.Seq2[gateway.Key, error]) func(ctx context.Context, tx *sql.Tx) error {
	return func(ctx context.Context, tx *sql.Tx) error {
		if err := a.s.checkSeal(ctx, tx); err != nil {
			return err
		}
		a.ctx, a.tx, a.load = ctx, tx, bulkLoad{s: a.s, ctx: ctx, tx: tx, t: a.t}
		for k, err := range keys {
			if err := a.next(&k, err); err != nil {
				return err
			}
			if err := a.insert(&k); err != nil {
				return err
			}
		}
		if err := a.load.end(a.until); err != nil {
			return err
		}
		return a.s.noteKeys(ctx, tx, a.t.provider, a.ids)
	}
}

// gather takes all keys of the sequence.
func (a *adding) gather(keys iter.Seq2[gateway.Key, error]) error {
	for k, err := range keys {
		if err := a.next(&k, err); err != nil {
			return a.s.dialect.fault("add keys to the store", err)
		}
		a.gathered = append(a.gathered, k)
	}
	a.told = make([]bool, len(a.gathered))
	return nil
}

// manyAtOnce is a transaction that adds the keys that were gathered. It may be
// run again.
func (a *adding) manyAtOnce(ctx context.Context, tx *sql.Tx) error {
	if err := a.s.checkSeal(ctx, tx); err != nil {
		return err
	}
	a.ctx, a.tx = ctx, tx
	a.news, a.existing, a.ids = 0, 0, nil
	for from := 0; from < len(a.gathered); from += a.s.dialect.atOnce() {
		if err := a.insertMany(from, min(from+a.s.dialect.atOnce(), len(a.gathered))); err != nil {
			return err
		}
	}
	return a.s.noteKeys(ctx, tx, a.t.provider, a.ids)
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
	if !a.count(k, n > 0) {
		return nil
	}
	if a.news == a.s.bulk {
		if err := a.load.begin(a.news); err != nil {
			return err
		}
	}
	a.added(*k)
	return nil
}

// insertMany adds some of the keys that were gathered, of which one may come
// several times.
func (a *adding) insertMany(from, to int) error {
	keys := a.gathered[from:to]
	b := a.s.batch(a.ctx, a.until, a.tx, a.t)
	if a.s.dialect.guesses() {
		b.ctx = a.s.dialect.guess(a.ctx, b.unknown(keys))
	}
	news := make(map[gateway.KeyID]bool, len(keys))
	b.queryRows(insertKeys, len(keys), func(args []any, i int) []any { return a.appendValues(args, &keys[i]) },
		func(id gateway.KeyID) { news[id] = true })
	if b.err != nil {
		return b.err
	}
	for i := range keys {
		id := gateway.IDOfKey(keys[i].Secret)
		if a.count(&keys[i], news[id]) && !a.told[from+i] {
			a.told[from+i] = true
			a.added(keys[i])
		}
		delete(news, id)
	}
	return nil
}

// unknown are the ids of those keys that are not stored yet, each once.
func (b *batch) unknown(keys []gateway.Key) []string {
	ids := make([]gateway.KeyID, len(keys))
	for i := range keys {
		ids[i] = gateway.IDOfKey(keys[i].Secret)
	}
	there := b.stored(ids)
	var news []string
	for _, id := range ids {
		if !there[id] {
			there[id] = true
			news = append(news, string(id))
		}
	}
	return news
}

// stored tells which of some keys are stored.
func (b *batch) stored(ids []gateway.KeyID) map[gateway.KeyID]bool {
	there := map[gateway.KeyID]bool{}
	b.queryRows("with d (id) as ({rows text}) select k.key_id from d join {p}keys k on k.key_id = d.id", len(ids),
		func(args []any, i int) []any { return append(args, string(ids[i])) }, func(id gateway.KeyID) { there[id] = true })
	return there
}

// count counts a key and tells whether it is new.
func (a *adding) count(k *gateway.Key, isNew bool) bool {
	if !isNew {
		a.existing++
		return false
	}
	a.news++
	if len(a.ids) <= idsNamed && a.s.tells() {
		a.ids = append(a.ids, gateway.IDOfKey(k.Secret))
	}
	return true
}
