package sqlstore

import "context"

// mark is the state of the database as a connection saw it. The version counts
// within one connection, so the connection belongs to it.
type mark struct {
	conn    any
	version int64
}

// ChangedElsewhere reports whether another process, or another Store, has
// committed something since the last call, or since Open. It waits for a write
// of this Store that is under way.
func (s *Store) ChangedElsewhere(ctx context.Context) (bool, error) {
	var changed bool
	err := s.run(ctx, "look for changes in the store", func() (err error) {
		changed, err = s.changedElsewhere(ctx)
		return err
	})
	return changed, err
}

func (s *Store) changedElsewhere(ctx context.Context) (bool, error) {
	conn, err := s.writer.Conn(ctx)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }()
	var now mark
	if err := conn.Raw(func(c any) error { now.conn = c; return nil }); err != nil {
		return false, err
	}
	if now.version, err = s.dialect.version(ctx, conn); err != nil {
		return false, err
	}
	s.seenMu.Lock()
	defer s.seenMu.Unlock()
	changed := s.seen != now
	s.seen = now
	return changed, nil
}
