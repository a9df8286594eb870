// Package app puts the parts together: it is the one place that knows them all.
package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"ollama-api-pool/internal/background"
	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/controlplane/admin"
	"ollama-api-pool/internal/controlplane/jobs"
	"ollama-api-pool/internal/controlplane/metrics"
	"ollama-api-pool/internal/controlplane/web"
	"ollama-api-pool/internal/dataplane"
	"ollama-api-pool/internal/dataplane/auth"
	"ollama-api-pool/internal/dataplane/cache"
	"ollama-api-pool/internal/dataplane/limit"
	"ollama-api-pool/internal/dataplane/pool"
	"ollama-api-pool/internal/dataplane/usage"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/shared"
	"ollama-api-pool/internal/storage/sqlstore"
	sources "ollama-api-pool/web"
)

// How often what happens beside the requests is done.
const (
	tickEvery   = 500 * time.Millisecond // keys whose rest is over come back, also where nobody asks
	fileEvery   = 2 * time.Second        // rows that something else inserted into a file are noticed
	reachEvery  = 500 * time.Millisecond // a database that is out of reach is tried again
	rehashEvery = 2 * time.Second        // used plain tokens are replaced by hashes
	forgetEvery = 10 * time.Second       // answers that are too old leave the cache
	foldEvery   = 5 * time.Second        // the journal of key counts is added up, see folding
)

// lastWrite is how long the final write may take after everything has stopped.
const lastWrite = 10 * time.Second

// lastFold is how long the journal of key counts may be added up at the end.
const lastFold = 3 * time.Second

// lastMirror is how long the local mirror may be brought up to date at the end.
const lastMirror = 3 * time.Second

// Deps are what an App takes from outside.
type Deps struct {
	Log       *slog.Logger
	Version   string
	Settings  config.Report     // how the settings were found, to be shown
	Transport http.RoundTripper // to the upstreams; nil: the network, as configured
}

// App is the running program.
type App struct {
	cfg     *config.Config
	log     *slog.Logger
	version string
	started time.Time

	lock     *Lock
	listener net.Listener
	server   *http.Server
	failed   chan error // why the App cannot go on: of the server, of a loop
	handler  atomic.Pointer[http.Handler]
	pages    *web.Pages // nil: none
	api      *admin.API
	active   *inFlight

	presence   *presence
	store      *sqlstore.Store
	local      *sqlstore.Store // beside a database: its mirror, and what waits for it; nil: none
	standing   *standing
	leases     *leases
	follower   *follower
	mirror     *mirror       // nil: none
	redis      *shared.Redis // nil: none
	redisNamed atomic.Bool   // it knows which store it is for
	pools      map[gateway.ProviderName]*pool.Pool
	tokens     *auth.Registry
	agents     *limit.Agents
	window     *limit.Window
	limits     *limit.Tokens
	models     *cache.Models
	answers    *cache.Answers // nil: off
	ledger     *usage.Ledger
	trail      *usage.Trail
	flight     *dataplane.Gauge // requests that run on the data plane
	writer     *writer
	roster     *Roster
	jobs       *jobs.Registry
	checks     *Checks
	metrics    *metrics.Metrics
	adminToken gateway.Secret
	loops      *background.Group

	ready    atomic.Bool // loaded, and not stopping
	stopping atomic.Bool
}

// Start takes hold of the data directory, listens, loads the pool and begins
// to serve. Errors are fit for the operator's eyes. An App that started must
// be stopped.
func Start(ctx context.Context, cfg *config.Config, deps Deps) (*App, error) {
	a := newApp(cfg, deps)
	a.failed, a.active = make(chan error, 2), newInFlight()
	var err error
	if a.pages, err = web.New(web.Options{Files: sources.Files, Version: deps.Version, Log: deps.Log}); err != nil {
		return nil, err
	}
	if err := a.start(ctx, deps); err != nil {
		a.abandon()
		return nil, err
	}
	return a, nil
}

// newApp makes an App that has taken hold of nothing yet.
func newApp(cfg *config.Config, deps Deps) *App {
	a := &App{cfg: cfg, log: deps.Log, version: deps.Version, started: time.Now()}
	a.presence = newPresence(rand.Text(), deps.Version, a.started)
	return a
}

