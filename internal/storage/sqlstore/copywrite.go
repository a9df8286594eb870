package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"unicode/utf8"
)

// copyArgs is about how many values one statement of a copy writes: enough that
// a distant database is not asked for every row, and below what every engine takes.
const copyArgs = 6000

// copyWriter writes rows into a table of the target, many at a time.
type copyWriter struct {
	c      *copying
	ctx    context.Context
	src    *tableSource
	before string // of the statement, in front of the values
	after  string
	many   int // rows of a whole statement
	stmt   *sql.Stmt

	cells  []copyCell     // rows that wait
	places map[string]int // where a row with a key waits, nil for a table without
	sums   []int64        // of every column of what was written, see amount
	rows   int64          // written, those with one key once
	was    []int64        // what the target's table held before, see measure
}

// writer begins to write a table; in a dry run it only adds up.
func (c *copying) writer(ctx context.Context, src *tableSource) (*copyWriter, error) {
	columns := src.table.columns
	w := &copyWriter{c: c, ctx: ctx, src: src, many: max(1, copyArgs/len(columns)), sums: make([]int64, len(columns))}
	if !src.table.appended {
		w.places = map[string]int{}
	}
	if c.o.DryRun {
		return w, nil
	}
	names := make([]string, len(columns))
	for i := range columns {
		names[i] = columns[i].name
	}
	w.before = "insert into " + src.name() + " as t (" + strings.Join(names, ", ") + ") values "
	w.after = meeting(src.table)
	var err error
	w.was, err = w.measure()
	return w, err
}

// meeting is what a statement does with rows that are there already.
func meeting(table *copyTable) string {
	if table.appended {
		return ""
	}
	var keys, sets []string
	for i := range table.columns {
		col := &table.columns[i]
		c := col.name
		if col.key {
			keys = append(keys, c)
		}
		switch col.meets {
		case meetKeep:
		case meetAdd:
			sets = append(sets, c+" = coalesce(t."+c+", 0) + excluded."+c)
		case meetLatest:
			sets = append(sets, c+" = case when t."+c+" is null or t."+c+" < excluded."+c+" then excluded."+c+" else t."+c+" end")
		case meetRate:
			sets = append(sets, c+` = coalesce(round(100.0 * (coalesce(t.success_count, 0) + excluded.success_count)
				/ nullif(coalesce(t.success_count, 0) + excluded.success_count + coalesce(t.failure_count, 0) + excluded.failure_count, 0), 2), 0)`)
		}
	}
	if len(sets) == 0 {
		return " on conflict do nothing"
	}
	return " on conflict (" + strings.Join(keys, ", ") + ") do update set " + strings.Join(sets, ", ")
}

// add takes a row. One statement must not meet the same row twice, so rows with
// one key that wait together are made one.
func (w *copyWriter) add(row []copyCell) error {
	if w.places != nil {
		key := w.keyOf(row)
		if place, waits := w.places[key]; waits {
			w.join(w.cells[place:place+len(row)], row)
			return nil
		}
		w.places[key] = len(w.cells)
	}
	w.cells = append(w.cells, row...)
	if len(w.cells) >= w.many*len(row) {
		return w.flush()
	}
	return nil
}

func (w *copyWriter) keyOf(row []copyCell) string {
	var b strings.Builder
	for i := range row {
		if !w.src.table.columns[i].key {
			continue
		}
		switch row[i].kind {
		case ofText:
			b.WriteString(row[i].s)
		case ofCount:
			fmt.Fprint(&b, row[i].n)
		case ofTime:
			fmt.Fprint(&b, row[i].at.UnixMicro())
		}
		b.WriteByte(0)
	}
	return b.String()
}

// join does to a row that waits what the statement does to one that is there.
func (w *copyWriter) join(have, row []copyCell) {
	for i := range have {
		switch w.src.table.columns[i].meets {
		case meetAdd:
			have[i].n += row[i].n
		case meetLatest:
			have[i].at = latest(have[i].at, row[i].at)
			have[i].set = !have[i].at.IsZero()
		case meetKeep, meetRate:
		}
	}
}

