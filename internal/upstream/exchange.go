package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of an answer's head.
const (
	maxHead          = 256 << 10 // those of informational answers included
	maxInformational = 16        // how many of those may come
)

// answerGrace is how long an answer is waited for that may have been on its way
// when the other side stopped taking the request.
const answerGrace = 200 * time.Millisecond

// exchange is one request and its answer on one connection. To the caller it is
// the answer's body.
type exchange struct {
	resp  http.Response
	conn  *conn
	req   *http.Request
	ctx   context.Context
	trace *httptrace.ClientTrace // nil: none
	stop  func() bool            // ends the watch over ctx; nil: ctx never ends
	came  bool                   // something of an answer
	late  bool                   // the head took too long

	wrote  atomic.Int64 // bytes of the request that the system has taken
	upload *upload      // sends the body; nil: the caller did it itself
	taken  atomic.Bool  // the request's body was closed

	// mu guards what the upload's goroutine shares: how the sending ended, and
	// the deadline for the head, which must not be set once that has come.
	mu      sync.Mutex
	sent    bool
	sendErr error
	headed  bool

	gone   atomic.Bool // the connection is not ours any more
	closed atomic.Bool // the caller wants no more

	// reading is held by Read and guards what follows. Close does not wait for
	// it.
	reading sync.Mutex
	in      buffer
	frame   frame
	err     error // of every further Read
}

func newExchange(c *conn, req *http.Request) *exchange {
	ctx := req.Context()
	return &exchange{conn: c, req: req, ctx: ctx, trace: httptrace.ContextClientTrace(ctx)}
}

// run sends the request and reads the head of the answer. After an error the
// connection is closed; the request's body is in any case, if maybe later.
func (x *exchange) run() error {
	if x.ctx.Done() != nil {
		x.stop = context.AfterFunc(x.ctx, x.conn.breakOff)
	}
	if x.trace != nil && x.trace.GotConn != nil {
		c := x.conn
		x.trace.GotConn(httptrace.GotConnInfo{Conn: c.nc, Reused: c.reused, WasIdle: c.reused, IdleTime: c.idled})
	}
	x.send()
	raw, err := x.readHead()
	if err == nil {
		x.frame, err = setHead(&x.resp, raw, x.req.Method)
	}
	if err != nil {
		x.late = isTimeout(err)
		err = x.blame(err, "read the head of the answer")
		x.letGo(false)
		x.in.free()
		return err
	}
	x.stopClock()
	x.resp.TLS = x.conn.state
	x.begin()
	return nil
}

// begin sets up the body. If all of it has come, the connection is free again.
func (x *exchange) begin() {
	rest := int64(len(x.in.bytes()))
	switch {
	case x.frame.kind == noBody || x.frame.kind == byLength && x.frame.left == 0:
		x.resp.Body = http.NoBody
		x.in.free()
		x.letGo(!x.frame.last && rest == 0)
		return
	case x.frame.kind == byLength && x.frame.left <= rest:
		x.letGo(!x.frame.last && x.frame.left == rest)
	}
	x.resp.Body = x
}

// readHead reads up to the end of the head of the final answer.
func (x *exchange) readHead() (string, error) {
	var informational http.Response
	if x.sendFailed() && x.wrote.Load() == 0 {
		return "", io.EOF // there is nothing to answer
	}
	for n, total := 0, 0; ; n++ {
		end, err := x.findHead(maxHead - total)
		if err != nil {
			return "", err
		}
		raw := string(x.in.bytes()[:end])
		x.in.skip(end)
		if raw[len("HTTP/1.x ")] != '1' {
			return raw, nil
		}
		total += end
		if _, err := setHead(&informational, raw, x.req.Method); err != nil {
			return "", err
		}
		if informational.StatusCode == http.StatusSwitchingProtocols {
			return "", malformed("a change of the protocol that nobody asked for")
		}
		if n == maxInformational {
			return "", malformed("too many informational answers")
		}
	}
}

