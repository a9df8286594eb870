package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Options say which database to open and how.
type Options struct {
	// Path is the database file. It is made where there is none, with mode
	// 0600; its directory must exist.
	Path string
	// EncryptionKey, 32 bytes, encrypts upstream keys at rest; none leaves them
	// plain. It must be the one that the database was encrypted with.
	EncryptionKey []byte
	// Now is the clock; nil is time.Now.
	Now func() time.Time

	busyTimeout time.Duration // 0: defaultBusy; tests shorten it
	bulkFrom    int           // 0: defaultBulk; tests lower these
	foldKeys    int           // 0: defaultFold
	farAway     int           // 0: defaultFar
}

// defaultBusy is how long a write waits for another process's.
const defaultBusy = 10 * time.Second

// Store is an open database. Its methods may be called concurrently; none may
// be called by a function that was handed to one of them.
type Store struct {
	dialect dialect
	seal    *seal
	now     func() time.Time
	bulk    int     // after how many new keys an import counts as a large one
	fold    int     // about how many keys are folded at a time
	far     int     // from which offset on a page is found by a leap
	writer  *sql.DB // one connection: writes queue here instead of failing
	reader  *sql.DB

	seenMu sync.Mutex // guards seen
	seen   mark

	journalled atomic.Bool // the journals may hold something

	closing  sync.Once // guards closeErr
	closeErr error
}

// Open opens the database, brings its tables up to date and checks it. Every
// error is one line with its cause and its cure, and leaves the keys as they
// were; a damaged file is not touched.
func Open(ctx context.Context, o Options) (*Store, error) {
	s, err := newStore(o)
	if err != nil {
		return nil, err
	}
	if err := s.open(ctx); err != nil {
		_ = s.closePools()
		return nil, s.dialect.fault("open the store", err)
	}
	return s, nil
}

// newStore checks the options and opens nothing.
func newStore(o Options) (*Store, error) {
	if o.Path == "" {
		return nil, gateway.Errorf(gateway.KindInvalid, "open the store: no path given")
	}
	path, err := filepath.Abs(o.Path)
	if err != nil {
		return nil, fmt.Errorf("open the store %s: %w", o.Path, err)
	}
	seal, err := newSeal(o.EncryptionKey)
	if err != nil {
		return nil, err
	}
	now := o.Now
	if now == nil {
		now = time.Now
	}
	s := &Store{
		dialect: dialect{path: path, busy: cmp.Or(o.busyTimeout, defaultBusy)},
		seal:    seal,
		now:     now,
		bulk:    cmp.Or(o.bulkFrom, defaultBulk),
		fold:    cmp.Or(o.foldKeys, defaultFold),
		far:     cmp.Or(o.farAway, defaultFar),
	}
	s.journalled.Store(true) // what a kill left there is folded at the first look
	return s, nil
}

// open does the steps of Open, from those that change nothing to those that do.
func (s *Store) open(ctx context.Context) error {
	fresh, err := s.dialect.createFile()
	if err != nil {
		return err
	}
	if !fresh {
		if err := s.look(ctx, s.fits); err != nil {
			return err
		}
	}
	s.writer = s.dialect.open(forWriting)
	s.reader = s.dialect.open(forReading)
	if err := s.dialect.prepare(ctx, s.writer); err != nil {
		return err
	}
	restrict(s.dialect.path)
	if err := migrate(ctx, s.dialect, s.writer); err != nil {
		return err
	}
	if err := s.settleSeal(ctx); err != nil {
		return err
	}
	for _, p := range gateway.Providers() {
		if err := s.adopt(ctx, tables{p}); err != nil {
			return err
		}
	}
	if err := s.resumeScrub(ctx); err != nil {
		return err
	}
	_, err = s.ChangedElsewhere(ctx)
	return err
}

