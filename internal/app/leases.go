package app

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"ollama-api-pool/internal/controlplane/jobs"
	"ollama-api-pool/internal/storage/sqlstore"
)

// A lease lasts leaseFor by the database's clock and is renewed every
// leaseEvery: whoever holds it may miss two renewals.
const (
	leaseFor    = 20 * time.Second
	leaseEvery  = 5 * time.Second
	leaseWithin = 4 * time.Second // for one answer of the database
)

// housekeeping is the lease of who looks after the store and the schedule.
const housekeeping = "housekeeping"

// leases are what this instance alone may do among those that share a store. On
// a store of its own it may do everything. It may be used concurrently.
type leases struct {
	store    *sqlstore.Store
	standing *standing
	log      *slog.Logger
	now      func() time.Time

	mu   sync.Mutex // guards what follows; not held over I/O
	held map[string]*lease
}

func newLeases(s *standing, log *slog.Logger) *leases {
	return &leases{store: s.store, standing: s, log: log, now: time.Now, held: map[string]*lease{}}
}

// lease is one that is held.
type lease struct {
	of   *leases
	name string
	lost chan struct{} // closed when it is held no longer

	until time.Time // guarded by leases.mu: when it ends if it is not renewed, by our clock
	gone  bool      // likewise: lost is closed
}

// Lost implements jobs.Lease.
func (l *lease) Lost() <-chan struct{} { return l.lost }

// Drop implements jobs.Lease.
func (l *lease) Drop(ctx context.Context) {
	l.of.mu.Lock()
	mine := l.of.held[l.name] == l
	if mine {
		delete(l.of.held, l.name)
	}
	l.of.mu.Unlock()
	if !mine || !l.of.standing.shared() || !l.of.standing.up() {
		return // it ends by itself
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseWithin)
	defer cancel()
	if err := l.of.store.DropLease(ctx, l.name); err != nil {
		l.of.log.LogAttrs(ctx, slog.LevelDebug, "a lease was not given back, it ends by itself", slog.String("lease", l.name), slog.Any("error", err))
	}
}

// Take takes a lease, unless another instance holds it.
func (s *leases) Take(ctx context.Context, name string) (jobs.Lease, bool, error) {
	l, err := s.take(ctx, name)
	if err != nil || l == nil {
		return nil, false, err
	}
	return l, true, nil
}

func (s *leases) take(ctx context.Context, name string) (*lease, error) {
	l := &lease{of: s, name: name, lost: make(chan struct{}), until: s.now().Add(leaseFor)}
	if s.standing.shared() {
		got, err := asked(ctx, s.standing.ask, func(ctx context.Context) (bool, error) { return s.store.TakeLease(ctx, name, leaseFor) })
		if err != nil || !got {
			return nil, err
		}
	}
	s.mu.Lock()
	s.held[name] = l
	s.mu.Unlock()
	return l, nil
}

// leads reports whether this instance does what one does for all.
func (s *leases) leads() bool {
	if !s.standing.shared() {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.held[housekeeping]
	return l != nil && s.now().Before(l.until)
}

// lead tries to become the instance that looks after the store.
func (s *leases) lead(ctx context.Context) error {
	if !s.standing.shared() || !s.standing.up() || s.leads() {
		return nil
	}
	_, err := s.take(ctx, housekeeping)
	return err
}

// renew renews what is held, and leads if nobody else does.
func (s *leases) renew(ctx context.Context) error {
	if err := s.keepHeld(ctx); err != nil {
		return err
	}
	return s.lead(ctx)
}

// keepHeld renews what is held. Where that has failed and the next time might be
// too late, it is lost: another instance may take it as soon as it has ended.
func (s *leases) keepHeld(ctx context.Context) error {
	if !s.standing.shared() {
		return nil
	}
	for _, l := range s.all() {
		began := s.now()
		held, err := s.again(ctx, l.name)
		s.mu.Lock()
		switch {
		case err == nil && held:
			l.until = began.Add(leaseFor)
		case err == nil, !s.now().Add(leaseEvery + leaseWithin).Before(l.until):
			s.lose(l)
		}
		s.mu.Unlock()
	}
	return nil
}

func (s *leases) again(ctx context.Context, name string) (bool, error) {
	if err := s.standing.refusal(); err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, leaseWithin)
	defer cancel()
	return s.store.TakeLease(ctx, name, leaseFor)
}

func (s *leases) all() []*lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*lease, 0, len(s.held))
	for _, l := range s.held {
		list = append(list, l)
	}
	return list
}

// lose notes that a lease is held no longer. The caller holds mu.
func (s *leases) lose(l *lease) {
	if l.gone {
		return
	}
	l.gone = true
	close(l.lost)
	if s.held[l.name] == l {
		delete(s.held, l.name)
	}
}

// dropAll gives everything back, so that another instance takes over at once.
func (s *leases) dropAll(ctx context.Context) {
	for _, l := range s.all() {
		l.Drop(ctx)
	}
}
