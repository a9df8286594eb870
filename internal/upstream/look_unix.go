//go:build unix

package upstream

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// looker reads what has come on a socket without waiting for more. It must not
// be used while the socket is being read.
type looker struct {
	raw   syscall.RawConn
	try   func(fd uintptr) bool
	p     []byte
	one   [1]byte
	flags int
	n     int
	err   error
}

func newLooker(nc net.Conn) *looker {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	l := &looker{raw: raw}
	l.try = func(fd uintptr) bool {
		for {
			l.n, _, l.err = syscall.Recvfrom(int(fd), l.p, l.flags|syscall.MSG_DONTWAIT)
			if !errors.Is(l.err, syscall.EINTR) {
				return true // never wait
			}
		}
	}
	return l
}

// read takes what is there; errWouldBlock says that there is nothing.
func (l *looker) read(p []byte) (int, error) { return l.receive(p, 0) }

// peek tells whether there is something, without taking it: nil if so.
func (l *looker) peek() error {
	_, err := l.receive(l.one[:], syscall.MSG_PEEK)
	return err
}

func (l *looker) receive(p []byte, flags int) (int, error) {
	l.p, l.flags = p, flags
	err := l.raw.Read(l.try)
	l.p = nil
	switch {
	case err != nil:
		return 0, err
	case errors.Is(l.err, syscall.EAGAIN):
		return 0, errWouldBlock
	case l.err != nil:
		return 0, l.err
	case l.n == 0:
		return 0, io.EOF
	}
	return l.n, nil
}
