package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strings"

	"ollama-api-pool/internal/gateway"
)

// A list of keys is put together from segments: first the keys that have the
// value to sort by, in the order of an index, then those that lack it. So a page
// far from the beginning costs a walk along an index, from its nearer end, and no
// sorting. For the last use there is no index: to keep one would double what
// every batch of counts costs.

// segment is a part of an ordered list.
type segment struct {
	from  string   // the tables, {p}keys as k; "" is that alone
	where fragment // which keys; no text: all
	order string   // every column followed by {d}, the direction
	desc  bool
	used  string // of keys that were used: what the order begins with; from is {p}key_stats alone, as s
}

// orderOf is an order by its name, as segments; nil for status, which has its own,
// and for a name that is none. filtered says that a filter chooses among the keys.
func (s *Store) orderOf(name string, filtered bool) []segment {
	with := func(text, order string) segment { return segment{where: fragment{text: text}, order: order} }
	without := func(text string) segment { return with(text, "k.created_at{d}, k.key_id{d}") }
	switch name {
	case "username":
		return []segment{
			with("k.username <> ''", s.dialect.ignoringCase("k.username")+"{d}, k.category{d}, k.key_id{d}"),
			without("(k.username = '' or k.username is null)"),
		}
	case "created_at", "expires_at":
		return []segment{
			with("k."+name+" is not null", "k."+name+"{d}, k.key_id{d}"),
			without("k." + name + " is null"),
		}
	case "consecutive_failures":
		return []segment{
			without("(k.consecutive_failures = 0 or k.consecutive_failures is null)"),
			with("k.consecutive_failures <> 0", "k.consecutive_failures{d}, k.key_id{d}"),
		}
	case "last_used":
		used := with("s.last_used is not null", "s.last_used{d}, s.api_key{d}")
		used.from = "{p}keys k join {p}key_stats s on s.api_key = k.api_key"
		if !filtered {
			// Each row is a key's, so the keys need not be looked up. A row without
			// one, as other programs may leave behind, makes its page shorter.
			used.from, used.used = "{p}key_stats s", "s.last_used"
		}
		return []segment{
			used,
			with("not exists (select 1 from {p}key_stats s where s.api_key = k.api_key and s.last_used is not null)", "k.api_key{d}"),
		}
	}
	return nil
}

// segments makes the order of a query from its name, with "-" in front for
// descending.
func (s *Store) segments(by string, filtered bool, now any) ([]segment, error) {
	if by == "" {
		by = "created_at"
	}
	name, descending := strings.CutPrefix(by, "-")
	list := s.orderOf(name, filtered)
	if name == "status" {
		for _, status := range slices.Sorted(slices.Values(gateway.KeyStatuses())) {
			list = append(list, segment{where: hasStatus(status, now), order: "k.created_at{d}, k.key_id{d}"})
		}
	}
	if list == nil {
		return nil, gateway.Errorf(gateway.KindInvalid, "cannot sort by %q", gateway.Clip(by, 40))
	}
	if !descending {
		return list, nil
	}
	if name == "status" || name == "consecutive_failures" { // which no key lacks
		slices.Reverse(list)
		list[0].desc = name == "consecutive_failures"
		return list, nil
	}
	list[0].desc = true
	return list, nil
}

// fewKeys is up to how many keys that a filter chooses are looked up first and
// then sorted, instead of looking for them along an index.
const fewKeys = 2000

// lister reads a list of keys within one transaction.
type lister struct {
	s     *Store
	ctx   context.Context // does not end, see write
	until context.Context // the caller's
	tx    *sql.Tx
	t     tables
	where fragment
	few   bool // the filter chooses at most fewKeys
}

// chosen is the part of a query that says which keys of a segment are meant.
func (l *lister) chosen(seg *segment) fragment {
	f := l.where
	if l.few {
		f.text = "where k.key_id in (select k.key_id from {p}keys k " + l.where.text + ")"
	}
	from := seg.from
	if from == "" {
		from = "{p}keys k"
	}
	f.text = " from " + from + " " + f.text
	if seg.where.text != "" {
		f.text += " and " + seg.where.text
	}
	f.args = slices.Concat(l.where.args, seg.where.args)
	return f
}

func (l *lister) count(seg *segment) (n int, err error) {
	if err := l.until.Err(); err != nil {
		return 0, err
	}
	f := l.chosen(seg)
	err = l.tx.QueryRowContext(l.ctx, l.t.sql("select count(*)"+f.text), f.args...).Scan(&n)
	return n, err
}

