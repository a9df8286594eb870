package upstream

import (
	"errors"
	"fmt"
	"io"
	"net/http/httptrace"
	"os"
	"strconv"
	"sync"
	"time"
)

// How large a body may be to go out in the same write as the head, and how
// large to be sent by the caller's goroutine. A socket takes as much without
// the other side reading; should one not, a stall is noticed. TLS cannot be
// interrupted in a write, so there the bound is a record, which always fits.
const (
	joinedPlain  = 8 << 10
	joinedTLS    = 16 << 10
	byItselfMost = 64 << 10
)

// stall is how long a write may take before it is left to a goroutine, so that
// an answer that is there already can be read.
const stall = 100 * time.Millisecond

// largestHead is the size of the buffers that are kept.
const largestHead = 32 << 10

// heads holds buffers for heads and small bodies.
var heads = sync.Pool{New: func() any { return new([]byte) }}

// bodyError is a fault of the request's own body.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return "request body: " + e.err.Error() }

func (e *bodyError) Unwrap() error { return e.err }

func isOwn(err error) bool {
	if err == nil {
		return false
	}
	var own *bodyError
	return errors.As(err, &own)
}

// send sends the request, or starts to. How that ends is noted by setSent.
//
// A body that can be got again is in memory: its reading cannot block. Another
// one may, and is read by a goroutine.
func (x *exchange) send() {
	length := bodyLength(x.req)
	pooled, _ := heads.Get().(*[]byte)
	head := appendHead((*pooled)[:0], x.req, length)
	joined := int64(joinedPlain)
	if x.conn.secured != nil {
		joined = joinedTLS
	}
	var err error
	switch inMemory := x.req.GetBody != nil; {
	case length == 0:
		err = x.write(head)
	case inMemory && length > 0 && length <= joined:
		if head, err = x.appendBody(head, int(length)); err == nil {
			err = x.write(head)
		}
	case inMemory && length > 0 && length <= byItselfMost && x.conn.secured == nil:
		o := &outlet{x: x, head: head, left: length, hurried: true}
		if err = o.copy(x.req.Body); err == nil && len(o.rest) > 0 {
			x.startUpload(func() error { return x.write(o.rest) })
			return
		}
	default:
		x.startUpload(func() error { return x.sendBody(head, length, inMemory) })
		return
	}
	if cap(head) <= largestHead {
		*pooled = head
		heads.Put(pooled)
	}
	x.endSend(err)
}

// endSend is called when nothing of the request will be read any more.
func (x *exchange) endSend(err error) {
	x.closeBody()
	x.setSent(err)
	if isOwn(err) {
		x.conn.abort() // the other side must not take this for the whole
	}
	if x.trace != nil && x.trace.WroteRequest != nil {
		x.trace.WroteRequest(httptrace.WroteRequestInfo{Err: err})
	}
}

func (x *exchange) write(p []byte) error {
	n, err := x.conn.nc.Write(p)
	x.wrote.Add(int64(n))
	return err
}

// appendBody reads a small body behind the head.
func (x *exchange) appendBody(head []byte, length int) ([]byte, error) {
	n := len(head)
	if cap(head)-n < length {
		head = append(make([]byte, 0, n+length), head...)
	}
	got, err := io.ReadFull(x.req.Body, head[n:n+length])
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = wrongLength(int64(length), int64(got))
		}
		return head, &bodyError{err}
	}
	if more, _ := x.req.Body.Read(x.conn.one[:]); more > 0 {
		return head, &bodyError{wrongLength(int64(length), int64(length+more))}
	}
	return head[:n+length], nil
}

func wrongLength(told, is int64) error {
	return fmt.Errorf("ContentLength is %d, but there are %d bytes", told, is)
}

// sendBody sends a request with a large body, or with one that may block.
func (x *exchange) sendBody(head []byte, length int64, inMemory bool) error {
	if inMemory && length > 0 {
		return (&outlet{x: x, head: head, left: length}).copy(x.req.Body)
	}
	if err := x.write(head); err != nil {
		return err
	}
	if length < 0 {
		return x.sendChunks()
	}
	// To ask for more than was announced may block, so it is not done.
	return (&outlet{x: x, left: length}).copy(io.LimitReader(x.req.Body, length))
}

// sendChunks sends a body of unknown length.
func (x *exchange) sendChunks() error {
	const size = 16 << 10
	buf := make([]byte, size)
	out := make([]byte, 0, size+32)
	for {
		n, err := x.req.Body.Read(buf)
		out = out[:0]
		if n > 0 {
			out = append(strconv.AppendInt(out, int64(n), 16), "\r\n"...)
			out = append(append(out, buf[:n]...), "\r\n"...)
		}
		over := errors.Is(err, io.EOF)
		if over {
			out = append(out, "0\r\n\r\n"...)
		}
		if err := x.write(out); err != nil {
			return err
		}
		switch {
		case over:
			return nil
		case err != nil:
			return &bodyError{err}
		}
	}
}

// outlet writes a body of known length, together with the head.
type outlet struct {
	x       *exchange
	head    []byte
	left    int64
	hurried bool   // give up where the other side does not take it
	rest    []byte // what was given up, copied
	err     error  // of the connection
}

// copy sends a body. A bytes.Reader gives all of it at once.
func (o *outlet) copy(body io.Reader) error {
	length := o.left
	_, err := io.Copy(o, body)
	switch {
	case o.err != nil:
		return o.err
	case err != nil:
		return &bodyError{err}
	case o.left > 0:
		return &bodyError{wrongLength(length, length-o.left)}
	}
	return nil
}

// Write implements io.Writer.
func (o *outlet) Write(p []byte) (int, error) {
	if o.left -= int64(len(p)); o.left < 0 {
		return 0, fmt.Errorf("ContentLength is too small by %d bytes or more", -o.left)
	}
	if len(o.rest) > 0 {
		o.rest = append(o.rest, p...)
		return len(p), nil
	}
	if o.err = o.push(p); o.err != nil {
		return 0, o.err
	}
	return len(p), nil
}

// push writes what there is of the head, and p. On a plain connection this is
// one system call.
func (o *outlet) push(p []byte) error {
	c := o.x.conn
	if o.hurried {
		_ = c.nc.SetWriteDeadline(time.Now().Add(stall)) // an error shows in the write
	}
	c.vector = [2][]byte{o.head, p}
	c.pieces = c.vector[:]
	if len(o.head) == 0 {
		c.pieces = c.vector[1:]
	}
	n, err := c.pieces.WriteTo(c.nc)
	o.x.wrote.Add(n)
	if o.hurried {
		_ = c.nc.SetWriteDeadline(time.Time{})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			for _, piece := range c.pieces {
				o.rest = append(o.rest, piece...)
			}
			err = nil
		}
	}
	o.head, c.vector, c.pieces = nil, [2][]byte{}, nil
	return err
}

// upload is the sending of a body by a goroutine of its own, which ends with
// the exchange.
type upload struct{ done chan struct{} }

func (x *exchange) startUpload(send func() error) {
	u := &upload{done: make(chan struct{})}
	x.upload = u
	go func() {
		defer close(u.done)
		x.endSend(send())
	}()
}

// lastMoment is how long an upload may be behind the end of the answer: the
// answer can overtake the return of the write that it is the answer to.
const lastMoment = 10 * time.Millisecond

// endsSoon waits for the upload's end, for a moment.
func (u *upload) endsSoon() bool {
	select {
	case <-u.done:
		return true
	default:
	}
	t := time.NewTimer(lastMoment)
	defer t.Stop()
	select {
	case <-u.done:
		return true
	case <-t.C:
		return false
	}
}
