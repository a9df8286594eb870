package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"time"

	"ollama-api-pool/internal/gateway"
)

// tokenRow is a row of {p}client_tokens. Its token is the hash of a client
// token, or in a database from before this program the client token itself.
type tokenRow struct {
	token, name, preview, limits string
	created, expires, lastUsed   when
	requests                     int64
}

// selectClients asks for the columns that into reads.
const selectClients = `select token, coalesce(name, ''), coalesce(preview, ''), coalesce(limits, ''),
	created_at, expires_at, last_used, coalesce(request_count, 0) from {p}client_tokens`

func (r *tokenRow) into() []any {
	return []any{&r.token, &r.name, &r.preview, &r.limits, &r.created, &r.expires, &r.lastUsed, &r.requests}
}

// token makes the token of a row.
func (s *Store) token(p gateway.ProviderName, r *tokenRow) (gateway.Token, error) {
	tok := gateway.Token{
		Hash: r.token, Preview: r.preview, Name: r.name, Providers: []gateway.ProviderName{p},
		CreatedAt: r.created.Time, ExpiresAt: r.expires.Time, LastUsed: r.lastUsed.Time, RequestCount: r.requests,
	}
	if !gateway.IsTokenHash(r.token) {
		tok.Plain = gateway.Secret(r.token)
		tok.Hash = gateway.HashToken(tok.Plain)
		tok.Preview = gateway.PreviewToken(tok.Plain)
	}
	var err error
	if tok.Limits, err = decodeLimits(r.limits); err != nil {
		return gateway.Token{}, s.limitsFault(p, &tok, err)
	}
	return tok, nil
}

