// Package jobs is the step of the control plane that looks after work which
// takes minutes: checks of many keys, imports that check each of theirs. A job
// goes on when whoever began it leaves; it tells how far it is, can be cancelled,
// and is written down, so that it is known after a restart, too.
package jobs

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"ollama-api-pool/internal/gateway"
)

// How often the progress of a job is written down, and how many jobs are
// remembered. Where other instances look at it, it is written down as often as
// they do.
const (
	saveEvery  = 2 * time.Second
	shareEvery = time.Second
	saveWithin = 10 * time.Second // at the end
	keepJobs   = 500
)

// Store is where jobs are written down. It may be called concurrently.
type Store interface {
	// PutJob writes a job over the one with its ID.
	PutJob(ctx context.Context, j gateway.Job) error
	// Job finds a job.
	Job(ctx context.Context, id string) (gateway.Job, bool, error)
	// Jobs lists jobs of a kind, "" all, the newest first, and how many there are.
	Jobs(ctx context.Context, kind gateway.JobKind, offset, limit int) ([]gateway.Job, int, error)
	// InterruptJobs notes that running jobs of which nothing was written down for
	// so long do so no longer, and counts them; 0: all.
	InterruptJobs(ctx context.Context, idle time.Duration) (int, error)
	// PruneJobs forgets all but the newest.
	PruneJobs(ctx context.Context, keep int) error
}

// Registry knows the jobs that run. All its methods may be called concurrently.
type Registry struct {
	store Store
	log   *slog.Logger
	now   func() time.Time

	others Others // nil: there are none
	remote remote // what the others run

	mu       sync.Mutex // guards what follows; never held over I/O
	running  map[gateway.ProviderName]*Progress
	stopping bool
	ended    sync.WaitGroup // jobs; added to under mu
}

// New makes a Registry.
func New(store Store, log *slog.Logger, now func() time.Time) *Registry {
	return &Registry{store: store, log: log, now: now, running: map[gateway.ProviderName]*Progress{}}
}

// Recover notes that jobs which ran when the program ended were interrupted. It
// is called before the first job starts, and where there are other instances
// again and again: of theirs it is those that have gone silent.
func (r *Registry) Recover(ctx context.Context) error {
	idle := time.Duration(0)
	if r.others != nil {
		idle = silentFor
	}
	n, err := r.store.InterruptJobs(ctx, idle)
	if err != nil {
		return fmt.Errorf("note which jobs were interrupted: %w", err)
	}
	if n > 0 {
		r.log.LogAttrs(ctx, slog.LevelWarn, "jobs were interrupted when the program ended", slog.Int("jobs", n))
	}
	return nil
}

// Plan is a job to be started.
type Plan struct {
	Kind     gateway.JobKind
	Provider gateway.ProviderName
	Source   string // in words; never a secret
	By       string // api, schedule or command
	Total    int    // steps, 0 while unknown
	// ID is for a job that takes the place of an earlier one in the list; "": a
	// new one.
	ID string
	// Run does the work. Its context ends when the job is cancelled or the
	// program stops; it then returns soon. An error is why the job failed; what
	// it says is shown, unless it is a fault of ours.
	Run func(ctx context.Context, p *Progress) error
}

// Reasons for which a job's context ends.
var (
	errCancelled = errors.New("the job was cancelled")
	errStopping  = errors.New("the program stopped before the job was done")
	errLost      = errors.New("this instance was out of touch with the others for too long")
)

// Start starts a job and returns it as it begins. There is one at a time for
// each provider: while it runs, the error is a gateway.Error of KindConflict.
func (r *Registry) Start(ctx context.Context, plan Plan) (gateway.Job, error) {
	now := r.now().UTC()
	if plan.ID == "" {
		plan.ID = NewID()
	}
	inside, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	p := &Progress{
		cancel: cancel, done: make(chan struct{}), now: r.now,
		job: gateway.Job{
			ID: plan.ID, Kind: plan.Kind, Provider: plan.Provider, State: gateway.JobRunning,
			Source: plan.Source, By: plan.By, StartedAt: now, UpdatedAt: now, Total: plan.Total,
			Counts: map[string]int{}, Categories: map[string]int{},
		},
	}
	if err := r.enter(p, plan.Provider); err != nil {
		cancel(err)
		return gateway.Job{}, err
	}
	if err := r.claim(ctx, p, plan.Provider); err != nil {
		r.leave(p, p.Snapshot())
		cancel(err)
		return gateway.Job{}, err
	}
	job := p.Snapshot()
	if err := r.store.PutJob(context.WithoutCancel(ctx), job); err != nil { // who began it may have left by now
		p.release(ctx)
		r.leave(p, job)
		cancel(err)
		return gateway.Job{}, fmt.Errorf("write down a new job: %w", err)
	}
	r.log.LogAttrs(ctx, slog.LevelInfo, "job started", describe(&job)...)
	go func() {
		defer cancel(nil)
		end := r.run(inside, p, plan.Run)
		p.release(inside)
		r.leave(p, end)
	}()
	return job, nil
}

