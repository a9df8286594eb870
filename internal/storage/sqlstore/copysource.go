package sqlstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"ollama-api-pool/internal/gateway"
)

// copiedMark begins the names in pool_meta under which a target notes what was
// copied into it.
const copiedMark = "copied:"

// ErrNothingThere says that a database holds none of the tables that Copy reads.
var ErrNothingThere = errors.New("it holds none of the pool's tables")

// checkCopied refuses a source that this program cannot read whole: one without
// our tables, one of a later version, one that is encrypted with another key.
func (s *Store) checkCopied(ctx context.Context, q querier) error {
	const did = "read the store that is to be copied"
	any := false
	for _, p := range gateway.Providers() {
		has, err := s.dialect.hasColumn(ctx, q, tables{p}.sql("{p}keys"), "api_key")
		if err != nil {
			return err
		}
		any = any || has
	}
	if !any {
		return fmt.Errorf("%s: %w", did, ErrNothingThere)
	}
	step, known, err := s.steps(ctx, q)
	if err != nil {
		return err
	}
	if step > known {
		return gateway.Errorf(gateway.KindInvalid, "%s: a newer version of this program has changed its tables (step %d, known here are %d): use that version", did, step, known)
	}
	if left, err := s.unfinished(ctx, q); err != nil || left {
		return cmp.Or(err, error(gateway.Errorf(gateway.KindInvalid, "%s: a copy into it was cut off and is to be repeated first", did)))
	}
	mark, _, err := s.sealState(ctx, q)
	if err != nil || mark == "" || mark == s.seal.markOf() {
		return err
	}
	return ErrSourceSealed
}

// steps tells which migration was the last in the database, and which is the
// last that this program knows.
func (s *Store) steps(ctx context.Context, q querier) (done, known int64, err error) {
	all, err := migrations()
	if err != nil {
		return 0, 0, err
	}
	known = all[len(all)-1].version
	has, err := s.dialect.hasColumn(ctx, q, versionTable, "version_id")
	if err != nil || !has {
		return 0, known, err
	}
	err = q.QueryRowContext(ctx, "select coalesce(max(version_id), 0) from "+versionTable).Scan(&done)
	return done, known, err
}

// upToDate reports whether the tables are those of this version.
func (s *Store) upToDate(ctx context.Context, q querier) (bool, error) {
	done, known, err := s.steps(ctx, q)
	return done == known, err
}

// unfinished reports whether a copy in steps into the database was not ended.
func (s *Store) unfinished(ctx context.Context, q querier) (bool, error) {
	has, err := s.dialect.hasColumn(ctx, q, "pool_meta", "name")
	if err != nil || !has {
		return false, err
	}
	left, err := meta(ctx, q, metaUnfinished)
	return left != "", err
}

// ErrSourceSealed says that a source is encrypted and that the key for it is
// missing or another.
var ErrSourceSealed = errors.New("it is encrypted, and the encryption key that was given for it is missing or not the one")

// sourceNames are the names by which a target remembers a source: the one that
// the database has in itself, if any, and its address.
func (s *Store) sourceNames(ctx context.Context, q querier, given string) ([]string, error) {
	if given != "" {
		return []string{given}, nil
	}
	address := s.Fingerprint()
	if address == "" {
		address = s.Place()
	}
	sum := sha256.Sum256([]byte(s.Engine() + "\x00" + address))
	names := []string{hex.EncodeToString(sum[:16])}
	id, err := s.idOf(ctx, q)
	if id != "" {
		names = append(names, id)
	}
	return names, err
}

// idOf is what StoreID gives, "" where the database has no name yet.
func (s *Store) idOf(ctx context.Context, q querier) (string, error) {
	has, err := s.dialect.hasColumn(ctx, q, "pool_meta", "name")
	if err != nil || !has {
		return "", err
	}
	return meta(ctx, q, metaID)
}

// OpenSource opens a database that is only to be read, as by Copy and Contents:
// nothing in it is changed, not even its tables are brought up to date, and the
// encryption key matters where something is read that is encrypted.
func OpenSource(ctx context.Context, o Options) (*Store, error) {
	const did = "open the store that is to be copied"
	s, err := New(o)
	if err != nil {
		return nil, err
	}
	if err := s.dialect.mustBeThere(did); err != nil {
		return nil, err
	}
	for _, m := range []mode{forLooking, forReading} { // the second also where a killed process has left its journal
		s.reader = s.dialect.open(m)
		s.opened.Store(true)
		_, err = s.Contents(ctx)
		if err == nil {
			return s, nil
		}
		s.opened.Store(false)
		_ = s.reader.Close()
		if m == forLooking && !s.dialect.readOnlyFails(err) {
			break
		}
	}
	return nil, s.dialect.fault(did, err)
}

// Fits says whether the encryption key is the one that the database needs, so
// that Open would not fail for it. It changes nothing.
func (s *Store) Fits(ctx context.Context) error {
	return s.read(ctx, "look how the store is encrypted", func(ctx context.Context, tx *sql.Tx) error {
		mark, hasKeys, err := s.sealState(ctx, tx)
		if err != nil {
			return err
		}
		return s.fits(mark, hasKeys)
	})
}

// Sealed tells whether the database keeps its keys encrypted, whatever key was
// given. It changes nothing.
func (s *Store) Sealed(ctx context.Context) (sealed bool, err error) {
	err = s.read(ctx, "look how the store is encrypted", func(ctx context.Context, tx *sql.Tx) error {
		mark, _, err := s.sealState(ctx, tx)
		sealed = mark != ""
		return err
	})
	return sealed, err
}

// SeenSince counts the instances that said since a time that they work on the
// database. It works on databases without our tables, too.
func (s *Store) SeenSince(ctx context.Context, since time.Time) (n int, err error) {
	has := false
	err = s.read(ctx, "look which instances there are", func(ctx context.Context, tx *sql.Tx) error {
		has, err = s.dialect.hasColumn(ctx, tx, "pool_instances", "seen_at")
		return err
	})
	if err != nil || !has {
		return 0, err
	}
	list, err := s.Instances(ctx, since)
	return len(list), err
}
