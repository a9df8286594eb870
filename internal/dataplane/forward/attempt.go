package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"ollama-api-pool/internal/dataplane/pool"
	"ollama-api-pool/internal/dataplane/provider"
	"ollama-api-pool/internal/dataplane/usage"
	"ollama-api-pool/internal/gateway"
)

// How much of an upstream's error is read for judging, and how long a silence
// inside it may be.
const (
	maxErrorBody     = 64 << 10
	errorBodyTimeout = 10 * time.Second
)

// job is one client request on its way through the attempt loop.
type job struct {
	f      *Forwarder
	up     *Upstream
	x      *gateway.Exchange
	client context.Context // the client's own
	method string
	url    *url.URL
	header http.Header // the client's
	body   *payload
	want   pool.Want
}

// answer is what one attempt brought: an upstream's response whose head and
// first bytes have been read, or an error instead.
type answer struct {
	lease   pool.Lease
	number  int // of the attempt, from 1
	watch   *watch
	resp    *http.Response // nil: none came
	first   []byte         // the first bytes of the body
	sent    int            // how many of them the client has already
	done    bool           // first is all of it
	stream  bool           // a stream of events
	err     error          // why none came, or why no more than first
	verdict gateway.Verdict
}

// close ends the attempt and lets go of the upstream's connection.
func (a *answer) close() {
	if a.watch != nil {
		a.watch.stop() // first: closing a stream of HTTP/2 may wait for the upstream
	}
	if a.resp != nil {
		_ = a.resp.Body.Close() // its error means nothing after the fact
	}
}

// whole reports whether first is all of the body, or as much as was announced.
func (a *answer) whole() bool {
	return a.done || a.resp.ContentLength == int64(len(a.first))
}

func newJob(f *Forwarder, up *Upstream, x *gateway.Exchange, r *http.Request, body *payload) *job {
	j := &job{
		f: f, up: up, x: x, client: r.Context(),
		method: r.Method, header: r.Header, body: body,
		url: up.Adapter.URL(x.Route.Path, r.URL.RawQuery),
	}
	j.want.Model = x.Record.Model
	return j
}

// run makes attempts until one brought an answer that the client should have,
// and leaves it in a with its lease still out. An error means that there is
// nothing to pass on. The caller closes a.
func (j *job) run(a *answer, to *relay) error {
	deadline := j.f.opts.Now().Add(2 * j.f.opts.HeaderTimeout)
	lease, err := j.up.Pool.Acquire(&j.want, j.f.opts.Now())
	if err != nil {
		return j.noKey(err)
	}
	for n, plans := 0, 0; ; n++ {
		j.attempt(a, lease, to)
		switch a.verdict.Next {
		case gateway.NextStop:
			return errClientGone
		case gateway.NextDeliver:
			return nil
		case gateway.NextKeyOnce:
			plans++
		}
		if n >= j.f.opts.MaxRetries || plans > 1 || to.begun() || !j.f.opts.Now().Before(deadline) {
			return j.last(a, to)
		}
		lease, err = j.another(a, n)
		switch {
		case errors.Is(err, errClientGone):
			return err
		case err != nil:
			return j.last(a, to)
		}
		a.close()
	}
}

// another borrows a key for one more attempt, after a pause where the upstream
// is at fault.
func (j *job) another(a *answer, n int) (pool.Lease, error) {
	j.want.Again = false
	if a.verdict.Next == gateway.NextAfterPause {
		if !j.up.Pool.MayRepeat() {
			return pool.Lease{}, errors.New("no more repetitions")
		}
		if err := j.f.opts.Pause(j.client, pauseFor(n)); err != nil {
			return pool.Lease{}, errClientGone
		}
		j.want.Again = true
	}
	if j.client.Err() != nil {
		return pool.Lease{}, errClientGone
	}
	return j.up.Pool.Acquire(&j.want, j.f.opts.Now())
}