func (a *App) start(ctx context.Context, deps Deps) (err error) {
	if !a.cfg.DisableKVStorage {
		if a.lock, err = TakeDataDir(a.cfg.DataDir); err != nil {
			return err
		}
	}
	if err := a.takeAdminToken(ctx); err != nil {
		return err
	}
	if a.listener, err = listen(ctx, a.cfg.ListenAddr); err != nil {
		return err
	}
	a.presence.at(a.listener.Addr())
	a.serve()
	if err := a.open(ctx); err != nil {
		return err
	}
	if err := errors.Join(a.openRedis(), a.nameRedis(ctx)); err != nil && a.standing.up() {
		return err
	}
	handler, err := a.routes(deps)
	if err != nil {
		return err
	}
	if a.lock != nil {
		if err := writeInstance(a.cfg.DataDir, Instance{PID: os.Getpid(), Addr: Reachable(a.listener.Addr().String()), Store: sharedName(a.store)}); err != nil {
			return err
		}
	}
	if err := a.sayHere(ctx); err != nil && a.standing.up() {
		return err
	}
	a.runLoops(ctx)
	a.handler.Store(&handler)
	a.ready.Store(true)
	return nil
}

// takeAdminToken finds the admin token, or makes one at first start.
func (a *App) takeAdminToken(ctx context.Context) (err error) {
	if a.adminToken = a.cfg.AdminToken; a.adminToken != "" {
		return nil
	}
	if InDatabase(a.cfg) {
		a.log.LogAttrs(ctx, slog.LevelWarn, "ADMIN_TOKEN is not set, so this instance has one of its own: several instances need the same ADMIN_TOKEN, and the same ENCRYPTION_KEY",
			slog.String("file", AdminTokenPath(a.cfg.DataDir)))
	}
	a.adminToken, err = ensureAdminToken(a.cfg.DataDir)
	return err
}

// open opens the store and fills memory from it or, where that is out of reach,
// from its last mirror.
func (a *App) open(ctx context.Context) (err error) {
	fromMirror, err := a.openStores(ctx)
	if err != nil {
		return err
	}
	a.assemble()
	if err := a.fill(ctx, fromMirror); err != nil {
		return err
	}
	debug.FreeOSMemory() // loading needs a multiple of what stays
	if !a.standing.up() {
		return nil // which jobs were interrupted is looked up when it is back
	}
	return a.jobs.Recover(ctx)
}

// assemble makes the parts that work on the open store.
func (a *App) assemble() {
	a.pools = map[gateway.ProviderName]*pool.Pool{}
	for _, name := range gateway.Providers() {
		a.pools[name] = pool.New(name, pool.Settings{
			FailedFor:        a.cfg.KeyFailedFor,
			DisableThreshold: a.cfg.KeyDisableThreshold,
			DisabledFor:      a.cfg.KeyDisabledFor,
		})
	}
	a.tokens = &auth.Registry{}
	a.limits = limit.NewTokens(time.Now)
	a.ledger = usage.NewLedger(usage.Options{
		Analytics:       a.cfg.EnableAnalytics,
		SampleRate:      a.cfg.StatsSampleRate,
		ModelSampleRate: a.cfg.ModelStatsSampleRate,
	})
	a.trail = usage.NewTrail(usage.TrailOptions{Mode: trailModes[a.cfg.RequestLog]})
	a.flight = dataplane.NewGauge(time.Now)
	a.writer = newWriter()
	a.writer.store, a.writer.local, a.writer.standing, a.writer.log = a.store, a.local, a.standing, a.log
	a.writer.pools, a.writer.ledger, a.writer.trail = a.pools, a.ledger, a.trail
	if a.store.Shared() {
		a.writer.instance, a.writer.hint = a.presence.self.ID, a.hint
	}
	a.metrics = metrics.New(gateway.Providers(), a.version, a.snapshot)
	a.roster = &Roster{store: a.store, pools: a.pools, tokens: a.tokens, limits: a.limits, writer: a.writer, now: time.Now, others: a.hint, book: newTokenBook()}
	a.leases = newLeases(a.standing, a.log)
	a.jobs = jobs.New(&jobStore{a.store, a.standing}, a.log, time.Now)
	a.follower = newFollower(a.roster, a.standing, a.log)
	a.follower.clear = func(pattern string) { a.clearHere(pattern) }
	a.follower.cancel = a.jobs.CancelHere
	a.writer.unsure = func() { a.follower.gap.Store(true) }
	if a.store.Shared() {
		a.roster.retake = a.follower.retakeTokens
	}
	if a.store.Shared() {
		a.jobs.Share(&otherInstances{a})
	}
	if a.local != nil {
		a.mirror = &mirror{from: a.store, to: a.local, standing: a.standing, now: time.Now}
	}
}