// findHead reads until a whole head has come and returns its length.
func (x *exchange) findHead(limit int) (int, error) {
	for looked := 0; ; {
		have := x.in.bytes()
		end, err := endOfHead(have, looked)
		switch {
		case err != nil:
			return 0, err
		case end > limit || end == 0 && len(have) > limit:
			return 0, malformed("the head is too long")
		case end > 0:
			return end, nil
		}
		looked = max(0, len(have)-2)
		if err := x.in.fill(x.conn); err != nil {
			if errors.Is(err, io.EOF) && x.came {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		x.came = true
	}
}

// endOfHead finds the empty line and returns where it ends; 0 means not yet.
// What does not speak HTTP/1 is noticed at once, since it may never send one.
func endOfHead(have []byte, looked int) (int, error) {
	const begin = "HTTP/1."
	if n := min(len(have), len(begin)); string(have[:n]) != begin[:n] {
		return 0, malformed("not a status line of HTTP/1.0 or 1.1")
	}
	for i := looked; ; i++ {
		next := bytes.IndexByte(have[i:], '\n')
		if next < 0 {
			return 0, nil
		}
		i += next
		switch rest := have[i+1:]; {
		case i == 0 || have[i-1] != '\r':
			return 0, malformed("a line does not end in CRLF")
		case len(rest) >= 2 && rest[0] == '\r' && rest[1] == '\n':
			return i + 3, nil
		}
	}
}

// stopClock ends the time that the head may take.
func (x *exchange) stopClock() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.headed = true
	if x.sent && (x.sendErr != nil || x.conn.host.client.opts.HeaderTimeout > 0) {
		_ = x.conn.nc.SetReadDeadline(time.Time{}) // a connection that is gone shows when it is read
	}
}

// setSent notes how the sending ended. From then on the head has its time.
func (x *exchange) setSent(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sent, x.sendErr = true, err
	limit := x.conn.host.client.opts.HeaderTimeout
	if err != nil && (limit == 0 || limit > answerGrace) {
		limit = answerGrace
	}
	if limit > 0 && !x.headed {
		_ = x.conn.nc.SetReadDeadline(time.Now().Add(limit)) // as above
	}
}

// blame finds the reason for an error of the connection.
func (x *exchange) blame(err error, what string) error {
	if x.ctx.Err() != nil {
		return context.Cause(x.ctx)
	}
	x.mu.Lock()
	sendErr, headed := x.sendErr, x.headed
	x.mu.Unlock()
	var odd malformed
	switch {
	case isOwn(sendErr):
		return sendErr
	case errors.As(err, &odd):
		return err
	case sendErr != nil && !headed:
		return fmt.Errorf("send the request: %w", sendErr)
	case !headed && isTimeout(err):
		return timeout("wait for the head of the answer")
	}
	return fmt.Errorf("%s: %w", what, err)
}

// repeatable reports whether the request can be sent once more after it failed:
// the connection had been idle, it is dead, and either nothing of the request
// has left or it may be done twice.
func (x *exchange) repeatable() bool {
	if !x.conn.reused || x.came || x.ctx.Err() != nil || x.upload != nil && !x.upload.endsSoon() {
		return false
	}
	if isOwn(x.sendErr) || x.late && x.sendErr == nil {
		return false
	}
	return (x.wrote.Load() == 0 || mayRepeat(x.req)) && (bodyLength(x.req) == 0 || x.req.GetBody != nil)
}

func (x *exchange) sendFailed() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.sendErr != nil
}

// letGo ends the use of the connection, once: it is kept if it is clean, else
// broken off.
func (x *exchange) letGo(clean bool) {
	if !x.gone.CompareAndSwap(false, true) {
		return
	}
	if x.stop != nil && !x.stop() {
		clean = false // it is being broken off
	}
	if clean && x.wasSent() && x.conn.host.idle.put(x.conn) {
		return
	}
	x.conn.abort()
	if x.upload != nil && x.req.GetBody == nil {
		x.closeBody() // it may be what the upload waits for
	}
}

// wasSent reports whether the request left whole.
func (x *exchange) wasSent() bool {
	if x.upload != nil && !x.upload.endsSoon() {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.sent && x.sendErr == nil
}

func (x *exchange) closeBody() {
	if x.req.Body != nil && x.taken.CompareAndSwap(false, true) {
		_ = x.req.Body.Close() // nothing hangs on it
	}
}
