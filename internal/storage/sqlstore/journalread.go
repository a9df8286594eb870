package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"slices"

	"ollama-api-pool/internal/gateway"
)

// readJournal adds to the sums what the journal holds. Counts are read together
// with it in one transaction: so a fold that runs meanwhile has moved either all
// of something or nothing, and nothing is counted twice or left out.
func readJournal(ctx, until context.Context, tx *sql.Tx, t tables, sums *keySums) error {
	text, args := sums.journalled("select counts from {p}key_journal")
	rows, err := tx.QueryContext(ctx, t.sql(text), args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	var row string
	for rows.Next() {
		if err := until.Err(); err != nil {
			return err
		}
		if err := rows.Scan(&row); err != nil {
			return err
		}
		if err := sums.read(row); err != nil {
			return err
		}
	}
	return rows.Err()
}

// journalled completes a statement that reads the rows of the journal in which
// something may be that is asked for.
func (s *keySums) journalled(text string) (string, []any) {
	if !s.closed {
		return text, nil
	}
	var asked [journalParts]bool
	for id := range s.of {
		asked[id.part()] = true
	}
	var parts []any
	for part, is := range asked {
		if is {
			parts = append(parts, part)
		}
	}
	switch {
	case len(parts) == 0:
		return text + " where 1 = 0", nil
	case len(parts) > journalParts/2:
		return text, nil // in the table's own order
	}
	return text + " where part in (" + placeholders(len(parts)) + ")", parts
}

// addJournalled adds to the counts of a page what the journal holds of its
// keys. by is the count that the page is in the order of, if it is one.
func (l *lister) addJournalled(page []gateway.Key, by string, desc bool) error {
	ids := make([]gateway.KeyID, len(page))
	for i := range page {
		ids[i] = gateway.IDOfKey(page[i].Secret)
	}
	sums, changed := sumsOf(entryCounts, ids...), false
	if err := readJournal(l.ctx, l.until, l.tx, l.t, sums); err != nil {
		return err
	}
	for i, id := range ids {
		more := sums.get(id)
		addCounts(&page[i].Counts, &more.counts)
		changed = changed || more.counted
	}
	if changed && by != "" {
		asShown(page, by, desc)
	}
	return nil
}

// asShown puts a page, which is in the order of what is folded, in the order of
// the counts that it shows.
func asShown(page []gateway.Key, by string, desc bool) {
	slices.SortStableFunc(page, func(a, b gateway.Key) int { return rankOrder(&a.Counts, &b.Counts, by, desc) })
}

// rankOrder compares by a count. Keys that were never used come last either way.
func rankOrder(a, b *gateway.KeyCounts, by string, desc bool) int {
	x, y := rankOf(a, by), rankOf(b, by)
	if x < 0 || y < 0 || desc {
		return cmp.Compare(y, x)
	}
	return cmp.Compare(x, y)
}

// rankOf is the count by which a key is sorted, -1 of one that was never used.
func rankOf(c *gateway.KeyCounts, by string) int64 {
	switch {
	case by == "lastUsed" && c.LastUsed.IsZero(), *c == gateway.KeyCounts{}:
		return -1
	case by == "lastUsed":
		return c.LastUsed.UnixMicro()
	case by == "success":
		return c.Success
	case by == "failure":
		return c.Failure
	}
	return c.Total
}
