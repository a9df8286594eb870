// Package shared is what several instances have in common besides the database:
// a Redis that wakes them when something changed, counts limits for all of them
// and keeps their caches. It is never the truth. Whoever asks it waits 50 ms at
// most, and where it does not answer each instance goes on by itself.
package shared

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"ollama-api-pool/internal/gateway"
)

// Options are what a Redis is made with. The zero value will do.
type Options struct {
	Log      *slog.Logger     // nil: nothing is logged
	Now      func() time.Time // nil: time.Now
	Deadline time.Duration    // of one call for a request, in all; 0: 50 ms
	Pause    time.Duration    // between looks whether it is there; 0: a second
	RootCAs  *x509.CertPool   // whom to trust over TLS; nil: whom the system trusts
}

const (
	defaultDeadline = 50 * time.Millisecond
	defaultPause    = time.Second
	patience        = time.Second      // of calls that nobody waits for
	lastWords       = 2 * time.Second  // for what is still to be written at the end
	renewEvery      = 10 * time.Second // how often it is said again which requests run
	runningFor      = 30 * time.Second // for how long that holds
)

// Redis is the connection to what is shared. All methods may be called
// concurrently, unless they say otherwise.
type Redis struct {
	opts    Options
	address address
	client  redis.UniversalClient
	gate    gate
	run     string // names this run of the program, whatever the instance is called
	prefix  atomic.Pointer[string]
	renews  time.Duration // how often it is said again which requests run, and
	holds   time.Duration // for how long that holds
	kick    chan struct{} // looks at once instead of after the pause

	hints hints
	told  told
	kept  kept

	closed sync.Once
}

// quiet keeps go-redis from writing to the standard error. What it has to say
// comes with the errors.
var quiet = sync.OnceFunc(logging.Disable)

// New reads an address and opens nothing. An error names what is wrong with the
// address, without a part of it that could be a password.
func New(url gateway.Secret, o Options) (*Redis, error) {
	a, err := parseAddress(url.Reveal())
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Deadline <= 0 {
		o.Deadline = defaultDeadline
	}
	if o.Pause <= 0 {
		o.Pause = defaultPause
	}
	quiet()
	r := &Redis{opts: o, address: a, run: rand.Text()[:12], renews: renewEvery, holds: runningFor, kick: make(chan struct{}, 1)}
	r.client = a.connect(o)
	r.gate.init(o.Now())
	r.hints.init()
	r.told.init()
	r.kept.init()
	if len(a.ignored) > 0 {
		o.Log.Warn("parameters of REDIS_URL have no effect here", slog.String("parameters", strings.Join(a.ignored, ", ")))
	}
	return r, nil
}

// SetPrefix names the store that the instances share, so that several of them can
// live in one Redis: all keys and channels begin with ollama-api-pool: and this
// name. Before it is set nothing is asked.
func (r *Redis) SetPrefix(store string) {
	p := "ollama-api-pool:" + strings.NewReplacer("{", "", "}", "").Replace(store) + ":"
	r.prefix.Store(&p)
	r.look()
}

// key is a name in Redis. Names with the same tag lie in the same slot of a
// cluster.
func (r *Redis) key(kind, tag, rest string) string {
	p := r.prefix.Load()
	if p == nil {
		return ""
	}
	return *p + kind + ":{" + tag + "}" + rest
}

// look lets Run look now.
func (r *Redis) look() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// Close lets go of the connections. What was not written is lost; Run writes it
// before it returns.
func (r *Redis) Close() error {
	var err error
	r.closed.Do(func() { err = r.client.Close() })
	if err != nil {
		return r.address.scrub("close the connections to Redis", err)
	}
	return nil
}

// ask is a call that a request waits for. It costs nothing while nobody can be
// asked, and no more than the deadline when the answer does not come.
func (r *Redis) ask(ctx context.Context, call func(ctx context.Context) error) bool {
	if !r.gate.open() {
		return false
	}
	// A client that leaves is no reason to leave a half-done call behind.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.opts.Deadline)
	defer cancel()
	r.gate.calls.Add(1)
	if err := call(ctx); err != nil && !errors.Is(err, redis.Nil) {
		r.gate.missed.Add(1)
		r.shut(ctx, err)
		return false
	}
	return true
}
