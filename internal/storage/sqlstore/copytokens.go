package sqlstore

import (
	"cmp"
	"context"
	"maps"
	"slices"
)

// tokens reads the client tokens. Those that the source keeps as they are become
// hashes, and rows of one token become one.
func (c *copying) tokens(ctx context.Context, src *tableSource, emit emitRow) error {
	at := map[string]int{}
	for i := range src.table.columns {
		at[src.table.columns[i].name] = i
	}
	byHash := map[string][]copyCell{}
	err := c.each(ctx, src, func(row []copyCell) error {
		stored := row[at["token"]].s
		if stored == "" {
			src.leftOut++
			return nil
		}
		tok, err := c.from.token(src.t.provider, &tokenRow{token: stored, limits: row[at["limits"]].s})
		if err != nil {
			return err // nobody must become unlimited by limits that cannot be read
		}
		if tok.Plain != "" {
			c.report.Hashed++
			row[at["token"]].put(tok.Hash)
			row[at["preview"]].put(tok.Preview)
		}
		if tok.Plain != "" || c.noTallies {
			c.hashed = append(c.hashed, tok.Hash)
		}
		if have := byHash[tok.Hash]; have != nil {
			joinTokens(have, row, at)
			return nil
		}
		byHash[tok.Hash] = slices.Clone(row)
		return nil
	})
	if err != nil {
		return err
	}
	for _, hash := range slices.Sorted(maps.Keys(byHash)) {
		if err := emit(byHash[hash]); err != nil {
			return err
		}
	}
	return nil
}

// joinTokens adds a row of the same token, as hashPlain does.
func joinTokens(have, row []copyCell, at map[string]int) {
	for _, name := range []string{"request_count", "input_tokens", "output_tokens"} {
		have[at[name]].n += row[at[name]].n
	}
	used := &have[at["last_used"]]
	used.at = latest(used.at, row[at["last_used"]].at)
	used.set = !used.at.IsZero()
	ends := &have[at["expires_at"]]
	ends.at = earliest(ends.at, row[at["expires_at"]].at)
	ends.set = !ends.at.IsZero()
	for _, name := range []string{"name", "preview", "limits"} {
		if s := cmp.Or(have[at[name]].s, row[at[name]].s); s != "" {
			have[at[name]].put(s)
		}
	}
}
