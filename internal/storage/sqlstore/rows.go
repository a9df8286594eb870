package sqlstore

import (
	"iter"
	"slices"
	"strings"

	"ollama-api-pool/internal/gateway"
)

// insertedRows is how many rows one statement inserts, idsAtOnce how many ids
// one statement names: fewer statements cost less, larger ones no longer.
const (
	insertedRows = 100
	idsAtOnce    = 500
)

// valueLists are placeholders for lists of values in brackets, as many and as long as asked.
func valueLists(rows, columns int) string {
	row := "(?" + strings.Repeat(", ?", columns-1) + ")"
	return row + strings.Repeat(", "+row, rows-1)
}

// insertRows inserts n rows, many at a time. row appends the values of row i.
func (b *batch) insertRows(text string, n int, row func(args []any, i int) []any) {
	b.runRows(text, "", n, row)
}

// runRows runs a statement for n rows, many at a time: it is in two pieces,
// between which the rows' values stand. row appends those of row i.
func (b *batch) runRows(before, after string, n int, row func(args []any, i int) []any) {
	if n == 0 {
		return
	}
	columns := len(row(nil, 0))
	for from, whole := 0, n-n%insertedRows; from < n; {
		rows, until := insertedRows, whole
		if from == whole {
			rows, until = n-whole, n
		}
		b.run(before+valueLists(rows, columns)+after, func(exec func(args ...any)) {
			args := make([]any, 0, rows*columns)
			for ; from < until; from += rows {
				args = args[:0]
				for i := range rows {
					args = row(args, from+i)
				}
				exec(args...)
			}
		})
		if b.err != nil {
			return
		}
	}
}

// byIDs runs a statement for keys, many at a time. Its text names the list of
// their ids {ids}; before are the values for the placeholders in front of it.
func (b *batch) byIDs(text string, ids []gateway.KeyID, before ...any) {
	listIDs(text, ids, func(text string, lists iter.Seq[[]any]) {
		b.run(text, func(exec func(args ...any)) {
			for list := range lists {
				exec(slices.Concat(before, list)...)
			}
		})
	})
}

// returning is byIDs for a statement that returns the ids of the keys that it
// found.
func (b *batch) returning(text string, ids []gateway.KeyID, visit func(gateway.KeyID)) {
	listIDs(text, ids, func(text string, lists iter.Seq[[]any]) {
		for list := range lists {
			b.query(text, list, visit)
		}
	})
}

// query runs a statement that returns ids of keys.
func (b *batch) query(text string, args []any, visit func(gateway.KeyID)) {
	if b.err == nil {
		b.err = b.until.Err()
	}
	if b.err != nil {
		return
	}
	stmt := b.prepare(text)
	if b.err != nil {
		return
	}
	rows, err := stmt.QueryContext(b.ctx, args...)
	if err != nil {
		b.err = err
		return
	}
	defer func() { _ = rows.Close() }()
	var id string
	for rows.Next() {
		if b.err = rows.Scan(&id); b.err != nil {
			return
		}
		visit(gateway.KeyID(id))
	}
	b.err = rows.Err()
}

// listIDs parts ids into lists of idsAtOnce and a rest, and calls run for each
// of the two with the text that takes such lists.
func listIDs(text string, ids []gateway.KeyID, run func(text string, lists iter.Seq[[]any])) {
	whole := len(ids) - len(ids)%idsAtOnce
	for _, part := range [][]gateway.KeyID{ids[:whole], ids[whole:]} {
		if len(part) == 0 {
			continue
		}
		n := min(len(part), idsAtOnce)
		run(strings.ReplaceAll(text, "{ids}", valueLists(1, n)), func(yield func([]any) bool) {
			for chunk := range slices.Chunk(part, n) {
				list := make([]any, n)
				for i, id := range chunk {
					list[i] = string(id)
				}
				if !yield(list) {
					return
				}
			}
		})
	}
}