// page reads a page of a list that has total keys. No limit means all.
func (l *lister) page(segments []segment, total, offset, limit int) (page []gateway.Key, err error) {
	offset = max(offset, 0)
	if limit <= 0 {
		limit = math.MaxInt32
	}
	want := min(limit, total-offset)
	for i := range segments {
		if len(page) >= want {
			break
		}
		if offset == 0 {
			part, err := l.part(&segments[i], 0, 0, limit-len(page))
			if err != nil {
				return nil, err
			}
			page = append(page, part...)
			continue
		}
		n := total // in this segment: in the last one all that are left
		if i < len(segments)-1 {
			if n, err = l.count(&segments[i]); err != nil {
				return nil, err
			}
		}
		if offset >= n {
			offset, total = offset-n, total-n
			continue
		}
		if page, err = l.part(&segments[i], n, offset, limit); err != nil {
			return nil, err
		}
		offset = 0 // the next segment is read from its beginning
	}
	return page, nil
}

// part reads keys of a segment. How many it has, n, matters only beyond its
// beginning. Only the keys of the page are joined with their statistics.
func (l *lister) part(seg *segment, n, offset, limit int) ([]gateway.Key, error) {
	desc := seg.desc
	backwards := offset > n/2
	if backwards {
		desc = !desc
		offset, limit = max(n-offset-limit, 0), min(limit, n-offset)
	}
	direction := ""
	if desc {
		direction = " desc"
	}
	order := strings.ReplaceAll(seg.order, "{d}", direction)
	f := l.chosen(seg)
	page := "k.key_id in (select k.key_id"
	if seg.used != "" {
		page = "k.api_key in (select s.api_key"
		var err error
		if offset, err = l.leap(seg, &f, desc, n, offset); err != nil {
			return nil, err
		}
	}
	text := "select " + keyColumns + ", " + countColumns +
		" from {p}keys k left join {p}key_stats s on s.api_key = k.api_key where " + page + f.text +
		" order by " + order + " limit ? offset ?) order by " + order
	rows, err := l.tx.QueryContext(l.ctx, l.t.sql(text), append(f.args, limit, offset)...)
	if err != nil {
		return nil, err
	}
	keys, err := l.s.keysOf(l.until, l.t, rows)
	if backwards {
		slices.Reverse(keys)
	}
	return keys, err
}

// defaultFar is from which offset on a page of keys that were used is looked for
// by a leap; leapKeys is from about how many keys it is guessed where that leads.
const (
	defaultFar = 10_000
	leapKeys   = 1000
)

// leap shortens the way to a page that is far from the beginning: a sample of the
// keys tells of one that stands somewhat before the page. How many are before
// that one is counted, which takes less time than to sort them. It leaves out those
// in f and returns the rest of the offset.
func (l *lister) leap(seg *segment, f *fragment, desc bool, n, offset int) (int, error) {
	if offset < l.s.far {
		return offset, nil
	}
	before, notBefore, direction := "<", ">=", ""
	if desc {
		before, notBefore, direction = ">", "<=", " desc"
	}
	type place struct{ value, key any }
	where := "where k.key_id < ?"
	if seg.where.text != "" {
		where += " and " + seg.where.text
	}
	until := fmt.Sprintf("%08x", uint64(1<<32)*leapKeys/uint64(max(n, leapKeys+1)))
	rows, err := l.tx.QueryContext(l.ctx, l.t.sql("select "+seg.used+", s.api_key from {p}keys k join {p}key_stats s on s.api_key = k.api_key "+
		where+" order by "+strings.ReplaceAll(seg.order, "{d}", direction)), append([]any{until}, seg.where.args...)...)
	if err != nil {
		return 0, err
	}
	sample, err := collect(rows, func(p *place) []any { return []any{&p.value, &p.key} })
	if err != nil {
		return 0, err
	}
	// Twice the root of the sample's size is four times what is to be expected
	// that the guess is wrong by.
	at := len(sample)*offset/n - int(2*math.Sqrt(float64(len(sample))))
	if at < 0 {
		return offset, nil
	}
	to := sample[at]
	limit := " and (" + seg.used + ", s.api_key) "
	var passed int
	err = l.tx.QueryRowContext(l.ctx, l.t.sql("select count(*)"+f.text+limit+before+" (?, ?)"), slices.Concat(f.args, []any{to.value, to.key})...).Scan(&passed)
	if err != nil || passed > offset {
		return offset, err
	}
	f.text += limit + notBefore + " (?, ?)"
	f.args = slices.Concat(f.args, []any{to.value, to.key})
	return offset - passed, nil
}
