package sqlstore

import (
	"context"
	"database/sql"
	"time"

	goosedb "github.com/pressly/goose/v3/database"
)

// Names of the engines, as Store.Engine gives them.
const (
	EngineSQLite     = "sqlite"
	EnginePostgreSQL = "postgresql"
	EnginePostgREST  = "postgrest"
)

// dialect is what an engine does in its own way: connections, transactions,
// types, errors. Nothing else in this package knows which engine it is.
type dialect interface {
	engine() string
	place() string       // names the database in messages, without what is secret
	shared() bool        // other processes may work on it at the same time
	fingerprint() string // of the address, without the password; "" where no two could be confused

	// open makes a pool of connections. Nothing is opened before the first use.
	open(m mode) *sql.DB
	// create makes an empty database where there is none and that is possible.
	create() (fresh bool, err error)
	// mustBeThere is for what does not make a database.
	mustBeThere(did string) error
	// prepare readies a database for its tables.
	prepare(ctx context.Context, db *sql.DB) error
	// check looks for damage, where that can be told in reasonable time.
	check(ctx context.Context, db *sql.DB) error
	// finish is called before the pool that writes is closed.
	finish(ctx context.Context, db *sql.DB) error

	// within gives the context for the statements of a transaction of a caller.
	within(ctx context.Context) context.Context
	// trying gives the context for all tries of a transaction, see again.
	trying(ctx context.Context) context.Context
	// again reports whether a transaction that failed can succeed when it is
	// run once more from its beginning.
	again(err error) bool
	// fault wraps an error with what was tried, see faultOf.
	fault(did string, err error) error
	// explain says in plain words what an error means and what helps, and
	// whether the database is only out of reach for now. All are empty for an
	// error that is not about the database.
	explain(err error) (cause, cure string, away bool)
	// refused reports whether an error is about what was to be written, see
	// Store.Refused.
	refused(err error) bool
	// readOnlyFails reports whether an error can come from having opened the
	// database for looking.
	readOnlyFails(err error) bool
	damaged(err error) bool // the error tells of a file that is not sound

	// migrate runs one statement of a migration.
	migrate(ctx context.Context, tx querier, stmt string) error
	notes() goosedb.Dialect // of the table that says which migrations were done
	acceptsNewer() bool     // tables of a newer version are used; migrations only ever add
	hasColumn(ctx context.Context, q querier, table, column string) (bool, error)

	// ignoringCase is an SQL expression by which a text column is ordered and
	// compared without regard to the case of letters, of ASCII at least.
	ignoringCase(column string) string
	// contains is an SQL condition that a text, in small letters, is part of a
	// column in letters of any case.
	contains(column, find string) fragment
	// rows is a query whose result is n rows of values of some types, and how
	// the values are to be bound: row by row, or as an array for each column.
	rows(types []string, n int) (text string, arrays bool)
	// mostRows is how many rows one statement takes, see rows.
	mostRows() int
	// atOnce is how many keys are held in memory and worked on at once where a
	// transaction reads and writes by turns.
	atOnce() int
	// guess tells an engine for which each query is a call of its own, which
	// ids one will probably return, in a context for that query; guesses says
	// that it is such an engine.
	guess(ctx context.Context, ids []string) context.Context
	guesses() bool
	// ids is the list of ids in brackets after "in", likewise.
	ids(n int) (text string, array bool)

	// clock is the time by which instances agree, now being this process's.
	clock(ctx context.Context, q querier, now func() time.Time) (time.Time, error)
	// wake lets listen call its function, in other processes too, once the
	// transaction is committed.
	wake(ctx context.Context, q querier) error
	// listen blocks and calls wake, see Store.Listen.
	listen(ctx context.Context, wake func()) error

	// renames are statements that together give rows of {p}keys, and those of
	// {p}key_stats that belong to them, other primary keys: {rows text, text}.
	renames() []string
	// deferKeys lets a transaction break foreign keys until it commits.
	deferKeys(ctx context.Context, tx *sql.Tx) error
	// growCache gives the writer a cache of some KiB for a large change.
	growCache(ctx context.Context, q querier, kib int) error
	// dropIndexes drops those indexes of a table without which a large import
	// is faster, and returns the statements that make them again.
	dropIndexes(ctx context.Context, tx *sql.Tx, table string) (again []string, err error)
	// version reads a number that changes when another connection commits. It
	// means something on one and the same connection only.
	version(ctx context.Context, conn *sql.Conn) (n int64, err error)
	// scrub leaves nothing of what was deleted or replaced in the file.
	scrub(ctx context.Context, q querier) (done bool, err error)
	checkpoint(ctx context.Context, q querier) (done bool, err error)
	// backup copies the database into a new file.
	backup(ctx context.Context, did, to string) error
	// examine reads the whole database and looks for damage.
	examine(ctx context.Context, q querier) error
}

// mode is what a connection is for.
type mode uint8

const (
	forWriting mode = iota // the one connection that writes
	forReading             // several, which never write
	forLooking             // changes nothing, not a byte of a file
	forAlone               // writes, and refuses to share a file with anybody
)

// querier is a database, a connection or a transaction.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}
