package forward

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"ollama-api-pool/internal/dataplane/provider"
	"ollama-api-pool/internal/dataplane/usage"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// Sizes of the buffers that answers pass through. An event is small, and there
// may be thousands of streams; any other answer that does not come whole at once
// is worth fewer system calls.
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
	grace time.Duration
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

func newRelay(w http.ResponseWriter, x *gateway.Exchange, o *Options) *relay {
	array, _ := smallBuffers.Get().(*[smallBuffer]byte)
	return &relay{w: w, rc: http.NewResponseController(w), x: x, now: o.Now, grace: o.HeadGrace, array: array, buf: array[:]}
}

func (t *relay) close() {
	t.hold()
	smallBuffers.Put(t.array)
	t.array, t.buf = nil, nil
}

// expect lets what an answer has so far be sent by itself if more takes long.
func (t *relay) expect(a *answer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.head || t.awaiting == a {
		return
	}
	t.awaiting = a
	if t.timer == nil {
		t.timer = time.AfterFunc(t.grace, t.sendAwaited)
		return
	}
	t.timer.Reset(t.grace)
}

// keep notes the first bytes of an answer's body, for the timer to see.
func (t *relay) keep(a *answer, first []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a.first = first
}

func (t *relay) sendAwaited() {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.awaiting
	if a == nil || t.head {
		return
	}
	t.writeHead(a)
	// A client that is gone shows at the next write.
	_ = t.write(a.first, false)
	a.sent = len(a.first)
	_ = t.rc.Flush()
}

// hold keeps the timer from sending anything from now on.
func (t *relay) hold() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.awaiting = nil
	if t.timer != nil {
		t.timer.Stop()
	}
}

// unblock ends a write that the client does not take.
func (t *relay) unblock() {
	_ = t.rc.SetWriteDeadline(time.Unix(1, 0)) // where there is none nobody waits for a socket
}

// begun reports whether the client has got something already.
func (t *relay) begun() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.head
}

// A web page of the upstream's, such as a proxy's error, is passed on as it is,
// but where somebody opens it in a browser it may not act as a page of ours.
const htmlType = "text/html"

var sandboxed = []string{"sandbox"}

// unbuffered asks a proxy in front for a stream's events as they come, also
// where it holds answers back by default, as nginx does
// (https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_buffering).
const unbuffered = "X-Accel-Buffering"

// no is the field's value, shared by all answers; its capacity is its length.
var no = []string{"no"}