// Tokens returns all client tokens, the oldest first. A token that is valid for
// several providers has a row for each; they are merged: requests add up, and
// the earliest end of its life and the stricter limits count. Limits that cannot
// be read are an error: nobody must become unlimited by them.
func (s *Store) Tokens(ctx context.Context) ([]gateway.Token, error) {
	byHash := map[string]*gateway.Token{}
	err := s.read(ctx, "load the tokens from the store", func(ctx context.Context, tx *sql.Tx) error {
		clear(byHash)
		for _, p := range gateway.Providers() {
			rows, err := tx.QueryContext(ctx, tables{p}.sql(selectClients))
			if err != nil {
				return err
			}
			all, err := collect(rows, (*tokenRow).into)
			if err != nil {
				return err
			}
			for i := range all {
				tok, err := s.token(p, &all[i])
				if err != nil {
					return err
				}
				if have := byHash[tok.Hash]; have != nil {
					mergeToken(have, &tok)
				} else {
					byHash[tok.Hash] = &tok
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	tokens := make([]gateway.Token, 0, len(byHash))
	for _, tok := range byHash {
		tokens = append(tokens, *tok)
	}
	slices.SortFunc(tokens, func(a, b gateway.Token) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.Hash, b.Hash))
	})
	return tokens, nil
}

// mergeToken adds another row of the same token. Plain and hashed rows of one
// token may stand side by side.
func mergeToken(have, other *gateway.Token) {
	if !slices.Contains(have.Providers, other.Providers[0]) {
		have.Providers = append(have.Providers, other.Providers[0])
	}
	have.Name = cmp.Or(have.Name, other.Name)
	have.Preview = cmp.Or(have.Preview, other.Preview)
	have.Plain = cmp.Or(have.Plain, other.Plain)
	have.RequestCount += other.RequestCount
	have.LastUsed = latest(have.LastUsed, other.LastUsed)
	have.CreatedAt = earliest(have.CreatedAt, other.CreatedAt)
	have.ExpiresAt = earliest(have.ExpiresAt, other.ExpiresAt)
	have.Limits = mergeLimits(have.Limits, other.Limits)
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// earliest ignores times that are not set.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// AddToken adds a client token for its providers. One that is there already is
// a conflict and changes nothing.
func (s *Store) AddToken(ctx context.Context, tok gateway.Token) error {
	if !gateway.IsTokenHash(tok.Hash) || len(tok.Providers) == 0 {
		return gateway.Errorf(gateway.KindInvalid, "a token needs a hash and a provider")
	}
	if err := checkLimits(&tok.Limits); err != nil {
		return err
	}
	created := tok.CreatedAt
	if created.IsZero() {
		created = s.now()
	}
	return s.write(ctx, "add a token to the store", func(ctx context.Context, tx *sql.Tx) error {
		for _, p := range tok.Providers {
			t, err := tablesOf(p)
			if err != nil {
				return err
			}
			n, err := execAll(ctx, tx, t, []any{
				tok.Hash, clean(tok.Name), tok.Preview, at(created), at(tok.ExpiresAt), at(tok.LastUsed), tok.RequestCount, encodeLimits(&tok.Limits),
			}, `insert into {p}client_tokens (token, name, preview, created_at, expires_at, last_used, request_count, limits)
				values (?, ?, ?, ?, ?, ?, ?, ?) on conflict (token) do nothing`)
			if err != nil {
				return err
			}
			if n == 0 {
				return gateway.Errorf(gateway.KindConflict, "the token is there already")
			}
		}
		return s.noteTokens(ctx, tx)
	})
}

// DeleteToken deletes a client token by its hash, for all providers, also where
// the token itself is stored. It reports whether it was there.
func (s *Store) DeleteToken(ctx context.Context, hash string) (bool, error) {
	var deleted int64
	err := s.write(ctx, "delete a token from the store", func(ctx context.Context, tx *sql.Tx) error {
		deleted = 0
		for _, p := range gateway.Providers() {
			t := tables{p}
			plain, err := plainTokens(ctx, tx, t)
			if err != nil {
				return err
			}
			for _, stored := range []string{hash, plain[hash]} {
				if stored == "" {
					continue
				}
				n, err := execAll(ctx, tx, t, []any{stored}, "delete from {p}client_tokens where token = ?")
				if err != nil {
					return err
				}
				deleted += n
			}
			if _, err := execAll(ctx, tx, t, []any{hash}, forgetDeleted); err != nil {
				return err
			}
		}
		if deleted == 0 {
			return nil
		}
		return s.noteTokens(ctx, tx)
	})
	return err == nil && deleted > 0, err
}

// plainTokens finds the tokens that are stored as they are, by their hashes.
func plainTokens(ctx context.Context, tx *sql.Tx, t tables) (map[string]string, error) {
	rows, err := tx.QueryContext(ctx, t.sql("select token from {p}client_tokens"))
	if err != nil {
		return nil, err
	}
	all, err := collect(rows, func(s *string) []any { return []any{s} })
	if err != nil {
		return nil, err
	}
	byHash := map[string]string{}
	for _, token := range all {
		if !gateway.IsTokenHash(token) {
			byHash[gateway.HashToken(gateway.Secret(token))] = token
		}
	}
	return byHash, nil
}

// HashPlainToken replaces the rows that hold the token itself, its Plain, by
// its hash and preview. Their counters and limits are kept.
func (s *Store) HashPlainToken(ctx context.Context, tok gateway.Token) error {
	if tok.Plain == "" {
		return nil
	}
	return s.write(ctx, "hash a token in the store", func(ctx context.Context, tx *sql.Tx) error {
		if err := hashPlain(ctx, tx, tok.Plain); err != nil {
			return err
		}
		return s.noteTokens(ctx, tx)
	})
}

func hashPlain(ctx context.Context, tx *sql.Tx, token gateway.Secret) error {
	hash, plain, preview := gateway.HashToken(token), token.Reveal(), gateway.PreviewToken(token)
	for _, p := range gateway.Providers() {
		t := tables{p}
		// A row with the hash may stand beside the plain one: it takes over
		// the counters.
		_, err := tx.ExecContext(ctx, t.sql(`update {p}client_tokens as h set
			request_count = coalesce(h.request_count, 0) + coalesce(o.request_count, 0),
			input_tokens = coalesce(h.input_tokens, 0) + coalesce(o.input_tokens, 0),
			output_tokens = coalesce(h.output_tokens, 0) + coalesce(o.output_tokens, 0),
			preview = coalesce(nullif(h.preview, ''), ?), limits = coalesce(nullif(h.limits, ''), o.limits)
			from {p}client_tokens as o where o.token = ? and h.token = ?`), preview, plain, hash)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, t.sql(`delete from {p}client_tokens where token = ?
			and exists (select 1 from {p}client_tokens where token = ?)`), plain, hash)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, t.sql("update {p}client_tokens set token = ?, preview = ? where token = ?"), hash, preview, plain)
		if err != nil {
			return err
		}
		if _, err := execAll(ctx, tx, t, []any{hash}, seedHashed); err != nil {
			return err
		}
	}
	return nil
}
