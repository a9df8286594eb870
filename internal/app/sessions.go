package app

import (
	"context"
	"sync"
	"time"

	"ollama-api-pool/internal/gateway"
)

// rememberedMost is how many sessions are remembered for an outage.
const rememberedMost = 1000

// remembered are sessions that were found in the store a while ago: while the
// database is out of reach who was in stays in, so that an outage can be looked
// at. It may be used concurrently.
type remembered struct {
	mu   sync.Mutex // guards what follows
	seen map[string]gateway.Session
}

func (m *remembered) put(s gateway.Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen == nil || len(m.seen) >= rememberedMost {
		m.seen = map[string]gateway.Session{}
	}
	m.seen[s.Hash] = s
}

func (m *remembered) forget(hash string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.seen, hash)
}

func (m *remembered) get(hash string, now time.Time) (gateway.Session, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.seen[hash]
	return s, ok && now.Before(s.ExpiresAt)
}

// AddSession keeps a session and forgets those that have ended.
func (r *Roster) AddSession(ctx context.Context, s gateway.Session) error {
	return r.writer.standing.change(ctx, func(ctx context.Context) error {
		if err := r.store.PruneSessions(ctx); err != nil {
			return err
		}
		return r.store.AddSession(ctx, s)
	})
}

// Session returns the session of a hash, and whether there is one that has not
// ended. While the database is out of reach it is one that was found before.
func (r *Roster) Session(ctx context.Context, hash string) (s gateway.Session, found bool, err error) {
	err = r.ask(ctx, func(ctx context.Context) (err error) {
		s, found, err = r.store.Session(ctx, hash)
		return err
	})
	switch {
	case err != nil && ctx.Err() == nil && !r.writer.standing.up():
		if s, found = r.sessions.get(hash, r.now()); found {
			return s, true, nil
		}
	case err == nil && found:
		r.sessions.put(s)
	case err == nil:
		r.sessions.forget(hash)
	}
	return s, found, err
}

// DeleteSession ends a session, if there is one.
func (r *Roster) DeleteSession(ctx context.Context, hash string) error {
	r.sessions.forget(hash)
	return r.writer.standing.change(ctx, func(ctx context.Context) error { return r.store.DeleteSession(ctx, hash) })
}
