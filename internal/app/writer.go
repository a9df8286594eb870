package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"ollama-api-pool/internal/dataplane/pool"
	"ollama-api-pool/internal/dataplane/usage"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/sqlstore"
)

// flushEvery is how often counters and states are written down. What a kill
// can cost is this and the time of one write, together under a second and a
// half: a write to a database that takes longer is noted on the local disk, see
// keepAfter.
const flushEvery = 900 * time.Millisecond

// statesEvery is how often states of keys are looked for that others on a shared
// database have to hear of. With the time of one write and the half second after
// which the others look by themselves they do so within a second.
const statesEvery = 300 * time.Millisecond

// settlePatience is how long who only wants to read waits for somebody else's
// change before the figures are read without the last second.
const settlePatience = 2 * time.Second

// writer writes down what memory has counted and learnt, in numbered batches.
// A batch that may or may not have arrived is sent again as it is, until it is
// known that it has; the database takes each once.
type writer struct {
	store    *sqlstore.Store
	local    *sqlstore.Store // where batches wait for a database that is out of reach; nil: they wait in memory
	standing *standing
	instance string // names this run in batches; "": the store is a file of our own, and nothing is ambiguous
	pools    map[gateway.ProviderName]*pool.Pool
	ledger   *usage.Ledger
	trail    *usage.Trail
	log      *slog.Logger
	now      func() time.Time
	foldAt   int    // how many batches may wait before they are added up
	hint     func() // after states of keys were written, for the others; may be nil
	unsure   func() // after a change of which nobody knows whether it was made; may be nil

	// turn holds one place: who has it may write to the store and make the
	// changes of memory that belong to that, in one order. No request of the
	// data plane waits for it.
	turn     chan struct{}
	known    int64         // belongs to who has the turn: the last batch of this run of which it is known what became of its states
	unread   stale         // likewise: keys of which others have stored something else, and that was not read yet
	patience time.Duration // likewise: how long one batch may take
	refused  refusals

	taking   sync.Mutex // guards what follows, and the order in which batches get to the local store; held while that is written
	number   int64
	pending  *gateway.Batch    // taken from memory and not known to be written
	rest     [][]gateway.Delta // taken from memory, for the batches after that one
	spooled  int               // batches in the local store
	sent     int64             // the last batch of this run that may have been sent
	written  time.Time         // when everything was written, here or there
	dropped  int               // entries of the request log for which there was no room, in this outage
	foldNext int               // how many batches may wait before it is tried again to add them up
	deepened bool              // it was said that the spool grows large
}

// stale are keys of providers.
type stale = map[gateway.ProviderName][]gateway.KeyID

func newWriter() *writer {
	return &writer{
		turn: make(chan struct{}, 1), log: slog.New(slog.DiscardHandler), now: time.Now, foldAt: foldSpooled,
		unread: stale{}, patience: askPatience,
	}
}

