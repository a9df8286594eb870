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

// keySums is what keys did, added up by the rows that it belongs to.
type keySums struct {
	counts  map[gateway.KeyID]*gateway.KeyCounts
	hours   map[keyHour]*gateway.KeyHour // their Hour stays empty
	tallies map[gateway.KeyID]*gateway.Tally
}

// keyHour is a row of {p}key_hourly.
type keyHour struct {
	key  gateway.KeyID
	hour int64 // since 1970
}

func newKeySums() *keySums {
	return &keySums{map[gateway.KeyID]*gateway.KeyCounts{}, map[keyHour]*gateway.KeyHour{}, map[gateway.KeyID]*gateway.Tally{}}
}

// addCounts adds a key's attempts, also to the hour of the last of them.
func (s *keySums) addCounts(id gateway.KeyID, c *gateway.KeyCounts) {
	sum := entryOf(s.counts, id)
	sum.Total += c.Total
	sum.Success += c.Success
	sum.Failure += c.Failure
	sum.LastUsed = latest(sum.LastUsed, c.LastUsed)
	sum.LastSuccess = latest(sum.LastSuccess, c.LastSuccess)
	sum.LastFailure = latest(sum.LastFailure, c.LastFailure)
	if c.LastUsed.IsZero() {
		return // nobody knows when
	}
	hour := entryOf(s.hours, keyHour{id, hourOf(c.LastUsed)})
	hour.Total += c.Total
	hour.Success += c.Success
	hour.Failure += c.Failure
}

// addTally adds the requests that were served with a key.
func (s *keySums) addTally(id gateway.KeyID, t *gateway.Tally) { entryOf(s.tallies, id).Add(t) }

func entryOf[K comparable, V any](m map[K]*V, k K) *V {
	v := m[k]
	if v == nil {
		v = new(V)
		m[k] = v
	}
	return v
}

// hourOf is how many hours after 1970 a time's hour began.
func hourOf(t time.Time) int64 { return t.Truncate(time.Hour).Unix() / 3600 }

// firstHour is the first hour that begins at a time or later.
func firstHour(t time.Time) int64 {
	hour := hourOf(t)
	if t.After(time.Unix(hour*3600, 0)) {
		hour++
	}
	return hour
}

// keys counts attempts by key, and requests by the key that served them: a few
// at once, many by way of the journal. It reports whether that was used.
func (b *batch) keys(d *gateway.Delta) (journalled bool) {
	tallied := 0
	for i := range d.Tallies {
		if d.Tallies[i].Of == gateway.OfKey {
			tallied++
		}
	}
	if len(d.Keys) >= journalFrom || tallied >= journalFrom {
		b.journal(d)
		return true
	}
	if len(d.Keys)+tallied == 0 {
		return false
	}
	sums := newKeySums()
	for i := range d.Keys {
		sums.addCounts(d.Keys[i].Key, &d.Keys[i].Counts)
	}
	for i := range d.Tallies {
		if t := &d.Tallies[i]; t.Of == gateway.OfKey {
			sums.addTally(gateway.KeyID(t.Name), &t.Tally)
		}
	}
	b.addSums(sums)
	return false
}

// addSums adds what keys did to their rows, each in the rows' order, see
// tallyRows. Keys that are not there any more fall out.
func (b *batch) addSums(s *keySums) {
	counts := make([]gateway.KeyDelta, 0, len(s.counts))
	for id, c := range s.counts {
		counts = append(counts, gateway.KeyDelta{Key: id, Counts: *c})
	}
	slices.SortFunc(counts, func(a, b gateway.KeyDelta) int { return cmp.Compare(a.Key, b.Key) })
	b.addUp(counts)
	b.addHours(s.hours)
	b.addKeyTallies(s.tallies)
}

// addHours adds to the keys' hours.
func (b *batch) addHours(hours map[keyHour]*gateway.KeyHour) {
	if len(hours) == 0 {
		return
	}
	rows := make([]keyHour, 0, len(hours))
	for row := range hours {
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b keyHour) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.hour, b.hour))
	})
	b.run(`insert into {p}key_hourly as h (key_id, hour, total, success, failure)
		select key_id, ?, ?, ?, ? from {p}keys where key_id = ?
		on conflict (key_id, hour) do update set
			total = h.total + excluded.total, success = h.success + excluded.success, failure = h.failure + excluded.failure`,
		func(exec func(args ...any) int64) {
			for _, row := range rows {
				h := hours[row]
				exec(row.hour, h.Total, h.Success, h.Failure, string(row.key))
			}
		})
}

// addKeyTally is the statement that adds to the tally of a key.
var addKeyTally = func() string {
	text := "insert into {p}tally_ever as t (subject, name, " + strings.Join(tallyColumns, ", ") +
		") select 'key', key_id, " + placeholders(len(tallyColumns)) + " from {p}keys where key_id = ?"
	return text + " on conflict (subject, name) do update set " + additions(tallyColumns)
}()

// addKeyTallies adds to the tallies of keys.
func (b *batch) addKeyTallies(tallies map[gateway.KeyID]*gateway.Tally) {
	if len(tallies) == 0 {
		return
	}
	ids := make([]gateway.KeyID, 0, len(tallies))
	for id := range tallies {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	b.run(addKeyTally, func(exec func(args ...any) int64) {
		args := make([]any, 0, len(tallyColumns)+1)
		for _, id := range ids {
			args = args[:0]
			for _, n := range tallyParts(tallies[id], false) {
				args = append(args, *n)
			}
			exec(append(args, string(id))...)
		}
	})
}

const keyHoursOf = "select hour, total, success, failure from {p}key_hourly where key_id = ? and hour >= ? order by hour"

// KeyHours returns what a key did by hour, for the hours that begin at since or
// later, in the order of time; hours without attempts have no entry. What is
// still in the journal is taken in first. A key that is not there has none.
func (s *Store) KeyHours(ctx context.Context, p gateway.ProviderName, id gateway.KeyID, since time.Time) ([]gateway.KeyHour, error) {
	t, err := tablesOf(p)
	if err != nil {
		return nil, err
	}
	if err := s.Fold(ctx); err != nil {
		return nil, err
	}
	var hours []gateway.KeyHour
	err = s.read(ctx, "read the hours of a key from the store", func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, t.sql(keyHoursOf), string(id), firstHour(since))
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var hour int64
			var h gateway.KeyHour
			if err := rows.Scan(&hour, &h.Total, &h.Success, &h.Failure); err != nil {
				return err
			}
			h.Hour = time.Unix(hour*3600, 0).UTC()
			hours = append(hours, h)
		}
		return rows.Err()
	})
	return hours, err
}
