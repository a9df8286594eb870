package sqlstore

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"ollama-api-pool/internal/gateway"
)

// tallyReader reads what a query asks for, within one transaction.
type tallyReader struct {
	s          *Store
	ctx        context.Context // does not end, see write
	until      context.Context // the caller's
	tx         *sql.Tx
	t          tables
	q          *gateway.TallyQuery
	names      []string // each once; none are all
	now        time.Time
	journalled *keySums // what the journal holds of them, where they are keys
}

// readJournal reads what is yet to be folded.
func (r *tallyReader) readJournal() error {
	r.journalled = newKeySums(entryTally)
	if len(r.names) > 0 {
		ids := make([]gateway.KeyID, len(r.names))
		for i, name := range r.names {
			ids[i] = gateway.KeyID(name)
		}
		r.journalled = sumsOf(entryTally, ids...)
	}
	return readJournal(r.ctx, r.until, r.tx, r.t, r.journalled)
}

// namesAtOnce is how many names one statement asks for.
const namesAtOnce = 200

// eachChunk calls fn with some names at a time, and once where there are none.
func eachChunk(names []string, fn func(names []string) error) error {
	if len(names) == 0 {
		return fn(nil)
	}
	for chunk := range slices.Chunk(names, namesAtOnce) {
		if err := fn(chunk); err != nil {
			return err
		}
	}
	return nil
}

// count counts the names that are stored.
func (r *tallyReader) count() (total int, err error) {
	err = eachChunk(r.names, func(names []string) error {
		where := tallyWhere(r.q, names, r.now)
		what := "count(distinct name)"
		if r.q.Per == gateway.Ever {
			what = "count(*)"
		}
		var n int
		err := r.tx.QueryRowContext(r.ctx, r.t.sql("select "+what+where.text), where.args...).Scan(&n)
		total += n
		return err
	})
	return total, err
}

type visitTally func(name string, at time.Time, t *gateway.Tally)

// each calls visit for each row, or for the sums by name.
func (r *tallyReader) each(sums bool, visit visitTally) error {
	err := eachChunk(r.names, func(names []string) error { return r.stored(names, sums, visit) })
	if err != nil {
		return err
	}
	fresh, err := r.fresh()
	for i := range fresh {
		visit(fresh[i].Name, time.Time{}, &fresh[i].Tally)
	}
	return err
}

// page calls visit for the sums of a page of all names.
func (r *tallyReader) page(order tallyOrder, visit visitTally) error {
	page := tallyPage(r.q, order, r.now)
	rows, err := r.tx.QueryContext(r.ctx, r.t.sql(page.text), page.args...)
	if err != nil {
		return err
	}
	names, err := collect(rows, func(name *string) []any { return []any{name} })
	if err != nil {
		return err
	}
	if len(names) < r.q.Limit && len(r.journalled.of) > 0 {
		fresh, err := r.fresh()
		if err != nil {
			return err
		}
		before, err := r.count()
		if err != nil {
			return err
		}
		slices.SortFunc(fresh, order.compare)
		fresh = pageOf(fresh, max(r.q.Offset, 0)-before, r.q.Limit-len(names))
		for i := range fresh {
			visit(fresh[i].Name, time.Time{}, &fresh[i].Tally)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return eachChunk(names, func(names []string) error { return r.stored(names, true, visit) })
}

// stored calls visit for each stored row of some names, all where there are
// none, or for their sums by name, with what the journal holds of them.
func (r *tallyReader) stored(names []string, sums bool, visit visitTally) error {
	f := tallySelect(r.q, names, sums, r.now)
	rows, err := r.tx.QueryContext(r.ctx, r.t.sql(f.text), f.args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	var name string
	var at when
	var tally gateway.Tally
	into := []any{&name, &at}
	for _, n := range tallyParts(&tally, r.q.Counted) {
		into = append(into, n)
	}
	for rows.Next() {
		if err := r.until.Err(); err != nil {
			return err
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if more := r.take(gateway.KeyID(name)); more != nil {
			all := tally
			all.Add(more)
			visit(name, at.Time, &all)
			continue
		}
		visit(name, at.Time, &tally)
	}
	return rows.Err()
}

// take takes out what the journal holds of a key, nil where that is nothing.
func (r *tallyReader) take(id gateway.KeyID) *gateway.Tally {
	sum := r.journalled.get(id)
	if sum.tally == nil {
		return nil
	}
	if raw, ok := rawIDOf(id); ok {
		delete(r.journalled.of, raw)
	}
	if r.q.Counted {
		sum.tally.Duration, sum.tally.FirstByte = gateway.Histogram{}, gateway.Histogram{}
	}
	return sum.tally
}

// freshKeys are those keys of a list of which no tally is stored.
const freshKeys = `select k.key_id from {p}keys k where k.key_id in {ids}
	and not exists (select 1 from {p}tally_ever t where t.subject = 'key' and t.name = k.key_id)`

// fresh lists what the journal holds of keys of which nothing is stored.
func (r *tallyReader) fresh() (fresh []gateway.NamedTally, err error) {
	var ids []gateway.KeyID
	for raw, sum := range r.journalled.of {
		if sum.tally != nil {
			ids = append(ids, raw.id())
		}
	}
	b := r.s.batch(r.ctx, r.until, r.tx, r.t)
	b.returning(freshKeys, ids, func(id gateway.KeyID) {
		fresh = append(fresh, gateway.NamedTally{Name: string(id), Tally: *r.take(id)})
	})
	return fresh, b.err
}
