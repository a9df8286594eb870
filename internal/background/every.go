package background

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"
)

// failureLogInterval is how often a job that keeps failing is mentioned.
const failureLogInterval = time.Minute

// Every starts a loop that calls runOnce again and again: interval, and up to
// jitter more, lie between the end of one call and the next, and before the
// first. An error does not end the loop. It is logged when a row of failures
// begins and once a minute while it lasts, and so is the first success after
// it. A panic ends the loop, as a failure of the group. The interval must be
// positive.
func (g *Group) Every(name string, interval, jitter time.Duration, runOnce func(ctx context.Context) error) {
	if interval <= 0 {
		panic("background: the interval of " + name + " is not positive")
	}
	g.Go(name, func(ctx context.Context) error {
		job := job{name: name, log: g.log}
		timer := time.NewTimer(pause(interval, jitter))
		defer timer.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-timer.C:
			}
			err := runOnce(ctx)
			if ctx.Err() != nil && errors.Is(err, context.Canceled) {
				return nil
			}
			job.note(ctx, err)
			timer.Reset(pause(interval, jitter))
		}
	})
}

func pause(interval, jitter time.Duration) time.Duration {
	if jitter <= 0 {
		return interval
	}
	return interval + rand.N(jitter) //nolint:gosec // spreads load, guards nothing
}

// job is what one loop remembers of its failures. It belongs to the loop.
type job struct {
	name     string
	log      *slog.Logger
	failures int // in a row
	loggedAt time.Time
}

func (j *job) note(ctx context.Context, err error) {
	if err == nil {
		if j.failures > 0 {
			j.log.LogAttrs(ctx, slog.LevelInfo, "background job works again",
				slog.String("loop", j.name), slog.Int("failures", j.failures))
			j.failures = 0
		}
		return
	}
	j.failures++
	if now := time.Now(); j.failures == 1 || now.Sub(j.loggedAt) >= failureLogInterval {
		j.loggedAt = now
		j.log.LogAttrs(ctx, slog.LevelWarn, "background job failed, it will be tried again",
			slog.String("loop", j.name), slog.Int("failures", j.failures), slog.Any("error", err))
	}
}
