package sqlstore

import (
	"bytes"
	"compress/gzip"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"ollama-api-pool/internal/gateway"
)

// Spooled is a batch that waits in a local store for the database it is for.
type Spooled struct {
	ID    int64
	Batch gateway.Batch
	// Err says that the row is damaged: of the batch there are the writer and
	// the number only.
	Err error
}

// spoolForm begins a row of the form that is written now: base64 of what gzip
// makes of JSON, whose members are named like the fields of the vocabulary.
const spoolForm = "1:"

// spooledMost bounds how large a batch may be once it is unpacked, against rows
// that somebody else has written.
const spooledMost = 256 << 20

// Spool keeps a batch that the database could not take. It is written as soon as
// Spool returns, and belongs to the database of which this store has the mirror.
func (s *Store) Spool(ctx context.Context, b gateway.Batch) error {
	return s.Respool(ctx, nil, []gateway.Batch{b})
}

// Respool puts batches in the place of some that were spooled, all or nothing of
// it.
func (s *Store) Respool(ctx context.Context, ids []int64, instead []gateway.Batch) error {
	texts := make([]string, len(instead))
	for i := range instead {
		var err error
		if texts[i], err = packDeltas(instead[i].Deltas); err != nil {
			return fmt.Errorf("spool a batch: %w", err)
		}
	}
	return s.write(ctx, "spool a batch", func(inside context.Context, tx *sql.Tx) error {
		b := s.batch(inside, ctx, tx, tables{})
		b.run(`insert into pool_spool (store, writer, number, batch)
			values (coalesce((select value from pool_meta where name = ?), ''), ?, ?, ?)`, func(exec func(args ...any)) {
			for i := range instead {
				exec(metaMirrorID, clean(instead[i].Writer), instead[i].Number, texts[i])
			}
		})
		b.run("delete from pool_spool where id = ?", func(exec func(args ...any)) {
			for _, id := range ids {
				exec(id)
			}
		})
		return b.err
	})
}

// spoolRow is a row of pool_spool.
type spoolRow struct {
	id, number   int64
	writer, text string
}

func (r *spoolRow) into() []any { return []any{&r.id, &r.writer, &r.number, &r.text} }

// Spooled returns batches for the database of which this store has the mirror,
// or for any if it never had one, the oldest first; no limit means all. Each
// writer's come in the order of their numbers. A damaged row comes with an error
// and is to be reported and dropped; it stands in nobody's way.
func (s *Store) Spooled(ctx context.Context, limit int) (list []Spooled, err error) {
	if limit <= 0 {
		limit = math.MaxInt32
	}
	err = s.read(ctx, "read spooled batches", func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `select id, writer, number, batch from pool_spool
			where store in ('', coalesce((select value from pool_meta where name = ?), '')) order by id limit ?`, metaMirrorID, limit)
		if err != nil {
			return err
		}
		found, err := collect(rows, (*spoolRow).into)
		if err != nil {
			return err
		}
		list = make([]Spooled, 0, len(found))
		for i := range found {
			r := &found[i]
			one := Spooled{ID: r.id, Batch: gateway.Batch{Writer: r.writer, Number: r.number}}
			if one.Batch.Deltas, one.Err = unpackDeltas(r.text); one.Err != nil {
				one.Err = fmt.Errorf("batch %d of %s, spooled as row %d, cannot be read: %w", r.number, gateway.Clip(r.writer, 40), r.id, one.Err)
			}
			list = append(list, one)
		}
		return nil
	})
	return list, err
}

// DropSpooled deletes batches that have arrived.
func (s *Store) DropSpooled(ctx context.Context, ids ...int64) error {
	if len(ids) == 0 {
		return nil
	}
	return s.Respool(ctx, ids, nil)
}

// packDeltas makes the text of a row.
func packDeltas(deltas []gateway.Delta) (string, error) {
	var packed bytes.Buffer
	zip, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err != nil {
		return "", err
	}
	if err := errors.Join(json.NewEncoder(zip).Encode(deltas), zip.Close()); err != nil {
		return "", err
	}
	return spoolForm + base64.RawStdEncoding.EncodeToString(packed.Bytes()), nil
}

var errSpoolForm = errors.New("it is of a form that is not known")

// unpackDeltas reads the text of a row. What a later version may have added is
// left out.
func unpackDeltas(text string) ([]gateway.Delta, error) {
	plain, err := unpackText(text)
	if err != nil {
		return nil, err
	}
	var deltas []gateway.Delta
	if err := json.Unmarshal(plain, &deltas); err != nil {
		return nil, err
	}
	return deltas, nil
}

// unpackText gives the JSON in a row.
func unpackText(text string) ([]byte, error) {
	encoded, known := strings.CutPrefix(text, spoolForm)
	if !known {
		return nil, errSpoolForm
	}
	packed, err := base64.RawStdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, err
	}
	zip, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(io.LimitReader(zip, spooledMost+1))
	if len(plain) > spooledMost {
		return nil, errSpoolForm
	}
	return plain, err
}
