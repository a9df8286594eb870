package sqlstore

import (
	"context"
	"database/sql"

	"ollama-api-pool/internal/gateway"
)

// Snapshot writes the database at path, as it is at one moment, into a new file
// at to, with mode 0600. It neither changes nor migrates what is in it, needs no
// encryption key (keys are copied as they are stored), and other processes may
// use it meanwhile. After an error there is no file at to.
func Snapshot(ctx context.Context, path, to string) error {
	s, err := New(Options{Path: path})
	if err != nil {
		return err
	}
	const did = "copy the store"
	if err := s.dialect.mustBeThere(did); err != nil {
		return err
	}
	return s.dialect.backup(ctx, did, to)
}

// copy copies the database into an empty file. It takes no write lock; a
// connection that may write is what can read the log of a killed process.
func (d sqliteFile) copy(ctx context.Context, to string) error {
	db := d.open(forWriting)
	defer func() { _ = db.Close() }()
	_, err := db.ExecContext(ctx, "vacuum into ?", to)
	return err
}

// Holding is what a database holds.
type Holding struct {
	Encrypted bool
	Keys      map[gateway.ProviderName]int
	Tokens    int // client tokens
}

// Examine reads a database from its beginning to its end, looks for damage and
// counts what it holds. It changes nothing and needs no encryption key.
func Examine(ctx context.Context, path string) (Holding, error) {
	s, err := New(Options{Path: path})
	if err != nil {
		return Holding{}, err
	}
	const did = "examine the store"
	if err := s.dialect.mustBeThere(did); err != nil {
		return Holding{}, err
	}
	h, err := s.examineThrough(ctx, forLooking)
	if s.dialect.readOnlyFails(err) {
		h, err = s.examineThrough(ctx, forWriting)
	}
	return h, s.dialect.fault(did, err)
}

func (s *Store) examineThrough(ctx context.Context, m mode) (Holding, error) {
	db := s.dialect.open(m)
	defer func() { _ = db.Close() }()
	h := Holding{Keys: map[gateway.ProviderName]int{}}
	err := inTx(ctx, s.dialect, db, readOnly, func(ctx context.Context, tx *sql.Tx) error {
		if err := s.dialect.examine(ctx, tx); err != nil {
			return err
		}
		mark, _, err := s.sealState(ctx, tx)
		if err != nil {
			return err
		}
		h.Encrypted = mark != ""
		return s.count(ctx, tx, &h)
	})
	return h, err
}

// count counts keys and tokens, of those tables that there are.
func (s *Store) count(ctx context.Context, tx *sql.Tx, h *Holding) error {
	tokens := ""
	for _, p := range gateway.Providers() {
		t := tables{p}
		n, err := s.countRows(ctx, tx, t.sql("{p}keys"), "api_key", t.sql("select count(*) from {p}keys"))
		if err != nil {
			return err
		}
		h.Keys[p] = n
		has, err := s.dialect.hasColumn(ctx, tx, t.sql("{p}client_tokens"), "token")
		if err != nil {
			return err
		}
		if has {
			if tokens != "" {
				tokens += " union "
			}
			tokens += t.sql("select token from {p}client_tokens") // one that is valid for several stands in each
		}
	}
	if tokens == "" {
		return nil
	}
	return tx.QueryRowContext(ctx, "select count(*) from ("+tokens+") as t").Scan(&h.Tokens)
}

func (s *Store) countRows(ctx context.Context, tx *sql.Tx, table, column, query string) (n int, err error) {
	has, err := s.dialect.hasColumn(ctx, tx, table, column)
	if err != nil || !has {
		return 0, err
	}
	err = tx.QueryRowContext(ctx, query).Scan(&n)
	return n, err
}
