package app

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// How long clients are waited for. Streams may take as long as they take, so
// these bound waiting, not requests: without them whoever promises a body and
// sends none, or does not read what he asked for, would hold a connection for
// ever, and need no token for it.
const (
	bodyPatience   = 30 * time.Second // for a body, besides what its bytes earn it
	bodyPace       = 4 << 10          // bytes for which a body earns a second
	unreadPatience = 5 * time.Second  // for the rest of a body that nobody wanted
	oddPatience    = time.Second      // for a body where none belongs
	oddMost        = 64 << 10         // bytes of such a body that are taken
	writePatience  = 2 * time.Minute  // for a client to take a piece of an answer; at least half of it
	writePiece     = 64 << 10         // bytes
)

// timely hands requests on whose bodies have to come in time.
type timely struct {
	next                  http.Handler
	patience, unread, odd time.Duration
}

func newTimely(next http.Handler) *timely {
	return &timely{next: next, patience: bodyPatience, unread: unreadPatience, odd: oddPatience}
}

// ServeHTTP answers one request. The request that the server holds keeps its
// own body: the server looks there for what is left of it.
func (t *timely) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		t.next.ServeHTTP(w, r)
		return
	}
	b := &timelyBody{ReadCloser: r.Body, until: http.NewResponseController(w).SetReadDeadline, most: t.patience, left: t.patience}
	mine := *r
	mine.Body = b
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		b.left = t.odd
		if !b.drop() {
			w.Header().Set("Connection", "close")
			httpkit.WriteAdminError(w, r, gateway.Errorf(gateway.KindInvalid, "a body does not belong here, and this one did not come to its end"), httpkit.RequestID(r))
			return
		}
		mine.Body, mine.ContentLength = http.NoBody, 0
	default:
		defer b.leave(t.unread)
	}
	t.next.ServeHTTP(w, &mine)
}

// timelyBody is a body that is waited for so long in all: the longer, the more
// of it has come. It belongs to its request.
type timelyBody struct {
	io.ReadCloser
	until func(time.Time) error // sets the deadline of reading; where there is none, a client may take its time
	most  time.Duration         // that is waited without a byte
	left  time.Duration         // that may be waited yet
	over  bool                  // all of it came
}

// Read waits for the next bytes. At the end the deadline is lifted: from there
// on the server reads ahead, to see the client go.
func (b *timelyBody) Read(p []byte) (int, error) {
	began := time.Now()
	_ = b.until(began.Add(b.left))
	n, err := b.ReadCloser.Read(p)
	b.left = min(b.left-time.Since(began)+time.Duration(n)*(time.Second/bodyPace), b.most)
	if errors.Is(err, io.EOF) {
		b.over = true
		_ = b.until(time.Time{})
	}
	return n, err
}

// leave bounds how long the server waits for what the handler has not read.
func (b *timelyBody) leave(patience time.Duration) {
	if !b.over {
		_ = b.until(time.Now().Add(patience))
	}
}

// drop takes a body that means nothing out of the way, as far as it is small
// and has come: before its end the server would not see the client go. Of
// another the server is not to wait for the rest.
func (b *timelyBody) drop() bool {
	_, err := io.CopyN(io.Discard, b, oddMost)
	if errors.Is(err, io.EOF) {
		return true
	}
	_ = b.until(time.Unix(1, 0))
	return false
}

// patientListener gives connections that do not wait for ever for a client to
// take what is written.
type patientListener struct {
	net.Listener
	patience time.Duration
}

// Accept waits for the next connection.
func (l *patientListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &patientConn{Conn: c, patience: l.patience}, nil
}

// patientConn bounds each write, unless a handler has set a bound of its own.
type patientConn struct {
	net.Conn
	patience time.Duration

	mu    sync.Mutex // guards what follows and the setting of the deadline; not held while writing
	own   bool       // a handler has set the deadline
	until time.Time  // the deadline that was set here
}

// Write writes piece by piece.
func (c *patientConn) Write(p []byte) (n int, err error) {
	for {
		c.extend()
		m, err := c.Conn.Write(p[n:min(len(p), n+writePiece)])
		if n += m; err != nil || n == len(p) {
			return n, err
		}
	}
}

func (c *patientConn) extend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); !c.own && c.until.Sub(now) < c.patience/2 {
		c.until = now.Add(c.patience)
		_ = c.Conn.SetWriteDeadline(c.until) // an error shows in the write
	}
}

// SetWriteDeadline is what handlers bound their writes with; the zero time
// gives up that bound.
func (c *patientConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.own, c.until = !t.IsZero(), time.Time{}
	return c.Conn.SetWriteDeadline(t)
}

// CloseWrite lets the server end its half, so that a client that is still
// sending gets to read why it was turned away.
func (c *patientConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
