package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"time"

	"ollama-api-pool/internal/gateway"
)

const keyHoursOf = "select hour, total, success, failure from {p}key_hourly where key_id = ? and hour >= ? order by hour"

// KeyHours returns what a key did by hour, for the hours that begin at since or
// later, in the order of time; hours without attempts have no entry. It is exact:
// what is yet to be folded is there. A key that is not there has none.
func (s *Store) KeyHours(ctx context.Context, p gateway.ProviderName, id gateway.KeyID, since time.Time) ([]gateway.KeyHour, error) {
	t, err := tablesOf(p)
	if err != nil {
		return nil, err
	}
	first := firstHour(since)
	var hours []hourSum
	err = s.read(ctx, "read the hours of a key from the store", func(inside context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(inside, t.sql(keyHoursOf), string(id), first)
		if err != nil {
			return err
		}
		if hours, err = collect(rows, func(h *hourSum) []any { return []any{&h.hour, &h.total, &h.success, &h.failure} }); err != nil {
			return err
		}
		var there int
		if err := tx.QueryRowContext(inside, t.sql("select count(*) from {p}keys where key_id = ?"), string(id)).Scan(&there); err != nil || there == 0 {
			return err
		}
		journalled := sumsOf(entryCounts, id)
		if err := readJournal(inside, ctx, tx, t, journalled); err != nil {
			return err
		}
		sum := keySum{hours: hours}
		for _, h := range journalled.get(id).hours {
			if h.hour >= first {
				sum.addHour(&h)
			}
		}
		hours = sum.hours
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(hours, func(a, b hourSum) int { return cmp.Compare(a.hour, b.hour) })
	var answer []gateway.KeyHour
	for _, h := range hours {
		answer = append(answer, gateway.KeyHour{Hour: time.Unix(h.hour*3600, 0).UTC(), Total: h.total, Success: h.success, Failure: h.failure})
	}
	return answer, nil
}
