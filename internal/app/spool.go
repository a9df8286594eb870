package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"ollama-api-pool/internal/dataplane/usage"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/sqlstore"
)

// What waits on the local disk for a database that does not answer. After
// keepAfter without a write it is noted there, whether a write is under way or
// not. From foldSpooled batches on all but the first become one, so that what
// waits grows with what there is to count and not with time; of the request log
// the newest spooledEntries entries are kept, of the keys' events as many.
const (
	keepAfter      = 1300 * time.Millisecond
	keepEvery      = 100 * time.Millisecond
	keepPatience   = 5 * time.Second // at the end
	foldSpooled    = 200
	spooledEntries = 20_000
	replayPage     = 16
)

// keepInTime is what a loop calls: it notes on the local disk what is not in the
// database in time.
func (w *writer) keepInTime(ctx context.Context) error {
	w.taking.Lock()
	late := w.now().Sub(w.written) >= keepAfter
	w.taking.Unlock()
	if !late {
		return nil
	}
	return w.keep(ctx)
}

// keep notes on the local disk what is pending and what has come since. Without
// a local store it stays in memory, where it adds up.
func (w *writer) keep(ctx context.Context) error {
	if w.local == nil {
		return nil
	}
	w.taking.Lock()
	defer w.taking.Unlock()
	for since := false; ; { // what was pending, then what has come since
		if w.pending == nil && len(w.rest) == 0 {
			if since {
				break
			}
			since = true
		}
		b := w.take()
		if b == nil {
			break
		}
		if err := w.local.Spool(ctx, *b); err != nil {
			return fmt.Errorf("keep what the database cannot take at present: %w", err)
		}
		w.pending = nil
		w.spooled++
	}
	w.written = w.now()
	if w.spooled < max(w.foldAt, w.foldNext) {
		return nil
	}
	err := w.fold(ctx)
	w.foldNext = w.spooled + w.foldAt/2
	return err
}

// replay sends what waits on the local disk, the oldest first, one after the
// other. The caller has the turn.
func (w *writer) replay(ctx context.Context) error {
	for {
		page, err := w.waiting(ctx)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			return nil
		}
		for i := range page {
			if damaged := page[i].Err; damaged != nil {
				w.log.LogAttrs(ctx, slog.LevelError, "what waited for the database is lost in part", slog.Any("error", damaged))
			} else if err := w.send(ctx, page[i].Batch); errors.Is(err, errRefused) {
				if err := w.giveUpSpooled(ctx, &page[i], err); err != nil {
					return err
				}
				continue
			} else if err != nil {
				return err
			}
			if err := w.drop(ctx, page[i].ID); err != nil {
				return err
			}
		}
	}
}

// waiting gives the first batches that wait, and marks that they may have been
// sent from here on.
func (w *writer) waiting(ctx context.Context) ([]sqlstore.Spooled, error) {
	w.taking.Lock()
	defer w.taking.Unlock()
	if w.spooled == 0 {
		return nil, nil
	}
	page, err := w.local.Spooled(ctx, replayPage)
	if err != nil {
		return nil, fmt.Errorf("read what waits for the database: %w", err)
	}
	if len(page) == 0 {
		w.spooled = 0
		return nil, nil
	}
	for i := range page {
		if b := &page[i].Batch; b.Writer == w.instance {
			w.sent = max(w.sent, b.Number)
		}
	}
	return page, nil
}

// drop forgets a batch that has arrived.
func (w *writer) drop(ctx context.Context, id int64) error {
	w.taking.Lock()
	defer w.taking.Unlock()
	if err := w.local.DropSpooled(context.WithoutCancel(ctx), id); err != nil {
		return fmt.Errorf("forget what the database has taken: %w", err)
	}
	w.gone()
	return nil
}

// gone notes that one batch less waits on the local disk. The caller holds taking.
func (w *writer) gone() {
	if w.spooled--; w.spooled <= 0 {
		w.spooled, w.dropped, w.foldNext, w.deepened = 0, 0, 0, false
		w.written = w.now()
	}
}

// recall counts what waits on the local disk from earlier runs.
func (w *writer) recall(ctx context.Context) ([]sqlstore.Spooled, error) {
	if w.local == nil {
		return nil, nil
	}
	all, err := w.local.Spooled(ctx, 0)
	if err != nil {
		return nil, fmt.Errorf("look for what waits for the database: %w", err)
	}
	w.taking.Lock()
	defer w.taking.Unlock()
	w.spooled = len(all)
	return all, nil
}

// waits is how many batches wait on the local disk.
func (w *writer) waits() int {
	w.taking.Lock()
	defer w.taking.Unlock()
	return w.spooled
}

