package admin

import "net/http"

func (a *API) metricsDoc() operation {
	return operation{
		summary: "Figures for Prometheus",
		about:   "In Prometheus' text form, or OpenMetrics where that is asked for. Needs the admin token unless `METRICS_PUBLIC` is on.",
		group:   "System", more: map[int]any{http.StatusOK: "text/plain"}, open: a.opt.MetricsPublic,
	}
}

// showMetrics shows what is counted to Prometheus.
func (a *API) showMetrics(w http.ResponseWriter, r *http.Request) error {
	a.metrics.ServeHTTP(w, r)
	return nil
}