// enter makes a job the running one of its provider.
func (r *Registry) enter(p *Progress, provider gateway.ProviderName) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopping {
		return gateway.Errorf(gateway.KindUnavailable, "stopping: no new jobs are taken")
	}
	if other := r.running[provider]; other != nil {
		j := other.Snapshot()
		return conflict(&j)
	}
	r.running[provider] = p
	r.ended.Add(1)
	return nil
}

// leave makes room for the next job, and shows how this one ended: who sees that
// can start another.
func (r *Registry) leave(p *Progress, end gateway.Job) {
	r.mu.Lock()
	delete(r.running, end.Provider)
	p.set(end)
	r.mu.Unlock()
	close(p.done)
	r.ended.Done()
}

// conflict is the error for who wants to start a job while one runs.
func conflict(j *gateway.Job) error {
	where := ""
	if j.Where != "" {
		where = " on " + j.Where
	}
	return gateway.Errorf(gateway.KindConflict, "job %s is running%s: %s of %s, %d of %d done; wait for its end or cancel it",
		j.ID, where, noun(j.Kind), j.Provider, j.Done, j.Total)
}

func noun(kind gateway.JobKind) string {
	if kind == gateway.JobImport {
		return "an import"
	}
	return "a check"
}

// run does a job's work, writes down how far it is and how it ended, and gives
// the job as it is then.
func (r *Registry) run(ctx context.Context, p *Progress, work func(context.Context, *Progress) error) gateway.Job {
	result := make(chan error, 1)
	go func() { result <- r.guard(ctx, p, work) }()
	every := saveEvery
	if r.others != nil {
		every = shareEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	lost := p.lost()
	for {
		select {
		case <-lost:
			p.cancel(errLost)
			lost = nil
		case <-tick.C:
			job := p.Snapshot()
			job.Bad = nil // may be long, and is not complete
			if err := r.store.PutJob(ctx, job); err != nil && ctx.Err() == nil {
				r.log.LogAttrs(ctx, slog.LevelWarn, "the progress of a job could not be written down", append(describe(&job), slog.Any("error", err))...)
			}
		case err := <-result:
			job := p.ended(context.Cause(ctx), err)
			r.close(ctx, job, err)
			return job
		}
	}
}

// guard makes an error of a panic.
func (r *Registry) guard(ctx context.Context, p *Progress, work func(context.Context, *Progress) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			job := p.Snapshot()
			r.log.LogAttrs(ctx, slog.LevelError, "a job panicked", append(describe(&job), slog.Any("panic", v), slog.String("stack", string(debug.Stack())))...)
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return work(ctx, p)
}

// close writes down how a job ended.
func (r *Registry) close(ctx context.Context, job gateway.Job, cause error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveWithin)
	defer cancel()
	attrs := append(describe(&job), slog.String("state", string(job.State)), slog.Int("done", job.Done),
		slog.Int("total", job.Total), slog.Duration("took", job.FinishedAt.Sub(job.StartedAt)))
	if job.State == gateway.JobFailed {
		attrs = append(attrs, slog.Any("error", cause))
	}
	r.log.LogAttrs(ctx, slog.LevelInfo, "job ended", attrs...)
	err := r.store.PutJob(ctx, job)
	if err == nil {
		err = r.store.PruneJobs(ctx, keepJobs)
	}
	if err != nil {
		r.log.LogAttrs(ctx, slog.LevelWarn, "the end of a job could not be written down", append(describe(&job), slog.Any("error", err))...)
	}
}

func describe(j *gateway.Job) []slog.Attr {
	return []slog.Attr{
		slog.String("job", j.ID), slog.String("kind", string(j.Kind)),
		slog.String("provider", string(j.Provider)), slog.String("by", j.By),
	}
}

// NewID makes a job's name.
func NewID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return hex.EncodeToString(b[:])
}

