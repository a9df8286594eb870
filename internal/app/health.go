package app

import (
	"net/http"
	"slices"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

type healthAnswer struct {
	Status     string                                   `json:"status"`
	Reasons    []string                                 `json:"reasons,omitempty"` // why it is degraded
	Service    string                                   `json:"service"`
	Version    string                                   `json:"version"`
	Configured bool                                     `json:"configured"`
	Providers  map[gateway.ProviderName]*providerHealth `json:"providers"`
	Timestamp  time.Time                                `json:"timestamp"`
	Uptime     int64                                    `json:"uptime"` // seconds
}

type providerHealth struct {
	Enabled    bool `json:"enabled"`
	Configured bool `json:"configured"`
}

// healthMethods are those that health answers.
const healthMethods = "GET, HEAD, OPTIONS"

// publish lets pages of every site read an answer, or those of
// CORS_ALLOWED_ORIGINS where that is set.
func (a *App) publish(h http.Header, r *http.Request) {
	allowed := a.cfg.CORSAllowedOrigins
	if len(allowed) == 0 || slices.Contains(allowed, "*") {
		h.Set("Access-Control-Allow-Origin", "*")
		return
	}
	h.Add("Vary", "Origin")
	if origin := r.Header.Get("Origin"); slices.Contains(allowed, origin) {
		h.Set("Access-Control-Allow-Origin", origin)
	}
}

// health tells whether the process can serve, and at /health/ready whether it
// should be sent requests.
func (a *App) health(w http.ResponseWriter, r *http.Request) {
	a.publish(w.Header(), r)
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions:
		w.Header().Set("Allow", healthMethods)
		w.Header().Set("Access-Control-Allow-Methods", healthMethods)
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		e := gateway.Errorf(gateway.KindMethod, "method %s is not allowed here: use GET", gateway.Clip(r.Method, 20))
		e.Allow = healthMethods
		httpkit.WriteAdminError(w, r, e, httpkit.RequestID(r))
		return
	}
	h := healthAnswer{
		Status: "ok", Service: "ollama-api-pool", Version: a.version,
		Providers: map[gateway.ProviderName]*providerHealth{},
		Timestamp: time.Now().UTC(), Uptime: int64(time.Since(a.started) / time.Second),
	}
	ready := a.ready.Load()
	for _, name := range gateway.Providers() {
		p := &providerHealth{Enabled: !a.cfg.Disabled(name)}
		if ready {
			p.Configured = a.pools[name].Len() > 0
		}
		h.Configured = h.Configured || p.Enabled && p.Configured
		h.Providers[name] = p
	}
	status := http.StatusOK
	if r.URL.Path == "/health/ready" {
		if h.Reasons = a.degraded(); len(h.Reasons) > 0 {
			h.Status = "degraded"
		}
		if !ready {
			status, h.Status, h.Reasons = http.StatusServiceUnavailable, "not ready", nil
		}
	}
	_ = httpkit.WriteJSON(w, status, h) // the client may be gone
}

// degraded says what is out of reach, in a few words each and without an address.
// Clients are served all the same. An App that is not open yet is not degraded.
func (a *App) degraded() []string {
	if !a.ready.Load() {
		return nil
	}
	var reasons []string
	if o, down := a.standing.outage(); down {
		reasons = append(reasons, "the database is out of reach since "+o.Since.UTC().Format(time.RFC3339)+": "+o.Why)
	}
	if reason := a.withoutRedis(); reason != "" {
		reasons = append(reasons, reason)
	}
	return reasons
}

// withoutRedis says why Redis is not used, "" where it is or was not looked at
// yet.
func (a *App) withoutRedis() string {
	const then = "limits and caches are each instance's own"
	if a.redis == nil || a.redis.Up() {
		return ""
	}
	if !a.redisNamed.Load() {
		return "Redis is not used before the database was in reach: " + then
	}
	if s := a.redis.Status(); s.Error != "" {
		return "Redis is out of reach since " + s.Since.UTC().Format(time.RFC3339) + ": " + s.Why + ": " + then
	}
	return ""
}
