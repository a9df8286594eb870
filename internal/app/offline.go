package app

import (
	"context"
	"errors"
	"log/slog"

	"ollama-api-pool/internal/background"
	"ollama-api-pool/internal/config"
)

// Offline is the store of an instance that does not run, held for as long as
// a command works on it.
type Offline struct {
	*Roster
	app *App
}

// OpenOffline opens the store without serving. A data directory is taken hold
// of: it fails with ErrHeld while an instance runs there. A database may have
// instances that run: they follow what is changed.
func OpenOffline(ctx context.Context, cfg *config.Config, log *slog.Logger) (*Offline, error) {
	a := newApp(cfg, Deps{Log: log})
	if !InDatabase(cfg) {
		var err error
		if a.lock, err = TakeDataDir(cfg.DataDir); err != nil {
			return nil, err
		}
	}
	if err := a.open(ctx); err != nil {
		a.abandon()
		return nil, err
	}
	a.loops = background.NewGroup(ctx, log)
	if a.store.Shared() {
		a.loops.Every("leases", leaseEvery, 0, a.leases.keepHeld)
		a.loops.Go("follow", a.follower.run) // a job may be cancelled from elsewhere
	}
	return &Offline{Roster: a.roster, app: a}, nil
}

// Close writes down what is pending and lets go of the store.
func (o *Offline) Close(ctx context.Context) error {
	a := o.app
	err := errors.Join(a.stopJobs(ctx), a.loops.Stop(ctx), a.writer.finish(ctx))
	a.leases.dropAll(ctx)
	return errors.Join(err, a.release())
}
