package sqlstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	goosedb "github.com/pressly/goose/v3/database"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/postgrest"
)

// postgREST is the dialect of PostgreSQL behind PostgREST: the same SQL, by way of
// HTTP. See package postgrest for what a transaction is there.
type postgREST struct {
	*postgres
	options postgrest.Options
	address string

	mu    sync.Mutex // guards what follows
	ahead time.Duration
	asked time.Time // when ahead was found out
}

// restAgent is how the program names itself where nobody gave its version.
const restAgent = "ollama-api-pool"

func newREST(o Options) (dialect, error) {
	d := &postgREST{postgres: &postgres{}, options: postgrest.Options{
		URL: o.REST.URL, Key: o.REST.Key, Lock: pgWriteLock, UserAgent: cmp.Or(o.REST.Agent, restAgent),
		Timeout: o.patience, Rewrite: pgText,
	}}
	c, err := postgrest.New(d.options)
	if err != nil {
		return nil, gateway.Errorf(gateway.KindInvalid, "open the store: %s", err)
	}
	d.address = c.Address()
	return d, nil
}

func (d *postgREST) engine() string { return EnginePostgREST }

func (d *postgREST) place() string { return d.address }

func (d *postgREST) fingerprint() string {
	sum := sha256.Sum256([]byte(EnginePostgREST + " " + d.address))
	return hex.EncodeToString(sum[:8])
}

func (d *postgREST) open(m mode) *sql.DB {
	c, err := postgrest.New(d.options)
	if err != nil { // newREST has made the same one before
		panic(err)
	}
	db := sql.OpenDB(c)
	conns := 1
	if m == forReading {
		conns = pgReaders
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db
}

const restCure = "run the script that `ollama-api-pool migrate sql --rest` prints in the database's SQL editor, and start again"

// prepare looks whether the tables are those that this version needs. Nobody can
// make tables over PostgREST.
func (d *postgREST) prepare(ctx context.Context, db *sql.DB) error {
	notes, err := goosedb.NewStore(d.notes(), versionTable)
	if err != nil {
		return err
	}
	steps, err := migrations()
	if err != nil {
		return err
	}
	done, err := lastStep(ctx, d, db, notes)
	if err != nil {
		return fmt.Errorf("look which tables there are: %w", err)
	}
	f := &Fault{Did: "open the store", Path: d.place(), Cure: restCure}
	switch needed := steps[len(steps)-1].version; {
	case done >= needed:
		return d.postgres.prepare(ctx, db)
	case done == 0:
		f.Cause = "the tables of this program are not there"
	default:
		f.Cause = fmt.Sprintf("its tables are those of step %d, and this version of the program needs step %d", done, needed)
	}
	return f
}

// atOnce is as many as there will be: each turn costs to do all of those before
// it again.
func (d *postgREST) atOnce() int { return 1 << 20 }

func (d *postgREST) guess(ctx context.Context, ids []string) context.Context {
	return postgrest.Guess(ctx, ids)
}

func (d *postgREST) guesses() bool { return true }

func (d *postgREST) trying(ctx context.Context) context.Context { return postgrest.Trying(ctx) }

func (d *postgREST) fault(did string, err error) error { return faultOf(d, did, err) }

func (d *postgREST) explain(err error) (cause, cure string, away bool) {
	var e *postgrest.Error
	switch {
	case errors.As(err, &e):
		return e.Cause, e.Cure, e.Away
	case errors.Is(err, context.DeadlineExceeded):
		return "it gave no answer in time", pgCureAway, true
	}
	return "", "", false
}

// clockKept is for how long it is remembered how far the database's clock is
// ahead of ours.
const clockKept = 30 * time.Second

// clock asks the database now and then only: each question is a call, and half
// the time that it takes is what the answer may be wrong by anyway.
func (d *postgREST) clock(ctx context.Context, q querier, _ func() time.Time) (time.Time, error) {
	d.mu.Lock()
	ahead, asked := d.ahead, d.asked
	d.mu.Unlock()
	if !asked.IsZero() && time.Since(asked) < clockKept {
		return time.Now().Add(ahead).UTC(), nil
	}
	before := time.Now()
	now, err := d.postgres.clock(ctx, q, nil)
	if err != nil {
		return time.Time{}, err
	}
	after := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ahead, d.asked = now.Sub(before.Add(after.Sub(before)/2)), after
	return now, nil
}

func (d *postgREST) listen(context.Context, func()) error { return ErrNoListen }

func (d *postgREST) backup(context.Context, string, string) error {
	return gateway.Errorf(gateway.KindInvalid, "a database behind PostgREST is backed up with its own tools, such as those of Supabase or pg_dump; `ollama-api-pool migrate --to file` copies it into a file of this program")
}
