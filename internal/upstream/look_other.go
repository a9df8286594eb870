//go:build !unix

package upstream

import "net"

// looker reads what has come on a socket without waiting for more. This system
// has no way to do so, hence there is none.
type looker struct{}

func newLooker(net.Conn) *looker { return nil }

func (*looker) read([]byte) (int, error) { return 0, errWouldBlock }

func (*looker) peek() error { return errWouldBlock }
