package forward

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"ollama-api-pool/internal/dataplane/provider"
	"ollama-api-pool/internal/dataplane/usage"
	"ollama-api-pool/internal/gateway"
)

// headGrace is how long a stream's head is kept back in the hope that its
// first event comes along: an error can be that event, and another key may do
// better. After it the client gets the head, and there is no way back.
const headGrace = 20 * time.Millisecond

// Sizes of the buffers that answers pass through. An event is small, and there
// may be thousands of streams; a long JSON answer is worth fewer system calls.
const (
	smallBuffer = 4 << 10
	largeBuffer = 32 << 10
)

var (
	smallBuffers = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
	largeBuffers = sync.Pool{New: func() any { return new([largeBuffer]byte) }}
	meters       = sync.Pool{New: func() any { return new(usage.Meter) }}
)

// relay passes an answer on to the client.
type relay struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	x     *gateway.Exchange
	now   func() time.Time
	array *[smallBuffer]byte
	buf   []byte
	tail  [2]byte // the last bytes written
	wrote int64

	// mu guards the head and with it the ResponseWriter while a timer may send
	// it; after hold only the request's goroutine writes.
	mu       sync.Mutex
	timer    *time.Timer
	awaiting *answer // the timer may send this one's head
	head     bool
}

func newRelay(w http.ResponseWriter, x *gateway.Exchange, now func() time.Time) *relay {
	array, _ := smallBuffers.Get().(*[smallBuffer]byte)
	return &relay{w: w, rc: http.NewResponseController(w), x: x, now: now, array: array, buf: array[:]}
}

func (t *relay) close() {
	t.hold()
	smallBuffers.Put(t.array)
	t.array, t.buf = nil, nil
}

// expect lets a stream's head be sent by itself if its first event takes long.
func (t *relay) expect(a *answer) {
	if !a.stream {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.head {
		return
	}
	t.awaiting = a
	if t.timer == nil {
		t.timer = time.AfterFunc(headGrace, t.sendAwaited)
		return
	}
	t.timer.Reset(headGrace)
}

func (t *relay) sendAwaited() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.awaiting != nil && !t.head {
		t.writeHead(t.awaiting)
		_ = t.rc.Flush() // a client that is gone shows at the next write
	}
}

// hold keeps the timer from sending a head from now on.
func (t *relay) hold() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.awaiting = nil
	if t.timer != nil {
		t.timer.Stop()
	}
}

// begun reports whether the client has got something already.
func (t *relay) begun() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.head
}

func (t *relay) writeHead(a *answer) {
	t.head = true
	h := t.w.Header()
	provider.CopyResponseHeaders(h, a.resp.Header)
	if a.done && a.resp.ContentLength < 0 && !a.stream {
		h["Content-Length"] = []string{strconv.Itoa(len(a.first))}
	}
	t.x.Record.Status = a.resp.StatusCode
	t.x.Record.FirstByte = t.now().Sub(t.x.Record.StartedAt)
	t.w.WriteHeader(a.resp.StatusCode)
}

// write passes bytes on, and makes sure that they leave at once where more may
// be long in coming.
func (t *relay) write(p []byte, flush bool) error {
	if len(p) == 0 {
		return nil
	}
	if _, err := t.w.Write(p); err != nil {
		return err
	}
	t.wrote += int64(len(p))
	if len(p) > 1 {
		t.tail = [2]byte{p[len(p)-2], p[len(p)-1]}
	} else {
		t.tail = [2]byte{t.tail[1], p[0]}
	}
	if flush {
		return t.rc.Flush()
	}
	return nil
}

// deliver passes an answer on to its end and keeps account of how it ended.
// An error that is http.ErrAbortHandler asks for the connection to be broken.
func (j *job) deliver(a *answer, to *relay) error {
	j.body.release() // nothing will be sent again
	if !to.begun() {
		to.writeHead(a)
	}
	var meter *usage.Meter
	if good := a.resp.StatusCode < 300; good && a.resp.Header.Get("Content-Encoding") == "" {
		meter, _ = meters.Get().(*usage.Meter)
		defer meters.Put(meter)
		meter.Reset(j.x.Route.Dialect, j.x.Route.Path, a.stream)
	}
	err := j.copy(a, to, meter)
	if err == nil {
		j.copyTrailer(a, to)
	}
	return j.finish(a, to, meter, err)
}

// errClientWrite marks a failed write to the client.
var errClientWrite = errors.New("the client stopped reading")

