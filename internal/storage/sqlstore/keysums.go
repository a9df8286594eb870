package sqlstore

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
)

// keySums adds up what keys did.
type keySums struct {
	of     map[rawID]*keySum
	closed bool   // only keys that are there are added up
	only   byte   // the kind of entries that is added up, 0: all
	buffer []byte // for read
}

// keySum is what one key did.
type keySum struct {
	counts  gateway.KeyCounts
	hours   []hourSum // of those attempts of which it is known
	tally   *gateway.Tally
	counted bool // there are counts, be they zero
}

// hourSum is a row of {p}key_hourly.
type hourSum struct {
	hour                    int64 // since 1970
	total, success, failure int64
}

// newKeySums is for all keys and entries of one kind, 0: of all.
func newKeySums(only byte) *keySums { return &keySums{of: map[rawID]*keySum{}, only: only} }

// sumsOf is for some keys.
func sumsOf(only byte, ids ...gateway.KeyID) *keySums {
	s := &keySums{of: make(map[rawID]*keySum, len(ids)), only: only, closed: true}
	sums := make([]keySum, len(ids))
	for i, id := range ids {
		if raw, ok := rawIDOf(id); ok {
			s.of[raw] = &sums[i]
		}
	}
	return s
}

// get gives the sum of a key, an empty one where there is none.
func (s *keySums) get(id gateway.KeyID) keySum {
	if raw, ok := rawIDOf(id); ok && len(s.of) > 0 {
		if sum := s.of[raw]; sum != nil {
			return *sum
		}
	}
	return keySum{}
}

// find gives the sum that an entry is to be added to, nil where it is not asked for.
func (s *keySums) find(id rawID, kind byte) *keySum {
	if s.only != 0 && kind != s.only {
		return nil
	}
	sum := s.of[id]
	if sum == nil && !s.closed {
		sum = new(keySum)
		s.of[id] = sum
	}
	return sum
}

// addCounts adds attempts, also to the hour of the last of them.
func (k *keySum) addCounts(c *gateway.KeyCounts) {
	k.counted = true
	addCounts(&k.counts, c)
	if c.LastUsed.IsZero() {
		return // nobody knows when
	}
	k.addHour(&hourSum{hourOf(c.LastUsed), c.Total, c.Success, c.Failure})
}

// addHour adds to an hour.
func (k *keySum) addHour(add *hourSum) {
	i := slices.IndexFunc(k.hours, func(h hourSum) bool { return h.hour == add.hour })
	if i < 0 {
		k.hours = append(k.hours, *add)
		return
	}
	h := &k.hours[i]
	h.total += add.total
	h.success += add.success
	h.failure += add.failure
}

// addCounts adds counts to others.
func addCounts(to, c *gateway.KeyCounts) {
	to.Total += c.Total
	to.Success += c.Success
	to.Failure += c.Failure
	to.LastUsed = latest(to.LastUsed, c.LastUsed)
	to.LastSuccess = latest(to.LastSuccess, c.LastSuccess)
	to.LastFailure = latest(to.LastFailure, c.LastFailure)
}

// addTally adds requests that were served.
func (k *keySum) addTally(t *gateway.Tally) {
	if k.tally == nil {
		k.tally = new(gateway.Tally)
	}
	k.tally.Add(t)
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
	sums := newKeySums(0)
	for i := range d.Keys {
		if id, ok := rawIDOf(d.Keys[i].Key); ok { // else no key has such an id
			sums.find(id, entryCounts).addCounts(&d.Keys[i].Counts)
		}
	}
	for i := range d.Tallies {
		if id, ok := rawIDOf(gateway.KeyID(d.Tallies[i].Name)); ok && d.Tallies[i].Of == gateway.OfKey {
			sums.find(id, entryTally).addTally(&d.Tallies[i].Tally)
		}
	}
	b.addSums(sums)
	return false
}

// summed is a key with what it did.
type summed struct {
	raw rawID
	id  string
	*keySum
}

