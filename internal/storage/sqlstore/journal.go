package sqlstore

import (
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
// write, and folded into key_stats later, see Fold. Whatever reads counts of
// keys adds to them what the journal holds at the same moment, see readJournal.

// journalFrom is the number of keys from which a batch is journalled.
const journalFrom = 64

// journalParts is the number of parts that a batch is split into, by the first
// digit of the key's id: who asks for a few keys reads their parts only.
const journalParts = 16

// journalRow is about how many bytes a row of the journal holds: a fold takes
// whole rows.
const journalRow = 8 << 10

// rawID is a key's id as the journal has it.
type rawID [gateway.KeyIDLen / 2]byte

// rawIDOf is false for what is no key's id.
func rawIDOf(id gateway.KeyID) (raw rawID, ok bool) {
	if len(id) != gateway.KeyIDLen || strings.ToLower(string(id)) != string(id) {
		return raw, false
	}
	_, err := hex.Decode(raw[:], []byte(id))
	return raw, err == nil
}

func (r rawID) id() gateway.KeyID { return gateway.KeyID(hex.EncodeToString(r[:])) }

// part is the part of the journal that a key belongs to.
func (r rawID) part() int { return int(r[0] >> 4) }

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
	b.run("insert into {p}key_journal (part, counts) values (?, ?)", func(exec func(args ...any)) {
		var parts [journalParts][]byte
		flush := func(part int) {
			exec(part, journalForm+base64.RawStdEncoding.EncodeToString(parts[part]))
			parts[part] = parts[part][:0]
		}
		add := func(kind byte, id gateway.KeyID, content func(dst []byte) []byte) {
			raw, ok := rawIDOf(id)
			if !ok {
				return // no key has such an id
			}
			part := raw.part()
			parts[part] = content(appendID(parts[part], kind, raw))
			if len(parts[part]) >= journalRow {
				flush(part)
			}
		}
		for i := range d.Keys {
			add(entryCounts, d.Keys[i].Key, func(dst []byte) []byte { return appendCounts(dst, &d.Keys[i].Counts) })
		}
		for i := range d.Tallies {
			if t := &d.Tallies[i]; t.Of == gateway.OfKey {
				add(entryTally, gateway.KeyID(t.Name), func(dst []byte) []byte { return appendTally(dst, &t.Tally) })
			}
		}
		for part := range parts {
			if len(parts[part]) > 0 {
				flush(part)
			}
		}
	})
}

// appendID begins an entry: its kind and whose it is.
func appendID(dst []byte, kind byte, id rawID) []byte { return append(append(dst, kind), id[:]...) }

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
func (s *keySums) read(text string) (err error) {
	s.buffer, err = eachEntry(text, s.buffer, func(kind byte, id rawID, r *rowReader) {
		sum := s.find(id, kind)
		switch {
		case sum == nil:
			r.pass(kind)
		case kind == entryTally:
			t := r.tally()
			sum.addTally(&t)
		default:
			c := r.counts()
			sum.addCounts(&c)
		}
	})
	return err
}

// eachEntry calls visit for each entry of a row, which has to read what the entry
// holds. It decodes into the buffer, or a larger one, which it returns.
func eachEntry(text string, buffer []byte, visit func(kind byte, id rawID, r *rowReader)) ([]byte, error) {
	encoded, now := strings.CutPrefix(text, journalForm)
	buffer, err := base64.RawStdEncoding.AppendDecode(buffer[:0], []byte(encoded))
	if err != nil {
		return buffer, fmt.Errorf("%w: %w", errJournal, err)
	}
	r := rowReader{rest: buffer}
	for len(r.rest) > 0 && !r.bad {
		kind := entryCounts
		if now {
			kind = r.byte()
		}
		var id rawID
		copy(id[:], r.bytes(len(id)))
		if r.bad = r.bad || kind != entryCounts && kind != entryTally; !r.bad {
			visit(kind, id, &r)
		}
	}
	if r.bad {
		return buffer, errJournal
	}
	return buffer, nil
}

// rowReader is what is left to read of a row; bad once it does not fit.
type rowReader struct {
	rest []byte
	bad  bool
}

func (r *rowReader) bytes(n int) []byte {
	if r.bad || len(r.rest) < n {
		r.bad = true
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *rowReader) byte() byte {
	if b := r.bytes(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (r *rowReader) number() int64 {
	n, size := binary.Varint(r.rest)
	if r.bad || size <= 0 {
		r.bad = true
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *rowReader) time() time.Time {
	ms := r.number()
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func (r *rowReader) counts() gateway.KeyCounts {
	return gateway.KeyCounts{
		Total: r.number(), Success: r.number(), Failure: r.number(),
		LastUsed: r.time(), LastSuccess: r.time(), LastFailure: r.time(),
	}
}

func (r *rowReader) tally() (t gateway.Tally) {
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

// pass reads over what an entry holds.
func (r *rowReader) pass(kind byte) {
	if kind == entryCounts {
		r.passNumbers(6)
		return
	}
	r.passNumbers(len(countedColumns))
	for range 2 {
		for range r.byte() {
			r.bad = r.bad || r.byte() >= byte(gateway.HistogramBuckets)
			r.number()
		}
	}
}

func (r *rowReader) passNumbers(n int) {
	for range n {
		r.number()
	}
}