// copy moves the rest of the body. It returns nil at its proper end.
func (j *job) copy(a *answer, to *relay, meter *usage.Meter) error {
	flush := a.stream || a.resp.ContentLength < 0 && !a.done
	piece, err := a.first, a.err
	if a.done {
		err = io.EOF
	}
	buf := to.buf
	if !a.done && a.resp.ContentLength > smallBuffer {
		array, _ := largeBuffers.Get().(*[largeBuffer]byte)
		defer largeBuffers.Put(array)
		buf = array[:]
	}
	for {
		if len(piece) > 0 {
			if meter != nil {
				meter.Write(piece)
			}
			if to.write(piece, flush) != nil {
				return errClientWrite
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var n int
		n, err = a.resp.Body.Read(buf)
		a.watch.saw()
		piece = buf[:n]
	}
}

func (j *job) copyTrailer(a *answer, to *relay) {
	for name, values := range a.resp.Trailer {
		to.w.Header()[http.TrailerPrefix+name] = values
	}
}

// finish decides what the end of the answer meant, tells the key, and shows a
// break to the client.
func (j *job) finish(a *answer, to *relay, meter *usage.Meter, err error) error {
	rec := &j.x.Record
	complete := true
	if meter != nil {
		meter.Finish()
		rec.Usage = meter.Usage()
		complete = meter.Ended() || meter.Failed()
	}
	v := a.verdict
	var out error
	switch {
	case errors.Is(err, errClientWrite) || err != nil && j.client.Err() != nil:
		rec.End = gateway.EndClientClosed
		v = gateway.Verdict{Scope: gateway.ScopeClient, Reason: "client closed the request"}
		out = http.ErrAbortHandler
	case err != nil || !complete:
		rec.End = gateway.EndCut
		v = gateway.Verdict{Scope: gateway.ScopeProvider, Reason: "the answer broke off"}
		if a.watch.fired() {
			v.Reason = errSilent.Error()
		}
		j.showBreak(a, to, v.Reason)
		out = http.ErrAbortHandler
	case !v.OK && a.resp.StatusCode < 300:
		rec.End = gateway.EndCut // an error under a good status
	case meter != nil && meter.Failed():
		rec.End = gateway.EndCut
		v = gateway.Verdict{Scope: gateway.ScopeProvider, Reason: "an error came inside the stream"}
		if payload := meter.ErrorEvent(); len(payload) > 0 {
			if told, ok := j.up.Adapter.JudgeEvent(payload, j.f.opts.Now()); ok {
				v = told
			}
		}
	}
	a.lease.Release(&v, j.f.opts.Now())
	return out
}

// showBreak ends a broken stream with an error event in the protocol's own
// form, so that no client takes what it got for the whole.
func (j *job) showBreak(a *answer, to *relay, reason string) {
	if !a.stream || a.resp.Header.Get("Content-Encoding") != "" {
		return
	}
	message := "the upstream's answer ended too early: " + reason
	_ = to.write(breakEvent(j.x.Route.Dialect, to.tail, to.wrote, message), true) // best effort: the break itself follows
}

// breakEvent words an error event, after whatever is needed to end a line or an
// event that was left open.
func breakEvent(d gateway.Dialect, tail [2]byte, wrote int64, message string) []byte {
	m := strconv.Quote(message)
	var b []byte
	if d == gateway.DialectOllama {
		if wrote > 0 && tail[1] != '\n' {
			b = append(b, '\n')
		}
		return append(append(append(b, `{"error":`...), m...), "}\n"...)
	}
	switch {
	case wrote == 0 || tail == [2]byte{'\n', '\n'}:
	case tail[1] == '\n':
		b = append(b, '\n')
	default:
		b = append(b, "\n\n"...)
	}
	switch d {
	case gateway.DialectAnthropic:
		b = append(b, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":"...)
		b = append(append(b, m...), "}}"...)
	case gateway.DialectResponses:
		b = append(b, "event: error\ndata: {\"type\":\"error\",\"code\":\"upstream_error\",\"param\":null,\"message\":"...)
		b = append(append(b, m...), ",\"error\":{\"type\":\"upstream_error\",\"code\":\"upstream_error\",\"param\":null,\"message\":"...)
		b = append(append(b, m...), "}}"...)
	default:
		b = append(b, "data: {\"error\":{\"type\":\"upstream_error\",\"code\":\"upstream_error\",\"param\":null,\"message\":"...)
		b = append(append(b, m...), "}}"...)
	}
	return append(b, "\n\n"...)
}
