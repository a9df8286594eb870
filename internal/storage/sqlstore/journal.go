package sqlstore

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"ollama-api-pool/internal/gateway"
)

// A busy pool touches tens of thousands of keys a second, and to update a row
// of key_stats for each would cost more than the requests themselves. Such a
// batch is written as a few rows of a journal instead, durable like any other
// write, and folded into key_stats later: by Fold now and then, and by whatever
// reads those counts.

// journalFrom is the number of keys from which a batch is journalled.
const journalFrom = 64

// journalParts is the number of rows that a batch is split into, by the first
// digit of the key's id. Each part is folded in a transaction of its own, so
// that other writes need not wait for all of them.
const journalParts = 16

const hexDigits = "0123456789abcdef"

// partOf is the part that a key belongs to.
func partOf(id gateway.KeyID) (int, bool) {
	if len(id) != gateway.KeyIDLen {
		return 0, false
	}
	for i := range journalParts {
		if hexDigits[i] == id[0] {
			return i, true
		}
	}
	return 0, false
}

// journal writes a large batch of counts down as it is.
func (b *batch) journal(deltas []gateway.KeyDelta) {
	var parts [journalParts][]byte
	for i := range deltas {
		part, ok := partOf(deltas[i].Key)
		if !ok {
			continue // no key has such an id
		}
		parts[part] = appendCounts(parts[part], &deltas[i])
	}
	b.run("insert into {p}key_journal (part, counts) values (?, ?)", func(exec func(args ...any) int64) {
		for part, data := range parts {
			if len(data) > 0 {
				exec(part, encodeCounts(data))
			}
		}
	})
}

// appendCounts encodes one key's counts: 8 bytes of id, three numbers, three
// times in milliseconds since 1970, 0 for none.
func appendCounts(dst []byte, d *gateway.KeyDelta) []byte {
	id, err := hex.DecodeString(string(d.Key))
	if err != nil {
		return dst // no key has such an id
	}
	dst = append(dst, id...)
	for _, n := range [...]int64{d.Counts.Total, d.Counts.Success, d.Counts.Failure} {
		dst = binary.AppendVarint(dst, n)
	}
	for _, t := range [...]time.Time{d.Counts.LastUsed, d.Counts.LastSuccess, d.Counts.LastFailure} {
		ms := int64(0)
		if !t.IsZero() {
			ms = t.UnixMilli()
		}
		dst = binary.AppendVarint(dst, ms)
	}
	return dst
}

func encodeCounts(data []byte) string { return base64.RawStdEncoding.EncodeToString(data) }

var errJournal = errors.New("the journal of key counts is damaged")

// readCounts decodes what appendCounts wrote and adds it up by key.
func readCounts(text string, sums map[gateway.KeyID]*gateway.KeyCounts) error {
	data, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return fmt.Errorf("%w: %w", errJournal, err)
	}
	const idLen = gateway.KeyIDLen / 2
	for len(data) > 0 {
		if len(data) < idLen {
			return errJournal
		}
		id := gateway.KeyID(hex.EncodeToString(data[:idLen]))
		data = data[idLen:]
		var v [6]int64
		for i := range v {
			n, size := binary.Varint(data)
			if size <= 0 {
				return errJournal
			}
			v[i], data = n, data[size:]
		}
		c := sums[id]
		if c == nil {
			c = &gateway.KeyCounts{}
			sums[id] = c
		}
		c.Total += v[0]
		c.Success += v[1]
		c.Failure += v[2]
		c.LastUsed = later(c.LastUsed, v[3])
		c.LastSuccess = later(c.LastSuccess, v[4])
		c.LastFailure = later(c.LastFailure, v[5])
	}
	return nil
}

func later(t time.Time, ms int64) time.Time {
	if u := time.UnixMilli(ms).UTC(); ms != 0 && u.After(t) {
		return u
	}
	return t
}

// Fold adds what is in the journals to the keys' statistics. It is called now
// and then while there is traffic; it does nothing when there is nothing.
func (s *Store) Fold(ctx context.Context) error {
	if !s.journalled.Swap(false) {
		return nil
	}
	for _, p := range gateway.Providers() {
		if err := s.foldProvider(ctx, tables{p}); err != nil {
			s.journalled.Store(true)
			return err
		}
	}
	return nil
}

func (s *Store) foldProvider(ctx context.Context, t tables) error {
	var parts []int
	err := s.read(ctx, "look into the journal of key counts", func(inside context.Context, tx *sql.Tx) (err error) {
		parts, err = partsOf(inside, tx, t)
		return err
	})
	if err != nil {
		return err
	}
	for _, part := range parts {
		if err := s.foldPart(ctx, t, part); err != nil {
			return err
		}
	}
	return nil
}

// partsOf tells which parts of a journal hold something.
func partsOf(ctx context.Context, tx *sql.Tx, t tables) (parts []int, err error) {
	rows, err := tx.QueryContext(ctx, t.sql("select distinct part from {p}key_journal order by part"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var part int
		if err := rows.Scan(&part); err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	return parts, rows.Err()
}

func (s *Store) foldPart(ctx context.Context, t tables, part int) error {
	return s.write(ctx, "add up the counts of keys", func(inside context.Context, tx *sql.Tx) error {
		sums := map[gateway.KeyID]*gateway.KeyCounts{}
		last, err := readPart(inside, tx, t, part, sums)
		if err != nil || last == 0 {
			return err
		}
		deltas := make([]gateway.KeyDelta, 0, len(sums))
		for id, c := range sums {
			deltas = append(deltas, gateway.KeyDelta{Key: id, Counts: *c})
		}
		b := batch{ctx: inside, until: ctx, tx: tx, t: t, now: s.now()}
		b.addUp(deltas)
		b.run("delete from {p}key_journal where part = ? and id <= ?", func(exec func(args ...any) int64) { exec(part, last) })
		return b.err
	})
}

// readPart adds up one part of a journal and returns the last row's number, 0
// if there is none.
func readPart(ctx context.Context, tx *sql.Tx, t tables, part int, sums map[gateway.KeyID]*gateway.KeyCounts) (last int64, err error) {
	rows, err := tx.QueryContext(ctx, t.sql("select id, counts from {p}key_journal where part = ? order by id"), part)
	if err != nil {
		return 0, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var text string
		if err := rows.Scan(&last, &text); err != nil {
			return 0, err
		}
		if err := readCounts(text, sums); err != nil {
			return 0, err
		}
	}
	return last, rows.Err()
}
