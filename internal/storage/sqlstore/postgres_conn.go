package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// pgWriteLock is what every transaction that writes holds, of whichever
// instance: so they follow each other.
const pgWriteLock = 0x6f617069706f6f6c // "oapipool"

// Bounds of a transaction. The server ends one that stands still, as when its
// process is frozen, so that others need not wait for it.
const (
	pgStandstill   = 10 * time.Second
	pgReadLinger   = 60 * time.Second
	pgLockWait     = 20 * time.Second // at most, for the lock on writing
	pgBeginWait    = 5 * time.Second  // for a connection that may be dead
	pgRollback     = 2 * time.Second
	pgLongPatience = 10 * time.Minute // for migrations
	pgPipeline     = 256              // statements that are sent at once
	pgTextsKept    = 4096
)

type patientKey struct{}

// patient lets one statement take long.
func patient(ctx context.Context) context.Context { return context.WithValue(ctx, patientKey{}, true) }

// pgConnector opens connections.
type pgConnector struct {
	dialect *postgres
	mode    mode
	inner   driver.Connector
}

// Connect implements driver.Connector. It ends in time also where something
// takes the connection and says nothing.
func (c *pgConnector) Connect(ctx context.Context) (driver.Conn, error) {
	hosts := 1 + len(c.dialect.address.config.Fallbacks)
	ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(hosts)*c.dialect.address.config.ConnectTimeout, errSilent)
	defer cancel()
	conn, err := c.inner.Connect(connecting(ctx))
	if err != nil {
		return nil, silent(ctx, err)
	}
	inner, ok := conn.(*stdlib.Conn)
	if !ok {
		return nil, fmt.Errorf("the driver's connection is a %T", conn)
	}
	c.dialect.worked.Store(true)
	return &pgConn{inner: inner, dialect: c.dialect, mode: c.mode, fresh: true}, nil
}

// Driver implements driver.Connector.
func (c *pgConnector) Driver() driver.Driver { return c.inner.Driver() }

// silent tells the end of our patience from that of the caller's context, which
// the error then does not say any more.
func silent(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errSilent) {
		return fmt.Errorf("%w: %s", errSilent, err.Error())
	}
	return err
}

// pgConn is a connection. Statements that change something within a transaction
// are collected and sent together, when something is asked of which the answer
// matters: so a transaction of many statements takes few round trips. An error
// of one of them shows then.
type pgConn struct {
	inner   *stdlib.Conn
	dialect *postgres
	mode    mode
	fresh   bool // nothing was asked of it yet

	tx      context.Context // of the transaction, nil outside
	waiting pgx.Batch
	results []*pgResult
	failed  error // of a statement of this transaction
}

// watch bounds how long the connection may be silent.
func (c *pgConn) watch(ctx context.Context, d time.Duration) (context.Context, *watchdog) {
	if ctx.Value(patientKey{}) != nil {
		d = max(d, pgLongPatience)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &watchdog{time.AfterFunc(d, func() { cancel(errSilent) }), d, cancel}
}

// watchdog ends a context when it is not reset in time.
type watchdog struct {
	timer  *time.Timer
	d      time.Duration
	cancel context.CancelCauseFunc
}

func (w *watchdog) end() {
	w.timer.Stop()
	w.cancel(nil)
}

// Prepare implements driver.Conn.
func (c *pgConn) Prepare(text string) (driver.Stmt, error) { return &pgStmt{c, text}, nil }

// PrepareContext implements driver.ConnPrepareContext. It only remembers the
// text: what is worth preparing is prepared at its first use.
func (c *pgConn) PrepareContext(_ context.Context, text string) (driver.Stmt, error) {
	return &pgStmt{c, text}, nil
}

// Close implements driver.Conn.
func (c *pgConn) Close() error { return c.inner.Close() }

// Begin implements driver.Conn.
func (c *pgConn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

// CheckNamedValue implements driver.NamedValueChecker: the driver takes values of
// any type.
func (c *pgConn) CheckNamedValue(*driver.NamedValue) error { return nil }

// IsValid implements driver.Validator.
func (c *pgConn) IsValid() bool { return !c.inner.Conn().IsClosed() }

// ResetSession implements driver.SessionResetter. Whether the connection still
// works shows when a transaction begins.
func (c *pgConn) ResetSession(context.Context) error {
	if !c.IsValid() || c.tx != nil {
		return driver.ErrBadConn
	}
	return nil
}

// ExecContext implements driver.ExecerContext.
func (c *pgConn) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	if c.failed != nil {
		return nil, c.failed
	}
	if !c.IsValid() {
		return nil, driver.ErrBadConn
	}
	values := make([]any, len(args))
	for i := range args {
		values[i] = storable(args[i].Value)
	}
	c.waiting.Queue(c.dialect.numbered(text), values...)
	r := &pgResult{conn: c, ctx: ctx}
	c.results = append(c.results, r)
	if c.tx == nil || len(c.results) >= pgPipeline || !canWait(text) {
		if err := c.flush(ctx, ""); err != nil {
			if c.tx == nil {
				c.failed = nil
			}
			return nil, err
		}
	}
	return r, nil
}

// canWait tells whether a statement can be sent together with those that follow.
// All of them are prepared before the first is executed, so what makes a table
// cannot.
func canWait(text string) bool {
	for _, verb := range []string{"insert", "update", "delete", "with", "select"} {
		if strings.HasPrefix(text, verb) {
			return true
		}
	}
	return false
}

// QueryContext implements driver.QueryerContext.
func (c *pgConn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	if !c.IsValid() {
		return nil, driver.ErrBadConn
	}
	if err := c.flush(ctx, ""); err != nil {
		return nil, err
	}
	for i := range args {
		args[i].Value = storable(args[i].Value)
	}
	watched, dog := c.watch(ctx, c.dialect.patience)
	rows, err := c.inner.QueryContext(watched, c.dialect.numbered(text), args)
	if err != nil {
		defer dog.end()
		err = silent(watched, err)
		if c.tx != nil {
			c.failed = err
		}
		return nil, err
	}
	dog.timer.Stop()
	return &pgRows{rows, watched, dog}, nil
}

// pgRows are rows that must go on coming.
type pgRows struct {
	driver.Rows
	ctx context.Context
	dog *watchdog
}

// Next implements driver.Rows.
func (r *pgRows) Next(dest []driver.Value) error {
	r.dog.timer.Reset(r.dog.d)
	err := r.Rows.Next(dest)
	r.dog.timer.Stop()
	if err != nil && !errors.Is(err, io.EOF) {
		return silent(r.ctx, err)
	}
	return err
}

// Close implements driver.Rows.
func (r *pgRows) Close() error {
	r.dog.timer.Reset(r.dog.d)
	defer r.dog.end()
	return silent(r.ctx, r.Rows.Close())
}

// pgStmt is the text of a statement.
type pgStmt struct {
	conn *pgConn
	text string
}

// Close implements driver.Stmt.
func (s *pgStmt) Close() error { return nil }

// NumInput implements driver.Stmt: the server counts.
func (s *pgStmt) NumInput() int { return -1 }

// Exec implements driver.Stmt.
func (s *pgStmt) Exec([]driver.Value) (driver.Result, error) { return nil, errors.ErrUnsupported }

// Query implements driver.Stmt.
func (s *pgStmt) Query([]driver.Value) (driver.Rows, error) { return nil, errors.ErrUnsupported }

// ExecContext implements driver.StmtExecContext.
func (s *pgStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.conn.ExecContext(ctx, s.text, args)
}

// QueryContext implements driver.StmtQueryContext.
func (s *pgStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.conn.QueryContext(ctx, s.text, args)
}