// last decides what the client sees of the attempt after which there is no
// other: the answer as it came, or words of ours where it speaks about our keys.
func (j *job) last(a *answer, to *relay) error {
	v := &a.verdict
	switch {
	case to.begun():
		return nil
	case v.OutOfQuota():
		return j.refused(gateway.KindRateLimited, "every key that was tried is out of quota", v)
	case v.RefusesKey():
		return j.refused(gateway.KindNoKey, "the upstream refused every key that was tried", v)
	case a.resp != nil:
		return nil
	case isTimeout(a.err):
		return &gateway.Error{Kind: gateway.KindUpstreamTimeout, Message: fmt.Sprintf("%s did not answer in time", j.up.Adapter.Name), Cause: a.err}
	}
	return &gateway.Error{Kind: gateway.KindUpstream, Message: fmt.Sprintf("%s could not be reached or broke the connection", j.up.Adapter.Name), Cause: a.err}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// attempt sends the request with one key and judges what comes back. Unless
// the answer is a good one, the lease is released.
func (j *job) attempt(a *answer, lease pool.Lease, to *relay) {
	began := j.f.opts.Now()
	*a = answer{lease: lease, number: len(j.x.Record.Attempts) + 1, watch: newWatch(j.body.context(j.client), to.unblock)}
	// The transport has a limit of its own, which begins when it has sent the
	// request: an upstream may also not take it.
	a.watch.start(j.f.opts.HeaderTimeout)
	status := 0
	resp, err := j.up.Transport.RoundTrip(j.request(a.watch.ctx, lease.Bearer())) //nolint:bodyclose // answer.close does
	if err != nil {
		j.fault(a, err)
	} else {
		a.resp, status = resp, resp.StatusCode
		j.x.UpstreamRequestID = provider.RequestIDOf(resp.Header)
		switch {
		case status < 200:
			j.fault(a, fmt.Errorf("status %d is no answer", status))
		case status >= 400:
			j.readError(a)
		default:
			j.readFirst(a, to)
		}
	}
	now := j.f.opts.Now()
	if a.verdict.OK {
		a.lease.Settle(&a.verdict, now)
	} else {
		a.lease.Release(&a.verdict, now)
	}
	j.x.Record.Attempts = append(j.x.Record.Attempts, gateway.Attempt{
		Key: lease.Key(), Status: status, Verdict: a.verdict,
		Began: began.Sub(j.x.Record.StartedAt), Duration: now.Sub(began), Until: a.lease.Until(),
	})
}

func (j *job) request(ctx context.Context, bearer string) *http.Request {
	header := make(http.Header, 8)
	j.up.Adapter.SetHeaders(header, j.header, bearer)
	req := &http.Request{
		Method: j.method, URL: j.url, Host: j.url.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: j.body.reader(), ContentLength: int64(len(j.body.data)),
	}
	if len(j.body.data) > 0 {
		req.GetBody = func() (io.ReadCloser, error) { return j.body.reader(), nil }
	}
	return req.WithContext(ctx)
}

// fault notes that no answer came, or none that is of use, and blames whoever
// kept it from coming.
func (j *job) fault(a *answer, err error) {
	a.err = j.cause(a, err)
	a.verdict = j.judgeError(a.err)
	a.close()
	a.resp = nil
}

func (j *job) judgeError(err error) gateway.Verdict {
	if j.client.Err() != nil {
		return gateway.Verdict{Scope: gateway.ScopeClient, Next: gateway.NextStop, Reason: "client closed the request"}
	}
	return j.up.Adapter.JudgeError(err, isTimeout(err))
}

// cause names a silence as such: it shows as a cancelled request. While the
// client is there nothing else may look like its leaving.
func (j *job) cause(a *answer, err error) error {
	switch {
	case j.client.Err() != nil:
		return err
	case a.watch.fired():
		return silence{}
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("broken off: %s", err.Error())
	}
	return err
}

// readError reads the beginning of an error's body and judges it.
func (j *job) readError(a *answer) {
	a.watch.start(errorBodyTimeout)
	buf := make([]byte, 0, 1<<10)
	for len(buf) < maxErrorBody {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := a.resp.Body.Read(buf[len(buf):min(cap(buf), maxErrorBody)])
		buf = buf[:len(buf)+n]
		if err != nil {
			a.done = errors.Is(err, io.EOF)
			a.err = err
			break
		}
		a.watch.saw()
	}
	a.first = buf
	if a.done {
		a.err = nil
		a.close()
	}
	if a.err != nil {
		if a.err = j.cause(a, a.err); j.client.Err() != nil {
			a.verdict = j.judgeError(a.err)
			return
		}
	}
	a.verdict = j.judge(a)
}

// readFirst reads the first bytes of a good answer, so that an upstream that
// breaks off at once, or begins with an error, can still be replaced.
func (j *job) readFirst(a *answer, to *relay) {
	a.stream = isStream(a.resp.Header.Get("Content-Type"))
	a.watch.start(j.f.opts.StreamIdleTimeout)
	err := readBeginning(a, to)
	to.hold()
	a.done = errors.Is(err, io.EOF)
	if err != nil && !a.done {
		a.err = j.cause(a, err)
	}
	if !to.begun() {
		if err := j.broken(a); err != nil {
			j.fault(a, err)
			return
		}
		if v, ok := j.judgeBeginning(a); ok {
			a.verdict = v
			return
		}
	}
	a.verdict = j.judge(a)
}

// judgeBeginning finds an error under a good status: as a stream's first event,
// or as the whole of a short JSON body.
func (j *job) judgeBeginning(a *answer) (gateway.Verdict, bool) {
	if a.resp.StatusCode >= 300 {
		return gateway.Verdict{}, false
	}
	payload, ok := usage.FirstEventError(j.x.Route.Dialect, a.stream, a.first)
	if !ok {
		return gateway.Verdict{}, false
	}
	return j.up.Adapter.JudgeEvent(payload, j.f.opts.Now())
}

// readBeginning reads what is there, and a short answer of known length whole.
// What the client is owed meanwhile it gets after a moment, see relay.
func readBeginning(a *answer, to *relay) error {
	want := 1
	if length := a.resp.ContentLength; a.stream {
		to.expect(a)
	} else if length > 0 && length <= int64(len(to.buf)) {
		want = int(length)
	}
	for n := 0; ; {
		m, err := a.resp.Body.Read(to.buf[n:])
		n += m
		if m > 0 {
			a.watch.saw()
		}
		to.keep(a, to.buf[:n])
		if err != nil || n >= want || to.begun() {
			return err
		}
		if n > 0 {
			to.expect(a)
		}
	}
}

// broken tells why an answer of which the client has nothing is of no use:
// it broke off before its first byte, or, where half of it is of no use
// either, anywhere so far.
func (j *job) broken(a *answer) error {
	switch {
	case a.err != nil && (len(a.first) == 0 || !a.stream):
		return a.err
	case a.done && len(a.first) == 0 && a.stream && a.resp.StatusCode < 300 && j.hasLastWord():
		return io.ErrUnexpectedEOF
	}
	return nil
}

// hasLastWord reports whether streams of this address say when they are over.
func (j *job) hasLastWord() bool {
	var m usage.Meter
	m.Reset(j.x.Route.Dialect, j.x.Route.Path, true)
	return !m.Ended()
}

func (j *job) judge(a *answer) gateway.Verdict {
	return j.up.Adapter.Judge(provider.Answer{Status: a.resp.StatusCode, Header: a.resp.Header, Body: a.first, Now: j.f.opts.Now()})
}

// isStream tells a stream of events by its content type.
func isStream(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.TrimSpace(media)
	return strings.EqualFold(media, "text/event-stream") || strings.EqualFold(media, "application/x-ndjson")
}
