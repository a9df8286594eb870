package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"ollama-api-pool/internal/gateway"
)

// UpdateToken changes a client token, named by its hash, in one transaction,
// and returns it as it is then, and whether it is there. A row that holds the
// token itself gets its hash first. Counts stay with the token when the
// providers change that it is valid for.
func (s *Store) UpdateToken(ctx context.Context, hash string, change gateway.TokenChange) (tok gateway.Token, found bool, err error) {
	if err := checkChange(&change); err != nil {
		return tok, false, err
	}
	err = s.write(ctx, "change a token in the store", func(ctx context.Context, tx *sql.Tx) error {
		if err := hashPlainRows(ctx, tx, hash); err != nil {
			return err
		}
		if change.Limits == nil { // never overwrite, nor copy to another provider, what cannot be read
			if _, there, err := s.tokenIn(ctx, tx, hash); err != nil || !there {
				return err
			}
		}
		for _, p := range gateway.Providers() {
			if err := changeRow(ctx, tx, tables{p}, hash, &change); err != nil {
				return err
			}
		}
		if change.Providers != nil {
			if err := moveToken(ctx, tx, hash, change.Providers); err != nil {
				return err
			}
		}
		if tok, found, err = s.tokenIn(ctx, tx, hash); err != nil || !found {
			return err
		}
		return s.noteTokens(ctx, tx)
	})
	if err != nil {
		return gateway.Token{}, false, err
	}
	return tok, found, nil
}

// checkChange says what makes no sense about a change.
func checkChange(c *gateway.TokenChange) error {
	if c.Providers != nil && len(c.Providers) == 0 {
		return gateway.Errorf(gateway.KindInvalid, "a token needs a provider")
	}
	for _, p := range c.Providers {
		if _, err := tablesOf(p); err != nil {
			return err
		}
	}
	if c.Limits != nil {
		return checkLimits(c.Limits)
	}
	return nil
}

// hashPlainRows replaces the token itself by its hash, wherever it stands.
func hashPlainRows(ctx context.Context, tx *sql.Tx, hash string) error {
	for _, p := range gateway.Providers() {
		plain, err := plainTokens(ctx, tx, tables{p})
		if err != nil {
			return err
		}
		if stored := plain[hash]; stored != "" {
			if err := hashPlain(ctx, tx, gateway.Secret(stored)); err != nil {
				return err
			}
		}
	}
	return nil
}

// changeRow changes what is to change in one provider's row, if it has one.
func changeRow(ctx context.Context, tx *sql.Tx, t tables, hash string, c *gateway.TokenChange) error {
	set := func(column string, value any) error {
		_, err := tx.ExecContext(ctx, t.sql("update {p}client_tokens set "+column+" = ? where token = ?"), value, hash)
		return err
	}
	var errs []error
	if c.Name != nil {
		errs = append(errs, set("name", clean(*c.Name)))
	}
	if c.ExpiresAt != nil {
		errs = append(errs, set("expires_at", at(*c.ExpiresAt)))
	}
	if c.Limits != nil {
		errs = append(errs, set("limits", encodeLimits(c.Limits)))
	}
	return errors.Join(errs...)
}

// moveToken makes a token's rows those of some providers. The first of its rows
// that stays, or comes, takes over the counts of those that go.
func moveToken(ctx context.Context, tx *sql.Tx, hash string, providers []gateway.ProviderName) error {
	var from []gateway.ProviderName // where it has rows
	for _, p := range gateway.Providers() {
		var n int
		if err := tx.QueryRowContext(ctx, tables{p}.sql("select count(*) from {p}client_tokens where token = ?"), hash).Scan(&n); err != nil {
			return err
		}
		if n > 0 {
			from = append(from, p)
		}
	}
	if len(from) == 0 {
		return nil
	}
	for _, p := range providers {
		if slices.Contains(from, p) {
			continue
		}
		_, err := tx.ExecContext(ctx, tables{p}.sql(`insert into {p}client_tokens (token, name, preview, created_at, expires_at, limits, request_count, input_tokens, output_tokens)
			select token, name, preview, created_at, expires_at, limits, 0, 0, 0 from `)+tables{from[0]}.sql(`{p}client_tokens where token = ?
			on conflict (token) do nothing`), hash)
		if err != nil {
			return err
		}
	}
	heir := tables{providers[0]}
	for _, p := range from {
		if slices.Contains(providers, p) {
			continue
		}
		source := tables{p}.sql("{p}client_tokens")
		_, err := execAll(ctx, tx, heir, []any{hash}, `update {p}client_tokens as h set
			request_count = coalesce(h.request_count, 0) + coalesce(o.request_count, 0),
			input_tokens = coalesce(h.input_tokens, 0) + coalesce(o.input_tokens, 0),
			output_tokens = coalesce(h.output_tokens, 0) + coalesce(o.output_tokens, 0),
			last_used = case when h.last_used is null or h.last_used < o.last_used then o.last_used else h.last_used end
			from `+source+` as o where o.token = h.token and h.token = ?`,
			`delete from `+source+` where token = ?`)
		if err != nil {
			return err
		}
	}
	return nil
}

// tokenIn reads one token, whose rows hold its hash, within a transaction.
func (s *Store) tokenIn(ctx context.Context, tx *sql.Tx, hash string) (tok gateway.Token, found bool, err error) {
	for _, p := range gateway.Providers() {
		var r tokenRow
		err := tx.QueryRowContext(ctx, tables{p}.sql(selectClients+" where token = ?"), hash).Scan(r.into()...)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return tok, false, err
		}
		one, err := s.token(p, &r)
		if err != nil {
			return tok, false, err
		}
		if found {
			mergeToken(&tok, &one)
		} else {
			tok, found = one, true
		}
	}
	return tok, found, nil
}
