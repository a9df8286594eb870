package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"ollama-api-pool/internal/gateway"
)

// Names in pool_meta.
const (
	metaSeal  = "encryption" // seal.mark of the key that the store is encrypted with
	metaScrub = "scrub"      // set while a file is still to be rid of what was replaced
)

// Encrypted reports whether upstream keys are encrypted at rest.
func (s *Store) Encrypted() bool { return s.seal != nil }

// meta reads a value of pool_meta, "" where there is none.
func meta(ctx context.Context, q querier, name string) (value string, err error) {
	err = q.QueryRowContext(ctx, "select value from pool_meta where name = ?", name).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return value, err
}

func setMeta(ctx context.Context, q querier, name, value string) error {
	if value == "" {
		_, err := q.ExecContext(ctx, "delete from pool_meta where name = ?", name)
		return err
	}
	_, err := q.ExecContext(ctx,
		"insert into pool_meta (name, value) values (?, ?) on conflict (name) do update set value = excluded.value", name, value)
	return err
}

// sealState tells with which key's mark a database is encrypted, and whether it
// holds keys at all. The database may lack our tables, or any.
func (s *Store) sealState(ctx context.Context, q querier) (mark string, hasKeys bool, err error) {
	has, err := s.dialect.hasColumn(ctx, q, "pool_meta", "name")
	if err == nil && has {
		mark, err = meta(ctx, q, metaSeal)
	}
	if err != nil {
		return "", false, err
	}
	for _, p := range gateway.Providers() {
		t := tables{p}
		has, err := s.dialect.hasColumn(ctx, q, t.sql("{p}keys"), "api_key")
		if err != nil {
			return "", false, err
		}
		if !has {
			continue
		}
		var one int
		err = q.QueryRowContext(ctx, t.sql("select 1 from {p}keys limit 1")).Scan(&one)
		if err == nil {
			return mark, true, nil
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return "", false, err
		}
	}
	return mark, false, nil
}

// fits says whether the store's seal is the one that a database needs.
func (s *Store) fits(mark string, hasKeys bool) error {
	f := &Fault{Did: "open the store", Path: s.dialect.place()}
	switch {
	case mark == s.seal.markOf(), mark == "" && !hasKeys:
		return nil
	case mark == "":
		f.Cause = "ENCRYPTION_KEY is set but the keys in it are stored plain"
		f.Cure = "run `ollama-api-pool encryption on`, or unset ENCRYPTION_KEY"
	case s.seal == nil:
		f.Cause = "it is encrypted and ENCRYPTION_KEY is not set"
		f.Cure = "set ENCRYPTION_KEY to the key it was encrypted with (`ollama-api-pool encryption off` then stores the keys plain)"
	default:
		f.Cause = "ENCRYPTION_KEY is not the key it was encrypted with"
		f.Cure = "set ENCRYPTION_KEY to that key (`ollama-api-pool encryption rotate` then replaces it)"
	}
	return f
}

// sealOf is sealState in a transaction of its own.
func (s *Store) sealOf(ctx context.Context) (mark string, hasKeys bool, err error) {
	err = inTx(ctx, s.dialect, s.reader, readOnly, func(ctx context.Context, tx *sql.Tx) error {
		mark, hasKeys, err = s.sealState(ctx, tx)
		return err
	})
	return mark, hasKeys, err
}

// settleSeal makes an empty database an encrypted one where a key is given.
func (s *Store) settleSeal(ctx context.Context) error {
	mark, hasKeys, err := s.sealOf(ctx)
	if err != nil || mark == s.seal.markOf() {
		return err
	}
	if err := s.fits(mark, hasKeys); err != nil {
		return err
	}
	return inTx(ctx, s.dialect, s.writer, nil, func(ctx context.Context, tx *sql.Tx) error {
		mark, hasKeys, err := s.sealState(ctx, tx)
		if err != nil {
			return err
		}
		if err := s.fits(mark, hasKeys); err != nil {
			return err
		}
		return setMeta(ctx, tx, metaSeal, s.seal.markOf())
	})
}

// checkSeal refuses to read or write keys after another process has encrypted
// the store anew.
func (s *Store) checkSeal(ctx context.Context, tx *sql.Tx) error {
	mark, err := meta(ctx, tx, metaSeal)
	if err != nil || mark == s.seal.markOf() {
		return err
	}
	return &Fault{
		Did: "use the store", Path: s.dialect.place(),
		Cause: "its encryption was changed while this process had it open",
		Cure:  "start again with the ENCRYPTION_KEY that it has now",
	}
}

// resumeScrub ends what a Reencrypt that was cut off after its transaction has
// left to do. While others use the file it has to wait for the next start.
func (s *Store) resumeScrub(ctx context.Context) error {
	left := ""
	err := inTx(ctx, s.dialect, s.reader, readOnly, func(ctx context.Context, tx *sql.Tx) (err error) {
		left, err = meta(ctx, tx, metaScrub)
		return err
	})
	if err != nil || left == "" {
		return err
	}
	done, err := s.scrub(ctx, s.writer)
	if cause, _, _ := s.dialect.explain(err); !done && cause == "" {
		return err
	}
	return nil
}

// scrub rids the file of what a re-encryption has replaced.
func (s *Store) scrub(ctx context.Context, q querier) (done bool, err error) {
	done, err = s.dialect.scrub(ctx, q)
	if err != nil || !done {
		return false, err
	}
	if err := setMeta(ctx, q, metaScrub, ""); err != nil {
		return false, err
	}
	return s.dialect.checkpoint(ctx, q)
}