// look checks a file that was there before, through a connection that cannot
// change it: for damage, and with fits for the encryption key.
func (s *Store) look(ctx context.Context, fits func(mark string, hasKeys bool) error) error {
	err := s.lookThrough(ctx, forLooking, fits)
	if readOnlyFails(err) {
		err = s.lookThrough(ctx, forWriting, fits)
	}
	if damaged(err) {
		cause, cure := s.dialect.explain(err)
		return &Fault{Did: "open the store", Path: s.dialect.path, Cause: cause, Cure: cure + "; it was left as it is", Err: err}
	}
	return err
}

func (s *Store) lookThrough(ctx context.Context, m mode, fits func(mark string, hasKeys bool) error) error {
	db := s.dialect.open(m)
	defer func() { _ = db.Close() }()
	if err := s.dialect.check(ctx, db); err != nil {
		return err
	}
	mark, hasKeys, err := s.sealState(ctx, db)
	if err != nil {
		return err
	}
	return fits(mark, hasKeys)
}

// Close writes everything into the one file and closes it. A second call does
// nothing.
func (s *Store) Close() error {
	s.closing.Do(func() {
		err := s.reader.Close() // else the log could not be emptied
		err = errors.Join(err, s.dialect.finish(context.Background(), s.writer), s.writer.Close())
		s.closeErr = s.dialect.fault("close the store", err)
	})
	return s.closeErr
}

func (s *Store) closePools() error {
	var errs []error
	for _, db := range []*sql.DB{s.reader, s.writer} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// createFile makes an empty file that only its owner can read, where there is
// none. It never opens one that is there: closing it again would drop the locks
// that this process holds on it (https://sqlite.org/howtocorrupt.html, 2.2).
func (d dialect) createFile() (fresh bool, err error) {
	const did = "open the store"
	info, err := os.Stat(d.path)
	switch {
	case err == nil && info.Mode().IsRegular():
		return false, nil
	case err == nil:
		return false, &Fault{Did: did, Path: d.path, Cause: "it is not a file", Cure: "move it away or set another place (DATA_DIR)"}
	case !errors.Is(err, os.ErrNotExist):
		return false, d.placeFault(did, err)
	}
	f, err := os.OpenFile(d.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return false, nil // another process was faster
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return false, d.placeFault(did, err)
	}
	return true, nil
}

// restrict takes everybody else's rights away from the file and its log; new
// logs get the file's own mode. Where the file belongs to another user that
// cannot be done, and what its owner chose stays.
func restrict(path string) {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		_ = os.Chmod(path+suffix, 0o600)
	}
}

// tables names one provider's tables.
type tables struct{ provider gateway.ProviderName }

// tablesOf refuses a provider that has none.
func tablesOf(p gateway.ProviderName) (tables, error) {
	for _, known := range gateway.Providers() {
		if p == known {
			return tables{p}, nil
		}
	}
	return tables{}, gateway.Errorf(gateway.KindInvalid, "unknown provider %q", gateway.Clip(string(p), 40))
}

// sql puts the provider's prefix into an SQL text.
func (t tables) sql(text string) string {
	return strings.ReplaceAll(text, "{p}", string(t.provider)+"_api_")
}

// write runs fn in one transaction that holds the write lock. fn must use the
// context that it is given, which does not end: a step is never torn, and after
// each one the transaction ends if ctx has ended.
func (s *Store) write(ctx context.Context, did string, fn func(ctx context.Context, tx *sql.Tx) error) error {
	return s.dialect.fault(did, inTx(ctx, s.writer, nil, fn))
}

// read runs fn in one transaction that sees one moment of the database.
func (s *Store) read(ctx context.Context, did string, fn func(ctx context.Context, tx *sql.Tx) error) error {
	return s.dialect.fault(did, inTx(ctx, s.reader, &sql.TxOptions{ReadOnly: true}, fn))
}

func inTx(ctx context.Context, db *sql.DB, o *sql.TxOptions, fn func(ctx context.Context, tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, o)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	err = fn(context.WithoutCancel(ctx), tx)
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	if err != nil {
		return err
	}
	return tx.Commit()
}

// clean takes out of foreign text what not every engine can store.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
}
