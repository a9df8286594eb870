package app

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/sqlstore"
)

// How long the store is waited for where it is one that others use as well: one
// that does not answer must hold nobody up. The file on this machine is not
// bounded so.
const (
	askPatience    = 5 * time.Second  // for an answer to a question
	changePatience = 90 * time.Second // for a change that an operator makes; an import of many keys takes a while
	probePatience  = 2 * time.Second  // for a sign of life
)

// comeAgain is when who was turned away may ask again.
const comeAgain = 5 * time.Second

// standing knows whether the database is in reach, since when it is not, and
// why. The data plane never asks it. It may be used concurrently.
type standing struct {
	store *sqlstore.Store
	place string // of the database, without credentials; "" for a file on this machine
	log   *slog.Logger
	now   func() time.Time
	fell  func() // called when the database goes out of reach; may be nil

	mu    sync.Mutex // guards what follows; never held over I/O
	down  bool
	waits context.Context // of those who wait for the database: it ends when that goes out of reach
	end   context.CancelFunc
	since time.Time // when it was first missed
	why   string    // without credentials
	okAt  time.Time // when it last answered
}

func newStanding(store *sqlstore.Store, log *slog.Logger) *standing {
	return &standing{store: store, place: store.Place(), log: log, now: time.Now, okAt: time.Now()}
}

// outage is what keeps the database out of reach.
type outage struct {
	Since, LastOK time.Time
	Why           string
}

// shared reports whether others work on the same store.
func (s *standing) shared() bool { return s.store.Shared() }

// outage tells whether the database is out of reach, and since when.
func (s *standing) outage() (outage, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return outage{Since: s.since, LastOK: s.okAt, Why: s.why}, s.down
}

// up reports whether the database was in reach when it was last asked.
func (s *standing) up() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.down
}

// refusal is the error for who needs the database while it is out of reach.
func (s *standing) refusal() error {
	o, down := s.outage()
	if !down {
		return nil
	}
	return s.refuse("the database (%s) is out of reach since %s: nothing can be read from it or changed until it is back; clients are served meanwhile",
		s.place, o.Since.UTC().Format("2006-01-02 15:04:05 UTC"))
}

func (s *standing) refuse(format string, args ...any) error {
	e := gateway.Errorf(gateway.KindUnavailable, format, args...)
	e.RetryAfter = comeAgain
	return e
}

// ask puts a question to the store, and gives up soon where it is out of reach.
func (s *standing) ask(ctx context.Context, question func(ctx context.Context) error) error {
	return s.within(ctx, askPatience, question)
}

// change has the store changed, likewise.
func (s *standing) change(ctx context.Context, change func(ctx context.Context) error) error {
	return s.within(ctx, changePatience, change)
}

func (s *standing) within(ctx context.Context, patience time.Duration, do func(ctx context.Context) error) error {
	if !s.shared() {
		return do(ctx)
	}
	if err := s.refusal(); err != nil {
		return err
	}
	inside, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer context.AfterFunc(s.waiting(), cancel)()
	err := do(inside)
	if err != nil && inside.Err() != nil && ctx.Err() == nil {
		return s.missed(ctx, err)
	}
	return s.judge(ctx, err)
}

// waiting is a context that ends when the database goes out of reach.
func (s *standing) waiting() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waits == nil {
		s.waits, s.end = context.WithCancel(context.Background())
	}
	return s.waits
}

// judge looks at what an attempt to reach the store came to. An error that
// means that it cannot be reached becomes one for the caller, and what it is
// about is looked into; ctx is the caller's own.
func (s *standing) judge(ctx context.Context, err error) error {
	switch {
	case err == nil:
		s.answered()
		return nil
	case !s.shared() || ctx.Err() != nil || !sqlstore.Unavailable(err):
		return err
	}
	return s.missed(ctx, err)
}

// missed looks into an error of a database that gave no answer, and words it.
func (s *standing) missed(ctx context.Context, err error) error {
	s.doubt(ctx, err)
	if refused := s.refusal(); refused != nil {
		return refused
	}
	return s.refuse("the database (%s) did not answer in time: it is busy; nothing was changed, or it shows in a moment whether it was", s.place)
}

// doubt looks whether the database is out of reach or only busy, after an error
// that may mean either: writes wait for each other, reads do not.
func (s *standing) doubt(ctx context.Context, err error) {
	if !s.up() {
		return
	}
	if s.probe(ctx) == nil {
		return
	}
	s.lost(ctx, err)
}

// probe asks for a sign of life.
func (s *standing) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probePatience)
	defer cancel()
	_, err := s.store.LastChange(ctx)
	if err == nil {
		s.answered()
	}
	return err
}

func (s *standing) answered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.okAt = s.now()
}

// lost notes that the database is out of reach.
func (s *standing) lost(ctx context.Context, err error) {
	s.mu.Lock()
	if s.down {
		s.mu.Unlock()
		return
	}
	s.down, s.since, s.why = true, s.now(), whyLost(err)
	why, end := s.why, s.end
	s.waits, s.end = nil, nil
	s.mu.Unlock()
	if end != nil {
		end()
	}
	s.log.LogAttrs(ctx, slog.LevelWarn, "the database is out of reach: clients are served from memory, what is counted is kept until it is back",
		slog.String("database", s.place), slog.String("cause", why))
	if s.fell != nil {
		s.fell()
	}
}

// whyLost words an error without what may be secret in it: a fault's cause, or
// that nothing came.
func whyLost(err error) string {
	var f *sqlstore.Fault
	switch {
	case errors.As(err, &f):
		return f.Cause
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	}
	return "no connection"
}

// back notes that the database is in reach again, and everything that waited
// for it has arrived.
func (s *standing) back(ctx context.Context) {
	s.mu.Lock()
	was, since := s.down, s.since
	s.down, s.why, s.okAt = false, "", s.now()
	s.mu.Unlock()
	if was {
		s.log.LogAttrs(ctx, slog.LevelInfo, "the database is in reach again", slog.String("database", s.place), slog.Duration("after", s.now().Sub(since)))
	}
}

// every starts a loop that works on the store. That the database is out of reach
// is logged once, for all of them.
func (a *App) every(name string, interval, jitter time.Duration, runOnce func(ctx context.Context) error) {
	a.loops.Every(name, interval, jitter, func(ctx context.Context) error {
		err := runOnce(ctx)
		if err != nil && !a.standing.up() && (sqlstore.Unavailable(err) || gateway.AsError(err).Kind == gateway.KindUnavailable) {
			return nil
		}
		return err
	})
}
