package testkit

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// network is an upstream's port: a listener that can go away and come back,
// and the connections that it accepted.
type network struct {
	addr        string
	reservation io.Closer // keeps the port ours while nothing listens
	ids         atomic.Int64

	// mu guards what follows.
	mu       sync.Mutex
	listener net.Listener // nil while down
	conns    map[*conn]struct{}
	held     *Gate // where new connections wait while the upstream is frozen
}

func newNetwork() (*network, error) {
	reservation, addr, err := ReservePort()
	if err != nil {
		return nil, err
	}
	return &network{addr: addr, reservation: reservation, conns: map[*conn]struct{}{}}, nil
}

// up starts to listen; it returns nil when it did already.
func (n *network) up() (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listener != nil {
		return nil, nil
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp4", n.addr)
	if err != nil {
		return nil, err
	}
	n.listener = l
	return &listener{Listener: l, network: n}, nil
}

// down stops listening and drops every connection.
func (n *network) down() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listener != nil {
		_ = n.listener.Close()
		n.listener = nil
	}
	for c := range n.conns {
		c.dropped.Store(true)
		c.once.Do(func() { close(c.gone) })
		_ = c.TCPConn.Close()
	}
	clear(n.conns)
}

func (n *network) close() {
	n.down()
	n.hold(nil)
	_ = n.reservation.Close()
}

// hold makes new connections wait at a gate before they are served.
func (n *network) hold(g *Gate) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.held = g
}

func (n *network) forget(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

// adopt takes an accepted connection in, unless its listener is gone.
func (n *network) adopt(l net.Listener, c *conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listener != l {
		return false
	}
	c.held = n.held
	n.conns[c] = struct{}{}
	return true
}

// listener numbers the connections and remembers them.
type listener struct {
	net.Listener
	network *network
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		accepted, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		tcp, ok := accepted.(*net.TCPConn)
		if !ok {
			return nil, errors.New("not a TCP connection")
		}
		c := &conn{TCPConn: tcp, network: l.network, id: l.network.ids.Add(1), gone: make(chan struct{})}
		if l.network.adopt(l.Listener, c) {
			return c, nil
		}
		_ = tcp.Close()
	}
}

// conn is one accepted connection.
type conn struct {
	*net.TCPConn
	network   *network
	id        int64
	held      *Gate         // where its first read waits; nil: nowhere
	gone      chan struct{} // closed with the connection
	once      sync.Once     // guards gone
	dropped   atomic.Bool   // closed from this side, by Down or at the end
	closeIdle atomic.Bool   // to be closed once it is idle
}

// Read implements net.Conn. Reading is what a frozen upstream does not do.
func (c *conn) Read(p []byte) (int, error) {
	if c.held != nil {
		select {
		case <-c.held.opened:
		case <-c.gone:
			return 0, net.ErrClosed
		}
	}
	return c.TCPConn.Read(p)
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.once.Do(func() { close(c.gone) })
	c.network.forget(c)
	return c.TCPConn.Close()
}

// reset closes the connection with RST instead of FIN.
func (c *conn) reset() {
	_ = c.SetLinger(0)
	_ = c.Close()
}

type connKey struct{}

// connUnder finds our connection under TLS.
func connUnder(c net.Conn) *conn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	own, _ := c.(*conn)
	return own
}

func rememberConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, connUnder(c))
}

func connOf(ctx context.Context) *conn {
	c, _ := ctx.Value(connKey{}).(*conn)
	return c
}

// closeWhenIdle closes a connection without a word once its answer is out,
// where KeepAliveThenClose asked for that.
func closeWhenIdle(nc net.Conn, state http.ConnState) {
	if c := connUnder(nc); c != nil && state == http.StateIdle && c.closeIdle.Load() {
		_ = c.Close()
	}
}
