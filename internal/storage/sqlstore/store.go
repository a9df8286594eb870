package sqlstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	randomly "math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Options say which database to open and how: one of Path, URL and REST.
type Options struct {
	// Path is a database file of SQLite. It is made where there is none, with
	// mode 0600; its directory must exist.
	Path string
	// URL is the address of a PostgreSQL database (postgres:// or
	// postgresql://), or of a pooler in front of it.
	URL gateway.Secret
	// REST is a PostgreSQL database behind PostgREST.
	REST REST
	// EncryptionKey, 32 bytes, encrypts upstream keys at rest; none leaves them
	// plain. It must be the one that the database was encrypted with.
	EncryptionKey []byte
	// Instance names this process in what others follow; "" is made at random.
	Instance string
	// Log is told of what cannot be an error; nil is nobody.
	Log *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time

	busyTimeout time.Duration // 0: defaultBusy; tests shorten it
	patience    time.Duration // 0: defaultPatience; tests shorten it
	bulkFrom    int           // 0: defaultBulk; tests lower these
	foldKeys    int           // 0: defaultFold
	farAway     int           // 0: defaultFar
	mirrorKeys  int           // 0: defaultMirror
	telling     bool          // see Store.telling
}

// REST says where PostgREST serves a database, as Supabase does.
type REST struct {
	URL   string
	Key   gateway.Secret // that may read and write every table
	Agent string         // how the program names itself there; "": without a version
}

// defaultBusy is how long a write waits for another process's.
const defaultBusy = 10 * time.Second

// Store is a database. Its methods may be called concurrently; none may be
// called by a function that was handed to one of them.
type Store struct {
	dialect  dialect
	instance string
	telling  bool // changes are noted for others though nobody could follow them; for tests
	log      *slog.Logger
	seal     *seal
	now      func() time.Time
	bulk     int     // after how many new keys an import counts as a large one
	fold     int     // about how many keys are folded at a time
	far      int     // from which offset on a page is found by a leap
	stretch  int     // how many keys a mirror compares at a time
	writer   *sql.DB // one connection: writes queue here instead of failing
	reader   *sql.DB // both are there once the store is open

	opening sync.Mutex  // held while the store is being opened or closed
	opened  atomic.Bool // writer and reader may be used

	seenMu sync.Mutex // guards seen
	seen   mark

	journalled atomic.Bool // the journals may hold something

	leasesMu sync.Mutex      // guards leases
	leases   map[string]bool // those that were taken and not noticed to be lost

	closing  sync.Once // guards closeErr
	closeErr error
}

// New checks the options of a store and opens nothing. Before Open succeeds,
// every call fails with an error that is Unavailable.
func New(o Options) (*Store, error) {
	d, err := newDialect(o)
	if err != nil {
		return nil, err
	}
	seal, err := newSeal(o.EncryptionKey)
	if err != nil {
		return nil, err
	}
	s := &Store{
		dialect:  d,
		instance: cmp.Or(clean(o.Instance), rand.Text()),
		log:      o.Log,
		seal:     seal,
		now:      o.Now,
		bulk:     cmp.Or(o.bulkFrom, defaultBulk),
		fold:     cmp.Or(o.foldKeys, defaultFold),
		far:      cmp.Or(o.farAway, defaultFar),
		stretch:  cmp.Or(o.mirrorKeys, defaultMirror),
		telling:  o.telling,
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.journalled.Store(true) // what a kill left there is folded at the first look
	return s, nil
}

// newDialect chooses the engine.
func newDialect(o Options) (dialect, error) {
	const did = "open the store"
	given := 0
	for _, is := range []bool{o.Path != "", o.URL != "", o.REST != REST{}} {
		if is {
			given++
		}
	}
	switch {
	case given == 0:
		return nil, gateway.Errorf(gateway.KindInvalid, "%s: no path and no address given", did)
	case given > 1:
		return nil, gateway.Errorf(gateway.KindInvalid, "%s: more than one path or address given", did)
	case o.URL != "":
		return newPostgres(o)
	case o.Path == "":
		return newREST(o)
	}
	path, err := filepath.Abs(o.Path)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", did, o.Path, err)
	}
	return sqliteFile{path: path, busy: cmp.Or(o.busyTimeout, defaultBusy)}, nil
}

