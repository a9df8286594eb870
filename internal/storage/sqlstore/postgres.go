package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	goosedb "github.com/pressly/goose/v3/database"

	"ollama-api-pool/internal/gateway"
)

// postgres is the dialect of PostgreSQL.
type postgres struct {
	address  *pgAddress
	letters  string        // how lower() is told to know letters beyond ASCII, where it does not by itself
	patience time.Duration // how long one answer may take
	texts    sync.Map      // statements with ? to those with $1, of all connections
	kept     atomic.Int64  // about how many they are
	worked   atomic.Bool   // a connection has come about
}

// defaultPatience is how long the answer to one statement may take before the
// database counts as out of reach. A caller's deadline ends it sooner.
const defaultPatience = 30 * time.Second

// Connections of one process: a change of ours waits for the one before it
// anyway, and reads are few.
const pgReaders = 4

// pgIdle is when a connection that nobody used is closed.
const pgIdle = 5 * time.Minute

func newPostgres(o Options) (dialect, error) {
	address, err := parsePostgresURL(o.URL)
	if err != nil {
		return nil, err
	}
	if len(address.ignored) > 0 && o.Log != nil {
		o.Log.Warn("parameters of DATABASE_URL that mean nothing here are left out",
			"parameters", strings.Join(address.ignored, ", "))
	}
	return &postgres{address: address, patience: cmp.Or(o.patience, defaultPatience)}, nil
}

func (d *postgres) engine() string { return EnginePostgreSQL }

func (d *postgres) place() string { return d.address.place }

func (d *postgres) shared() bool { return true }

func (d *postgres) fingerprint() string { return d.address.fingerprint }

func (d *postgres) acceptsNewer() bool { return true }

func (d *postgres) notes() goosedb.Dialect { return goosedb.DialectPostgres }

func (d *postgres) open(m mode) *sql.DB {
	db := sql.OpenDB(&pgConnector{dialect: d, mode: m, inner: stdlib.GetConnector(*d.address.config)})
	conns := 1
	if m == forReading {
		conns = pgReaders
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	db.SetConnMaxIdleTime(pgIdle)
	return db
}

// create makes nothing: a database is made by whoever owns the server.
func (d *postgres) create() (fresh bool, err error) { return false, nil }

func (d *postgres) mustBeThere(string) error { return nil }

// prepare looks whether lower() knows letters beyond ASCII, which it does not in
// a database of the locale C.
func (d *postgres) prepare(ctx context.Context, db *sql.DB) error {
	return inTx(ctx, d, db, readOnly, func(ctx context.Context, tx *sql.Tx) error {
		var knows, icu bool
		err := tx.QueryRowContext(ctx, `select lower('Ö') = 'ö', exists (select 1 from pg_collation where collname = 'und-x-icu')`).Scan(&knows, &icu)
		if err == nil && !knows && icu {
			d.letters = ` collate "und-x-icu"`
		}
		return err
	})
}

// check is nothing: the server watches its own files.
func (d *postgres) check(context.Context, *sql.DB) error { return nil }

func (d *postgres) examine(context.Context, querier) error { return nil }

func (d *postgres) finish(context.Context, *sql.DB) error { return nil }

// within gives the caller's own context: a network lies between, so a statement
// may have to be given up.
func (d *postgres) within(ctx context.Context) context.Context { return ctx }

// States of errors, from https://www.postgresql.org/docs/current/errcodes-appendix.html
const (
	pgFeatureNotSupported = "0A000"
	pgSerialization       = "40001"
	pgDeadlock            = "40P01"
)

// again is true where others stood in the way, and where a plan was made for
// tables that have got another column since.
func (d *postgres) again(err error) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	case pgSerialization, pgDeadlock:
		return true
	case pgFeatureNotSupported:
		return strings.Contains(e.Message, "cached plan")
	}
	return false
}

func (d *postgres) readOnlyFails(error) bool { return false }

func (d *postgres) damaged(error) bool { return false }

// migrate runs one statement of a migration.
func (d *postgres) migrate(ctx context.Context, tx querier, stmt string) error {
	res, err := tx.ExecContext(patient(ctx), pgStep(stmt))
	if err == nil {
		_, err = res.RowsAffected() // which sends it
	}
	return err
}

// pgStep is a statement of a migration. Names are in the order of their bytes, as
// in SQLite and whatever the database's own order is.
func pgStep(stmt string) string {
	return strings.ReplaceAll(stmt, "(lower(username),", `(lower(username) collate "C",`)
}

// hasColumn tells whether a table exists and has a column.
func (d *postgres) hasColumn(ctx context.Context, q querier, table, column string) (bool, error) {
	var n int
	err := q.QueryRowContext(ctx, "select count(*) from pg_attribute where attrelid = to_regclass(?) and attname = ? and attnum > 0 and not attisdropped",
		table, column).Scan(&n)
	return n > 0, err
}

func (d *postgres) ignoringCase(column string) string { return "lower(" + column + `) collate "C"` }

func (d *postgres) contains(column, find string) fragment {
	return fragment{"lower(" + column + d.letters + `) like ? escape '\'`, []any{"%" + likeLiteral(find) + "%"}}
}

// rows has an array for each column, so that one text serves any number of rows.
func (d *postgres) rows(types []string, _ int) (text string, arrays bool) {
	var b strings.Builder
	b.WriteString("select * from unnest(")
	for i, name := range types {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("?::" + name + "[]")
	}
	b.WriteString(")")
	return b.String(), true
}

func (d *postgres) mostRows() int { return 1000 }

func (d *postgres) atOnce() int { return 2000 }

func (d *postgres) guess(ctx context.Context, _ []string) context.Context { return ctx }

func (d *postgres) guesses() bool { return false }

func (d *postgres) trying(ctx context.Context) context.Context { return ctx }

func (d *postgres) ids(int) (text string, array bool) { return "(select unnest(?::text[]))", true }

// renames is one statement, at whose end foreign keys are looked at that others
// have made and that cannot be deferred.
func (d *postgres) renames() []string {
	return []string{`with d (old, new) as ({rows text, text}),
		s as (update {p}key_stats as s set api_key = d.new from d where s.api_key = d.old)
		update {p}keys as k set api_key = d.new from d where k.api_key = d.old`}
}

func (d *postgres) deferKeys(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, "set constraints all deferred")
	return err
}

func (d *postgres) growCache(context.Context, querier, int) error { return nil }

// dropIndexes leaves them: others read by them meanwhile.
func (d *postgres) dropIndexes(context.Context, *sql.Tx, string) ([]string, error) { return nil, nil }

// version is always the same: what others do is followed by the journal of changes.
func (d *postgres) version(context.Context, *sql.Conn) (int64, error) { return 0, nil }

// scrub is left to the server, which overwrites what was replaced when it needs
// the room.
func (d *postgres) scrub(context.Context, querier) (done bool, err error) { return true, nil }

func (d *postgres) checkpoint(context.Context, querier) (done bool, err error) { return true, nil }

func (d *postgres) backup(context.Context, string, string) error {
	return gateway.Errorf(gateway.KindInvalid, "a PostgreSQL database is backed up with its own tools, such as pg_dump; `ollama-api-pool migrate --to file` copies it into a file of this program")
}
