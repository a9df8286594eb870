package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	goosedb "github.com/pressly/goose/v3/database"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// sqliteFile is the dialect of SQLite: a file, its pragmas and result codes.
type sqliteFile struct {
	path string
	busy time.Duration // how long a statement waits for another process's lock
}

func (d sqliteFile) engine() string { return EngineSQLite }

func (d sqliteFile) place() string { return d.path }

func (d sqliteFile) shared() bool { return false }

func (d sqliteFile) acceptsNewer() bool { return false }

func (d sqliteFile) notes() goosedb.Dialect { return goosedb.DialectSQLite3 }

// within gives a context that does not end: to interrupt a statement costs
// SQLite the connection, and none takes long.
func (d sqliteFile) within(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }

// again is false: nothing fails in SQLite that waiting would not have helped.
func (d sqliteFile) again(error) bool { return false }

// fingerprint is of no use: who has the path has the file.
func (d sqliteFile) fingerprint() string { return "" }

// clock is this process's own: all that work on a file share it.
func (d sqliteFile) clock(_ context.Context, _ querier, now func() time.Time) (time.Time, error) {
	return now(), nil
}

func (d sqliteFile) wake(context.Context, querier) error { return nil }

func (d sqliteFile) listen(context.Context, func()) error { return ErrNoListen }

func (d sqliteFile) readOnlyFails(err error) bool { return readOnlyFails(err) }

func (d sqliteFile) damaged(err error) bool { return damaged(err) }

func (d sqliteFile) rows(types []string, n int) (text string, arrays bool) {
	return "values " + valueLists(n, len(types)), false
}

func (d sqliteFile) mostRows() int { return insertedRows }

func (d sqliteFile) atOnce() int { return 500 }

func (d sqliteFile) guess(ctx context.Context, _ []string) context.Context { return ctx }

func (d sqliteFile) guesses() bool { return false }

func (d sqliteFile) trying(ctx context.Context) context.Context { return ctx }

func (d sqliteFile) ids(n int) (text string, array bool) { return valueLists(1, n), false }

func (d sqliteFile) fault(did string, err error) error { return faultOf(d, did, err) }

// open makes a pool of connections. Nothing is opened before the first use.
func (d sqliteFile) open(m mode) *sql.DB {
	pragmas := []string{
		"busy_timeout(" + strconv.FormatInt(d.busy.Milliseconds(), 10) + ")", // first, so that the others wait too
		"foreign_keys(on)",
		"synchronous(full)", // an acknowledged write survives a loss of power
		"secure_delete(on)", // what is deleted is overwritten: keys and tokens
	}
	query := url.Values{
		"_time_format": {"sqlite"}, // 2006-01-02 15:04:05.999999+00:00, which sorts as text
		"_timezone":    {"UTC"},
		"_error_rc":    {"1"},
		"_dqs":         {"0"},
	}
	switch m {
	case forWriting:
		// Transactions that will write take the lock at their beginning, where
		// waiting for it is possible.
		query.Set("_txlock", "immediate")
		pragmas = append(pragmas, "cache_size(-"+strconv.Itoa(writerCache)+")", "journal_size_limit(16777216)")
	case forAlone:
		query.Set("_txlock", "immediate")
		// Nothing is put into files of the system's temporary directory.
		pragmas = append(pragmas, "locking_mode(exclusive)", "temp_store(memory)")
	case forReading:
		pragmas = append(pragmas, "query_only(on)")
	case forLooking:
		query.Set("mode", "ro")
	}
	query["_pragma"] = pragmas
	db := sql.OpenDB(connector{sqliteDriver(), d.address() + "?" + query.Encode()})
	conns := 1
	if m == forReading {
		conns = 4
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db
}

// address is the file's path as a URI, in which no character of it can be
// taken for an option.
func (d sqliteFile) address() string {
	p := filepath.ToSlash(d.path)
	if !strings.HasPrefix(p, "/") {
		p = "/" + p // a Windows drive
	}
	return (&url.URL{Scheme: "file", Path: p}).String()
}

// sqliteDriver is the driver with lower() as PostgreSQL has it, for letters beyond
// ASCII too. A driver of our own keeps that from other users of the library.
var sqliteDriver = sync.OnceValue(func() *sqlite.Driver {
	var d sqlite.Driver
	d.MustRegisterDeterministicScalarFunction("lower", 1, func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
		if s, ok := args[0].(string); ok {
			return strings.ToLower(s), nil
		}
		return args[0], nil
	})
	return &d
})

