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

// A statement for many rows names the types of their values, in PostgreSQL's
// words: {rows text, bigint} is a query whose result they are. A list of ids in
// brackets is {ids}.

// splitRows parts a text at its {rows …} and reads the types.
func splitRows(text string) (before, after string, types []string) {
	before, rest, _ := strings.Cut(text, "{rows ")
	list, after, _ := strings.Cut(rest, "}")
	types = strings.Split(list, ",")
	for i := range types {
		types[i] = strings.TrimSpace(types[i])
	}
	return before, after, types
}

// queryRows runs a statement for n rows, all of them at once, that returns ids of
// keys.
func (b *batch) queryRows(text string, n int, row func(args []any, i int) []any, visit func(gateway.KeyID)) {
	if n == 0 {
		return
	}
	before, after, types := splitRows(text)
	query, arrays := b.d.rows(types, n)
	args := make([]any, 0, n*len(types))
	for i := range n {
		args = row(args, i)
	}
	if arrays {
		args = columnsOf(args, len(types))
	}
	b.query(before+query+after, args, visit)
}

// runRows runs a statement for n rows, many at a time. row appends the values of
// row i.
func (b *batch) runRows(text string, n int, row func(args []any, i int) []any) {
	before, after, types := splitRows(text)
	most := b.d.mostRows()
	for from, whole := 0, n-n%most; from < n; {
		rows, until := most, whole
		if from == whole {
			rows, until = n-whole, n
		}
		query, arrays := b.d.rows(types, rows)
		b.run(before+query+after, func(exec func(args ...any)) {
			args := make([]any, 0, rows*len(types))
			for ; from < until; from += rows {
				args = args[:0]
				for i := range rows {
					args = row(args, from+i)
				}
				if arrays {
					exec(columnsOf(args, len(types))...)
				} else {
					exec(args...)
				}
			}
		})
		if b.err != nil {
			return
		}
	}
}

// rowsReturning runs a statement for rows that stand one behind the other, no
// more of them than one statement takes, and for further values. It returns ids
// of keys.
func (b *batch) rowsReturning(text string, rows, further []any, visit func(gateway.KeyID)) {
	before, after, types := splitRows(text)
	query, arrays := b.d.rows(types, len(rows)/len(types))
	if arrays {
		rows = columnsOf(rows, len(types))
	}
	b.query(before+query+after, append(rows, further...), visit)
}

// columnsOf makes an array of each column of rows that stand one behind the other.
func columnsOf(values []any, columns int) []any {
	arrays := make([]any, columns)
	for c := range columns {
		column := make([]any, 0, len(values)/columns)
		for i := c; i < len(values); i += columns {
			column = append(column, values[i])
		}
		arrays[c] = column
	}
	return arrays
}

// byIDs runs a statement for keys, many at a time. Its text names the list of
// their ids {ids}; before are the values for the placeholders in front of it.
func (b *batch) byIDs(text string, ids []gateway.KeyID, before ...any) {
	listIDs(b.d, text, ids, func(text string, lists iter.Seq[[]any]) {
		b.run(text, func(exec func(args ...any)) {
			for list := range lists {
				exec(slices.Concat(before, list)...)
			}
		})
	})
}

// returning is byIDs for a statement that returns the ids of the keys that it
// found.
func (b *batch) returning(text string, ids []gateway.KeyID, visit func(gateway.KeyID), before ...any) {
	listIDs(b.d, text, ids, func(text string, lists iter.Seq[[]any]) {
		for list := range lists {
			b.query(text, slices.Concat(before, list), visit)
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
func listIDs(d dialect, text string, ids []gateway.KeyID, run func(text string, lists iter.Seq[[]any])) {
	whole := len(ids) - len(ids)%idsAtOnce
	for _, part := range [][]gateway.KeyID{ids[:whole], ids[whole:]} {
		if len(part) == 0 {
			continue
		}
		n := min(len(part), idsAtOnce)
		places, array := d.ids(n)
		run(strings.ReplaceAll(text, "{ids}", places), func(yield func([]any) bool) {
			for chunk := range slices.Chunk(part, n) {
				list := make([]any, n)
				for i, id := range chunk {
					list[i] = string(id)
				}
				if array {
					list = []any{list}
				}
				if !yield(list) {
					return
				}
			}
		})
	}
}
