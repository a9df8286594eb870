package upstream

import (
	"crypto/tls"
	"errors"
	"net"
	"time"
)

// conn is a connection to an upstream. One exchange at a time uses it; between
// exchanges it holds no buffer.
type conn struct {
	host    *host
	nc      net.Conn             // what is read and written
	raw     net.Conn             // the socket; nc itself where nothing is encrypted
	look    *looker              // nil: the socket can be read in the ordinary way only
	under   *socket              // between socket and TLS; nil: plain
	secured *tls.Conn            // nil: plain
	state   *tls.ConnectionState // nil: plain
	http2   bool                 // agreed on in the handshake

	// The owner of the connection sets these.
	reused bool
	idleAt time.Time
	idled  time.Duration
	vector [2][]byte   // what a gathering write takes
	pieces net.Buffers // the same, as it is being used up
	one    [1]byte     // for a look

	breakOff func() // abort, made once
}

func newConn(h *host, nc net.Conn) *conn {
	c := &conn{host: h, nc: nc, raw: nc}
	if h.tls == nil {
		c.look = newLooker(nc)
	}
	c.breakOff = c.abort
	return c
}

// abort breaks the connection off, whatever is being read or written. It may
// be called from any goroutine and more than once.
func (c *conn) abort() { _ = c.raw.Close() } // its error means nothing after the fact

// retire closes a connection that nothing uses, and says so to the other side.
func (c *conn) retire() { _ = c.nc.Close() }

// read reads what there is, and waits only for the first byte. An error comes
// alone.
func (c *conn) read(p []byte) (int, error) {
	if c.secured == nil {
		n, err := c.nc.Read(p)
		if n > 0 {
			return n, nil
		}
		return 0, err
	}
	return c.readRecords(p)
}

// readRecords does it over TLS, where a read gives one record at most.
func (c *conn) readRecords(p []byte) (n int, err error) {
	for n == 0 {
		c.under.waits = true
		if n, err = c.secured.Read(p); n == 0 && err != nil && !errors.Is(err, errWouldBlock) {
			return 0, err
		}
	}
	for n < len(p) && err == nil {
		var m int
		c.under.waits = false
		m, err = c.secured.Read(p[n:]) // a real error comes again
		n += m
	}
	return n, nil
}

// patience is how long a connection must have been idle to be worth a look
// where that takes time, and lookFor is the time that it takes.
const (
	patience = time.Second
	lookFor  = time.Millisecond
)

// alive reports whether a connection without work can be used: it is open, and
// nothing has come that nobody asked for.
func (c *conn) alive(idled time.Duration) bool {
	switch {
	case c.look == nil:
		return idled < patience || c.silent()
	case c.secured == nil:
		return errors.Is(c.look.peek(), errWouldBlock)
	}
	// The other side may have sent what only TLS understands.
	c.under.waits, c.under.drained = false, false
	n, err := c.secured.Read(c.one[:])
	return n == 0 && errors.Is(err, errWouldBlock)
}

// silent waits a moment for something to come.
func (c *conn) silent() bool {
	if c.nc.SetReadDeadline(time.Now().Add(lookFor)) != nil {
		return false
	}
	if c.under != nil {
		c.under.waits = true
	}
	n, err := c.nc.Read(c.one[:])
	return n == 0 && isTimeout(err) && c.nc.SetReadDeadline(time.Time{}) == nil
}

// errWouldBlock says that nothing has come yet. TLS takes a temporary error
// for what it is and can be asked again.
var errWouldBlock error = wouldBlock{}

type wouldBlock struct{}

func (wouldBlock) Error() string   { return "nothing to read yet" }
func (wouldBlock) Timeout() bool   { return false }
func (wouldBlock) Temporary() bool { return true }

// socket is what TLS reads from. It lets the reader choose whether to wait.
type socket struct {
	net.Conn
	look    *looker
	waits   bool // the next read may wait, once
	always  bool // every read may: there is no other way
	drained bool // the last read took all that was there
}

func newSocket(nc net.Conn) *socket {
	return &socket{Conn: nc, look: newLooker(nc), always: true}
}

// Read waits for data if it may, and else fails with errWouldBlock.
func (s *socket) Read(p []byte) (n int, err error) {
	switch {
	case s.always || s.waits:
		s.waits = false
		n, err = s.Conn.Read(p)
	case s.drained || s.look == nil:
		return 0, errWouldBlock
	default:
		n, err = s.look.read(p)
	}
	s.drained = n < len(p)
	return n, err
}
