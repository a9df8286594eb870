package cli

import (
	"context"
	"iter"
	"time"

	"ollama-api-pool/internal/app"
	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/gateway"
)

// offline is an instance that does not run: its store, held for one command.
type offline struct {
	store *app.Offline
	cfg   *config.Config
}

// Keys implements operator.
func (o *offline) Keys(ctx context.Context, p gateway.ProviderName, q gateway.KeyQuery) (keyPage, error) {
	keys, total, err := o.store.Keys(ctx, p, q)
	if err != nil {
		return keyPage{}, err
	}
	now := time.Now()
	page := keyPage{Keys: make([]keyRow, 0, len(keys)), Total: total}
	for i := range keys {
		page.Keys = append(page.Keys, rowOfKey(&keys[i], now))
	}
	return page, nil
}

// KeyIDs implements operator.
func (o *offline) KeyIDs(ctx context.Context, p gateway.ProviderName) (map[gateway.KeyID]struct{}, error) {
	keys, _, err := o.store.Keys(ctx, p, gateway.KeyQuery{})
	if err != nil {
		return nil, err
	}
	ids := make(map[gateway.KeyID]struct{}, len(keys))
	for i := range keys {
		ids[gateway.IDOfKey(keys[i].Secret)] = struct{}{}
	}
	return ids, nil
}

// AddKeys implements operator.
func (o *offline) AddKeys(ctx context.Context, p gateway.ProviderName, keys iter.Seq2[gateway.Key, error]) (added, existing int, err error) {
	return o.store.AddKeys(ctx, p, keys)
}

// Tokens implements operator.
func (o *offline) Tokens(ctx context.Context) ([]tokenRow, error) {
	tokens, err := o.store.Tokens(ctx)
	if err != nil {
		return nil, err
	}
	rows := make([]tokenRow, 0, len(tokens))
	for i := range tokens {
		rows = append(rows, rowOfToken(&tokens[i]))
	}
	return rows, nil
}

// CreateToken implements operator.
func (o *offline) CreateToken(ctx context.Context, name string, providers []gateway.ProviderName, ttl time.Duration) (newToken, error) {
	t, secret, err := o.store.CreateToken(ctx, name, providers, ttl)
	if err != nil {
		return newToken{}, err
	}
	return newToken{
		ID: t.ID(), Token: secret.Reveal(), Name: t.Name, Providers: t.Providers,
		CreatedAt: orNil(t.CreatedAt), ExpiresAt: orNil(t.ExpiresAt),
	}, nil
}

// RevokeToken implements operator.
func (o *offline) RevokeToken(ctx context.Context, ref string) error {
	return o.store.RevokeToken(ctx, ref)
}

// URL implements operator.
func (o *offline) URL() string { return "http://" + app.Reachable(o.cfg.ListenAddr) }

// Runs implements operator.
func (o *offline) Runs() bool { return false }

// Close implements operator.
func (o *offline) Close(ctx context.Context) error { return o.store.Close(ctx) }
