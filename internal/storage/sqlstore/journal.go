package sqlstore

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
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

// journalForm begins a row of the form that is written now. Rows of the first
// form, which earlier versions wrote, begin with no character of this kind; they
// hold counts only, without an entry's kind.
const journalForm = "2:"

// Kinds of an entry.
const (
	entryCounts byte = 1 // attempts
	entryTally  byte = 2 // requests served
)

// journal writes down what a large batch says of keys, as it is.
func (b *batch) journal(d *gateway.Delta) {
	var parts [journalParts][]byte
	for i := range d.Keys {
		if part, ok := partOf(d.Keys[i].Key); ok { // else no key has such an id
			parts[part] = appendEntry(parts[part], entryCounts, d.Keys[i].Key, func(dst []byte) []byte { return appendCounts(dst, &d.Keys[i].Counts) })
		}
	}
	for i := range d.Tallies {
		id := gateway.KeyID(d.Tallies[i].Name)
		if part, ok := partOf(id); ok && d.Tallies[i].Of == gateway.OfKey {
			parts[part] = appendEntry(parts[part], entryTally, id, func(dst []byte) []byte { return appendTally(dst, &d.Tallies[i].Tally) })
		}
	}
	b.run("insert into {p}key_journal (part, counts) values (?, ?)", func(exec func(args ...any) int64) {
		for part, data := range parts {
			if len(data) > 0 {
				exec(part, journalForm+base64.RawStdEncoding.EncodeToString(data))
			}
		}
	})
}

// keyIDBytes is the length of an id in the journal.
const keyIDBytes = gateway.KeyIDLen / 2

// appendEntry encodes an entry: its kind, the id, and what its kind holds.
func appendEntry(dst []byte, kind byte, id gateway.KeyID, content func(dst []byte) []byte) []byte {
	raw, err := hex.DecodeString(string(id))
	if err != nil {
		return dst // no key has such an id
	}
	return content(append(append(dst, kind), raw...))
}

// appendCounts encodes attempts: three numbers, three times in milliseconds
// since 1970, 0 for none.
func appendCounts(dst []byte, c *gateway.KeyCounts) []byte {
	for _, n := range [...]int64{c.Total, c.Success, c.Failure} {
		dst = binary.AppendVarint(dst, n)
	}
	for _, t := range [...]time.Time{c.LastUsed, c.LastSuccess, c.LastFailure} {
		ms := int64(0)
		if !t.IsZero() {
			ms = t.UnixMilli()
		}
		dst = binary.AppendVarint(dst, ms)
	}
	return dst
}

// appendTally encodes requests: the numbers in the order of tallyColumns, those
// of the histograms with their places, since most are zero.
func appendTally(dst []byte, t *gateway.Tally) []byte {
	for _, n := range tallyParts(t, true) {
		dst = binary.AppendVarint(dst, *n)
	}
	for _, h := range [...]*gateway.Histogram{&t.Duration, &t.FirstByte} {
		used := 0
		for _, n := range h {
			if n != 0 {
				used++
			}
		}
		dst = append(dst, byte(used))
		for i, n := range h {
			if n != 0 {
				dst = binary.AppendVarint(append(dst, byte(i)), n)
			}
		}
	}
	return dst
}

var errJournal = errors.New("the journal of key counts is damaged")

// read decodes a row of the journal and adds up what it holds.
func (s *keySums) read(text string) error {
	encoded, now := strings.CutPrefix(text, journalForm)
	data, err := base64.RawStdEncoding.DecodeString(encoded)
	if err != nil {
		return fmt.Errorf("%w: %w", errJournal, err)
	}
	r := journalRow{rest: data}
	for len(r.rest) > 0 && !r.bad {
		kind := entryCounts
		if now {
			kind = r.byte()
		}
		id := gateway.KeyID(hex.EncodeToString(r.bytes(keyIDBytes)))
		switch kind {
		case entryCounts:
			if c := r.counts(); !r.bad {
				s.addCounts(id, &c)
			}
		case entryTally:
			if t := r.tally(); !r.bad {
				s.addTally(id, &t)
			}
		default:
			r.bad = true
		}
	}
	if r.bad {
		return errJournal
	}
	return nil
}

// journalRow is what is left to read of a row; bad once it does not fit.
type journalRow struct {
	rest []byte
	bad  bool
}

func (r *journalRow) bytes(n int) []byte {
	if r.bad || len(r.rest) < n {
		r.bad = true
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *journalRow) byte() byte {
	if b := r.bytes(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (r *journalRow) number() int64 {
	n, size := binary.Varint(r.rest)
	if r.bad || size <= 0 {
		r.bad = true
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *journalRow) time() time.Time {
	ms := r.number()
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func (r *journalRow) counts() gateway.KeyCounts {
	return gateway.KeyCounts{
		Total: r.number(), Success: r.number(), Failure: r.number(),
		LastUsed: r.time(), LastSuccess: r.time(), LastFailure: r.time(),
	}
}

func (r *journalRow) tally() (t gateway.Tally) {
	for _, n := range tallyParts(&t, true) {
		*n = r.number()
	}
	for _, h := range [...]*gateway.Histogram{&t.Duration, &t.FirstByte} {
		for range r.byte() {
			if i := int(r.byte()); i < len(h) {
				h[i] += r.number()
			} else {
				r.bad = true
			}
		}
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
		sums := newKeySums()
		last, err := readPart(inside, tx, t, part, sums)
		if err != nil || last == 0 {
			return err
		}
		b := batch{ctx: inside, until: ctx, tx: tx, t: t, now: s.now()}
		b.addSums(sums)
		b.run("delete from {p}key_journal where part = ? and id <= ?", func(exec func(args ...any) int64) { exec(part, last) })
		return b.err
	})
}

// readPart adds up one part of a journal and returns the last row's number, 0
// if there is none.
func readPart(ctx context.Context, tx *sql.Tx, t tables, part int, sums *keySums) (last int64, err error) {
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
		if err := sums.read(text); err != nil {
			return 0, err
		}
	}
	return last, rows.Err()
}