// connector opens connections with our driver.
type connector struct {
	driver *sqlite.Driver
	dsn    string
}

// Connect implements driver.Connector.
func (c connector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.dsn) }

// Driver implements driver.Connector.
func (c connector) Driver() driver.Driver { return c.driver }

// prepare puts the file into write-ahead mode, in which readers and the writer
// do not wait for each other. While another process does the same at the same
// moment, SQLite may refuse at once instead of waiting, so the waiting is done here.
func (d sqliteFile) prepare(ctx context.Context, db *sql.DB) error {
	deadline := time.Now().Add(d.busy)
	for {
		var now string
		err := db.QueryRowContext(ctx, "pragma journal_mode = wal").Scan(&now)
		if err == nil && now != "wal" {
			return fmt.Errorf("write-ahead logging is not possible here (journal mode %s)", now)
		}
		if err == nil {
			restrict(d.path)
			return d.checkWritable(ctx, db)
		}
		if resultCode(err) != sqlite3.SQLITE_BUSY || time.Now().After(deadline) {
			return err
		}
		pause := time.NewTimer(5 * time.Millisecond)
		select {
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		case <-pause.C:
		}
	}
}

var errReadOnly = errors.New("the file may only be read")

// checkWritable notices a file that may only be read; SQLite opens it all the same.
func (d sqliteFile) checkWritable(ctx context.Context, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	return conn.Raw(func(c any) error {
		file, ok := c.(interface {
			IsReadOnly(schema string) (bool, error)
		})
		if !ok {
			return fmt.Errorf("the driver's connection is a %T", c)
		}
		readOnly, err := file.IsReadOnly("main")
		if err == nil && readOnly {
			err = errReadOnly
		}
		return err
	})
}

var (
	typeNames = strings.NewReplacer("timestamptz", "text", "bigserial", "integer",
		"bigint generated by default as identity primary key", "integer primary key autoincrement",
		"(lower(username)", "(username collate nocase") // an index on a function of ours would break in other programs
	addColumn = regexp.MustCompile(`(?s)^alter table (\S+) add column if not exists (\S+) (.+)$`)
)

// migrate runs one statement of a migration, which is written in PostgreSQL's
// words. SQLite cannot add a column only where it is missing, so that is looked up.
func (d sqliteFile) migrate(ctx context.Context, tx querier, stmt string) error {
	stmt = typeNames.Replace(stmt)
	if m := addColumn.FindStringSubmatch(stmt); m != nil {
		has, err := d.hasColumn(ctx, tx, m[1], m[2])
		if err != nil || has {
			return err
		}
		stmt = "alter table " + m[1] + " add column " + m[2] + " " + m[3]
	}
	_, err := tx.ExecContext(ctx, stmt)
	return err
}

// hasColumn tells whether a table exists and has a column.
func (d sqliteFile) hasColumn(ctx context.Context, q querier, table, column string) (bool, error) {
	var n int
	err := q.QueryRowContext(ctx, "select count(*) from pragma_table_info(?) where name = ?", table, column).Scan(&n)
	return n > 0, err
}

// ignoringCase is an SQL expression by which a text column is ordered and
// compared without regard to the case of letters, of ASCII at least.
func (d sqliteFile) ignoringCase(column string) string { return column + " collate nocase" }

// contains is an SQL condition that a text, in small letters, is part of a
// column in letters of any case. SQLite's own LIKE ignores the case of ASCII
// letters and is much faster than a function of ours; that one is left for the
// columns that have other letters.
func (d sqliteFile) contains(column, find string) fragment {
	arg := "%" + likeLiteral(find) + "%"
	for i := range len(find) {
		if find[i] >= utf8.RuneSelf {
			return fragment{"(" + column + " glob '*[^ -~]*' and lower(" + column + `) like ? escape '\')`, []any{arg}}
		}
	}
	return fragment{column + ` like ? escape '\'`, []any{arg}}
}

