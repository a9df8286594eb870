package sqlstore

import (
	"context"
	"database/sql"
	"time"

	"ollama-api-pool/internal/gateway"
)

// refused is a key and a model that it may not use.
type refused struct{ key, model string }

// refusals compares which models keys may not use.
func (m *mirroring) refusals(ctx context.Context) (changed int, err error) {
	now := at(m.to.now())
	theirs, err := m.refusalsOf(ctx, m.from, "until > ?", now)
	if err != nil {
		return 0, err
	}
	ours, err := m.refusalsOf(ctx, m.to, "1 = 1")
	if err != nil {
		return 0, err
	}
	var put, drop []refused
	for r, until := range theirs {
		if has, there := ours[r]; !there || !has.Equal(until) {
			put = append(put, r)
		}
	}
	for r := range ours {
		if _, there := theirs[r]; !there {
			drop = append(drop, r)
		}
	}
	return m.writeDifferences(ctx, len(put)+len(drop), func(b *batch) {
		b.run("delete from {p}key_refusals where key_id = ? and model = ?", func(exec func(args ...any)) {
			for _, r := range drop {
				exec(r.key, r.model)
			}
		})
		b.run(`insert into {p}key_refusals (key_id, model, until) values (?, ?, ?)
			on conflict (key_id, model) do update set until = excluded.until`, func(exec func(args ...any)) {
			for _, r := range put {
				exec(r.key, r.model, at(theirs[r]))
			}
		})
	})
}

func (m *mirroring) refusalsOf(ctx context.Context, s *Store, where string, args ...any) (all map[refused]time.Time, err error) {
	err = s.read(ctx, "compare the refusals of a mirror", func(ctx context.Context, tx *sql.Tx) error {
		all = map[refused]time.Time{}
		rows, err := tx.QueryContext(ctx, m.t.sql("select key_id, model, until from {p}key_refusals where "+where), args...)
		if err != nil {
			return err
		}
		type row struct {
			refused
			until when
		}
		found, err := collect(rows, func(r *row) []any { return []any{&r.key, &r.model, &r.until} })
		for _, r := range found {
			all[r.refused] = r.until.Time
		}
		return err
	})
	return all, err
}

// tokens compares client tokens but for their counts.
func (m *mirroring) tokens(ctx context.Context) (changed int, err error) {
	theirs, err := m.tokensOf(ctx, m.from)
	if err != nil {
		return 0, err
	}
	ours, err := m.tokensOf(ctx, m.to)
	if err != nil {
		return 0, err
	}
	var put, drop []tokenRow
	for token, r := range theirs {
		if has, there := ours[token]; !there || has != r {
			put = append(put, r)
		}
	}
	for token, r := range ours {
		if _, there := theirs[token]; !there {
			drop = append(drop, r)
		}
	}
	return m.writeDifferences(ctx, len(put)+len(drop), func(b *batch) {
		b.run("delete from {p}client_tokens where token = ?", func(exec func(args ...any)) {
			for i := range drop {
				exec(drop[i].token)
			}
		})
		b.run(`insert into {p}client_tokens (token, name, preview, limits, created_at, expires_at, request_count) values (?, ?, ?, nullif(?, ''), ?, ?, 0)
			on conflict (token) do update set name = excluded.name, preview = excluded.preview, limits = excluded.limits,
				created_at = excluded.created_at, expires_at = excluded.expires_at`, func(exec func(args ...any)) {
			for i := range put {
				r := &put[i]
				exec(r.token, r.name, r.preview, r.limits, at(r.created.Time), at(r.expires.Time))
			}
		})
	})
}

func (m *mirroring) tokensOf(ctx context.Context, s *Store) (all map[string]tokenRow, err error) {
	err = s.read(ctx, "compare the tokens of a mirror", func(ctx context.Context, tx *sql.Tx) error {
		all = map[string]tokenRow{}
		rows, err := tx.QueryContext(ctx, m.t.sql(selectClients))
		if err != nil {
			return err
		}
		found, err := collect(rows, (*tokenRow).into)
		for _, r := range found {
			r.requests, r.lastUsed = 0, when{}
			if !gateway.IsTokenHash(r.token) {
				secret := gateway.Secret(r.token)
				r.token, r.preview = gateway.HashToken(secret), gateway.PreviewToken(secret)
				if _, there := all[r.token]; there {
					continue // the row with the hash speaks
				}
			}
			all[r.token] = r
		}
		return err
	})
	return all, err
}

// writeDifferences runs a write for so many differences, if there are any.
func (m *mirroring) writeDifferences(ctx context.Context, n int, write func(b *batch)) (int, error) {
	if n == 0 {
		return 0, nil
	}
	err := m.to.write(ctx, "write to a mirror", func(inside context.Context, tx *sql.Tx) error {
		b := m.to.batch(inside, ctx, tx, m.t)
		write(&b)
		return b.err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}
