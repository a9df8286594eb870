package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"ollama-api-pool/internal/gateway"
)

// How jobs of other instances are looked after. What an instance runs it writes
// down every second, so one that has been silent for silentFor is gone, or out
// of touch for so long that its lease has ended.
const (
	silentFor     = 30 * time.Second
	lookEvery     = time.Second
	lookWithin    = 2 * time.Second
	remoteJobs    = 50               // the newest ones, among which running ones are looked for
	cancelWithin  = 30 * time.Second // for another instance to end a job
	releaseWithin = 5 * time.Second
)

// Others are the instances that work on the same store. Its methods may be
// called concurrently.
type Others interface {
	// Take takes the lease of a name, or reports that another instance has it.
	Take(ctx context.Context, name string) (Lease, bool, error)
	// Cancel tells whoever runs a job that it is to be cancelled.
	Cancel(ctx context.Context, job string) error
	// Here is the name of this machine.
	Here() string
}

// Lease is the right to do alone what only one instance may do at a time.
type Lease interface {
	// Lost is closed when the lease is held no longer.
	Lost() <-chan struct{}
	// Drop gives it back.
	Drop(ctx context.Context)
}

// Share makes the Registry one of several on a store. It is called before
// anything else.
func (r *Registry) Share(others Others) { r.others = others }

// claim makes sure that no other instance runs a job of a provider.
func (r *Registry) claim(ctx context.Context, p *Progress, provider gateway.ProviderName) error {
	if r.others == nil {
		return nil
	}
	lease, got, err := r.others.Take(ctx, "job:"+string(provider))
	if err != nil {
		return fmt.Errorf("look whether a job runs elsewhere: %w", err)
	}
	if !got {
		return r.conflictElsewhere(ctx, provider)
	}
	p.lease = lease
	p.Update(func(j *gateway.Job) { j.Where = r.others.Here() })
	return nil
}

// conflictElsewhere names the job of a provider that another instance runs.
func (r *Registry) conflictElsewhere(ctx context.Context, provider gateway.ProviderName) error {
	list, _, err := r.store.Jobs(ctx, "", 0, remoteJobs)
	if err != nil {
		return err
	}
	for i := range list {
		if j := &list[i]; j.Provider == provider && j.State == gateway.JobRunning {
			return conflict(j)
		}
	}
	return gateway.Errorf(gateway.KindConflict, "another instance is beginning or ending a job of %s: try again in a moment", provider)
}

// lost is closed when another instance may run the job's provider.
func (p *Progress) lost() <-chan struct{} {
	if p.lease == nil {
		return nil
	}
	return p.lease.Lost()
}

// release gives the job's lease back.
func (p *Progress) release(ctx context.Context) {
	if p.lease == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseWithin)
	defer cancel()
	p.lease.Drop(ctx)
}

// remote is what other instances run, as it was lately.
type remote struct {
	mu   sync.Mutex // guards what follows, and is held while it is read, for a moment at most
	at   time.Time
	jobs []gateway.Job
}

// elsewhere gives the running jobs of other instances. While the store is out
// of reach there are none.
func (r *Registry) elsewhere(here []gateway.Job) []gateway.Job {
	ours := map[string]bool{}
	for i := range here {
		ours[here[i].ID] = true
	}
	r.remote.mu.Lock()
	defer r.remote.mu.Unlock()
	if now := r.now(); now.Sub(r.remote.at) >= lookEvery {
		r.remote.at = now
		r.remote.jobs = r.readElsewhere()
	}
	var list []gateway.Job
	for _, j := range r.remote.jobs {
		if !ours[j.ID] {
			list = append(list, j)
		}
	}
	return list
}

func (r *Registry) readElsewhere() (running []gateway.Job) {
	ctx, cancel := context.WithTimeout(context.Background(), lookWithin)
	defer cancel()
	list, _, err := r.store.Jobs(ctx, "", 0, remoteJobs)
	if err != nil {
		r.log.LogAttrs(ctx, slog.LevelDebug, "the jobs of other instances could not be read", slog.Any("error", err))
		return nil
	}
	for i := range list {
		if list[i].State == gateway.JobRunning {
			running = append(running, list[i])
		}
	}
	return running
}

// cancelElsewhere has the instance that runs a job cancel it, and waits until it
// has.
func (r *Registry) cancelElsewhere(ctx context.Context, id string) (gateway.Job, error) {
	if err := r.others.Cancel(ctx, id); err != nil {
		return gateway.Job{}, fmt.Errorf("tell the instance that runs the job: %w", err)
	}
	wait, cancel := context.WithTimeout(ctx, cancelWithin)
	defer cancel()
	j, err := r.awaitElsewhere(wait, id, 0, nil)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = gateway.Errorf(gateway.KindUnavailable, "the instance that runs job %s was told to cancel it and has not answered yet", id)
	}
	return j, err
}

// awaitElsewhere is Await for a job that this instance does not run.
func (r *Registry) awaitElsewhere(ctx context.Context, id string, every time.Duration, seen func(gateway.Job)) (gateway.Job, error) {
	if every <= 0 || every > lookEvery {
		every = lookEvery
	}
	every = max(every, lookEvery/4)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		j, err := r.Job(ctx, id)
		if err != nil || j.State != gateway.JobRunning {
			return j, err
		}
		if seen != nil {
			seen(j)
		}
		select {
		case <-ctx.Done():
			return j, context.Cause(ctx)
		case <-tick.C:
		}
	}
}