// find gives a running job, or nil.
func (r *Registry) find(id string) *Progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.running {
		if p.id() == id {
			return p
		}
	}
	return nil
}

// Running gives the running jobs as they are now, the earliest first; those of
// other instances as they were lately.
func (r *Registry) Running() []gateway.Job {
	list := r.here()
	if r.others != nil {
		list = append(list, r.elsewhere(list)...)
	}
	slices.SortFunc(list, func(a, b gateway.Job) int { return a.StartedAt.Compare(b.StartedAt) })
	return list
}

// here gives the jobs that this instance runs.
func (r *Registry) here() []gateway.Job {
	r.mu.Lock()
	running := slices.Collect(maps.Values(r.running))
	r.mu.Unlock()
	list := make([]gateway.Job, 0, len(running))
	for _, p := range running {
		list = append(list, p.Snapshot())
	}
	return list
}

func noSuchJob() error { return gateway.Errorf(gateway.KindNotFound, "no such job") }

// Job gives a job as it is now; one that is not known is a gateway.Error of
// KindNotFound.
func (r *Registry) Job(ctx context.Context, id string) (gateway.Job, error) {
	if p := r.find(id); p != nil {
		return p.Snapshot(), nil
	}
	j, found, err := r.store.Job(ctx, id)
	if err == nil && !found {
		err = noSuchJob()
	}
	return j, err
}

// Jobs lists jobs of a kind, "" all, the newest first, and how many there are.
func (r *Registry) Jobs(ctx context.Context, kind gateway.JobKind, offset, limit int) ([]gateway.Job, int, error) {
	list, total, err := r.store.Jobs(ctx, kind, offset, limit)
	if err != nil {
		return nil, 0, err
	}
	for i := range list {
		if p := r.find(list[i].ID); p != nil {
			list[i] = p.Snapshot()
		}
	}
	return list, total, nil
}

// Cancel asks a running job to end and waits until it has; ctx ends the waiting.
// One that does not run any more is a gateway.Error of KindConflict.
func (r *Registry) Cancel(ctx context.Context, id string) (gateway.Job, error) {
	if p := r.find(id); p != nil {
		p.cancel(errCancelled)
		return r.Await(ctx, id, 0, nil)
	}
	j, err := r.Job(ctx, id)
	if err == nil && j.State == gateway.JobRunning && r.others != nil {
		return r.cancelElsewhere(ctx, id)
	}
	if err == nil {
		err = gateway.Errorf(gateway.KindConflict, "job %s does not run any more: it is %s", id, j.State)
	}
	return j, err
}

// CancelHere asks a job to end if this instance runs it.
func (r *Registry) CancelHere(id string) {
	if p := r.find(id); p != nil {
		p.cancel(errCancelled)
	}
}

// Await waits for a job's end and returns it as it is then. Meanwhile it calls
// seen, if there is one, every so often. When ctx ends first, the job goes on,
// and the error is the context's.
func (r *Registry) Await(ctx context.Context, id string, every time.Duration, seen func(gateway.Job)) (gateway.Job, error) {
	p := r.find(id)
	if p == nil {
		if r.others != nil {
			return r.awaitElsewhere(ctx, id, every, seen)
		}
		return r.Job(ctx, id)
	}
	var tick <-chan time.Time
	if seen != nil {
		t := time.NewTicker(every)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case <-p.done:
			return p.Snapshot(), nil
		case <-ctx.Done():
			return p.Snapshot(), context.Cause(ctx)
		case <-tick:
			seen(p.Snapshot())
		}
	}
}

// Record writes down a job that is over already. Without an ID it gets one.
func (r *Registry) Record(ctx context.Context, j gateway.Job) error {
	if j.ID == "" {
		j.ID = NewID()
	}
	j.Bad = j.Bad[:min(len(j.Bad), maxBad)]
	if err := r.store.PutJob(ctx, j); err != nil {
		return fmt.Errorf("write down a job: %w", err)
	}
	return r.store.PruneJobs(ctx, keepJobs)
}

// Stop interrupts the running jobs, takes no new ones, and waits until they have
// ended or ctx has.
func (r *Registry) Stop(ctx context.Context) error {
	r.mu.Lock()
	r.stopping = true
	for _, p := range r.running {
		p.cancel(errStopping)
	}
	r.mu.Unlock()
	done := make(chan struct{})
	go func() {
		r.ended.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("jobs are still running: %w", context.Cause(ctx))
	}
}