// fill fills memory. What waits on the local disk from earlier runs is sent
// first or, where the database is out of reach, taken into account.
func (a *App) fill(ctx context.Context, fromMirror bool) error {
	waiting, err := a.writer.recall(ctx)
	if err != nil {
		return err
	}
	if !fromMirror {
		err = a.fillFromStore(ctx)
		if err == nil || a.local == nil || !sqlstore.Unavailable(err) {
			return err
		}
		a.standing.lost(ctx, err) // just now
	}
	if err := a.roster.load(ctx, a.local); err != nil {
		return err
	}
	a.roster.relive(waiting)
	return nil
}

func (a *App) fillFromStore(ctx context.Context) error {
	if err := a.writer.enter(ctx); err != nil {
		return err
	}
	var err error
	for range refusedAfter { // what is refused as often is left out
		if err = a.writer.replay(ctx); !a.store.Refused(err) {
			break
		}
	}
	a.writer.leave()
	if err != nil {
		return err
	}
	if a.store.Shared() {
		if err := a.follower.start(ctx); err != nil {
			return err
		}
	}
	return a.roster.load(ctx, a.store)
}

// trailModes is what REQUEST_LOG means.
var trailModes = map[config.RequestLogMode]usage.TrailMode{
	config.LogFailures: usage.TrailFailures, config.LogAll: usage.TrailAll, config.LogOff: usage.TrailOff,
}

// ended takes note of a request of the data plane.
func (a *App) ended(x *gateway.Exchange) {
	a.ledger.Add(x)
	a.trail.Add(x)
	a.metrics.Observe(x)
}

func (a *App) runLoops(ctx context.Context) {
	a.loops = background.NewGroup(ctx, a.log)
	a.loops.Go("watch", func(ctx context.Context) error {
		if err := a.loops.Wait(ctx); err != nil {
			a.failed <- err // without its loops the App would forget what it counts
		}
		return nil
	})
	a.every("write", flushEvery, 0, a.writer.runOnce)
	a.every("rehash", rehashEvery, rehashEvery/4, a.roster.rehash)
	a.every("fold", foldEvery, foldEvery/4, (&folding{fold: a.fold}).runOnce)
	a.every("tidy", tidyEvery, tidyEvery/4, a.tidy)
	a.every("settle", settleEvery, settleEvery/4, a.settle)
	if a.store.Shared() {
		a.runShared()
	} else {
		a.loops.Every("follow", fileEvery, fileEvery/4, a.roster.follow)
	}
	if every := a.cfg.HealthCheckInterval; every > 0 {
		a.every("recheck", every, every/10, a.checks.recheck)
	}
	a.loops.Every("tick", tickEvery, 0, func(context.Context) error {
		for _, p := range a.pools {
			p.Tick(time.Now())
		}
		return nil
	})
	if a.redis != nil {
		a.loops.Go("redis", a.redis.Run)
		a.every("redis name", reachEvery, 0, a.nameRedis)
	}
	if a.answers != nil {
		a.loops.Every("cache", forgetEvery, forgetEvery/4, func(context.Context) error {
			a.answers.Tick()
			return nil
		})
	}
}

// runShared starts what is needed where others work on the same store.
func (a *App) runShared() {
	a.loops.Every("states", statesEvery, 0, a.writer.statesOnce)
	a.loops.Every("reach", reachEvery, 0, a.reach)
	a.loops.Go("follow", a.follower.run)
	a.loops.Go("listen", a.follower.listen)
	a.every("here", hereEvery, hereEvery/10, a.sayHere)
	a.every("leases", leaseEvery, 0, a.leases.renew)
	a.every("jobs", jobsEvery, jobsEvery/4, a.recoverJobs)
	if a.local != nil {
		a.loops.Every("keep", keepEvery, 0, a.writer.keepInTime)
		a.every("mirror", mirrorLook, mirrorLook/4, a.mirror.runOnce)
	}
}

// Addr is where the App listens.
func (a *App) Addr() net.Addr { return a.listener.Addr() }

// URL is an address that reaches the App on this machine.
func (a *App) URL() string { return "http://" + Reachable(a.listener.Addr().String()) }

// Keys is how many keys the pools hold together.
func (a *App) Keys() int {
	n := 0
	for _, p := range a.pools {
		n += p.Len()
	}
	return n
}

// Tokens is how many client tokens there are.
func (a *App) Tokens() int { return a.tokens.Len() }

