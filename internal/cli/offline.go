package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"iter"
	"log/slog"
	"net/http"

	"ollama-api-pool/internal/app"
	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/gateway"
)

// offline is an instance that does not run: its store, held for one command. It
// is asked over the same API as one that runs, within this process.
type offline struct {
	*remote
	store *app.Offline
	api   *local
	cfg   *config.Config
}

// openOffline opens the store of an instance that does not run.
func openOffline(ctx context.Context, cfg *config.Config, log *slog.Logger) (*offline, error) {
	store, err := app.OpenOffline(ctx, cfg, log)
	if err != nil {
		return nil, err
	}
	token := gateway.Secret(rand.Text()) // for this process alone
	h, err := store.API(token, Version())
	if err != nil {
		return nil, errors.Join(err, store.Close(ctx))
	}
	api := newLocal(h)
	r := &remote{base: "http://" + app.Reachable(cfg.ListenAddr), token: token, client: &http.Client{
		Transport: &http.Transport{DialContext: api.dial},
	}}
	return &offline{remote: r, store: store, api: api, cfg: cfg}, nil
}

// AddKeys implements operator. No limit for uploads holds here.
func (o *offline) AddKeys(ctx context.Context, p gateway.ProviderName, keys iter.Seq2[gateway.Key, error]) (added, existing int, err error) {
	return o.store.AddKeys(ctx, p, keys)
}

// TryKeys implements operator.
func (o *offline) TryKeys(ctx context.Context, p gateway.ProviderName, keys iter.Seq2[gateway.Key, error]) (added, existing int, err error) {
	there, _, err := o.store.Keys(ctx, p, gateway.KeyQuery{})
	if err != nil {
		return 0, 0, err
	}
	known := make(map[gateway.KeyID]struct{}, len(there))
	for i := range there {
		known[gateway.IDOfKey(there[i].Secret)] = struct{}{}
	}
	return countNew(known, keys)
}

// Runs implements operator.
func (o *offline) Runs() bool { return false }

// Close implements operator.
func (o *offline) Close(ctx context.Context) error {
	return errors.Join(o.api.server.Shutdown(ctx), o.remote.Close(ctx), o.store.Close(ctx))
}
