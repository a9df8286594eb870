package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
)

// h2 is the name of HTTP/2 in a handshake (RFC 9113, section 3.2).
const h2 = "h2"

// baseTLS completes the settings of all handshakes.
func baseTLS(from *tls.Config) *tls.Config {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if from != nil {
		cfg = from.Clone()
	}
	if cfg.ClientSessionCache == nil {
		cfg.ClientSessionCache = tls.NewLRUClientSessionCache(maxHosts)
	}
	if cfg.NextProtos == nil {
		cfg.NextProtos = []string{h2, "http/1.1"}
	}
	// Small records at the beginning let a browser show something sooner. A
	// server has to have the whole request.
	cfg.DynamicRecordSizingDisabled = true
	return cfg
}

func (c *Client) tlsFor(name string) *tls.Config {
	cfg := c.tls.Clone()
	if cfg.ServerName == "" {
		cfg.ServerName = name
	}
	return cfg
}

// open makes a connection and finds out what is spoken on it.
func (h *host) open(ctx context.Context) (*conn, error) {
	nc, err := h.client.dial(ctx, "tcp", h.addr)
	if err != nil {
		return nil, orCause(ctx, err)
	}
	if h.tls == nil {
		return newConn(h, nc), nil
	}
	under, secured, err := h.client.handshake(ctx, nc, h.addr, h.tls)
	if err != nil {
		return nil, err
	}
	c := newConn(h, nc)
	c.under, c.look, c.secured, c.nc = under, under.look, secured, secured
	state := secured.ConnectionState()
	c.state = &state
	c.http2 = state.NegotiatedProtocol == h2
	h.http2.Store(c.http2)
	under.always = c.http2
	return c, nil
}

// handshake makes a fresh connection a secure one, or closes it.
func (c *Client) handshake(ctx context.Context, nc net.Conn, addr string, cfg *tls.Config) (*socket, *tls.Conn, error) {
	within := ctx
	if c.opts.TLSTimeout > 0 {
		var cancel context.CancelFunc
		within, cancel = context.WithTimeout(ctx, c.opts.TLSTimeout)
		defer cancel()
	}
	under := newSocket(nc)
	secured := tls.Client(under, cfg)
	err := secured.HandshakeContext(within)
	if err == nil {
		return under, secured, nil
	}
	_ = nc.Close() // of no use to anybody
	switch {
	case ctx.Err() != nil:
		return nil, nil, context.Cause(ctx)
	case within.Err() != nil:
		return nil, nil, timeout("TLS handshake with " + addr)
	}
	return nil, nil, fmt.Errorf("TLS handshake with %s: %w", addr, err)
}

// handed is a connection on which HTTP/2 was agreed, on its way to net/http.
type handed struct{ conn atomic.Pointer[tls.Conn] }

type handedKey struct{}

// handOver gives net/http a request together with the connection that was made
// for it. If it has no use for it (another came first) it is closed.
func (c *Client) handOver(made *conn, req *http.Request) (*http.Response, error) {
	h := &handed{}
	h.conn.Store(made.secured)
	resp, err := c.rest.RoundTrip(req.WithContext(context.WithValue(req.Context(), handedKey{}, h)))
	if left := h.conn.Swap(nil); left != nil {
		_ = left.Close() // nothing was sent on it
	}
	return resp, err
}

// dialRest makes a secure connection for net/http and notes what is spoken on it.
func (c *Client) dialRest(ctx context.Context, network, addr string) (net.Conn, error) {
	if h, ok := ctx.Value(handedKey{}).(*handed); ok {
		if conn := h.conn.Swap(nil); conn != nil {
			return conn, nil
		}
	}
	nc, err := c.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	name, _, err := net.SplitHostPort(addr)
	if err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("address %s: %w", addr, err)
	}
	_, secured, err := c.handshake(ctx, nc, addr, c.tlsFor(name))
	if err != nil {
		return nil, err
	}
	for _, h := range *c.hosts.Load() {
		if h.tls != nil && h.addr == addr {
			h.http2.Store(secured.ConnectionState().NegotiatedProtocol == h2)
		}
	}
	return secured, nil
}

// orCause prefers the reason for which a context has ended to what followed
// from it.
func orCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// timeout is the error of something that took too long.
type timeout string

func (t timeout) Error() string { return string(t) + ": timeout" }

// Timeout makes it one as package net defines it.
func (timeout) Timeout() bool { return true }

// Temporary completes net.Error.
func (timeout) Temporary() bool { return true }

// Is likens it to a context's deadline, as net/http's own timeouts do.
func (timeout) Is(target error) bool { return target == context.DeadlineExceeded }

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
