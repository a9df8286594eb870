package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"ollama-api-pool/internal/gateway"
)

// AddSession stores a login to the pages. One that is there already is a
// conflict and changes nothing.
func (s *Store) AddSession(ctx context.Context, session gateway.Session) error {
	if !gateway.IsTokenHash(session.Hash) || session.CSRF == "" || session.ExpiresAt.IsZero() {
		return gateway.Errorf(gateway.KindInvalid, "a session needs the hash of its cookie, a CSRF token and an end")
	}
	created := session.CreatedAt
	if created.IsZero() {
		created = s.now()
	}
	return s.write(ctx, "add a session to the store", func(ctx context.Context, tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, "insert into pool_sessions (hash, csrf, created_at, expires_at) values (?, ?, ?, ?) on conflict (hash) do nothing",
			session.Hash, clean(session.CSRF), at(created), at(session.ExpiresAt))
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err == nil && n == 0 {
			err = gateway.Errorf(gateway.KindConflict, "the session is there already")
		}
		return err
	})
}

// Session returns the session whose cookie has a hash, and whether there is one
// that has not expired.
func (s *Store) Session(ctx context.Context, hash string) (session gateway.Session, found bool, err error) {
	err = s.read(ctx, "look for a session in the store", func(ctx context.Context, tx *sql.Tx) error {
		var created, expires when
		err := tx.QueryRowContext(ctx, "select hash, csrf, created_at, expires_at from pool_sessions where hash = ? and expires_at > ?", clean(hash), at(s.now())).
			Scan(&session.Hash, &session.CSRF, &created, &expires)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err == nil {
			session.CreatedAt, session.ExpiresAt, found = created.Time, expires.Time, true
		}
		return err
	})
	return session, found, err
}

// DeleteSession ends a session. Nothing happens when it is not there.
func (s *Store) DeleteSession(ctx context.Context, hash string) error {
	return s.write(ctx, "delete a session from the store", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "delete from pool_sessions where hash = ?", clean(hash))
		return err
	})
}

// EndSessions ends every session.
func (s *Store) EndSessions(ctx context.Context) error {
	return s.write(ctx, "delete the sessions from the store", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "delete from pool_sessions")
		return err
	})
}

// PruneSessions deletes the sessions that have expired.
func (s *Store) PruneSessions(ctx context.Context) error {
	return s.write(ctx, "delete expired sessions from the store", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "delete from pool_sessions where expires_at <= ?", at(s.now()))
		return err
	})
}