// Degraded says what is out of reach, in words; clients are served all the same.
func (a *App) Degraded() []string { return a.degraded() }

// Failed yields the reason if the App cannot go on serving.
func (a *App) Failed() <-chan error { return a.failed }

// Stop refuses new work after SHUTDOWN_DELAY, lets running requests finish
// within SHUTDOWN_GRACE, writes down what is pending and lets go of everything.
// A context that ends cuts both short.
func (a *App) Stop(ctx context.Context) error {
	a.ready.Store(false)
	a.linger(ctx)
	a.stopping.Store(true)
	a.handler.Store(nil) // turns new requests away, while /health/ready can still say so
	a.api.EndStreams()   // nobody needs to wait for those
	grace, cancel := context.WithTimeout(ctx, a.cfg.ShutdownGrace)
	defer cancel()
	errs := []error{a.stopJobs(ctx)} // first, as callers wait for their end
	a.active.wait(grace)
	if err := a.server.Shutdown(grace); err != nil {
		a.log.WarnContext(ctx, "running requests were broken off: the grace is over",
			slog.Int("requests", a.active.count()), slog.Duration("grace", a.cfg.ShutdownGrace))
		_ = a.server.Close() // cancels what still runs
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWrite)
	defer cancel()
	a.active.wait(last) // what was cut off must be counted too
	errs = append(errs, a.loops.Stop(last))
	if err := a.writer.finish(last); err != nil {
		errs = append(errs, fmt.Errorf("write down the last counts: %w", err))
	}
	if a.standing.up() {
		errs = append(errs, a.settleDown(last))
	}
	errs = append(errs, a.release())
	return errors.Join(errs...)
}

// settleDown does what is good to have done at the end, where the store is in
// reach. On one that others use it is no error if something of it fails: it will
// be done by another, or at the next start.
func (a *App) settleDown(ctx context.Context) error {
	err := a.roster.rehash(ctx)
	// The journal is as durable as the rest. Whatever is not added up within a
	// moment is at the next start.
	moment, cancel := context.WithTimeout(ctx, lastFold)
	defer cancel()
	if err := a.fold(moment); err != nil {
		a.log.DebugContext(ctx, "the journal of key counts is left for the next start", slog.Any("error", err))
	}
	a.leases.dropAll(ctx)
	a.sayGone(ctx)
	if a.mirror != nil && a.standing.up() {
		moment, cancel := context.WithTimeout(ctx, lastMirror)
		defer cancel()
		if err := a.mirror.renew(moment); err != nil {
			a.log.DebugContext(ctx, "the local mirror is left as it was", slog.Any("error", err))
		}
	}
	if a.store.Shared() {
		return nil
	}
	return err
}

// release lets go of what Start took, in reverse order.
func (a *App) release() error {
	var errs []error
	if a.redis != nil {
		errs = append(errs, a.redis.Close())
	}
	if a.store != nil {
		if err := a.store.Close(); !a.store.Shared() {
			errs = append(errs, err) // a connection that is lost already needs no closing
		}
	}
	if a.local != nil {
		errs = append(errs, a.local.Close())
	}
	if a.lock != nil {
		errs = append(errs, removeInstance(a.cfg.DataDir), a.lock.Release())
	}
	return errors.Join(errs...)
}

// abandon undoes a start that failed.
func (a *App) abandon() {
	if a.server != nil {
		_ = a.server.Close() // nothing was served yet
	} else if a.listener != nil {
		_ = a.listener.Close()
	}
	if a.redis != nil {
		_ = a.redis.Close() // the first error is what counts
	}
	for _, s := range []*sqlstore.Store{a.store, a.local} {
		if s != nil {
			_ = s.Close()
		}
	}
	if a.lock != nil {
		_ = a.lock.Release()
	}
}

// listen opens the address, and names the cure where it cannot.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("cannot listen on %s: the port is taken: stop what uses it, or choose another with LISTEN_ADDR", addr)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("cannot listen on %s: not permitted: ports below 1024 need privileges, choose another with LISTEN_ADDR", addr)
	default:
		return nil, fmt.Errorf("cannot listen on %s: %w: set LISTEN_ADDR to an address of this machine", addr, err)
	}
}

// Reachable turns an address to listen on, host:port, into one at which this
// machine reaches it: what stands for every interface becomes loopback.
func Reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// Roster changes the App's keys and tokens.
func (a *App) Roster() *Roster { return a.roster }
