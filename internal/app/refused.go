package app

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/sqlstore"
)

// A batch that the database refuses must not stand in the way of all that come
// after it. When it was refused refusedAfter times in a row it is tried without
// one thing after the other; if nothing helps it is set aside. For refusedFor
// after that the next one is not tried so often.
const (
	refusedAfter = 3
	refusedFor   = 10 * time.Minute
)

// errRefused is about a batch that is not written, whatever is left out of it.
var errRefused = errors.New("the database refuses a batch")

// refusals count how often a batch was refused in a row. They belong to who has
// the turn.
type refusals struct {
	writer string
	number int64
	times  int
	until  time.Time // until then one refusal is enough
}

// again counts a refusal, and reports whether there were enough.
func (r *refusals) again(b *gateway.Batch, now time.Time) bool {
	if r.writer != b.Writer || r.number != b.Number {
		r.writer, r.number, r.times = b.Writer, b.Number, 0
	}
	r.times++
	return r.times >= refusedAfter || now.Before(r.until)
}

// without are the things that are left out of a batch, each in addition to those
// before it.
var without = []func(d *gateway.Delta) bool{
	func(d *gateway.Delta) bool { return !slices.Contains(gateway.Providers(), d.Provider) },
	func(d *gateway.Delta) bool { d.Log, d.Events = nil, nil; return false },
	func(d *gateway.Delta) bool { d.Tallies, d.Models = nil, nil; return false },
	func(d *gateway.Delta) bool { d.States, d.Refusals = nil, nil; return false },
}

// apply writes a batch. Where the database refuses it for good as much of it is
// written as it takes, in one transaction and under the same number, and what
// was written is returned. The caller has the turn.
func (w *writer) apply(ctx context.Context, b gateway.Batch) (gateway.Batch, sqlstore.Applied, error) {
	applied, err := w.store.ApplyBatch(ctx, b)
	if !w.store.Refused(err) || !w.refused.again(&b, w.now()) {
		return b, applied, err
	}
	why := err
	lean := b
	for i, leave := range without {
		n := len(lean.Deltas)
		lean.Deltas = slices.DeleteFunc(slices.Clone(lean.Deltas), func(d gateway.Delta) bool { return leave(&gateway.Delta{Provider: d.Provider}) })
		if i == 0 && n == len(lean.Deltas) {
			continue // that is what was refused
		}
		for i := range lean.Deltas {
			leave(&lean.Deltas[i])
		}
		if !slices.ContainsFunc(lean.Deltas, func(d gateway.Delta) bool { return !d.Empty() }) {
			err = why
			break
		}
		if applied, err = w.store.ApplyBatch(ctx, lean); !w.store.Refused(err) {
			break
		}
	}
	switch {
	case err == nil:
		lost := difference(b, lean)
		w.mourn(ctx, "part of it is lost, the rest is written", lost, why)
		w.forgo(lost)
	case w.store.Refused(err):
		err = errors.Join(errRefused, why)
	default:
		return b, applied, err
	}
	w.refused.until = w.now().Add(refusedFor)
	return lean, applied, err
}

// difference is what a batch has and what apply has made of it has not.
func difference(b, lean gateway.Batch) gateway.Batch {
	b.Deltas = slices.Clone(b.Deltas)
	rest := lean.Deltas
	for i := range b.Deltas {
		d := &b.Deltas[i]
		if !slices.Contains(gateway.Providers(), d.Provider) && len(rest) < len(b.Deltas)-i {
			continue // it was left out whole
		}
		p := rest[0]
		rest = rest[1:]
		*d = gateway.Delta{
			Provider: d.Provider, Models: leftOut(d.Models, p.Models), States: leftOut(d.States, p.States), Refusals: leftOut(d.Refusals, p.Refusals),
			Tallies: leftOut(d.Tallies, p.Tallies), Log: leftOut(d.Log, p.Log), Events: leftOut(d.Events, p.Events),
		}
	}
	return b
}

// leftOut is a list of which all or nothing was written.
func leftOut[T any](all, written []T) []T {
	if len(written) > 0 {
		return nil
	}
	return all
}

// forgo tells the pools that states will not be written. They keep them.
func (w *writer) forgo(b gateway.Batch) {
	if b.Writer != w.instance {
		return // of an earlier run: the pools never knew
	}
	for i := range b.Deltas {
		if p := w.pools[b.Deltas[i].Provider]; p != nil {
			p.Merged(b.Deltas[i].States)
		}
	}
}

// mourn says what is lost.
func (w *writer) mourn(ctx context.Context, what string, b gateway.Batch, why error) {
	var requests int64
	var states, entries int
	for i := range b.Deltas {
		d := &b.Deltas[i]
		requests += d.Global.Requests
		states += len(d.States)
		entries += len(d.Log) + len(d.Events)
	}
	w.log.LogAttrs(ctx, slog.LevelError, "the database refuses what was counted", slog.String("outcome", what), slog.Int64("requests", requests), slog.Int("states", states),
		slog.Int("entries", entries), slog.Any("error", why))
}

// giveUp sets the pending batch aside, which the database refuses. If it waits on
// the local disk meanwhile that is where it is set aside. The caller has the turn.
func (w *writer) giveUp(ctx context.Context, b *gateway.Batch, why error) error {
	w.taking.Lock()
	defer w.taking.Unlock()
	if w.pending != b {
		return nil
	}
	if w.local != nil {
		if err := w.local.SetAside(context.WithoutCancel(ctx), nil, *b); err != nil {
			return errors.Join(why, err)
		}
	}
	w.pending = nil
	w.forgo(*b)
	w.mournWhole(ctx, *b, why)
	return nil
}

// giveUpSpooled is giveUp for a batch that waits on the local disk.
func (w *writer) giveUpSpooled(ctx context.Context, s *sqlstore.Spooled, why error) error {
	w.taking.Lock()
	defer w.taking.Unlock()
	if err := w.local.SetAside(context.WithoutCancel(ctx), []int64{s.ID}); err != nil {
		return errors.Join(why, err)
	}
	w.gone()
	w.forgo(s.Batch)
	w.mournWhole(ctx, s.Batch, why)
	return nil
}

func (w *writer) mournWhole(ctx context.Context, b gateway.Batch, why error) {
	what := "it is lost"
	if w.local != nil {
		what = "it is left out, and kept in pool_spool of the local store"
	}
	w.mourn(ctx, what, b, why)
}
