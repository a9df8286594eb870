package app

import (
	"ollama-api-pool/internal/controlplane/metrics"
	"ollama-api-pool/internal/gateway"
)

// snapshot is what Prometheus is shown besides the requests themselves.
func (a *App) snapshot() metrics.Snapshot {
	s := metrics.Snapshot{LogDropped: a.trail.Dropped(), Agents: a.Agents(), Refusals: a.Refusals()}
	s.Database, s.Spooled, s.Instances = a.standing.up(), int64(a.writer.waits()), int64(len(a.presence.list()))
	if a.redis != nil {
		up := a.redis.Up()
		s.Redis = &up
	}
	for _, p := range gateway.Providers() {
		pl := a.pools[p]
		s.Providers = append(s.Providers, metrics.Provider{
			Name: p, InFlight: a.flight.Now(p), Keys: pl.Counts(), Open: pl.Health().Open,
		})
	}
	for _, c := range a.CacheFigures() {
		s.Caches = append(s.Caches, metrics.Cache{Name: c.Name, Hits: c.Hits, Misses: c.Misses, Bytes: c.Bytes, Entries: int64(c.Entries)})
	}
	return s
}
