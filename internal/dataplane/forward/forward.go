// Package forward is the step that carries a request upstream: it borrows a
// key, sends the request, judges what comes back, tries another key where that
// can help, and passes the answer on as it arrives.
package forward

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"ollama-api-pool/internal/dataplane/pool"
	"ollama-api-pool/internal/dataplane/provider"
	"ollama-api-pool/internal/gateway"
)

// Upstream is one provider that requests can go to.
type Upstream struct {
	Adapter   *provider.Adapter
	Pool      *pool.Pool
	Transport http.RoundTripper
	Disabled  bool
}

// Options bound what one request may take.
type Options struct {
	MaxRetries        int           // attempts after the first
	HeaderTimeout     time.Duration // how long an upstream may take until its response header; no attempt begins after twice that
	StreamIdleTimeout time.Duration // longest silence inside an answer, and longest time for which a client may take nothing of it
	HeadGrace         time.Duration // 0: headGrace
	MaxBodyBytes      int64
	Now               func() time.Time
	Pause             func(ctx context.Context, d time.Duration) error // waits; nil: a timer
}

// headGrace is how long what has come of an answer is held back in the hope that
// more comes along: a stream's first event can be an error, a short answer can
// break off, and another key may do better. After it the client gets what there
// is, and there is no way back.
const headGrace = 20 * time.Millisecond

// Forwarder carries requests to the upstreams. It may be used concurrently.
type Forwarder struct {
	upstreams map[gateway.ProviderName]*Upstream
	opts      Options
}

// New makes a forwarder to the given upstreams.
func New(upstreams map[gateway.ProviderName]*Upstream, opts Options) *Forwarder {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.HeadGrace == 0 {
		opts.HeadGrace = headGrace
	}
	if opts.Pause == nil {
		opts.Pause = pause
	}
	return &Forwarder{upstreams: upstreams, opts: opts}
}

// errClientGone ends a request that nobody waits for any more.
var errClientGone = &gateway.Error{Kind: gateway.KindInternal, Message: "the client went away", Cause: context.Canceled}

// abandoned is the verdict on an attempt that a panic ended.
var abandoned = gateway.Verdict{Scope: gateway.ScopeClient, Reason: "abandoned"}

// Serve answers a request of the data plane from upstream. It is the last step
// of the chain.
func (f *Forwarder) Serve(w http.ResponseWriter, r *http.Request) error {
	x := gateway.ExchangeFrom(r.Context())
	body, err := f.read(w, r, x)
	if err != nil {
		return err
	}
	defer body.release()
	up, err := f.upstream(x.Route.Provider)
	if err != nil {
		return err
	}
	job := newJob(f, up, x, r, body)
	to := newRelay(w, x, &f.opts)
	defer to.close()
	a := &answer{}
	defer func() {
		a.close()
		a.lease.Release(&abandoned, f.opts.Now()) // as a rule that has been done
	}()
	err = job.run(a, to)
	switch {
	case errors.Is(err, errClientGone):
		x.Record.End = gateway.EndClientClosed
		return err
	case err != nil:
		return err
	}
	return job.deliver(a, to)
}

func (f *Forwarder) upstream(name gateway.ProviderName) (*Upstream, error) {
	up := f.upstreams[name]
	if up == nil || up.Disabled {
		return nil, gateway.Errorf(gateway.KindProviderDisabled, "provider %q is switched off", name)
	}
	return up, nil
}

// pauses between attempts at a failing upstream: 100 ms, then twice as long
// each time up to a second, half of it by chance so that clients do not march
// in step.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = time.Second
)

func pauseFor(attempt int) time.Duration {
	d := min(firstPause<<min(attempt, 6), longestPause)
	return d/2 + rand.N(d/2+1) //nolint:gosec // spreads load, guards nothing
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