// flush writes the rows that wait.
func (w *copyWriter) flush() error {
	columns := w.src.table.columns
	n := len(w.cells) / len(columns)
	if n == 0 {
		return nil
	}
	for i := range w.cells {
		w.sums[i%len(columns)] += amount(&w.cells[i])
	}
	w.rows += int64(n)
	defer func() {
		w.cells = w.cells[:0]
		clear(w.places)
	}()
	if w.c.o.DryRun {
		return nil
	}
	args := make([]any, len(w.cells))
	for i := range w.cells {
		args[i] = w.cells[i].value(columns[i%len(columns)].key)
	}
	return w.c.step(w.ctx, func(ctx context.Context, out *sql.Tx) error {
		if n < w.many || out != w.c.out {
			return sent(out.ExecContext(ctx, w.before+valueLists(n, len(columns))+w.after, args...))
		}
		if w.stmt == nil {
			var err error
			if w.stmt, err = out.PrepareContext(ctx, w.before+valueLists(n, len(columns))+w.after); err != nil {
				return err
			}
		}
		return sent(w.stmt.ExecContext(ctx, args...))
	})
}

// sent waits until a statement was carried out: an engine may collect several,
// and these are large.
func sent(res sql.Result, err error) error {
	if err == nil {
		_, err = res.RowsAffected()
	}
	return err
}

func (w *copyWriter) close() {
	if w.stmt != nil {
		_ = w.stmt.Close()
	}
}

// amount is what a value adds to the sum by which a column is verified: a count
// itself, a text its characters, a time one.
func amount(c *copyCell) int64 {
	switch {
	case c.kind == ofCount:
		return c.n
	case !c.set:
		return 0
	case c.kind == ofTime:
		return 1
	}
	return int64(utf8.RuneCountInString(c.s))
}

// measure reads the number of rows of the target's table and the sum of each of
// its columns.
func (w *copyWriter) measure() (got []int64, err error) {
	var b strings.Builder
	b.WriteString("select count(*)")
	for _, c := range w.src.table.columns {
		switch {
		case c.meets == meetRate:
			b.WriteString(", 0")
		case c.kind == ofCount:
			b.WriteString(", cast(coalesce(sum(" + c.name + "), 0) as bigint)")
		case c.kind == ofTime:
			b.WriteString(", count(" + c.name + ")")
		default:
			b.WriteString(", cast(coalesce(sum(length(" + c.name + ")), 0) as bigint)")
		}
	}
	got = make([]int64, 1+len(w.src.table.columns))
	into := make([]any, len(got))
	for i := range got {
		into[i] = &got[i]
	}
	text := b.String() + " from " + w.src.name()
	err = w.c.step(w.ctx, func(ctx context.Context, out *sql.Tx) error { return out.QueryRowContext(ctx, text).Scan(into...) })
	return got, err
}

// sumOf is the sum of a counter, 0 for "".
func (w *copyWriter) sumOf(column string) int64 {
	if column == "" {
		return 0
	}
	return w.sums[w.src.column(column)]
}

// verify reads back what was written. Of rows that met others only what is
// added can be told.
func (w *copyWriter) verify(done *CopiedTable) error {
	if w.c.o.DryRun {
		done.Added = w.rows
		return nil
	}
	is, err := w.measure()
	if err != nil {
		return err
	}
	done.Added = is[0] - w.was[0]
	done.Existing = done.Rows - done.LeftOut - done.Added
	if done.Added > w.rows || w.src.table.appended && done.Added != w.rows {
		return fmt.Errorf("%d rows were written, and %d are there", w.rows, done.Added)
	}
	for i, c := range w.src.table.columns {
		if c.meets == meetRate || done.Added < w.rows && c.meets != meetAdd {
			continue
		}
		if got := is[1+i] - w.was[1+i]; got != w.sums[i] {
			return fmt.Errorf("the column %s was not copied as it is: %d of %d", c.name, got, w.sums[i])
		}
	}
	done.Verified = true
	return nil
}
