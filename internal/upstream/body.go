package upstream

import (
	"errors"
	"io"
	"maps"
	"net/http"
)

// direct is the size from which on a caller's buffer is read into without a
// detour.
const direct = 512

// Read implements io.Reader for the answer's body. It gives what has come, of
// as many chunks as there are, and waits only where that is nothing; the last
// bytes come together with io.EOF.
func (x *exchange) Read(p []byte) (int, error) {
	x.reading.Lock()
	defer x.reading.Unlock()
	switch {
	case x.closed.Load():
		return 0, http.ErrBodyReadAfterClose
	case x.err != nil || len(p) == 0:
		return 0, x.err
	case x.ctx.Err() != nil:
		x.finish(x.ctx.Err())
		return 0, x.err
	}
	for {
		n, err := x.next(p)
		if err != nil {
			x.finish(err)
			return n, x.err
		}
		if n > 0 {
			return n, nil
		}
	}
}

// next gives data from the buffer, or else from one read.
func (x *exchange) next(p []byte) (int, error) {
	if have := x.in.bytes(); len(have) > 0 {
		n, used, err := x.frame.next(p, have)
		x.in.skip(used)
		return n, err
	}
	if x.gone.Load() {
		return 0, http.ErrBodyReadAfterClose // the connection may be another's
	}
	if len(p) < direct {
		if err := x.in.fill(x.conn); err != nil {
			return 0, x.cut(err)
		}
		return 0, nil
	}
	m, err := x.conn.read(p)
	if err != nil {
		return 0, x.cut(err)
	}
	n, used, err := x.frame.next(p, p[:m])
	if used < m {
		x.frame.last = true // there is more than the answer
	}
	return n, err
}

func (x *exchange) cut(err error) error {
	if errors.Is(err, io.EOF) {
		return x.frame.cut()
	}
	return err
}

// finish ends the reading.
func (x *exchange) finish(err error) {
	if errors.Is(err, io.EOF) && x.frame.kind == byChunks {
		if bad := x.readTrailer(); bad != nil {
			err = bad
		}
	}
	switch {
	case errors.Is(err, io.EOF):
		x.err = io.EOF
		x.letGo(!x.frame.last && len(x.in.bytes()) == 0)
	case x.closed.Load():
		x.err = http.ErrBodyReadAfterClose
	case errors.Is(err, io.ErrUnexpectedEOF) && x.ctx.Err() == nil:
		x.err = io.ErrUnexpectedEOF
	default:
		x.err = x.blame(err, "read the answer")
	}
	x.letGo(false)
	x.in.free()
}

func (x *exchange) readTrailer() error {
	if len(x.frame.tail) == 0 {
		return nil
	}
	trailer, err := parseFields(string(x.frame.tail))
	if err != nil {
		return err
	}
	for name := range trailer {
		if isFraming(name) {
			return malformed("a trailer that would change the framing")
		}
	}
	if x.resp.Trailer == nil {
		x.resp.Trailer = trailer
	} else {
		maps.Copy(x.resp.Trailer, trailer)
	}
	return nil
}

// Close implements io.Closer. Before the answer's end it breaks the connection
// off; a Read that is waiting fails at once. It may be called from any
// goroutine and more than once.
func (x *exchange) Close() error {
	x.closed.Store(true)
	x.letGo(false)
	if x.reading.TryLock() { // else the memory is left to the collector
		x.in.free()
		x.reading.Unlock()
	}
	return nil
}
