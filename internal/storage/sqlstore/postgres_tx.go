package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// begin is what a transaction begins with.
func (c *pgConn) begin(ctx context.Context) (text string, wait time.Duration) {
	var b strings.Builder
	set := func(name string, d time.Duration) {
		b.WriteString("; set local " + name + " = " + strconv.FormatInt(max(d.Milliseconds(), 1), 10))
	}
	writes := c.mode == forWriting || c.mode == forAlone
	if writes {
		wait = pgLockWait
		if deadline, ok := ctx.Deadline(); ok {
			wait = min(wait, time.Until(deadline))
		}
		b.WriteString("begin isolation level read committed read write")
		set("idle_in_transaction_session_timeout", pgStandstill)
		set("lock_timeout", wait)
	} else {
		b.WriteString("begin isolation level repeatable read read only")
		set("idle_in_transaction_session_timeout", pgReadLinger)
	}
	b.WriteString("; set local timezone = 'UTC'")
	if path := c.dialect.address.searchPath; path != "" {
		b.WriteString("; select set_config('search_path', " + pgLiteral(path) + ", true)")
	}
	if writes {
		b.WriteString("; select pg_advisory_xact_lock(" + strconv.FormatInt(pgWriteLock, 10) + ")")
	}
	return b.String(), wait
}

// pgLiteral quotes a text for SQL.
func pgLiteral(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), "'", "''")
	return " E'" + s + "'"
}

// BeginTx implements driver.ConnBeginTx. A connection that died while it was
// idle shows here, before anything was done, so another one can be tried.
func (c *pgConn) BeginTx(ctx context.Context, _ driver.TxOptions) (driver.Tx, error) {
	if !c.IsValid() {
		return nil, driver.ErrBadConn
	}
	text, wait := c.begin(ctx)
	watched, dog := c.watch(ctx, wait+pgBeginWait)
	defer dog.end()
	_, err := c.inner.Conn().PgConn().Exec(watched, text).ReadAll()
	if err == nil {
		c.fresh, c.tx, c.failed = false, ctx, nil
		return (*pgTx)(c), nil
	}
	err = silent(watched, err)
	if c.IsValid() {
		c.rollback() // else it would stand in a transaction
	}
	if !c.fresh && !c.IsValid() && ctx.Err() == nil {
		return nil, driver.ErrBadConn
	}
	c.close()
	return nil, err
}

// close gives the connection up.
func (c *pgConn) close() {
	ctx, cancel := context.WithTimeout(context.Background(), pgRollback)
	defer cancel()
	_ = c.inner.Conn().Close(ctx)
}

// rollback ends a transaction without its effects, or gives the connection up.
func (c *pgConn) rollback() {
	ctx, cancel := context.WithTimeout(context.Background(), pgRollback)
	defer cancel()
	if _, err := c.inner.Conn().PgConn().Exec(ctx, "rollback").ReadAll(); err != nil {
		c.close()
	}
}

// pgTx is a transaction on a connection.
type pgTx pgConn

// Commit implements driver.Tx.
func (t *pgTx) Commit() error {
	c := (*pgConn)(t)
	defer c.ended()
	if c.failed != nil {
		c.rollback()
		return c.failed
	}
	err := c.flush(c.tx, "commit")
	if err != nil && c.IsValid() {
		c.rollback()
	}
	return err
}

// Rollback implements driver.Tx.
func (t *pgTx) Rollback() error {
	c := (*pgConn)(t)
	defer c.ended()
	if c.IsValid() {
		c.rollback()
	}
	return nil
}

func (c *pgConn) ended() {
	c.tx, c.failed, c.results = nil, nil, nil
	c.waiting = pgx.Batch{}
}

// pgResult is the result of a statement, which may be yet to be sent.
type pgResult struct {
	conn *pgConn
	ctx  context.Context
	done bool
	n    int64
	err  error
}

// LastInsertId implements driver.Result.
func (r *pgResult) LastInsertId() (int64, error) { return 0, errors.ErrUnsupported }

// RowsAffected implements driver.Result.
func (r *pgResult) RowsAffected() (int64, error) {
	if !r.done {
		if err := r.conn.flush(r.ctx, ""); err != nil {
			return 0, err
		}
	}
	return r.n, r.err
}

// flush sends what waits, and a last statement.
func (c *pgConn) flush(ctx context.Context, last string) error {
	if c.failed != nil {
		return c.failed
	}
	if last != "" {
		c.waiting.Queue(last)
		c.results = append(c.results, &pgResult{})
	}
	if len(c.results) == 0 {
		return nil
	}
	batch, results := c.waiting, c.results
	c.waiting, c.results = pgx.Batch{}, nil
	watched, dog := c.watch(ctx, c.dialect.patience)
	defer dog.end()
	sent := c.inner.Conn().SendBatch(watched, &batch)
	var err error
	for _, r := range results {
		if r.done = true; err == nil {
			tag, failed := sent.Exec()
			r.n, err = tag.RowsAffected(), failed
			dog.timer.Reset(dog.d)
		}
		r.err = err
	}
	if closed := sent.Close(); err == nil {
		err = closed
	}
	c.failed = silent(watched, err)
	return c.failed
}
