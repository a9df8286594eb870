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
	if r.URL.Path == "/health/ready" && !ready {
		status, h.Status = http.StatusServiceUnavailable, "not ready"
	}
	_ = httpkit.WriteJSON(w, status, h) // the client may be gone
}
