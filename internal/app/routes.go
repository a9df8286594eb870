package app

import (
	"net/http"
	"time"

	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/controlplane/admin"
	"ollama-api-pool/internal/dataplane"
	"ollama-api-pool/internal/dataplane/auth"
	"ollama-api-pool/internal/dataplane/cache"
	"ollama-api-pool/internal/dataplane/forward"
	"ollama-api-pool/internal/dataplane/limit"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// routes is every address of the program: the data plane's, the pages', the
// admin API's, and the few public ones.
func (a *App) routes(deps Deps) (http.Handler, error) {
	data, err := a.dataPlane(deps)
	if err != nil {
		return nil, err
	}
	if a.checks, err = a.newChecks(deps); err != nil {
		return nil, err
	}
	api := admin.New(admin.Parts{
		Keys: a.roster, Tokens: a.roster, Stats: a.roster,
		Figures: a.roster, Live: &live{a}, Metrics: a.metrics.Handler(),
		Sessions: a.roster, Stories: a.roster, Imports: a.checks, Cache: a, System: a, Checks: a.checks, Jobs: a.checks,
	}, admin.Options{
		Token:          a.adminToken,
		ImportMaxBytes: a.cfg.ImportMaxBytes,
		SpoolDir:       a.spoolDir(),
		Origins:        a.cfg.CORSAllowedOrigins,
		Clients:        httpkit.NewClients(a.cfg.TrustedProxies),
		Version:        a.version,
		Started:        a.started,
		Settings:       deps.Settings,
		Storage:        a.store.Engine(),
		Closed:         a.standing.refusal,
		Encrypted:      a.cfg.EncryptionKey != "",
		RequestLog:     string(a.cfg.RequestLog),
		MetricsPublic:  a.cfg.MetricsPublic,
		Log:            a.log,
		Now:            time.Now,
	})
	a.api = api
	known := dataplane.NewRoutes()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case path == "/api/test-templates": // ours, among the upstream's addresses
			api.ServeHTTP(w, r)
		case known.Serves(path):
			data.ServeHTTP(w, r)
		case path == "/health", path == "/health/ready":
			a.health(w, r)
		case a.forPages(r):
			a.pages.ServeHTTP(w, r)
		default:
			api.ServeHTTP(w, r)
		}
	}), nil
}

// forPages reports whether a request is for the pages, which an App that works
// on the store alone does not have.
func (a *App) forPages(r *http.Request) bool { return a.pages != nil && a.pages.Serves(r) }

// spoolDir is where large imports wait until they are complete, "" for in memory.
func (a *App) spoolDir() string {
	if a.cfg.DisableKVStorage || a.lock == nil {
		return ""
	}
	return a.cfg.DataDir
}

// dataPlane is the way of a client's request, outermost step first.
func (a *App) dataPlane(deps Deps) (http.Handler, error) {
	forwarder, err := a.forwarder(deps)
	if err != nil {
		return nil, err
	}
	clients := httpkit.NewClients(a.cfg.TrustedProxies)
	a.models = cache.NewModels(a.cfg.ModelsCacheTTL, time.Now)
	a.answers = a.answerCache(forwarder)
	a.window = limit.NewWindow(a.cfg.RateLimitRequests, a.cfg.RateLimitWindow, time.Now)
	a.shareCounts()
	a.agents = limit.NewAgents(a.cfg.BotDetectionMode == config.BotBlock, a.log, time.Now)
	steps := httpkit.Chain(forwarder.Serve,
		httpkit.Identify,
		httpkit.AccessLog(a.log),
		httpkit.Recover(a.log),
		dataplane.Count,
		only(a.cfg.EnableBotDetection, a.agents.Watch),
		only(a.cfg.EnableRateLimit, a.window.Limit),
		dataplane.Admit,
		auth.Require(a.tokens, time.Now, a.cfg.ModelsRequireAuth),
		dataplane.Attempts,
		a.limits.Limit,
		dataplane.Local,
		a.models.Serve,
		only(a.answers != nil, a.answers.Serve),
	)
	return &dataplane.Surface{
		Routes:      dataplane.NewRoutes(),
		Clients:     clients,
		Origins:     a.cfg.CORSAllowedOrigins,
		TokenInPath: a.cfg.TokenInPath,
		Now:         time.Now,
		Flight:      a.flight,
		Done:        a.ended,
		Steps:       httpkit.Entry(steps, httpkit.WriteDataError),
	}, nil
}

// only puts a step in where it is switched on.
func only(on bool, step httpkit.Middleware) httpkit.Middleware {
	if on {
		return step
	}
	return func(next httpkit.Handler) httpkit.Handler { return next }
}

func (a *App) forwarder(deps Deps) (*forward.Forwarder, error) {
	upstreams := map[gateway.ProviderName]*forward.Upstream{}
	for _, name := range gateway.Providers() {
		adapter, err := a.adapter(name)
		if err != nil {
			return nil, err
		}
		transport := deps.Transport
		if transport == nil {
			transport = newTransport(a.cfg)
		}
		upstreams[name] = &forward.Upstream{Adapter: adapter, Pool: a.pools[name], Transport: transport, Disabled: a.cfg.Disabled(name)}
	}
	return forward.New(upstreams, forward.Options{
		MaxRetries:        a.cfg.MaxRetries,
		HeaderTimeout:     a.cfg.UpstreamHeaderTimeout,
		StreamIdleTimeout: a.cfg.StreamIdleTimeout,
		MaxBodyBytes:      a.cfg.MaxBodyBytes,
		Now:               time.Now,
	}), nil
}
