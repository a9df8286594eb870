package shared

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Status tells how the Redis is.
type Status struct {
	Address string // without user, password and parameters
	Mode    Mode
	Up      bool
	Since   time.Time // of Up being as it is
	Error   string    // the last one, "": there was none
	Why     string    // what Error comes from, in a few words and without an address
	ErrorAt time.Time

	Calls   int64 // for which a request waited
	Missed  int64 // of those that failed or came too late
	Skipped int64 // that were not made since it was down
	Dropped int64 // what was to be kept in a cache and was not
	Hints   int64 // by which others woke this instance
}

// gate lets calls pass while the Redis answers in time.
type gate struct {
	up                     atomic.Bool
	calls, missed, skipped atomic.Int64

	mu       sync.Mutex // guards what follows, and changes of up
	ended    bool
	since    time.Time
	was      bool // it has answered before
	text     string
	why      string
	textAt   time.Time
	warnedAt time.Time
	warned   bool // that it is down was logged, and not yet that it is back
}

// warnAgain is how often at most it is logged that the Redis went away.
const warnAgain = 10 * time.Second

func (g *gate) init(now time.Time) { g.since = now }

// open reports whether anybody may be asked.
func (g *gate) open() bool {
	if g.up.Load() {
		return true
	}
	g.skipped.Add(1)
	return false
}

// Up reports whether the Redis answers, as far as is known.
func (r *Redis) Up() bool { return r.gate.up.Load() }

// Status tells how the Redis is.
func (r *Redis) Status() Status {
	g := &r.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	return Status{
		Address: r.address.shown, Mode: r.address.mode,
		Up: g.up.Load(), Since: g.since, Error: g.text, Why: g.why, ErrorAt: g.textAt,
		Calls: g.calls.Load(), Missed: g.missed.Load(), Skipped: g.skipped.Load(),
		Dropped: r.kept.dropped.Load(), Hints: r.hints.heard.Load(),
	}
}

// harmless reports whether an error concerns one entry only: it is not what it
// should be. Others can still be asked for.
func harmless(err error) bool {
	return errors.Is(err, redis.Nil) || err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE")
}

// shut stops all calls, from everybody, until a look finds that it answers.
func (r *Redis) shut(ctx context.Context, err error) {
	if harmless(err) {
		return
	}
	g, now := &r.gate, r.opts.Now()
	text := r.address.hidden(err.Error())
	g.mu.Lock()
	if g.up.Swap(false) {
		g.since = now
	}
	g.text, g.textAt, g.why = text, now, r.why(err, !g.was)
	why := g.why
	tell := !g.ended && !g.warned && (g.warnedAt.IsZero() || now.Sub(g.warnedAt) >= warnAgain)
	if tell {
		g.warned, g.warnedAt = true, now
	}
	g.mu.Unlock()
	if tell {
		r.opts.Log.WarnContext(ctx, "Redis is out of reach: each instance limits and caches by itself until it is back",
			slog.String("address", r.address.shown), slog.String("cause", why), slog.String("error", text))
	}
}

// opened lets calls pass again.
func (r *Redis) opened(ctx context.Context) {
	g, now := &r.gate, r.opts.Now()
	g.mu.Lock()
	if g.ended || g.up.Swap(true) {
		g.mu.Unlock()
		return
	}
	g.since, g.was = now, true
	tell := g.warned || g.warnedAt.IsZero()
	g.warned, g.warnedAt = false, now
	g.mu.Unlock()
	if tell {
		r.opts.Log.InfoContext(ctx, "Redis answers: limits and caches are shared",
			slog.String("address", r.address.shown), slog.String("mode", string(r.address.mode)))
	}
	r.told.again()
	r.hints.missed()
	r.kept.wake()
}

// end stops all calls for good.
func (r *Redis) end() {
	g := &r.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = true
	if g.up.Swap(false) {
		g.since = r.opts.Now()
	}
}

// Run keeps in touch with the Redis until the context ends: it looks whether it
// answers, listens for hints, and writes what nobody waits for. Then it writes
// what is left, for two seconds at most, and closes the connections. It may be
// called once.
func (r *Redis) Run(ctx context.Context) error {
	var loops sync.WaitGroup
	for _, loop := range []func(context.Context){r.watch, r.listen, r.announce, r.tell, r.keep} {
		loops.Go(func() { loop(ctx) })
	}
	loops.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	err := r.Flush(last)
	r.end()
	return errors.Join(err, r.Close())
}

// Flush writes what is still to be written of limits and hints. Where the Redis is
// down it does nothing: the counts are in the database as well.
func (r *Redis) Flush(ctx context.Context) error {
	if !r.Up() {
		return nil
	}
	if err := r.flushHints(ctx); err != nil {
		return err
	}
	return r.flushTold(ctx)
}

// watch looks again and again whether the Redis answers.
func (r *Redis) watch(ctx context.Context) {
	tick := time.NewTicker(r.opts.Pause)
	defer tick.Stop()
	for ctx.Err() == nil {
		r.lookOnce(ctx)
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-r.kick:
		}
	}
}

// lookOnce looks whether the Redis answers. One that was down must answer as fast
// as a request needs it before anybody asks again.
func (r *Redis) lookOnce(ctx context.Context) {
	if r.prefix.Load() == nil {
		return
	}
	down := !r.Up()
	err := r.answers(ctx, down)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		r.shut(ctx, err)
	case down:
		r.opened(ctx)
	}
}

func (r *Redis) answers(ctx context.Context, down bool) error {
	slow, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	pings := 1
	if down {
		pings = warm // so that not every request of the first ones has to connect
	}
	if err := r.everywhere(slow, func(ctx context.Context, c *redis.Client) error { return ping(ctx, c, pings) }); err != nil {
		return err
	}
	if !down {
		return nil
	}
	// Now that there are connections: scripts, and as fast as it will have to be.
	if err := r.everywhere(slow, load); err != nil {
		return err
	}
	fast, cancel := context.WithTimeout(ctx, r.opts.Deadline)
	defer cancel()
	return lookScript.Run(fast, r.client, []string{r.key("look", r.run, "")}, time.Minute.Milliseconds()).Err()
}

// warm is how many connections are made before anybody may ask.
const warm = 4

// ping asks a server for a sign of life, on so many connections at the same time.
func ping(ctx context.Context, c *redis.Client, times int) error {
	errs := make([]error, times)
	var all sync.WaitGroup
	for i := range times {
		all.Go(func() { errs[i] = c.Ping(ctx).Err() })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// everywhere does something on every server that keys are on.
func (r *Redis) everywhere(ctx context.Context, do func(ctx context.Context, c *redis.Client) error) error {
	switch c := r.client.(type) {
	case *redis.ClusterClient:
		return c.ForEachMaster(ctx, do)
	case *redis.Client:
		return do(ctx, c)
	}
	return errors.New("a client of no kind that is known") // there is no third one
}
