package app

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"ollama-api-pool/internal/config"
)

// Offline is the store of an instance that does not run, held for as long as
// a command works on it.
type Offline struct {
	*Roster
	app *App
}

// OpenOffline takes hold of the data directory and opens its store without
// serving. It fails with ErrHeld while an instance runs there.
func OpenOffline(ctx context.Context, cfg *config.Config, log *slog.Logger) (*Offline, error) {
	if err := Supported(cfg); err != nil {
		return nil, err
	}
	a := &App{cfg: cfg, log: log, started: time.Now()}
	var err error
	if a.lock, err = TakeDataDir(cfg.DataDir); err != nil {
		return nil, err
	}
	if err := a.open(ctx); err != nil {
		a.abandon()
		return nil, err
	}
	return &Offline{Roster: a.roster, app: a}, nil
}

// Close writes down what is pending and lets go of the store.
func (o *Offline) Close(ctx context.Context) error {
	return errors.Join(o.app.stopJobs(ctx), o.app.writer.flush(ctx), o.app.release())
}