func (t *relay) writeHead(a *answer) {
	t.head = true
	h := t.w.Header()
	provider.CopyResponseHeaders(h, a.resp.Header)
	switch kind := h.Get("Content-Type"); {
	case len(h["Content-Type"]) == 0:
		h["Content-Type"] = nil // the server is not to guess one
	case len(kind) >= len(htmlType) && strings.EqualFold(kind[:len(htmlType)], htmlType):
		h["Content-Security-Policy"] = sandboxed
	}
	switch {
	case a.stream:
		// An event of ours must find room behind a stream that breaks, and the
		// break must show.
		delete(h, "Content-Length")
		if len(h[unbuffered]) == 0 {
			h[unbuffered] = no
		}
	case a.done && a.resp.ContentLength < 0:
		h["Content-Length"] = []string{strconv.Itoa(len(a.first))}
	}
	httpkit.SetAttempts(h, a.number) // there will be no other
	t.x.Record.Status, t.x.Record.Stream = a.resp.StatusCode, a.stream
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

// betweenEvents reports whether what was written so far ends with a whole
// event, or a whole line where each line is one.
func (t *relay) betweenEvents() bool {
	return t.tail[1] == '\n' && (t.tail[0] == '\n' || t.x.Route.Dialect == gateway.DialectOllama)
}

// deliver passes an answer on to its end and keeps account of how it ended. An
// error says that it could not be completed.
func (j *job) deliver(a *answer, to *relay) error {
	j.body.release() // nothing will be sent again
	if !to.begun() {
		to.writeHead(a)
	}
	var meter *usage.Meter
	lastWord := false // the stream's protocol has one
	if good := a.resp.StatusCode < 300; good && a.resp.Header.Get("Content-Encoding") == "" {
		meter, _ = meters.Get().(*usage.Meter)
		defer meters.Put(meter)
		meter.Reset(j.x.Route.Dialect, j.x.Route.Path, a.stream)
		lastWord = !meter.Ended()
	}
	err := j.copy(a, to, meter)
	if meter != nil {
		meter.Finish()
		j.x.Record.Usage = meter.Usage()
		if lastWord && meter.Ended() && to.betweenEvents() && !errors.Is(err, errClientWrite) {
			err = nil // all has been said, whoever closed the connection then
		}
	}
	if err == nil {
		j.copyTrailer(a, to)
	}
	return j.finish(a, to, meter, err)
}

// errClientWrite marks a failed write to the client.
var errClientWrite = errors.New("the client stopped reading")

// copy moves the rest of the body. It returns nil at its proper end.
func (j *job) copy(a *answer, to *relay, meter *usage.Meter) error {
	flush := !a.whole()
	piece, sent, err := a.first, a.sent, a.err
	if a.done {
		err = io.EOF
	}
	buf := to.buf
	if flush && !a.stream {
		array, _ := largeBuffers.Get().(*[largeBuffer]byte)
		defer largeBuffers.Put(array)
		buf = array[:]
	}
	for {
		if len(piece) > 0 {
			if meter != nil {
				meter.Write(piece)
			}
			a.watch.turn()
			if to.write(piece[sent:], flush) != nil {
				return errClientWrite
			}
			a.watch.turn()
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var n int
		n, err = a.resp.Body.Read(buf)
		piece, sent = buf[:n], 0
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
	failed := meter != nil && meter.Failed()
	complete := meter == nil || meter.Ended() || failed
	v := a.verdict
	var out error
	switch {
	case errors.Is(err, errClientWrite) || err != nil && j.client.Err() != nil:
		rec.End = gateway.EndClientClosed
		v = gateway.Verdict{Scope: gateway.ScopeClient, Reason: "client closed the request"}
		out = errClientGone
	case err != nil || !complete:
		rec.End = gateway.EndCut
		v = gateway.Verdict{Scope: gateway.ScopeProvider, Reason: "the answer broke off"}
		if a.watch.fired() {
			v.Reason = silence{}.Error()
		}
		if !failed { // else the upstream has said so itself
			j.showBreak(a, to, v.Reason)
		}
		out = &gateway.Error{Kind: gateway.KindUpstream, Message: "the upstream's answer broke off", Cause: err}
	case !v.OK && a.resp.StatusCode < 300:
		rec.End = gateway.EndCut // an error under a good status
	case failed:
		rec.End = gateway.EndCut
		v = gateway.Verdict{Scope: gateway.ScopeProvider, Reason: "an error came inside the stream"}
		if payload := meter.ErrorEvent(); len(payload) > 0 {
			if told, ok := j.up.Adapter.JudgeEvent(payload, j.f.opts.Now()); ok {
				v = told
			}
		}
	}
	a.lease.Release(&v, j.f.opts.Now())
	if n := len(rec.Attempts); v.Reason != "" {
		rec.Attempts[n-1].Verdict, rec.Attempts[n-1].Until = v, a.lease.Until()
	}
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
		return append(append(append(b, `{"error":`...), m...), ",\"retryable\":true}\n"...)
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
		b = append(append(b, m...), `,"retryable":true}}`...)
	case gateway.DialectResponses:
		b = append(b, "event: error\ndata: {\"type\":\"error\",\"code\":\"upstream_error\",\"param\":null,\"message\":"...)
		b = append(append(b, m...), ",\"error\":{\"type\":\"upstream_error\",\"code\":\"upstream_error\",\"param\":null,\"message\":"...)
		b = append(append(b, m...), `,"retryable":true}}`...)
	default:
		b = append(b, "data: {\"error\":{\"type\":\"upstream_error\",\"code\":\"upstream_error\",\"param\":null,\"message\":"...)
		b = append(append(b, m...), `,"retryable":true}}`...)
	}
	return append(b, "\n\n"...)
}