// fold adds those of this run up that were not sent yet: of one that was, nobody
// knows whether it has arrived, so it keeps its number. What comes of it, mostly
// one batch, has the last of their numbers and takes their place at once. The
// caller holds taking.
func (w *writer) fold(ctx context.Context) error {
	all, err := w.local.Spooled(ctx, 0)
	if err != nil {
		return fmt.Errorf("read what waits for the database: %w", err)
	}
	w.spooled = len(all)
	mine := slices.DeleteFunc(slices.Clone(all), func(s sqlstore.Spooled) bool {
		return s.Batch.Writer != w.instance || s.Batch.Number <= w.sent || s.Err != nil
	})
	if len(mine) < w.foldAt/2 {
		return nil
	}
	if !w.deepened {
		w.deepened = true
		w.log.LogAttrs(ctx, slog.LevelWarn, "much waits for the database: it is added up from here on, and of the request log the newest entries are kept",
			slog.Int("batches", len(mine)), slog.Int("entries", spooledEntries))
	}
	batches := make([]gateway.Batch, len(mine))
	ids := make([]int64, len(mine))
	for i := range mine {
		batches[i], ids[i] = mine[i].Batch, mine[i].ID
	}
	sums := addUp(batches)
	list := parts(sums.deltas, mostRows)
	if len(list) >= len(mine) {
		return nil // nothing is gained
	}
	fewer := make([]gateway.Batch, len(list))
	for i := range list {
		fewer[i] = gateway.Batch{Writer: w.instance, Number: batches[len(batches)-len(list)+i].Number, Deltas: list[i]}
	}
	if err := w.local.Respool(ctx, ids, fewer); err != nil {
		return fmt.Errorf("add up what waits for the database: %w", err)
	}
	w.dropped += sums.dropped
	w.spooled += len(fewer) - len(mine)
	for name, merged := range sums.merged {
		if p := w.pools[name]; p != nil {
			p.Merged(merged)
		}
	}
	return nil
}

// added is what several batches of one writer come to.
type added struct {
	deltas  []gateway.Delta
	merged  map[gateway.ProviderName][]gateway.StateChange // that gave way to later ones
	dropped int                                            // entries of the request log and events for which there is no room
}

// addUp adds batches of one writer up.
func addUp(batches []gateway.Batch) (one added) {
	one.merged = map[gateway.ProviderName][]gateway.StateChange{}
	counts := usage.NewLedger(usage.Options{Analytics: true, SampleRate: 1, ModelSampleRate: 1})
	rest := map[gateway.ProviderName]*sum{}
	for i := range batches {
		counts.Restore(batches[i].Deltas)
		for j := range batches[i].Deltas {
			d := &batches[i].Deltas[j]
			if rest[d.Provider] == nil {
				rest[d.Provider] = newSum(d.Provider)
			}
			rest[d.Provider].add(d)
		}
	}
	one.deltas = counts.Drain()
	for _, p := range gateway.Providers() {
		s := rest[p]
		if s == nil {
			continue
		}
		d := &s.out
		one.dropped += trim(&d.Log) + trim(&d.Events)
		if one.merged[p] = s.merged; !d.Empty() {
			one.deltas = append(one.deltas, *d)
		}
	}
	return one
}

// trim keeps the newest of a list.
func trim[T any](list *[]T) int {
	over := max(len(*list)-spooledEntries, 0)
	*list = (*list)[over:]
	return over
}

// sum adds deltas of one provider up, as far as they are not a ledger's.
type sum struct {
	out      gateway.Delta
	keys     map[gateway.KeyID]int // their places in out
	states   map[madeFrom]int
	refusals map[[2]string]int
	merged   []gateway.StateChange
}

// madeFrom is the version of a key that a change was made from.
type madeFrom struct {
	key     gateway.KeyID
	version int64
}

func newSum(p gateway.ProviderName) *sum {
	return &sum{
		out: gateway.Delta{Provider: p}, keys: map[gateway.KeyID]int{}, states: map[madeFrom]int{}, refusals: map[[2]string]int{},
	}
}

func (s *sum) add(d *gateway.Delta) {
	for _, c := range d.States {
		from := madeFrom{c.Key, c.Version}
		i, ok := s.states[from]
		if !ok {
			s.states[from] = len(s.out.States)
			s.out.States = append(s.out.States, c)
			continue
		}
		s.merged = append(s.merged, s.out.States[i])
		s.out.States[i] = c
	}
	for _, k := range d.Keys {
		i, ok := s.keys[k.Key]
		if !ok {
			s.keys[k.Key] = len(s.out.Keys)
			s.out.Keys = append(s.out.Keys, k)
			continue
		}
		addKeyCounts(&s.out.Keys[i].Counts, &k.Counts)
	}
	for _, r := range d.Refusals {
		name := [2]string{string(r.Key), r.Model}
		if i, ok := s.refusals[name]; ok {
			s.out.Refusals[i] = r
			continue
		}
		s.refusals[name] = len(s.out.Refusals)
		s.out.Refusals = append(s.out.Refusals, r)
	}
	s.out.Log = append(s.out.Log, d.Log...)
	s.out.Events = append(s.out.Events, d.Events...)
}

func addKeyCounts(to, c *gateway.KeyCounts) {
	to.Total += c.Total
	to.Success += c.Success
	to.Failure += c.Failure
	for _, t := range [...]struct{ to, from *time.Time }{{&to.LastUsed, &c.LastUsed}, {&to.LastSuccess, &c.LastSuccess}, {&to.LastFailure, &c.LastFailure}} {
		if t.to.Before(*t.from) {
			*t.to = *t.from
		}
	}
}
