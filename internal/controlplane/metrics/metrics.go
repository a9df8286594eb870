// Package metrics is the step of the control plane that counts requests for
// Prometheus. It has a registry of its own, so that nothing but what stands
// here is shown. Label values come from fixed sets: no client can make series.
package metrics

import (
	"net/http"
	"runtime"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"ollama-api-pool/internal/gateway"
)

// prefix begins the name of every metric of ours.
const prefix = "ollama_api_pool_"

// noProvider is the label of requests for an address that belongs to none.
const noProvider = "none"

// Metrics counts requests and shows the counts. It may be used concurrently.
type Metrics struct {
	registry  *prometheus.Registry
	requests  *prometheus.CounterVec
	attempts  *prometheus.CounterVec
	providers []*provider
}

// New makes the metrics of these providers. The source tells what is not
// counted here; it is asked at each scrape and may be asked concurrently.
func New(providers []gateway.ProviderName, version string, source func() Snapshot) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "requests_total",
			Help: "Client requests by provider, status as the client saw it, and outcome; refused are those that are in no other count: not authenticated or not well formed.",
		}, []string{"provider", "status", "outcome"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "attempts_total",
			Help: "Attempts upstream by provider, whose fault the outcome was, and the upstream's status.",
		}, []string{"provider", "scope", "status"}),
	}
	durations := timesOf("request_duration_seconds", "Time until the end of the answer, of requests that the client did not break off.")
	firstBytes := timesOf("time_to_first_byte_seconds", "Time until the first byte to the client, of requests that succeeded.")
	tokens := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: prefix + "model_tokens_total", Help: "Tokens that models read (input) and wrote (output), as the upstream told.",
	}, []string{"provider", "direction"})
	m.registry.MustRegister(m.requests, m.attempts, durations, firstBytes, tokens,
		built(version), &live{source: source},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, name := range append([]gateway.ProviderName{noProvider}, providers...) {
		p := &provider{name: name}
		m.providers = append(m.providers, p)
		if name == noProvider {
			continue // answers none, so its times would be empty for ever
		}
		p.duration = durations.WithLabelValues(string(name))
		p.firstByte = firstBytes.WithLabelValues(string(name))
		p.input = tokens.WithLabelValues(string(name), "input")
		p.output = tokens.WithLabelValues(string(name), "output")
	}
	return m
}

func timesOf(name, help string) *prometheus.HistogramVec {
	bounds := make([]float64, len(gateway.HistogramBounds))
	for i, b := range gateway.HistogramBounds {
		bounds[i] = b.Seconds()
	}
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: prefix + name, Help: help, Buckets: bounds}, []string{"provider"})
}

// built tells which program this is.
func built(version string) prometheus.Collector {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: prefix + "build_info", Help: "Always 1; the labels tell the program's version.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	info.Set(1)
	return info
}

// provider is what is counted of one provider. Counters are made when they
// first count, then found without a map.
type provider struct {
	name                gateway.ProviderName
	requests            [outcomes][statuses]atomic.Pointer[prometheus.Counter]
	attempts            [scopes][statuses]atomic.Pointer[prometheus.Counter]
	duration, firstByte prometheus.Observer // nil of noProvider, like the counters below
	input, output       prometheus.Counter
}

// The outcomes of a request.
const (
	success = iota
	failure
	clientClosed
	refused
	outcomes
)

var outcomeNames = [outcomes]string{"success", "failure", "client_closed", "refused"}

// scopes is the number of gateway's scopes.
const scopes = int(gateway.ScopeUnknown) + 1

// Statuses are counted under their index: none came, the 500 that HTTP knows,
// and everything else.
const (
	noStatus    = 0
	firstStatus = 100
	lastStatus  = 599
	otherStatus = lastStatus - firstStatus + 2
	statuses    = otherStatus + 1
)

func statusIndex(status int) int {
	switch {
	case status == 0:
		return noStatus
	case status < firstStatus || status > lastStatus:
		return otherStatus
	}
	return status - firstStatus + 1
}

func statusName(index int) string {
	switch index {
	case noStatus:
		return "none"
	case otherStatus:
		return "other"
	}
	return strconv.Itoa(index + firstStatus - 1)
}

// Observe counts one request that has ended. It keeps nothing of x.
func (m *Metrics) Observe(x *gateway.Exchange) {
	r := &x.Record
	p := m.provider(r.Provider)
	outcome := refused
	if r.Counted {
		outcome = outcomeOf(r)
	}
	m.request(p, outcome, statusIndex(r.Status)).Inc()
	for i := range r.Attempts {
		a := &r.Attempts[i]
		m.attempt(p, min(int(a.Verdict.Scope), scopes-1), statusIndex(a.Status)).Inc()
	}
	if !r.Counted || p.duration == nil {
		return
	}
	if outcome != clientClosed {
		p.duration.Observe(r.Duration.Seconds())
	}
	if outcome == success {
		p.firstByte.Observe(r.FirstByte.Seconds())
	}
	if u := r.Usage; u.Input > 0 || u.Output > 0 {
		p.input.Add(float64(max(u.Input, 0)))
		p.output.Add(float64(max(u.Output, 0)))
	}
}

func outcomeOf(r *gateway.Record) int {
	switch ok, bad := r.Outcome(); {
	case ok:
		return success
	case bad:
		return failure
	}
	return clientClosed
}

// provider finds a provider; there are two or three.
func (m *Metrics) provider(name gateway.ProviderName) *provider {
	for _, p := range m.providers[1:] {
		if p.name == name {
			return p
		}
	}
	return m.providers[0]
}

func (m *Metrics) request(p *provider, outcome, status int) prometheus.Counter {
	at := &p.requests[outcome][status]
	if c := at.Load(); c != nil {
		return *c
	}
	c := m.requests.WithLabelValues(string(p.name), statusName(status), outcomeNames[outcome])
	at.Store(&c) // two that make it at a time make the same
	return c
}

func (m *Metrics) attempt(p *provider, scope, status int) prometheus.Counter {
	at := &p.attempts[scope][status]
	if c := at.Load(); c != nil {
		return *c
	}
	c := m.attempts.WithLabelValues(string(p.name), gateway.Scope(scope).String(), statusName(status)) //nolint:gosec // below scopes
	at.Store(&c)
	return c
}

// Handler shows everything in the form that was asked for.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes})
}

// maxScrapes is how many may ask at a time.
const maxScrapes = 4
