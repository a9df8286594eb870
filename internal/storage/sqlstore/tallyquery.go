package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Tallies adds up what is stored by name, the most requests first unless q.Sort
// says otherwise. Rows count whose period begins at q.Since or later and before
// q.Until; the sums of ever are not bound to times. Those of keys are exact, but
// where a page of all keys is asked for, which are on it follows from what is
// folded: keys of which nothing is come last.
func (s *Store) Tallies(ctx context.Context, p gateway.ProviderName, q gateway.TallyQuery) ([]gateway.NamedTally, error) {
	order, err := orderOf(q.Sort)
	if err != nil {
		return nil, err
	}
	// Where the names are not given, the store makes the page: it takes far less
	// to sort them alone than whole rows.
	choose := len(q.Names) == 0 && q.Of != gateway.OfProvider && q.Limit > 0
	var found []gateway.NamedTally
	err = s.tallyQuery(ctx, p, &q, func(r *tallyReader) error {
		found = nil
		visit := func(name string, at time.Time, t *gateway.Tally) {
			found = append(found, gateway.NamedTally{Name: name, LastUsed: at, Tally: *t})
		}
		if choose {
			return r.page(order, visit)
		}
		return r.each(true, visit)
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, order.compare)
	if !choose {
		found = pageOf(found, q.Offset, q.Limit)
	}
	return found, nil
}

// CountTallies tells how many names Tallies would return without a limit.
func (s *Store) CountTallies(ctx context.Context, p gateway.ProviderName, q gateway.TallyQuery) (total int, err error) {
	err = s.tallyQuery(ctx, p, &q, func(r *tallyReader) error {
		if total, err = r.count(); err != nil {
			return err
		}
		fresh, err := r.fresh()
		total += len(fresh)
		return err
	})
	return total, err
}

// TallySeries returns the rows that Tallies adds up, by period and name in the
// order of time. Periods without requests have none. Those of ever have no time.
func (s *Store) TallySeries(ctx context.Context, p gateway.ProviderName, q gateway.TallyQuery) ([]gateway.TallyPoint, error) {
	var found []gateway.TallyPoint
	err := s.tallyQuery(ctx, p, &q, func(r *tallyReader) error {
		found = nil
		return r.each(false, func(name string, at time.Time, t *gateway.Tally) {
			if q.Per == gateway.Ever {
				at = time.Time{}
			}
			found = append(found, gateway.TallyPoint{Name: name, At: at, Tally: *t})
		})
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b gateway.TallyPoint) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Name, b.Name))
	})
	return found, nil
}

// tallyQuery checks a query and hands fn what it reads with.
func (s *Store) tallyQuery(ctx context.Context, p gateway.ProviderName, q *gateway.TallyQuery, fn func(r *tallyReader) error) error {
	t, err := tablesOf(p)
	if err != nil {
		return err
	}
	if q.Per > gateway.Ever {
		return gateway.Errorf(gateway.KindInvalid, "unknown period %d", q.Per)
	}
	var names []string
	for _, name := range q.Names {
		names = append(names, clean(name))
	}
	if q.Of == gateway.OfProvider {
		names = []string{""} // spares going through the periods' other rows
	}
	slices.Sort(names)
	names = slices.Compact(names)
	return s.read(ctx, "read statistics from the store", func(inside context.Context, tx *sql.Tx) error {
		r := tallyReader{s: s, ctx: inside, until: ctx, tx: tx, t: t, q: q, names: names, now: s.now(), journalled: sumsOf(entryTally)}
		if q.Of == gateway.OfKey && q.Per == gateway.Ever {
			if err := r.readJournal(); err != nil {
				return err
			}
		}
		return fn(&r)
	})
}

// tallyOrder is an order of sums.
type tallyOrder struct {
	column int // of countedColumns, -1: the name
	desc   bool
}

// orderOf reads a query's Sort.
func orderOf(sort string) (tallyOrder, error) {
	by, desc := strings.CutPrefix(cmp.Or(sort, "-requests"), "-")
	column := slices.Index(tallyColumns[:len(countedColumns)], by)
	if column < 0 && by != "name" {
		return tallyOrder{}, gateway.Errorf(gateway.KindInvalid, "unknown order %q", gateway.Clip(sort, 40))
	}
	return tallyOrder{column, desc}, nil
}

func (o tallyOrder) compare(a, b gateway.NamedTally) int {
	name := cmp.Compare(a.Name, b.Name)
	if o.column < 0 {
		if o.desc {
			return -name
		}
		return name
	}
	number := countedColumns[o.column].of
	n := cmp.Compare(*number(&a.Tally), *number(&b.Tally))
	if o.desc {
		n = -n
	}
	return cmp.Or(n, name)
}

// pageOf cuts a page out of a whole list.
func pageOf[T any](list []T, offset, limit int) []T {
	list = list[min(max(offset, 0), len(list)):]
	if limit > 0 {
		list = list[:min(limit, len(list))]
	}
	return list
}

// tallyWhere is the part of a statement that says which rows it reads: those of
// some names, all where there are none.
func tallyWhere(q *gateway.TallyQuery, names []string, now time.Time) fragment {
	f := fragment{" from " + tallyTable(q.Per) + " where subject = ?", []any{string(q.Of)}}
	if len(names) > 0 {
		f.text += " and name in (" + placeholders(len(names)) + ")"
		for _, name := range names {
			f.args = append(f.args, name)
		}
	}
	if q.Per == gateway.Ever {
		return f
	}
	if !q.Since.IsZero() {
		f.text += " and period >= ?"
		f.args = append(f.args, at(q.Since))
	}
	until := q.Until
	if until.IsZero() {
		until = now
	}
	return fragment{f.text + " and period < ?", append(f.args, at(until))}
}

// tallyPage is the statement for the names of a page.
func tallyPage(q *gateway.TallyQuery, order tallyOrder, now time.Time) fragment {
	f := tallyWhere(q, nil, now)
	const byName = "name collate binary"
	by := byName
	if order.column >= 0 {
		by = tallyColumns[order.column]
	}
	if q.Per != gateway.Ever {
		f.text += " group by name"
		if order.column >= 0 {
			by = "sum(" + by + ")"
		}
	}
	if order.desc {
		by += " desc"
	}
	if order.column >= 0 {
		by += ", " + byName
	}
	return fragment{"select name" + f.text + " order by " + by + " limit ? offset ?", append(f.args, q.Limit, max(q.Offset, 0))}
}

// tallySelect is the statement for the rows of some names, all where there are
// none, or for their sums by name.
func tallySelect(q *gateway.TallyQuery, names []string, sums bool, now time.Time) fragment {
	columns := tallyColumns
	if q.Counted {
		columns = columns[:len(countedColumns)]
	}
	when, group := "period", ""
	switch {
	case q.Per == gateway.Ever:
		when = "last_used"
	case sums:
		when, group = "max(period)", " group by name"
		columns = slices.Clone(columns)
		for i, c := range columns {
			columns[i] = "cast(sum(" + c + ") as bigint)"
		}
	}
	f := tallyWhere(q, names, now)
	return fragment{"select name, " + when + ", " + strings.Join(columns, ", ") + f.text + group, f.args}
}