// Open is New and (*Store).Open in one.
func Open(ctx context.Context, o Options) (*Store, error) {
	s, err := New(o)
	if err != nil {
		return nil, err
	}
	if err := s.Open(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Open opens the database, brings its tables up to date and checks it. Every
// error is one line with its cause and its cure, and leaves the keys as they
// were; a damaged file is not touched. It may be tried again. Where the store
// is open already nothing happens.
func (s *Store) Open(ctx context.Context) error {
	s.opening.Lock()
	defer s.opening.Unlock()
	if s.opened.Load() {
		return nil
	}
	if err := s.open(ctx); err != nil {
		_ = s.closePools()
		return s.dialect.fault("open the store", err)
	}
	s.opened.Store(true)
	return nil
}

// Opened tells whether Open has succeeded.
func (s *Store) Opened() bool { return s.opened.Load() }

// Engine names the engine: "sqlite", "postgresql" or "postgrest".
func (s *Store) Engine() string { return s.dialect.engine() }

// Shared tells whether others may work on the database at the same time, so
// that what they do has to be followed.
func (s *Store) Shared() bool { return s.dialect.shared() }

// Fingerprint tells databases apart by their addresses. It tells nothing about
// the password, and stays the same when that is changed.
func (s *Store) Fingerprint() string { return s.dialect.fingerprint() }

// Place names the database in messages, without what is secret.
func (s *Store) Place() string { return s.dialect.place() }

// open does the steps of Open, from those that change nothing to those that do.
func (s *Store) open(ctx context.Context) error {
	fresh, err := s.dialect.create()
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
	if err := migrate(ctx, s.dialect, s.reader, s.writer, s.log); err != nil {
		return err
	}
	if err := s.settleSeal(ctx); err != nil {
		return err
	}
	for _, p := range gateway.Providers() {
		if err := s.takeIn(ctx, tables{p}); err != nil {
			return err
		}
	}
	if err := s.resumeScrub(ctx); err != nil {
		return err
	}
	_, err = s.changedElsewhere(ctx)
	return err
}

// look checks a file that was there before, through a connection that cannot
// change it: for damage, and with fits for the encryption key.
func (s *Store) look(ctx context.Context, fits func(mark string, hasKeys bool) error) error {
	err := s.lookThrough(ctx, forLooking, fits)
	if s.dialect.readOnlyFails(err) {
		err = s.lookThrough(ctx, forWriting, fits)
	}
	if s.dialect.damaged(err) {
		cause, cure, _ := s.dialect.explain(err)
		return &Fault{Did: "open the store", Path: s.dialect.place(), Cause: cause, Cure: cure + "; it was left as it is", Err: err}
	}
	return err
}

func (s *Store) lookThrough(ctx context.Context, m mode, fits func(mark string, hasKeys bool) error) error {
	db := s.dialect.open(m)
	defer func() { _ = db.Close() }()
	if err := s.dialect.check(ctx, db); err != nil {
		return err
	}
	return inTx(ctx, s.dialect, db, readOnly, func(ctx context.Context, tx *sql.Tx) error {
		mark, hasKeys, err := s.sealState(ctx, tx)
		if err != nil {
			return err
		}
		return fits(mark, hasKeys)
	})
}

// Close writes everything into the one file and closes it. A second call does
// nothing.
func (s *Store) Close() error {
	s.opening.Lock()
	defer s.opening.Unlock()
	s.closing.Do(func() {
		if !s.opened.Load() {
			return
		}
		if s.writer == nil { // see OpenSource
			s.closeErr = s.dialect.fault("close the store", s.reader.Close())
			return
		}
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
	s.reader, s.writer = nil, nil
	return errors.Join(errs...)
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
// context that it is given: a step is not torn where the engine permits that,
// and after each one the transaction ends if ctx has ended. Where the engine
// asks for it, fn is run again from its beginning, so it sets there what it
// counts and collects.
func (s *Store) write(ctx context.Context, did string, fn func(ctx context.Context, tx *sql.Tx) error) error {
	return s.run(ctx, did, func() error { return againTx(ctx, s.dialect, s.writer, nil, fn) })
}

// writeOnce is write for what cannot be run again.
func (s *Store) writeOnce(ctx context.Context, did string, fn func(ctx context.Context, tx *sql.Tx) error) error {
	return s.run(ctx, did, func() error { return inTx(ctx, s.dialect, s.writer, nil, fn) })
}

// read runs fn in one transaction that sees one moment of the database. Where
// the engine asks for it, fn is run again from its beginning, but not after the
// rows of its last query have begun to come.
func (s *Store) read(ctx context.Context, did string, fn func(ctx context.Context, tx *sql.Tx) error) error {
	return s.run(ctx, did, func() error { return againTx(ctx, s.dialect, s.reader, readOnly, fn) })
}

// run runs fn once the store is open, and wraps its error.
func (s *Store) run(_ context.Context, did string, fn func() error) error {
	if !s.opened.Load() {
		return s.dialect.fault(did, errNotOpen)
	}
	return s.dialect.fault(did, fn())
}

var readOnly = &sql.TxOptions{ReadOnly: true}

// A transaction that others stood in the way of is tried so often, with pauses
// of up to so long, and longer each time.
const (
	mostTries = 12
	tryPause  = 5 * time.Millisecond
)

// againTx is inTx, again and again where the engine asks for it.
func againTx(ctx context.Context, d dialect, db *sql.DB, o *sql.TxOptions, fn func(ctx context.Context, tx *sql.Tx) error) error {
	ctx = d.trying(ctx)
	for try := 1; ; try++ {
		err := inTx(ctx, d, db, o, fn)
		if err == nil || try == mostTries || ctx.Err() != nil || !d.again(err) {
			return err
		}
		if try == 1 {
			continue // most have nobody in their way any more
		}
		pause := time.NewTimer(randomly.N(time.Duration(try) * tryPause)) //nolint:gosec // no secret
		select {
		case <-ctx.Done():
			pause.Stop()
			return err
		case <-pause.C:
		}
	}
}

// inTx runs fn in one transaction.
func inTx(ctx context.Context, d dialect, db *sql.DB, o *sql.TxOptions, fn func(ctx context.Context, tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, o)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	err = fn(d.within(ctx), tx)
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	if err != nil {
		if undone := tx.Rollback(); d.again(undone) {
			return undone // what led to the error was not so
		}
		return err
	}
	return tx.Commit()
}

// clean takes out of foreign text what not every engine can store.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
}