// check reads the whole file and reports damage.
func (d sqliteFile) check(ctx context.Context, db *sql.DB) error {
	var found string
	if err := db.QueryRowContext(ctx, "pragma quick_check(1)").Scan(&found); err != nil {
		return err
	}
	if found != "ok" {
		return &damage{found}
	}
	return nil
}

func (d sqliteFile) examine(ctx context.Context, q querier) error {
	var found string
	if err := q.QueryRowContext(ctx, "pragma integrity_check(1)").Scan(&found); err != nil {
		return err
	}
	if found != "ok" {
		return &damage{found}
	}
	return nil
}

// damage is what quick_check found.
type damage struct{ found string }

func (e *damage) Error() string { return e.found }

func (d sqliteFile) renames() []string {
	return []string{
		"with d (old, new) as ({rows text, text}) update {p}keys as k set api_key = d.new from d where k.api_key = d.old",
		"with d (old, new) as ({rows text, text}) update {p}key_stats as s set api_key = d.new from d where s.api_key = d.old",
	}
}

// deferKeys lets a transaction break foreign keys until it commits.
func (d sqliteFile) deferKeys(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, "pragma defer_foreign_keys = on")
	return err
}

// Sizes of the writer's page cache in KiB: a large import changes most pages of
// the indexes again and again.
const (
	writerCache = 8 << 10
	importCache = 32 << 10
)

// growCache gives the writer a page cache of some KiB.
func (d sqliteFile) growCache(ctx context.Context, q querier, kib int) error {
	_, err := q.ExecContext(ctx, "pragma cache_size = -"+strconv.Itoa(kib))
	return err
}

// dropIndexes drops the indexes of a table but those that hold it to something,
// within a transaction, and returns the statements that make them again. To make
// one of all rows takes much less than to add so many rows one by one.
func (d sqliteFile) dropIndexes(ctx context.Context, tx *sql.Tx, table string) (again []string, err error) {
	rows, err := tx.QueryContext(ctx, `select i.name, m.sql from pragma_index_list(?) i join sqlite_master m on m.type = 'index' and m.name = i.name
		where i."unique" = 0 and m.sql is not null`, table)
	if err != nil {
		return nil, err
	}
	type index struct{ name, text string }
	found, err := collect(rows, func(i *index) []any { return []any{&i.name, &i.text} })
	if err != nil {
		return nil, err
	}
	for _, i := range found {
		if _, err := tx.ExecContext(ctx, `drop index "`+strings.ReplaceAll(i.name, `"`, `""`)+`"`); err != nil {
			return nil, err
		}
		again = append(again, i.text)
	}
	return again, nil
}

// version reads a number that changes when another connection commits. It
// means something on one and the same connection only.
func (d sqliteFile) version(ctx context.Context, conn *sql.Conn) (n int64, err error) {
	err = conn.QueryRowContext(ctx, "pragma data_version").Scan(&n)
	return n, err
}

// finish moves the write-ahead log into the file. Where others still read the
// log it stays, which harms nothing.
func (d sqliteFile) finish(ctx context.Context, db *sql.DB) error {
	if _, err := db.ExecContext(ctx, "pragma busy_timeout = 250"); err != nil {
		return err
	}
	_, err := d.checkpoint(ctx, db)
	return err
}

// checkpoint empties the write-ahead log into the file; done is false when
// another connection was in the way.
func (d sqliteFile) checkpoint(ctx context.Context, q querier) (done bool, err error) {
	var busy, log, moved int
	err = q.QueryRowContext(ctx, "pragma wal_checkpoint(truncate)").Scan(&busy, &log, &moved)
	return busy == 0, err
}

// scrub rewrites the whole file, so that nothing of what was deleted or
// replaced is left in it, in its free pages or in the log.
func (d sqliteFile) scrub(ctx context.Context, q querier) (done bool, err error) {
	if done, err := d.checkpoint(ctx, q); !done || err != nil {
		return done, err
	}
	if _, err := q.ExecContext(ctx, "vacuum"); err != nil {
		return false, err
	}
	return d.checkpoint(ctx, q)
}