// addSums adds what keys did to their rows, each in the rows' order, see
// tallyRows. Keys that are not there any more fall out.
func (b *batch) addSums(s *keySums) {
	keys := make([]summed, 0, len(s.of))
	for raw, sum := range s.of {
		keys = append(keys, summed{raw, string(raw.id()), sum})
	}
	slices.SortFunc(keys, func(a, b summed) int { return bytes.Compare(a.raw[:], b.raw[:]) })
	b.addUp(keys)
	b.addHours(keys)
	b.addKeyTallies(keys)
}

// addHours adds to the keys' hours.
func (b *batch) addHours(keys []summed) {
	type row struct {
		id string
		hourSum
	}
	var rows []row
	for i := range keys {
		slices.SortFunc(keys[i].hours, func(a, b hourSum) int { return cmp.Compare(a.hour, b.hour) })
		for _, h := range keys[i].hours {
			rows = append(rows, row{keys[i].id, h})
		}
	}
	b.runRows(addHours, len(rows), func(args []any, i int) []any {
		r := &rows[i]
		return append(args, r.id, r.hour, r.total, r.success, r.failure)
	})
}

// addHours adds to rows of keys, see addAttempts.
const addHours = `with d (key_id, hour, total, ok, bad) as ({rows text, bigint, bigint, bigint, bigint})
	insert into {p}key_hourly as h (key_id, hour, total, success, failure)
	select k.key_id, d.hour, d.total, d.ok, d.bad from d join {p}keys k on k.key_id = d.key_id where true
	on conflict (key_id, hour) do update set
		total = h.total + excluded.total, success = h.success + excluded.success, failure = h.failure + excluded.failure`

// addKeyTallies adds to the tallies of keys. Of most keys there is one already,
// and most buckets of the histograms are of no use to any of them: what is left
// out costs nothing.
func (b *batch) addKeyTallies(keys []summed) {
	keys = slices.DeleteFunc(slices.Clone(keys), func(k summed) bool { return k.tally == nil })
	if len(keys) == 0 {
		return
	}
	var used tallyUse
	for i := range keys {
		for c, n := range tallyParts(keys[i].tally, false) {
			used[c] = used[c] || c == 0 || *n != 0
		}
	}
	update, insert := addKeyTally(func(column int) bool { return used[column] })
	var missed []int // keys that have none yet
	b.counted(update, func(exec func(args ...any) func() int64) {
		counted := make([]func() int64, len(keys))
		for i := range keys {
			counted[i] = exec(keyTallyArgs(&keys[i], &used)...)
		}
		for i := range keys {
			if counted[i]() == 0 {
				missed = append(missed, i)
			}
		}
	})
	b.run(insert, func(exec func(args ...any)) {
		for _, i := range missed {
			exec(keyTallyArgs(&keys[i], &used)...)
		}
	})
}

// tallyUse tells which of tallyColumns are of use.
type tallyUse = [len(countedColumns) + 2*gateway.HistogramBuckets]bool

// keyTallyArgs are the values of one key for the statements of addKeyTally.
func keyTallyArgs(k *summed, used *tallyUse) []any {
	args := make([]any, 0, len(used)+1)
	for c, n := range tallyParts(k.tally, false) {
		if used[c] {
			args = append(args, *n)
		}
	}
	return append(args, k.id)
}

// addKeyTally makes the statements that add to some columns of a key's tally:
// one where it is there, one in any case. Both take the numbers, then the id.
func addKeyTally(used func(column int) bool) (update, insert string) {
	var columns, set []string
	for i, c := range tallyColumns {
		if used(i) {
			columns, set = append(columns, c), append(set, c+" = "+c+" + ?")
		}
	}
	return "update {p}tally_ever set " + strings.Join(set, ", ") + " where subject = 'key' and name = ?",
		"insert into {p}tally_ever as t (subject, name, " + strings.Join(columns, ", ") +
			") select 'key', key_id, " + placeholders(len(columns)) + " from {p}keys where key_id = ?" +
			" on conflict (subject, name) do update set " + additions(columns)
}
