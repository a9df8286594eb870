package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"ollama-api-pool/internal/gateway"
)

// aloneBusy is how long Reencrypt waits for others to leave the file.
const aloneBusy = time.Second

// Reencrypt changes how the keys in the database at path are stored, in one
// transaction: no oldKey turns encryption on, no newKey turns it off,
// both change the key. Afterwards nothing of the former form is left in the
// file or its log. Nobody else may have the database open. progress, which may
// be nil, is called now and then and at the end.
func Reencrypt(ctx context.Context, path string, oldKey, newKey []byte, progress func(done, total int)) error {
	return ReencryptDatabase(ctx, Options{Path: path, EncryptionKey: oldKey, busyTimeout: aloneBusy}, newKey, progress)
}

// ReencryptDatabase is Reencrypt for any database, with the old key in its
// options. Where several instances may work on it, it refuses while one of them
// was heard of lately: each would have to be told the new key. What was replaced
// is left to the server to overwrite.
func ReencryptDatabase(ctx context.Context, o Options, newKey []byte, progress func(done, total int)) error {
	oldKey := o.EncryptionKey
	if len(oldKey)+len(newKey) == 0 {
		return gateway.Errorf(gateway.KindInvalid, "change the encryption: neither an old nor a new key is given")
	}
	if bytes.Equal(oldKey, newKey) {
		return gateway.Errorf(gateway.KindInvalid, "change the encryption: the new key is the old one")
	}
	if progress == nil {
		progress = func(int, int) {}
	}
	next, err := newSeal(newKey)
	if err != nil {
		return err
	}
	s, err := New(o)
	if err != nil {
		return err
	}
	const did = "change the encryption of the store"
	if err := s.dialect.mustBeThere(did); err != nil {
		return err
	}
	if err := s.look(ctx, func(mark string, _ bool) error { return s.canChange(mark, next, did) }); err != nil {
		return s.dialect.fault(did, err)
	}
	s.writer = s.dialect.open(forAlone)
	s.reader = s.writer
	err = s.reencrypt(ctx, next, progress)
	return s.dialect.fault(did, errors.Join(err, s.writer.Close()))
}

// canChange says whether the old key is the one that the database needs.
func (s *Store) canChange(mark string, next *seal, did string) error {
	f := &Fault{Did: did, Path: s.dialect.place()}
	switch {
	case mark == next.markOf() && mark == "":
		f.Cause, f.Cure = "its keys are stored plain already", "nothing is to be done"
	case mark == next.markOf():
		f.Cause, f.Cure = "it is encrypted with the new key already", "nothing is to be done"
	case mark == s.seal.markOf():
		return nil
	case mark == "":
		f.Cause, f.Cure = "its keys are stored plain", "run `ollama-api-pool encryption on`"
	case s.seal == nil:
		f.Cause, f.Cure = "it is encrypted already", "run `ollama-api-pool encryption rotate` with the key it was encrypted with"
	default:
		f.Cause, f.Cure = "the old key is not the one it was encrypted with", "give that key as the old ENCRYPTION_KEY"
	}
	return f
}

func (s *Store) reencrypt(ctx context.Context, next *seal, progress func(done, total int)) error {
	if err := s.dialect.prepare(ctx, s.writer); err != nil {
		return err
	}
	if err := migrate(ctx, s.dialect, s.reader, s.writer, s.log); err != nil {
		return err
	}
	for _, p := range gateway.Providers() {
		if err := s.takeIn(ctx, tables{p}); err != nil {
			return err
		}
	}
	if err := inTx(ctx, s.dialect, s.writer, nil, func(_ context.Context, tx *sql.Tx) error {
		return s.resealAll(ctx, tx, next, progress)
	}); err != nil || s.dialect.shared() {
		return err
	}
	done, err := s.scrub(ctx, s.writer)
	if err == nil && !done {
		err = errors.New("the log could not be emptied")
	}
	if err != nil {
		return fmt.Errorf("the keys are changed, but the former ones may be left in the file until the next start: %w", err)
	}
	return nil
}

