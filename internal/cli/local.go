package cli

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
)

// local serves an API to this process alone, over connections in memory, so
// that commands work on a store of which no instance runs exactly as they do on
// one that serves.
type local struct {
	server *http.Server
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newLocal(h http.Handler) *local {
	l := &local{
		server: &http.Server{Handler: h, ReadHeaderTimeout: callTimeout, ErrorLog: log.New(io.Discard, "", 0)},
		conns:  make(chan net.Conn), closed: make(chan struct{}),
	}
	go func() { _ = l.server.Serve(l) }() // ends with Shutdown
	return l
}

var errLocalClosed = errors.New("the store is closed")

// dial makes a connection to the API.
func (l *local) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- fromHere{theirs}:
		return ours, nil
	case <-l.closed:
		return nil, errLocalClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener.
func (l *local) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *local) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *local) Addr() net.Addr { return loopback }

var loopback = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}

// fromHere is a connection that comes from this machine.
type fromHere struct{ net.Conn }

// RemoteAddr implements net.Conn.
func (fromHere) RemoteAddr() net.Addr { return loopback }
