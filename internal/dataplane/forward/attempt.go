package forward

import (
	"bytes"
	"context"
	"encoding/json"
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
	watch   *watch
	resp    *http.Response // nil: none came
	first   []byte         // the first bytes of the body
	done    bool           // first is all of it
	stream  bool           // a stream of events
	err     error          // why none came
	verdict gateway.Verdict
}

// close ends the attempt and lets go of the upstream's connection.
func (a *answer) close() {
	if a.resp != nil {
		_ = a.resp.Body.Close() // its error means nothing after the fact
	}
	if a.watch != nil {
		a.watch.stop()
	}
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

// run makes attempts until one brought an answer that the client should have.
// Its lease is still out; an error means that there is nothing to pass on.
func (j *job) run(to *relay) (*answer, error) {
	deadline := j.f.opts.Now().Add(2 * j.f.opts.HeaderTimeout)
	lease, err := j.up.Pool.Acquire(&j.want, j.f.opts.Now())
	if err != nil {
		return nil, j.noKey(err)
	}
	a := &answer{}
	for n, plans := 0, 0; ; n++ {
		j.attempt(a, lease, to)
		if a.verdict.Next == gateway.NextStop {
			a.close()
			return nil, errClientGone
		}
		if a.verdict.Next == gateway.NextKeyOnce {
			plans++
		}
		again := n < j.f.opts.MaxRetries && plans < 2 && !to.begun() && j.f.opts.Now().Before(deadline)
		if again && a.verdict.Next != gateway.NextDeliver {
			if lease, err = j.another(a, n); err == nil {
				a.close()
				continue
			}
			if errors.Is(err, errClientGone) {
				a.close()
				return nil, err
			}
		}
		return j.last(a, to)
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
	return j.up.Pool.Acquire(&j.want, j.f.opts.Now())
}

// last decides what the client sees of the attempt after which there is no
// other: the answer as it came, or words of ours where it speaks about our keys.
func (j *job) last(a *answer, to *relay) (*answer, error) {
	v := &a.verdict
	switch {
	case to.begun() || v.Next == gateway.NextDeliver:
		return a, nil
	case v.OutOfQuota():
		a.close()
		return nil, j.refused(gateway.KindRateLimited, "every key that was tried is out of quota", v)
	case v.RefusesKey():
		a.close()
		return nil, j.refused(gateway.KindNoKey, "the upstream refused every key that was tried", v)
	case a.resp != nil:
		return a, nil
	}
	var timeout interface{ Timeout() bool }
	if errors.As(a.err, &timeout) && timeout.Timeout() || errors.Is(a.err, errSilent) {
		return nil, &gateway.Error{Kind: gateway.KindUpstreamTimeout, Message: fmt.Sprintf("%s did not answer in time", j.up.Adapter.Name), Cause: a.err}
	}
	return nil, &gateway.Error{Kind: gateway.KindUpstream, Message: fmt.Sprintf("%s could not be reached or broke the connection", j.up.Adapter.Name), Cause: a.err}
}

// attempt sends the request with one key and judges what comes back. Unless
// the answer is a good one, the lease is released.
func (j *job) attempt(a *answer, lease pool.Lease, to *relay) {
	began := j.f.opts.Now()
	*a = answer{lease: lease, watch: newWatch(j.body.context(j.client))}
	a.resp, a.err = j.up.Transport.RoundTrip(j.request(a.watch.ctx, lease.Bearer())) //nolint:bodyclose // answer.close does
	switch {
	case a.err != nil:
		a.resp = nil
		a.verdict = j.judgeError(a, a.err)
	case a.resp.StatusCode >= 400:
		j.readError(a)
	default:
		j.readFirst(a, to)
	}
	now := j.f.opts.Now()
	if a.verdict.OK {
		a.lease.Settle(&a.verdict, now)
	} else {
		a.lease.Release(&a.verdict, now)
	}
	status := 0
	if a.resp != nil {
		status = a.resp.StatusCode
	}
	j.x.Record.Attempts = append(j.x.Record.Attempts, gateway.Attempt{
		Key: lease.Key(), Status: status, Verdict: a.verdict, Duration: now.Sub(began),
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

// judgeError blames whoever kept the answer from coming.
func (j *job) judgeError(a *answer, err error) gateway.Verdict {
	if j.client.Err() != nil {
		return gateway.Verdict{Scope: gateway.ScopeClient, Next: gateway.NextStop, Reason: "client closed the request"}
	}
	var timeout interface{ Timeout() bool }
	return j.up.Adapter.JudgeError(err, errors.As(err, &timeout) && timeout.Timeout() || a.watch.fired())
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
	if a.err != nil && !a.done && j.client.Err() != nil {
		a.verdict = j.judgeError(a, a.err)
		return
	}
	a.verdict = j.judge(a)
	if a.done {
		a.err = nil
		a.close()
	}
}

// readFirst reads the first bytes of a good answer, so that an upstream that
// breaks off at once can still be replaced. A stream's head is passed on soon
// all the same, see relay.
func (j *job) readFirst(a *answer, to *relay) {
	contentType := a.resp.Header.Get("Content-Type")
	a.stream = isStream(contentType)
	a.watch.start(j.f.opts.StreamIdleTimeout)
	to.expect(a)
	n, err := 0, error(nil)
	for n == 0 && err == nil {
		n, err = a.resp.Body.Read(to.buf)
	}
	to.hold()
	a.watch.saw()
	a.first = to.buf[:n]
	if err != nil {
		a.done = errors.Is(err, io.EOF)
		if !a.done && (n == 0 || a.stream) && !to.begun() {
			a.err = j.cause(a, err)
			a.verdict = j.judgeError(a, a.err)
			a.close()
			a.resp = nil
			return
		}
		if !a.done {
			a.err = j.cause(a, err)
		}
	}
	if payload, ok := j.errorIn(a); ok && !to.begun() {
		if v, ok := j.up.Adapter.JudgeEvent(payload, j.f.opts.Now()); ok {
			a.verdict = v
			return
		}
	}
	a.verdict = j.judge(a)
}

// errorIn finds an error in the beginning of an answer whose status is good:
// as a stream's first event, or as the whole of a JSON body.
func (j *job) errorIn(a *answer) ([]byte, bool) {
	if a.stream {
		return usage.FirstEventError(j.x.Route.Dialect, true, a.first)
	}
	body := bytes.TrimLeft(a.first, " \t\r\n")
	return body, bytes.HasPrefix(body, []byte(`{"error":`)) && json.Valid(body)
}

func (j *job) judge(a *answer) gateway.Verdict {
	return j.up.Adapter.Judge(provider.Answer{Status: a.resp.StatusCode, Header: a.resp.Header, Body: a.first, Now: j.f.opts.Now()})
}

// cause names a silence as such: it shows as a cancelled read.
func (j *job) cause(a *answer, err error) error {
	if a.watch.fired() && j.client.Err() == nil {
		return errSilent
	}
	return err
}

// isStream tells a stream of events by its content type.
func isStream(contentType string) bool {
	return strings.HasPrefix(contentType, "text/event-stream") || strings.HasPrefix(contentType, "application/x-ndjson")
}

// noKey explains to the client why there is no key for its first attempt.
func (j *job) noKey(err error) error {
	var e *pool.Exhausted
	if !errors.As(err, &e) {
		return err
	}
	name := j.up.Adapter.Name
	out := &gateway.Error{Kind: gateway.KindNoKey, RetryAfter: e.RetryAfter}
	switch e.Reason {
	case pool.Empty:
		out.Message = fmt.Sprintf("the %s pool has no keys: add some on the dashboard, with POST /admin/api-keys, or with `ollama-api-pool keys import FILE`", name)
		if name != gateway.Ollama {
			out.Message = fmt.Sprintf("the %s pool has no keys: add some on the dashboard, with POST /admin/api-keys?provider=%s, or with `ollama-api-pool keys import --provider %s FILE`", name, name, name)
		}
	case pool.AllResting:
		out.Kind = gateway.KindRateLimited
		out.Message = fmt.Sprintf("every %s key is out of quota; the first returns in %s", name, span(e.RetryAfter))
	case pool.NoneForPlan:
		out.Message = fmt.Sprintf("no usable %s key may use this model: their plans lack it", name)
	case pool.BreakerOpen:
		out.Message = fmt.Sprintf("%s is not answering; it is tried again every second", name)
		if e.Refusal != "" {
			out.Message = fmt.Sprintf("%s refuses every key (%s), so the fault is hardly with the keys; it is tried again every second", name, e.Refusal)
		}
	default:
		out.Message = fmt.Sprintf("no %s key is usable now", name)
		if e.RetryAfter > 0 {
			out.Message += "; the first returns in " + span(e.RetryAfter)
		}
	}
	return out
}

// refused explains that attempts were made and all met the same wall.
func (j *job) refused(kind gateway.Kind, message string, v *gateway.Verdict) error {
	wait, usable := j.up.Pool.SoonestReturn(j.f.opts.Now())
	if usable {
		wait = time.Second
	}
	return &gateway.Error{
		Kind: kind, RetryAfter: wait,
		Message: fmt.Sprintf("%s (last: %s)", message, v.Reason),
	}
}

func span(d time.Duration) string {
	return d.Round(time.Second).String()
}
