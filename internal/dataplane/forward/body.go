package forward

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Bodies up to smallBody are not worth pooling; those over largestPooled are
// too rare to keep.
const (
	smallBody     = 4 << 10
	largestPooled = 4 << 20
)

var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// payload is a client's request body, read once so that every attempt can send
// it again. The transport may still be reading it after an early answer, so it
// goes back to its pool only when every write of it has ended.
type payload struct {
	data   []byte
	pooled *bytes.Buffer
	trace  *httptrace.ClientTrace // nil: not pooled, nothing to watch
	lent   bool                   // a reader was given away
	traced atomic.Bool            // the transport tells what it does
	busy   atomic.Int32           // writes under way
}

// readPayload reads the request's body up to a limit.
func readPayload(r *http.Request, limit int64) (*payload, error) {
	p := &payload{}
	switch b := r.Body.(type) {
	case *held:
		p.data = b.data
		return p, nil
	case nil:
		return p, nil
	}
	if r.Body == http.NoBody {
		return p, nil
	}
	n := r.ContentLength
	switch {
	case n > limit:
		return nil, tooLarge(limit)
	case n >= 0 && n <= smallBody:
		p.data = make([]byte, n)
		if _, err := io.ReadFull(r.Body, p.data); err != nil {
			return nil, bodyError(err)
		}
		return p, drained(r)
	}
	buf, _ := bodies.Get().(*bytes.Buffer)
	buf.Reset()
	if n > 0 && n < largestPooled {
		buf.Grow(int(n) + bytes.MinRead)
	}
	if _, err := buf.ReadFrom(io.LimitReader(r.Body, limit+1)); err != nil {
		bodies.Put(buf)
		return nil, bodyError(err)
	}
	if int64(buf.Len()) > limit {
		bodies.Put(buf)
		return nil, tooLarge(limit)
	}
	p.pooled, p.data = buf, buf.Bytes()
	p.trace = &httptrace.ClientTrace{
		GotConn:      func(httptrace.GotConnInfo) { p.traced.Store(true); p.busy.Add(1) },
		WroteRequest: func(httptrace.WroteRequestInfo) { p.busy.Add(-1) },
	}
	return p, nil
}

// How long a client may take to send a body: a while, and longer for a larger
// one, at 64 KiB a second. One of unknown length may take the longest.
const (
	shortestBody = 30 * time.Second
	longestBody  = 10 * time.Minute
	bodyPace     = 64 << 10
)

// hurry bounds the time in which the body must come; calm lifts that again.
// A small body comes along with the head, and is not worth two system calls.
func hurry(w http.ResponseWriter, r *http.Request, now time.Time) (calm func()) {
	if r.ContentLength >= 0 && r.ContentLength <= smallBody {
		return func() {}
	}
	rc := http.NewResponseController(w)
	if rc.SetReadDeadline(now.Add(bodyTime(r.ContentLength))) != nil {
		return func() {} // not over a network
	}
	return func() { _ = rc.SetReadDeadline(time.Time{}) } // it was possible a moment ago
}

// bodyTime is how long a body of n bytes, -1 for an unknown number, may take.
func bodyTime(n int64) time.Duration {
	if n < 0 || n/bodyPace > int64(longestBody/time.Second) {
		return longestBody
	}
	return min(shortestBody+time.Duration(n/bodyPace)*time.Second, longestBody)
}

func tooLarge(limit int64) error {
	return gateway.Errorf(gateway.KindTooLarge, "request body is larger than %d bytes (MAX_BODY_BYTES)", limit)
}

// drained reads the end of the body: only then does the server watch for the
// client going away.
func drained(r *http.Request) error {
	var one [1]byte
	if _, err := r.Body.Read(one[:]); err != nil && !errors.Is(err, io.EOF) {
		return bodyError(err)
	}
	return nil
}

// bodyError blames the client, also where it has gone away in the middle of its
// own request.
func bodyError(err error) error {
	var e *http.MaxBytesError
	if errors.As(err, &e) {
		return gateway.Errorf(gateway.KindTooLarge, "request body is larger than %d bytes", e.Limit)
	}
	return &gateway.Error{Kind: gateway.KindInvalid, Message: "request body could not be read to its end", Cause: err}
}

// context adds what watches the writing of the body.
func (p *payload) context(ctx context.Context) context.Context {
	if p.trace == nil {
		return ctx
	}
	return httptrace.WithClientTrace(ctx, p.trace)
}

// reader gives the body to one attempt. The transport recognises a bytes.Reader
// and sends head and body in one write.
func (p *payload) reader() io.ReadCloser {
	if len(p.data) == 0 {
		return http.NoBody
	}
	p.lent = true
	return io.NopCloser(bytes.NewReader(p.data))
}

// release gives the memory back, unless somebody may still be reading it. The
// payload must not be sent again.
func (p *payload) release() {
	buf := p.pooled
	p.pooled, p.data = nil, nil
	if buf == nil || buf.Cap() > largestPooled || p.busy.Load() > 0 || p.lent && !p.traced.Load() {
		return
	}
	bodies.Put(buf)
}
