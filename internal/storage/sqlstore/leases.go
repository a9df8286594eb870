package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"ollama-api-pool/internal/gateway"
)

// TakeLease takes a lease, or renews one that this instance holds, for a time
// from now on, by the clock of the database. It reports whether the instance
// holds it then. One that was lost, since the instance did not renew it in time
// and another took it, is noticed at the next call, which is false whatever has
// become of the lease; the call after that may take it anew.
func (s *Store) TakeLease(ctx context.Context, name string, d time.Duration) (bool, error) {
	if name = clean(name); name == "" || d <= 0 {
		return false, gateway.Errorf(gateway.KindInvalid, "a lease needs a name and a length")
	}
	took := false
	err := s.write(ctx, "take a lease in the store", func(ctx context.Context, tx *sql.Tx) error {
		took = false
		now, err := s.dialect.clock(ctx, tx, s.now)
		if err != nil {
			return err
		}
		var holder string
		var until when
		err = tx.QueryRowContext(ctx, "select holder, until from pool_leases where name = ?", name).Scan(&holder, &until)
		free := errors.Is(err, sql.ErrNoRows)
		if err != nil && !free {
			return err
		}
		switch mine := !free && holder == s.instance; {
		case mine:
		case s.holds(name):
			return nil // lost
		case !free && until.After(now):
			return nil
		}
		took = true
		_, err = tx.ExecContext(ctx, `insert into pool_leases (name, holder, until) values (?, ?, ?)
			on conflict (name) do update set holder = excluded.holder, until = excluded.until`, name, s.instance, at(now.Add(d)))
		return err
	})
	if err != nil {
		return false, err
	}
	s.leasesMu.Lock()
	defer s.leasesMu.Unlock()
	if took {
		if s.leases == nil {
			s.leases = map[string]bool{}
		}
		s.leases[name] = true
	} else {
		delete(s.leases, name)
	}
	return took, nil
}

// holds tells whether the instance took a lease and has not noticed since that
// it was lost.
func (s *Store) holds(name string) bool {
	s.leasesMu.Lock()
	defer s.leasesMu.Unlock()
	return s.leases[name]
}

// DropLease gives a lease back before its end. One that this instance does not
// hold stays as it is.
func (s *Store) DropLease(ctx context.Context, name string) error {
	name = clean(name)
	s.leasesMu.Lock()
	delete(s.leases, name)
	s.leasesMu.Unlock()
	return s.write(ctx, "give a lease back to the store", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "delete from pool_leases where name = ? and holder = ?", name, s.instance)
		return err
	})
}
