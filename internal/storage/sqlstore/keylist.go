package sqlstore

import (
	"context"
	"database/sql"
	"math"
	"slices"
	"strings"

	"ollama-api-pool/internal/gateway"
)

// derivedStatus is gateway.KeyState.StatusAt in SQL, for {p}keys as k. It takes
// the present time statusTimes times, isDisabled once.
const (
	derivedStatus = `case
	when k.expires_at <= ? then 'expired'
	when ` + isDisabled + ` then 'disabled'
	when k.failed_until > ? then 'failed'
	when k.rests_until > ? then 'resting'
	else 'active' end`
	statusTimes = 4

	isDisabled   = markDisabled + ` and (k.disabled_until is null or k.disabled_until > ?)`
	markDisabled = `(k.disabled_reason <> '' or k.status = 'disabled')`
)

// sortColumns are the allowed orders, as SQL; NULL is a lacking value.
var sortColumns = map[string]string{
	"username":             "nullif(lower(k.username), '')",
	"created_at":           "k.created_at",
	"expires_at":           "k.expires_at",
	"status":               derivedStatus,
	"consecutive_failures": "coalesce(k.consecutive_failures, 0)",
	"last_used":            "(select s.last_used from {p}key_stats s where s.api_key = k.api_key)",
}

// fragment is a piece of SQL with the values for its placeholders.
type fragment struct {
	text string
	args []any
}

// Keys returns a page of keys and how many there are on all pages. Searching
// ignores the case of letters and knows no wildcards. Without an order keys come
// as they were made; those that lack the value to sort by come last either way.
func (s *Store) Keys(ctx context.Context, p gateway.ProviderName, q gateway.KeyQuery) (page []gateway.Key, total int, err error) {
	t, err := tablesOf(p)
	if err != nil {
		return nil, 0, err
	}
	if err := s.Fold(ctx); err != nil {
		return nil, 0, err
	}
	now := at(s.now())
	where, err := s.where(gateway.KeyFilter{Status: q.Status, Category: q.Category, Search: q.Search}, now)
	if err != nil {
		return nil, 0, err
	}
	order, err := orderBy(q.Sort, now)
	if err != nil {
		return nil, 0, err
	}
	limit := q.Limit
	if limit <= 0 {
		limit = math.MaxInt32
	}
	err = s.read(ctx, "list the keys in the store", func(inside context.Context, tx *sql.Tx) error {
		if err := tx.QueryRowContext(inside, t.sql("select count(*) from {p}keys k "+where.text), where.args...).Scan(&total); err != nil {
			return err
		}
		// Only the rows of the page are joined with their statistics.
		text := t.sql("select " + keyColumns + ", " + countColumns +
			" from (select k.* from {p}keys k " + where.text + " order by " + order.text + " limit ? offset ?) k" +
			" left join {p}key_stats s on s.api_key = k.api_key order by " + order.text)
		rows, err := tx.QueryContext(inside, text, slices.Concat(where.args, order.args, []any{limit, max(q.Offset, 0)}, order.args)...)
		if err != nil {
			return err
		}
		page, err = s.keysOf(ctx, t, rows)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return page, total, nil
}

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

// where makes the conditions of a filter.
func (s *Store) where(q gateway.KeyFilter, now any) (fragment, error) {
	f := fragment{text: "where 1 = 1"}
	and := func(text string, args ...any) {
		f.text += " and " + text
		f.args = append(f.args, args...)
	}
	if q.Status != "" {
		if !slices.Contains(gateway.KeyStatuses(), q.Status) {
			return f, gateway.Errorf(gateway.KindInvalid, "unknown status %q", gateway.Clip(string(q.Status), 40))
		}
		and(derivedStatus+" = ?", append(slices.Repeat([]any{now}, statusTimes), q.Status)...)
	}
	if q.Category != "" {
		and("k.category = ?", clean(q.Category))
	}
	if q.Search != "" {
		find := strings.ToLower(clean(q.Search))
		text := `(lower(k.username) like ? escape '\' or lower(k.category) = ? or k.key_id = ? or k.key_id = ?`
		args := []any{"%" + likeLiteral(find) + "%", find, find, gateway.IDOfKey(gateway.Secret(q.Search))}
		if s.seal == nil { // an encrypted key is found by its id, in its own letters' case only
			text += " or lower(k.api_key) = ?"
			args = append(args, find)
		}
		and(text+")", args...)
	}
	return f, nil
}

// likeLiteral makes every character of a pattern stand for itself.
func likeLiteral(s string) string {
	return strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(s)
}

// orderBy makes the order of a query from a name in sortColumns.
func orderBy(by string, now any) (fragment, error) {
	if by == "" {
		by = "created_at"
	}
	name, descending := strings.CutPrefix(by, "-")
	column, known := sortColumns[name]
	if !known {
		return fragment{}, gateway.Errorf(gateway.KindInvalid, "cannot sort by %q", gateway.Clip(by, 40))
	}
	var args []any
	if name == "status" {
		args = slices.Repeat([]any{now}, 2*statusTimes)
	}
	direction := ""
	if descending {
		direction = " desc"
	}
	return fragment{"(" + column + ") is null, " + column + direction + ", k.api_key", args}, nil
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
