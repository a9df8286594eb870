package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// copyCell is one value of a row that is copied. It reads what other programs
// may have made of the column's type: numbers as text, times as numbers.
type copyCell struct {
	kind copyKind
	set  bool // not NULL
	s    string
	n    int64
	at   time.Time
}

// Scan implements sql.Scanner.
func (c *copyCell) Scan(src any) error {
	*c = copyCell{kind: c.kind, set: src != nil}
	if !c.set {
		return nil
	}
	switch c.kind {
	case ofText:
		c.s = clean(asText(src))
	case ofTime:
		var w when
		if err := w.Scan(src); err != nil {
			return err
		}
		c.at, c.set = w.Time, !w.IsZero()
	case ofCount:
		return c.scanCount(src)
	case ofRate:
	}
	return nil
}

func asText(src any) string {
	switch v := src.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	}
	return fmt.Sprint(src)
}

func (c *copyCell) scanCount(src any) error {
	switch v := src.(type) {
	case int64:
		c.n = v
		return nil
	case float64:
		return c.round(v)
	case bool:
		if v {
			c.n = 1
		}
		return nil
	}
	text := strings.TrimSpace(asText(src))
	n, err := strconv.ParseInt(text, 10, 64)
	if err == nil {
		c.n = n
		return nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return fmt.Errorf("%.40q is no number", text)
	}
	return c.round(f)
}

func (c *copyCell) round(f float64) error {
	if math.IsNaN(f) || math.Abs(f) >= math.MaxInt64 {
		return fmt.Errorf("%g cannot be counted", f)
	}
	c.n = int64(math.Round(f))
	return nil
}

// put sets a text.
func (c *copyCell) put(s string) { c.s, c.set = s, true }

// value is what is written.
func (c *copyCell) value(key bool) any {
	switch {
	case c.kind == ofCount:
		return c.n // of none 0, as the tables' defaults are
	case c.kind == ofRate:
		return float64(c.n) / 100
	case c.kind == ofTime:
		return at(c.at)
	case !c.set && !key:
		return nil
	}
	return c.s
}

// emitRow takes a row, which is the reader's again afterwards.
type emitRow func(row []copyCell) error

// tableSource is a table of the source.
type tableSource struct {
	t       tables
	table   *copyTable
	there   bool
	has     map[string]bool // its columns
	rows    int64
	leftOut int64
}

func (src *tableSource) name() string { return src.t.sql(src.table.table) }

// look finds out whether the table is there, with which columns, and how many
// rows it holds.
func (src *tableSource) look(ctx context.Context, from *Store, q querier) (err error) {
	src.there, err = from.dialect.hasColumn(ctx, q, src.name(), src.table.columns[0].name)
	if err != nil || !src.there {
		return err
	}
	if src.has, err = src.columnsIn(ctx, from, q); err != nil {
		return err
	}
	return q.QueryRowContext(ctx, "select count(*) from "+src.name()).Scan(&src.rows)
}

// columnsIn finds out which columns the table has.
func (src *tableSource) columnsIn(ctx context.Context, from *Store, q querier) (has map[string]bool, err error) {
	has = map[string]bool{}
	whole, err := from.upToDate(ctx, q)
	if err != nil {
		return nil, err
	}
	if whole || from.Engine() == EnginePostgREST { // which knows our tables only, and cannot be asked for all columns
		for _, c := range src.table.columns {
			has[c.name] = true
		}
		has[src.table.order] = true
		return has, nil
	}
	rows, err := q.QueryContext(ctx, "select * from "+src.name()+" where 1 = 0")
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		has[name] = true
	}
	return has, rows.Err()
}

// row makes an empty row and the destinations of the columns that the table has.
// The others are to be cleared before each row, since what reads it may set them.
func (src *tableSource) row() (row []copyCell, names []string, into []any) {
	row = make([]copyCell, len(src.table.columns))
	for i, c := range src.table.columns {
		row[i].kind = c.kind
		if src.has[c.name] {
			names, into = append(names, c.name), append(into, &row[i])
		}
	}
	return row, names, into
}

// column is the place of a column in a row.
func (src *tableSource) column(name string) int {
	for i := range src.table.columns {
		if src.table.columns[i].name == name {
			return i
		}
	}
	panic("no column " + name)
}

// each reads the rows of a table as they are.
func (c *copying) each(ctx context.Context, src *tableSource, emit emitRow) error {
	if !src.there {
		return nil
	}
	row, names, into := src.row()
	text := "select " + strings.Join(names, ", ") + " from " + src.name()
	if src.table.order != "" && src.has[src.table.order] {
		text += " order by " + src.table.order
	}
	return c.query(ctx, text, into, func() error {
		src.clear(row)
		return emit(row)
	})
}

// clear empties what the table has no column for.
func (src *tableSource) clear(row []copyCell) {
	for i, c := range src.table.columns {
		if !src.has[c.name] {
			row[i] = copyCell{kind: c.kind}
		}
	}
}

// query reads rows of the source until the caller has gone.
func (c *copying) query(ctx context.Context, text string, into []any, visit func() error) error {
	rows, err := c.in.QueryContext(ctx, text)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for n := 0; rows.Next(); n++ {
		if n%64 == 0 {
			if err := c.until.Err(); err != nil {
				return err
			}
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if err := visit(); err != nil {
			return err
		}
	}
	return rows.Err()
}

// copyTable copies one table and verifies it.
func (c *copying) copyTable(ctx context.Context, src *tableSource) error {
	read := src.table.read
	if read == nil {
		read = (*copying).each
	}
	w, err := c.writer(ctx, src)
	if err != nil {
		return err
	}
	defer w.close()
	src.leftOut = 0
	c.say(src)
	var rows int64
	if err := read(c, ctx, src, func(row []copyCell) error {
		rows++
		if c.done++; c.done%500 == 0 {
			c.say(src)
		}
		return w.add(row)
	}); err != nil {
		return err
	}
	if err := w.flush(); err != nil {
		return err
	}
	done := CopiedTable{
		Table: src.name(), What: src.table.what, Provider: src.t.provider, Rows: max(src.rows, rows+src.leftOut), LeftOut: src.leftOut,
		Counted: w.sumOf(src.table.sum), CountOf: src.table.sum,
	}
	if src.there && rows+src.leftOut != src.rows && src.table != tallyEver && src.table.table != "{p}client_tokens" {
		return fmt.Errorf("%d rows were read of %d", rows+src.leftOut, src.rows)
	}
	if err := w.verify(&done); err != nil {
		return err
	}
	if done.Rows > 0 {
		c.report.Tables = append(c.report.Tables, done)
	}
	if src.table == tallyEver {
		return c.afterSums(ctx, src)
	}
	return nil
}

func (c *copying) say(src *tableSource) {
	if c.o.Progress != nil {
		c.o.Progress(CopyProgress{What: src.table.what, Provider: src.t.provider, Done: min(c.done, c.total), Total: c.total})
	}
}

var _ sql.Scanner = (*copyCell)(nil)
