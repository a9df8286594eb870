package jobs

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"ollama-api-pool/internal/gateway"
)

// maxBad is how many lines and keys that could not be used a job remembers.
const maxBad = 10_000

// Fault is what a job that failed says of a fault of ours. The log says more.
const Fault = "internal error"

// Progress is how far a running job is. It may be used concurrently.
type Progress struct {
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when the job has ended and was written down
	now    func() time.Time
	lease  Lease // set before the job begins; nil: there is nobody else

	mu  sync.Mutex // guards what follows
	job gateway.Job
}

// Update changes the job's figures: Total, Done, Counts, Categories, Waiting. The
// function must be quick and keep nothing of what it is given.
func (p *Progress) Update(change func(*gateway.Job)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.job)
	p.job.UpdatedAt = p.now().UTC()
}

// AddBad remembers a line or key that could not be used, up to a bound.
func (p *Progress) AddBad(b gateway.BadKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.job.Bad) < maxBad {
		p.job.Bad = append(p.job.Bad, b)
	}
}

// Snapshot is the job as it is now.
func (p *Progress) Snapshot() gateway.Job {
	p.mu.Lock()
	defer p.mu.Unlock()
	j := p.job
	j.Counts, j.Categories = maps.Clone(j.Counts), maps.Clone(j.Categories)
	j.Bad = slices.Clip(j.Bad) // it only grows
	return j
}

func (p *Progress) id() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.job.ID
}

// set replaces the job.
func (p *Progress) set(j gateway.Job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.job = j
}

// ended is the job as it ended: why its context did, if it did, and what its
// work returned. A job that was done all the same is done.
func (p *Progress) ended(cause, err error) gateway.Job {
	j := p.Snapshot()
	switch {
	case err == nil:
		j.State = gateway.JobDone
	case errors.Is(cause, errCancelled):
		j.State, j.Error = gateway.JobCancelled, errCancelled.Error()
	case errors.Is(cause, errStopping), errors.Is(cause, errLost):
		j.State, j.Error = gateway.JobInterrupted, cause.Error()
	default:
		j.State, j.Error = gateway.JobFailed, Fault
		if e := gateway.AsError(err); e.Kind != gateway.KindInternal {
			j.Error = e.Message
		}
	}
	j.Waiting, j.FinishedAt = "", p.now().UTC()
	j.UpdatedAt = j.FinishedAt
	return j
}
