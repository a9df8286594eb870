package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"ollama-api-pool/internal/gateway"
)

// Snapshot is what others count: how things stand at a scrape, and what has
// been counted since the start.
type Snapshot struct {
	Providers  []Provider
	Caches     []Cache
	LogDropped int64            // entries of the request log for which there was no room
	Agents     map[string]int64 // requests by suspicious agent; the names are a fixed set
	Refusals   map[string]int64 // requests turned away, by limit; the names are a fixed set
	Database   bool             // the store is in reach
	Redis      *bool            // Redis is in reach; nil: there is none
	Spooled    int64            // batches that wait on the local disk for the database
	Instances  int64            // instances that work on the store
}

// Provider is how one provider stands.
type Provider struct {
	Name     gateway.ProviderName
	InFlight int64
	Keys     map[gateway.KeyStatus]int
	Open     bool // the breaker
}

// Cache is what a cache has done and holds.
type Cache struct {
	Name                         string // of a fixed set
	Hits, Misses, Bytes, Entries int64
}

// live shows a Snapshot.
type live struct{ source func() Snapshot }

var (
	inFlight    = describe("in_flight", "Requests that are being served.", "provider")
	keys        = describe("keys", "Keys by state.", "provider", "state")
	breakerOpen = describe("breaker_open", "1 while the provider's breaker is open.", "provider")
	cacheHits   = describe("cache_hits_total", "Answers that came from a cache.", "cache")
	cacheMisses = describe("cache_misses_total", "Answers that a cache did not have.", "cache")
	cacheBytes  = describe("cache_bytes", "What a cache holds.", "cache")
	cacheSize   = describe("cache_entries", "How many answers a cache holds.", "cache")
	logDropped  = describe("request_log_dropped_total", "Entries of the request log for which there was no room.")
	agentsSeen  = describe("suspicious_agents_total", "Requests of suspicious agents.", "agent")
	turnedAway  = describe("limit_refusals_total", "Requests that a limit turned away.", "limit")
	databaseUp  = describe("database_up", "1 while the store is in reach.")
	redisUp     = describe("redis_up", "1 while Redis is in reach; missing where there is none.")
	spooled     = describe("spooled_batches", "Batches of counters and states that wait on the local disk for the database.")
	instances   = describe("instances", "Instances that work on the store.")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prefix+name, help, labels, nil)
}

// Describe names the metrics.
func (l *live) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		inFlight, keys, breakerOpen, cacheHits, cacheMisses, cacheBytes, cacheSize, logDropped, agentsSeen, turnedAway,
		databaseUp, redisUp, spooled, instances,
	} {
		out <- d
	}
}

// Collect asks the source and passes on what it says.
func (l *live) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v int64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	s := l.source()
	for _, p := range s.Providers {
		name := string(p.Name)
		gauge(inFlight, float64(p.InFlight), name)
		for _, state := range gateway.KeyStatuses() {
			gauge(keys, float64(p.Keys[state]), name, string(state))
		}
		gauge(breakerOpen, oneIf(p.Open), name)
	}
	for _, c := range s.Caches {
		count(cacheHits, c.Hits, c.Name)
		count(cacheMisses, c.Misses, c.Name)
		gauge(cacheBytes, float64(c.Bytes), c.Name)
		gauge(cacheSize, float64(c.Entries), c.Name)
	}
	gauge(databaseUp, oneIf(s.Database))
	if s.Redis != nil {
		gauge(redisUp, oneIf(*s.Redis))
	}
	gauge(spooled, float64(s.Spooled))
	gauge(instances, float64(s.Instances))
	count(logDropped, s.LogDropped)
	for name, n := range s.Agents {
		count(agentsSeen, n, name)
	}
	for name, n := range s.Refusals {
		count(turnedAway, n, name)
	}
}

func oneIf(holds bool) float64 {
	if holds {
		return 1
	}
	return 0
}
