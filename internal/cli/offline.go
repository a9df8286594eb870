package cli

import (
	"context"
	"crypto/rand"
	"errors"
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
	return &offline{remote: r, store: store, api: api}, nil
}

// Runs implements operator.
func (o *offline) Runs() bool { return false }

// Close implements operator.
func (o *offline) Close(ctx context.Context) error {
	return errors.Join(o.api.server.Shutdown(ctx), o.remote.Close(ctx), o.store.Close(ctx))
}
