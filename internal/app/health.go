package app

import (
	"net/http"
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

// health tells whether the process can serve, and at /health/ready whether it
// should be sent requests.
func (a *App) health(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		e := gateway.Errorf(gateway.KindMethod, "method %s is not allowed here: use GET", gateway.Clip(r.Method, 20))
		e.Allow = "GET, HEAD"
		httpkit.WriteAdminError(w, r, e, httpkit.RequestID(r))
		return
	}
	w.Header().Set("Access-Control-Allow-Origin", "*")
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
