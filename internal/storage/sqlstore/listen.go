package sqlstore

import (
	"context"
	"errors"
)

// ErrNoListen says that a database, or what stands in front of it, wakes nobody.
var ErrNoListen = errors.New("nobody is woken here")

// Listen calls wake whenever another instance, or this one, has changed
// something, and once when it begins to. It holds a connection of its own and
// blocks until ctx ends or the connection breaks, whose error it returns: then
// changes may have been missed, and it is to be called again. Where nobody can
// be woken (a file, a transaction pooler) it returns ErrNoListen at once: then
// one has to look again and again. wake must not block.
func (s *Store) Listen(ctx context.Context, wake func()) error {
	err := s.dialect.listen(ctx, wake)
	if errors.Is(err, ErrNoListen) {
		return err
	}
	return s.dialect.fault("listen for changes of the store", err)
}