// resealAll rewrites every key and notes that the file is to be scrubbed.
func (s *Store) resealAll(ctx context.Context, tx *sql.Tx, next *seal, progress func(done, total int)) error {
	inside := s.dialect.within(ctx)
	if err := s.checkSeal(inside, tx); err != nil {
		return err
	}
	if err := s.alone(inside, tx); err != nil {
		return err
	}
	if err := s.dialect.deferKeys(inside, tx); err != nil {
		return err
	}
	var total, done int
	for _, p := range gateway.Providers() {
		var n int
		if err := tx.QueryRowContext(inside, tables{p}.sql("select count(*) from {p}keys")).Scan(&n); err != nil {
			return err
		}
		total += n
	}
	for _, p := range gateway.Providers() {
		var last gateway.KeyID
		for {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := s.resealBatch(inside, tx, tables{p}, next, &last)
			if err != nil {
				return err
			}
			if done += n; n > 0 {
				progress(done, total)
			}
			if n < s.dialect.atOnce() {
				break
			}
		}
	}
	if total == 0 {
		progress(0, 0)
	}
	if !s.dialect.shared() {
		if err := setMeta(inside, tx, metaScrub, "pending"); err != nil {
			return err
		}
	}
	return setMeta(inside, tx, metaSeal, next.markOf())
}

// stillThere is for how long an instance counts as running that was heard of.
const stillThere = 30 * time.Second

// alone refuses to go on while an instance works on a shared database.
func (s *Store) alone(ctx context.Context, tx *sql.Tx) error {
	if !s.dialect.shared() {
		return nil
	}
	now, err := s.dialect.clock(ctx, tx, s.now)
	if err != nil {
		return err
	}
	var others int
	err = tx.QueryRowContext(ctx, "select count(*) from pool_instances where seen_at > ? and id <> ? and (name <> '' or version <> '')", at(now.Add(-stillThere)), s.instance).Scan(&others)
	if err == nil && others > 0 {
		err = &Fault{
			Did: "change the encryption of the store", Path: s.dialect.place(),
			Cause: fmt.Sprintf("%d instances of this program work on it", others),
			Cure:  fmt.Sprintf("stop them, and try again after %s", stillThere),
		}
	}
	return err
}

// resealBatch rewrites the keys that follow the id in last, and moves last on.
func (s *Store) resealBatch(ctx context.Context, tx *sql.Tx, t tables, next *seal, last *gateway.KeyID) (int, error) {
	rows, err := tx.QueryContext(ctx, t.sql("select key_id, api_key from {p}keys where key_id > ? order by key_id limit ?"), *last, s.dialect.atOnce())
	if err != nil {
		return 0, err
	}
	type row struct {
		id     gateway.KeyID
		stored string
	}
	batch, err := collect(rows, func(r *row) []any { return []any{&r.id, &r.stored} })
	if err != nil {
		return 0, err
	}
	from, to := make([]string, len(batch)), make([]string, len(batch))
	for i, r := range batch {
		key, err := s.seal.plain(t.provider, r.stored)
		if err != nil {
			return 0, s.unreadable(t, string(r.id), err)
		}
		from[i], to[i] = r.stored, next.stored(t.provider, key)
		*last = r.id
	}
	b := s.batch(ctx, ctx, tx, t)
	b.rename(from, to)
	return len(batch), b.err
}

// rename gives keys' rows and their statistics other primary keys. Foreign keys
// must be deferred.
func (b *batch) rename(from, to []string) {
	for _, text := range b.d.renames() {
		b.runRows(text, len(from), func(args []any, i int) []any { return append(args, from[i], to[i]) })
	}
}

// unreadable is the error for a row whose key does not decrypt.
func (s *Store) unreadable(t tables, row string, err error) error {
	return &Fault{
		Did: "read the key " + row + " of " + string(t.provider) + " from the store", Path: s.dialect.place(),
		Cause: err.Error(),
		Cure:  "restore the row " + row + " from a backup, or delete it from the table " + t.sql("{p}keys"),
	}
}

// collect reads all rows and closes them.
func collect[T any](rows *sql.Rows, into func(*T) []any) ([]T, error) {
	defer func() { _ = rows.Close() }()
	var all []T
	for rows.Next() {
		var one T
		if err := rows.Scan(into(&one)...); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}
