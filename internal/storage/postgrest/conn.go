package postgrest

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// conn implements driver.Conn. database/sql uses it from one goroutine at a time.
type conn struct {
	c  *Connector
	tx *tx // nil outside of transactions
}

var errTx = errors.New("a transaction is under way already")

// Begin implements driver.Conn.
func (c *conn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

// BeginTx implements driver.ConnBeginTx. Nothing is sent. Of the levels of
// isolation there is one, the highest.
func (c *conn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	if c.tx != nil {
		return nil, errTx
	}
	c.tx = &tx{conn: c, ctx: ctx, readOnly: o.ReadOnly, tries: triesOf(ctx)}
	if !o.ReadOnly {
		c.tx.memory, c.tx.guesses = c.tx.tries.recall()
	}
	return c.tx, nil
}

// Close implements driver.Conn.
func (c *conn) Close() error { return nil }

// CheckNamedValue implements driver.NamedValueChecker.
func (c *conn) CheckNamedValue(v *driver.NamedValue) error { return checkValue(v) }

// Ping implements driver.Pinger.
func (c *conn) Ping(ctx context.Context) error {
	_, err := c.QueryContext(ctx, "select 1", nil)
	return err
}

// Prepare implements driver.Conn.
func (c *conn) Prepare(text string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), text)
}

// PrepareContext implements driver.ConnPrepareContext. Nothing is sent.
func (c *conn) PrepareContext(_ context.Context, text string) (driver.Stmt, error) {
	s, err := parse(c.c.rewrite(text))
	if err != nil {
		return nil, err
	}
	return &stmt{conn: c, statement: s}, nil
}

// ExecContext implements driver.ExecerContext.
func (c *conn) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	s, err := parse(c.c.rewrite(text))
	if err != nil {
		return nil, err
	}
	return c.exec(ctx, &s, args)
}

// QueryContext implements driver.QueryerContext.
func (c *conn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	s, err := parse(c.c.rewrite(text))
	if err != nil {
		return nil, err
	}
	return c.query(ctx, &s, args)
}

func (c *conn) exec(ctx context.Context, s *statement, args []driver.NamedValue) (driver.Result, error) {
	one, err := s.send(args, false)
	if err != nil {
		return nil, err
	}
	if c.tx != nil {
		return c.tx.exec(one)
	}
	a, err := c.c.run(ctx, []*sent{one}, true)
	if err != nil {
		return nil, err
	}
	return driver.RowsAffected(a.Results[0].Count), nil
}

func (c *conn) query(ctx context.Context, s *statement, args []driver.NamedValue) (driver.Rows, error) {
	if s.columns == 0 {
		return nil, fmt.Errorf("run the statement %.60q: %w", strings.Join(s.pieces, "?"), errColumns)
	}
	one, err := s.send(args, true)
	if err != nil {
		return nil, err
	}
	var r result
	switch {
	case c.tx != nil:
		r, err = c.tx.query(ctx, one)
	case one.reads:
		var a answer
		if a, err = c.c.read(ctx, []*sent{one}, nil, ""); err == nil {
			r = a.Results[0]
		}
	default:
		var a answer
		if a, err = c.c.run(ctx, []*sent{one}, true); err == nil {
			r = a.Results[0]
		}
	}
	if err != nil {
		return nil, err
	}
	return newRows(s.columns, &r)
}

// run calls the function that writes.
func (c *Connector) run(ctx context.Context, all []*sent, commit bool) (answer, error) {
	r := request{Commit: commit}
	if c.lock != 0 {
		r.Lock = &c.lock
	}
	for _, s := range all {
		r.Run = append(r.Run, r.step(s))
	}
	return c.call(ctx, runName, &r)
}

// read calls the function that reads, behind earlier queries.
func (c *Connector) read(ctx context.Context, all, earlier []*sent, snapshot string) (answer, error) {
	r := request{Snapshot: snapshot}
	for _, s := range earlier {
		r.Earlier = append(r.Earlier, r.step(s))
	}
	for _, s := range all {
		r.Run = append(r.Run, r.step(s))
	}
	return c.call(ctx, readName, &r)
}

// send makes a statement with its values. In the text a value stands as an
// element of $1 with its type, so that no value is ever part of a text.
func (s *statement) send(args []driver.NamedValue, query bool) (*sent, error) {
	if len(args) != s.inputs {
		return nil, fmt.Errorf("%d values for %d placeholders", len(args), s.inputs)
	}
	values := make([]any, len(args))
	casts := make([]string, len(args))
	for i, a := range args {
		var err error
		if values[i], casts[i], err = encode(a.Value); err != nil {
			return nil, err
		}
	}
	var text strings.Builder
	for i, piece := range s.pieces {
		text.WriteString(piece)
		if i == len(s.args) {
			break
		}
		arg := s.args[i]
		if values[arg] == nil {
			text.WriteString("null")
			continue
		}
		text.WriteString("($1->>" + strconv.Itoa(arg) + ")")
		if casts[arg] != "" {
			text.WriteString("::" + casts[arg])
		}
	}
	one := &sent{text: text.String(), query: query, reads: query && s.reads, loose: query && s.loose}
	if query {
		one.text = s.asQuery(one.text)
	}
	if len(values) > 0 {
		var err error
		if one.args, err = json.Marshal(values); err != nil {
			return nil, fmt.Errorf("write the values of a statement: %w", err)
		}
	}
	one.sum = sumOf(one.text, one.args)
	return one, nil
}

// stmt implements driver.Stmt.
type stmt struct {
	conn      *conn
	statement statement
}

// Close implements driver.Stmt.
func (s *stmt) Close() error { return nil }

// NumInput implements driver.Stmt.
func (s *stmt) NumInput() int { return s.statement.inputs }

// CheckNamedValue implements driver.NamedValueChecker.
func (s *stmt) CheckNamedValue(v *driver.NamedValue) error { return checkValue(v) }

var errContext = errors.New("only calls with a context are understood")

// Exec implements driver.Stmt.
func (s *stmt) Exec([]driver.Value) (driver.Result, error) { return nil, errContext }

// Query implements driver.Stmt.
func (s *stmt) Query([]driver.Value) (driver.Rows, error) { return nil, errContext }

// ExecContext implements driver.StmtExecContext.
func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.conn.exec(ctx, &s.statement, args)
}

// QueryContext implements driver.StmtQueryContext.
func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.conn.query(ctx, &s.statement, args)
}
