//go:build !unix

package testkit

import (
	"context"
	"io"
	"net"
)

// ReservePort finds a free port of 127.0.0.1. Here it cannot be kept while
// nothing listens on it.
func ReservePort() (io.Closer, string, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	addr := l.Addr().String()
	return io.NopCloser(nil), addr, l.Close()
}