// enter waits for the turn; leave ends it.
func (w *writer) enter(ctx context.Context) error {
	select {
	case w.turn <- struct{}{}:
		return nil
	default:
	}
	select {
	case w.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (w *writer) leave() { <-w.turn }

// flush writes what is pending. After an error it stays pending. Much may take
// long; one batch that is not answered ends it.
func (w *writer) flush(ctx context.Context) error {
	return w.standing.change(ctx, func(ctx context.Context) error {
		if err := w.enter(ctx); err != nil {
			return err
		}
		defer w.leave()
		return w.flushNow(ctx)
	})
}

// settle is flush for who wants to read: while somebody changes much, what the
// store has is good enough.
func (w *writer) settle(ctx context.Context) error {
	if !w.standing.shared() {
		return w.flush(ctx)
	}
	if err := w.standing.refusal(); err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	if err := w.enter(wait); err != nil {
		return ctx.Err()
	}
	defer w.leave()
	wait, cancel = context.WithTimeout(ctx, askPatience)
	defer cancel()
	err := w.standing.within(wait, changePatience, w.flushNow)
	if wait.Err() != nil && ctx.Err() == nil && w.standing.up() {
		return nil // there is much to write
	}
	return err
}

// runOnce is what a loop calls: it writes what is pending or, while the database
// is out of reach, keeps it on the local disk.
func (w *writer) runOnce(ctx context.Context) error {
	if !w.standing.up() {
		return w.keep(ctx)
	}
	err := w.flush(ctx)
	if err != nil && !w.standing.up() {
		return w.keep(ctx) // the outage is told elsewhere
	}
	return err
}

// statesOnce is what a loop calls where others share the database: it writes
// what is pending if states of keys are in it.
func (w *writer) statesOnce(ctx context.Context) error {
	if !w.standing.up() {
		return nil
	}
	for _, p := range w.pools {
		if p.Learnt() {
			return w.runOnce(ctx)
		}
	}
	return nil
}

// alone writes what is pending and then makes a change, with nothing written
// in between.
func (w *writer) alone(ctx context.Context, change func(ctx context.Context) error) error {
	return w.standing.change(ctx, func(ctx context.Context) error {
		if err := w.enter(ctx); err != nil {
			return err
		}
		defer w.leave()
		if err := w.standing.refusal(); err != nil {
			return err // since it waited
		}
		if err := w.flushNow(ctx); err != nil {
			return err
		}
		err := change(ctx)
		if err != nil && w.unsure != nil && (ctx.Err() != nil || sqlstore.Unavailable(err)) {
			w.unsure()
		}
		return err
	})
}

// flushNow writes everything: what waits on the local disk, what was sent and
// may have arrived, and what has come since. The caller has the turn.
func (w *writer) flushNow(ctx context.Context) error {
	if err := w.reload(ctx); err != nil {
		return err
	}
	for {
		if err := w.replay(ctx); err != nil {
			return err
		}
		b, fresh := w.next()
		switch {
		case b == nil && w.waits() > 0:
			continue // it was kept on the local disk meanwhile
		case b == nil:
			return nil
		}
		if err := w.send(ctx, *b); errors.Is(err, errRefused) {
			if err := w.giveUp(ctx, b, err); err != nil {
				return err
			}
			continue
		} else if err != nil {
			return err
		}
		if w.arrived(b) && fresh {
			return nil // what came meanwhile is for the next time
		}
	}
}

// next is the batch that is to be sent, and whether it was made just now; nil
// where there is nothing to write.
func (w *writer) next() (b *gateway.Batch, fresh bool) {
	w.taking.Lock()
	defer w.taking.Unlock()
	if w.spooled > 0 { // it was kept meanwhile
		return nil, false
	}
	fresh = w.pending == nil
	if b = w.take(); b == nil {
		w.written = w.now()
		return nil, fresh
	}
	w.sent = b.Number
	return b, fresh
}

// arrived notes that a batch is written, and reports whether nothing else waits.
func (w *writer) arrived(b *gateway.Batch) bool {
	w.taking.Lock()
	defer w.taking.Unlock()
	if w.pending == b {
		w.pending = nil
	}
	done := w.pending == nil && w.spooled == 0 && len(w.rest) == 0
	if done {
		w.written = w.now()
	}
	return done
}

// take makes a batch of what has been counted and learnt, unless one is pending.
// The caller holds taking.
func (w *writer) take() *gateway.Batch {
	if w.pending != nil {
		return w.pending
	}
	if len(w.rest) == 0 {
		all := slices.Concat(w.ledger.Drain(), w.trail.Drain())
		for _, p := range w.pools {
			if d := p.Drain(); !d.Empty() {
				all = append(all, d)
			}
		}
		w.rest = parts(all, mostRows)
	}
	if len(w.rest) == 0 {
		return nil
	}
	w.number++
	w.pending = &gateway.Batch{Writer: w.instance, Number: w.number, Deltas: w.rest[0]}
	w.rest = w.rest[1:]
	return w.pending
}

// finish writes the last things down when everything has stopped. Where the
// database is out of reach they go to the local disk; without one they are lost,
// and the error says how much that is.
func (w *writer) finish(ctx context.Context) error {
	soon, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	err := w.flush(soon)
	if err == nil || !w.standing.shared() {
		return err
	}
	w.standing.doubt(ctx, err) // there may be no use in asking it for more
	if w.local != nil {
		disk, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepPatience) // whatever the database has used up
		defer cancel()
		return w.keep(disk)
	}
	w.taking.Lock()
	defer w.taking.Unlock()
	var requests, states int64
	for b := w.take(); b != nil; b = w.take() {
		for i := range b.Deltas {
			requests += b.Deltas[i].Global.Requests
			states += int64(len(b.Deltas[i].States))
		}
		w.pending = nil
	}
	if requests+states == 0 {
		return nil
	}
	return fmt.Errorf("the counts of %d requests and the states of %d keys are lost: %w", requests, states, err)
}
