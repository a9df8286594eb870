package app

import (
	"context"
	"time"

	"ollama-api-pool/internal/controlplane/jobs"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/sqlstore"
)

// jobsEvery is how often is looked for jobs whose instance is gone.
const jobsEvery = 15 * time.Second

// jobStore is the store as jobs use it: while it is out of reach every call
// fails at once.
type jobStore struct {
	store    *sqlstore.Store
	standing *standing
}

// PutJob implements jobs.Store.
func (s *jobStore) PutJob(ctx context.Context, j gateway.Job) error {
	return s.standing.ask(ctx, func(ctx context.Context) error { return s.store.PutJob(ctx, j) })
}

// Job implements jobs.Store.
func (s *jobStore) Job(ctx context.Context, id string) (j gateway.Job, found bool, err error) {
	err = s.standing.ask(ctx, func(ctx context.Context) (err error) {
		j, found, err = s.store.Job(ctx, id)
		return err
	})
	return j, found, err
}

// Jobs implements jobs.Store.
func (s *jobStore) Jobs(ctx context.Context, kind gateway.JobKind, offset, limit int) (list []gateway.Job, total int, err error) {
	err = s.standing.ask(ctx, func(ctx context.Context) (err error) {
		list, total, err = s.store.Jobs(ctx, kind, offset, limit)
		return err
	})
	return list, total, err
}

// InterruptJobs implements jobs.Store.
func (s *jobStore) InterruptJobs(ctx context.Context, idle time.Duration) (int, error) {
	return asked(ctx, s.standing.ask, func(ctx context.Context) (int, error) { return s.store.InterruptJobs(ctx, idle) })
}

// PruneJobs implements jobs.Store.
func (s *jobStore) PruneJobs(ctx context.Context, keep int) error {
	return s.standing.ask(ctx, func(ctx context.Context) error { return s.store.PruneJobs(ctx, keep) })
}

// recoverJobs looks for jobs whose instance is gone.
func (a *App) recoverJobs(ctx context.Context) error {
	if !a.standing.up() || !a.leases.leads() {
		return nil
	}
	return a.jobs.Recover(ctx)
}

// otherInstances is what jobs need of the others that work on the store.
type otherInstances struct{ app *App }

// Take implements jobs.Others.
func (o *otherInstances) Take(ctx context.Context, name string) (jobs.Lease, bool, error) {
	return o.app.leases.Take(ctx, name)
}

// Cancel implements jobs.Others.
func (o *otherInstances) Cancel(ctx context.Context, job string) error {
	return o.app.announce(ctx, gateway.Change{Kind: gateway.ChangeJob, Detail: job})
}

// Here implements jobs.Others.
func (o *otherInstances) Here() string { return o.app.presence.self.Name }

// announce tells the others of something that is no change of keys or tokens.
func (a *App) announce(ctx context.Context, c gateway.Change) error {
	err := a.standing.change(ctx, func(ctx context.Context) error { return a.store.Announce(ctx, c) })
	a.hint()
	return err
}
