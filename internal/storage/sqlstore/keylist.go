package sqlstore

import (
	"context"
	"database/sql"
	"slices"
	"strings"

	"ollama-api-pool/internal/gateway"
)

// derivedStatus is gateway.KeyState.StatusAt in SQL, for {p}keys as k. It takes
// the present time statusTimes times.
const (
	derivedStatus = `case
	when k.expires_at <= ? then 'expired'
	when ` + markDisabled + ` and (k.disabled_until is null or k.disabled_until > ?) then 'disabled'
	when k.failed_until > ? then 'failed'
	when k.rests_until > ? then 'resting'
	else 'active' end`
	statusTimes = 4

	markDisabled = `(k.disabled_reason <> '' or k.status = 'disabled')`
)

// fragment is a piece of SQL with the values for its placeholders.
type fragment struct {
	text string
	args []any
}

// Keys returns a page of keys and how many there are on all pages. Searching
// ignores the case of letters and knows no wildcards. Without an order keys come
// as they were made; those that lack the value to sort by come last either way.
// Rows that another program has inserted are taken in first. Counts are exact;
// which keys are on a page by their last use follows from what is folded, which
// lags behind by what Fold has yet to add.
func (s *Store) Keys(ctx context.Context, p gateway.ProviderName, q gateway.KeyQuery) (page []gateway.Key, total int, err error) {
	const did = "list the keys in the store"
	t, err := tablesOf(p)
	if err != nil {
		return nil, 0, err
	}
	f := gateway.KeyFilter{Status: q.Status, Category: q.Category, Search: q.Search, Reason: q.Reason}
	if err := checkFilter(&f); err != nil {
		return nil, 0, err
	}
	now := at(s.now())
	segments, err := s.segments(q.Sort, f != gateway.KeyFilter{}, now)
	if err != nil {
		return nil, 0, err
	}
	if err := s.adopt(ctx, t); err != nil {
		return nil, 0, s.dialect.fault(did, err)
	}
	err = s.read(ctx, did, func(inside context.Context, tx *sql.Tx) error {
		where, err := s.where(inside, tx, t, f, now)
		if err != nil {
			return err
		}
		l := lister{s: s, ctx: inside, until: ctx, tx: tx, t: t, where: where}
		if total, err = l.count(&segment{}); err != nil {
			return err
		}
		l.few = total <= fewKeys && where.text != everyKey
		if page, err = l.page(segments, total, q.Offset, q.Limit); err != nil {
			return err
		}
		by := ""
		if strings.TrimPrefix(q.Sort, "-") == "last_used" {
			by = "lastUsed"
		}
		return l.addJournalled(page, by, q.Sort != "last_used")
	})
	if err != nil {
		return nil, 0, err
	}
	return page, total, nil
}

// keysOf reads keys with their counts.
func (s *Store) keysOf(ctx context.Context, t tables, rows *sql.Rows) ([]gateway.Key, error) {
	defer func() { _ = rows.Close() }()
	var keys []gateway.Key
	var r keyRow
	var c countRow
	into := append(r.into(), c.into()...)
	for rows.Next() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		k, err := s.key(t, &r, c.counts())
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, rows.Err()
}

// everyKey begins the conditions of a filter.
const everyKey = "where 1 = 1"

// checkFilter says what makes no sense about a filter.
func checkFilter(f *gateway.KeyFilter) error {
	if f.Status != "" && !slices.Contains(gateway.KeyStatuses(), f.Status) {
		return gateway.Errorf(gateway.KindInvalid, "unknown status %q", gateway.Clip(string(f.Status), 40))
	}
	return nil
}

// where makes the conditions of a filter.
func (s *Store) where(ctx context.Context, q querier, t tables, f gateway.KeyFilter, now any) (fragment, error) {
	w := fragment{text: everyKey}
	and := func(f fragment) {
		w.text += " and " + f.text
		w.args = append(w.args, f.args...)
	}
	if f.Status != "" {
		and(hasStatus(f.Status, now))
	}
	if f.Category != "" {
		and(fragment{"k.category = ?", []any{clean(f.Category)}})
	}
	if f.Reason != "" {
		and(fragment{"k.last_error = ?", []any{clean(f.Reason)}})
	}
	if f.Search == "" {
		return w, nil
	}
	find := strings.ToLower(clean(f.Search))
	ids := []any{find, string(gateway.IDOfKey(gateway.Secret(f.Search)))}
	others, err := s.keysSpelt(ctx, q, t, find)
	if err != nil {
		return w, err
	}
	ids = append(ids, others...)
	name := s.dialect.contains("k.username", find)
	and(fragment{
		"(" + name.text + " or " + s.dialect.ignoringCase("k.category") + " = ? or k.key_id in " + valueLists(1, len(ids)) + ")",
		slices.Concat(name.args, []any{find}, ids),
	})
	return w, nil
}

// keysSpelt finds the ids of the keys that are the same as a text but for the
// case of letters. An encrypted key is found by its id, in its own letters' case
// only.
func (s *Store) keysSpelt(ctx context.Context, q querier, t tables, find string) (ids []any, err error) {
	if s.seal != nil || gateway.CheckKey(find) != "" {
		return nil, nil
	}
	rows, err := q.QueryContext(ctx, t.sql("select coalesce(k.key_id, '') from {p}keys k where "+s.dialect.ignoringCase("k.api_key")+" = ?"), find)
	if err != nil {
		return nil, err
	}
	found, err := collect(rows, func(id *string) []any { return []any{id} })
	for _, id := range found {
		ids = append(ids, id)
	}
	return ids, err
}

// hasStatus is a condition that only keys with a status fulfil. It has no index:
// looking at every key takes less time than finding many of them through one,
// and states change often.
func hasStatus(status gateway.KeyStatus, now any) fragment {
	return fragment{derivedStatus + " = '" + string(status) + "'", slices.Repeat([]any{now}, statusTimes)}
}

// likeLiteral makes every character of a pattern stand for itself.
func likeLiteral(s string) string {
	return strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(s)
}

// CountKeys counts a provider's keys by status; every status is there.
func (s *Store) CountKeys(ctx context.Context, p gateway.ProviderName) (map[gateway.KeyStatus]int, error) {
	t, err := tablesOf(p)
	if err != nil {
		return nil, err
	}
	counts := map[gateway.KeyStatus]int{}
	for _, status := range gateway.KeyStatuses() {
		counts[status] = 0
	}
	err = s.read(ctx, "count the keys in the store", func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, t.sql("select status, count(*) from (select "+derivedStatus+" as status from {p}keys k) k group by status"),
			slices.Repeat([]any{at(s.now())}, statusTimes)...)
		if err != nil {
			return err
		}
		type row struct {
			status gateway.KeyStatus
			n      int
		}
		all, err := collect(rows, func(r *row) []any { return []any{&r.status, &r.n} })
		for _, r := range all {
			counts[r.status] = r.n
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return counts, nil
}
