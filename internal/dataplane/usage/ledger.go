package usage

import (
	"math/rand/v2"
	"net/http"
	"sync"

	"ollama-api-pool/internal/gateway"
)

// OtherModel is the name under which requests are counted that named one
// model too many.
const OtherModel = "(other)"

// Options say what a Ledger counts.
type Options struct {
	// Analytics counts by model too. Without it the totals of providers, tokens
	// and keys are counted as ever, and as ever by the minute: they are what
	// other totals are made of, and must stay exact.
	Analytics       bool
	SampleRate      float64        // 0…1: share of requests noted for providers, tokens and keys
	ModelSampleRate float64        // 0…1: the same for models
	Rand            func() float64 // 0 <= x < 1, safe for concurrent use; nil: math/rand
}

// Ledger counts clients' requests in memory until they are drained and written
// down. It is safe for concurrent use.
type Ledger struct {
	total, models sampler

	mu   sync.Mutex // guards open and the pages in it
	open book

	draining sync.Mutex // guards spare; held by one Drain at a time
	spare    book       // emptied, to be opened by the next Drain
}

// NewLedger makes an empty Ledger.
func NewLedger(o Options) *Ledger {
	draw := o.Rand
	if draw == nil {
		draw = rand.Float64
	}
	l := &Ledger{total: newSampler(o.SampleRate, draw)}
	if o.Analytics {
		l.models = newSampler(o.ModelSampleRate, draw)
	}
	return l
}

// Add counts one request that has ended, unless it is not to be counted: for
// its provider, its model, its token, and for each key that it tried. It copies
// what it needs of x. A token's last use is noted whether or not the request is
// sampled.
func (l *Ledger) Add(x *gateway.Exchange) {
	r := &x.Record
	if !r.Counted {
		return
	}
	total, byModel := l.total.weight(), int64(0)
	// What was not found, or what a token may not use, is no model that anybody
	// used, and must not fill the tables with names.
	if r.Model != "" && r.Status != http.StatusNotFound && (r.Status != http.StatusForbidden || len(r.Attempts) > 0) {
		byModel = l.models.weight()
	}
	if !l.total.on() && byModel == 0 {
		return
	}
	s := sampleOf(r)
	minute := minuteOf(r.StartedAt)

	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.open.page(r.Provider)
	if total > 0 {
		s.addTo(&p.all.at(minute).tally, total)
		p.addKeys(r.Attempts, &s, total)
	}
	if r.TokenHash != "" && l.total.on() {
		e := p.token(r.TokenHash, minute)
		e.used(r.StartedAt)
		s.addTo(&e.tally, total)
	}
	if byModel > 0 {
		e := p.model(r.Model, minute)
		e.used(r.StartedAt)
		s.addTo(&e.tally, byModel)
	}
}

// Drain returns what came since the last one, for each provider with anything
// to write, and empties the Ledger. Requests are counted on meanwhile. What the
// Tallies hold by the minute, Global, Models and Tokens hold summed up.
func (l *Ledger) Drain() []gateway.Delta {
	l.draining.Lock()
	defer l.draining.Unlock()
	l.mu.Lock()
	l.open, l.spare = l.spare, l.open
	l.mu.Unlock()

	var deltas []gateway.Delta
	for _, p := range l.spare.pages {
		if d := p.delta(); !d.Empty() {
			deltas = append(deltas, d)
		}
		p.clear()
	}
	return deltas
}

// Restore adds back what Drain gave and could not be written, so that the next
// Drain gives it again. What a Delta holds beside counts is not the Ledger's.
func (l *Ledger) Restore(deltas []gateway.Delta) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range deltas {
		l.open.page(deltas[i].Provider).restore(&deltas[i])
	}
}

// sample is what one request adds to a tally.
type sample struct {
	counts              gateway.Counts
	attempts            int64
	duration, firstByte int // buckets of the histograms, -1: in none
}

func sampleOf(r *gateway.Record) sample {
	s := sample{
		counts:   gateway.Counts{Requests: 1, Usage: r.Usage},
		attempts: int64(len(r.Attempts)),
		duration: -1, firstByte: -1,
	}
	if r.End != gateway.EndClientClosed {
		s.duration = gateway.HistogramBucket(r.Duration)
	}
	switch success, failure := r.Outcome(); {
	case success:
		s.counts.Success = 1
		s.firstByte = gateway.HistogramBucket(r.FirstByte)
	case failure:
		s.counts.Failure = 1
	}
	return s
}

// addTo counts the request as if it had come n times.
func (s *sample) addTo(t *gateway.Tally, n int64) {
	t.Requests += n
	t.Success += n * s.counts.Success
	t.Failure += n * s.counts.Failure
	t.Usage.Input += n * s.counts.Usage.Input
	t.Usage.Output += n * s.counts.Usage.Output
	t.Usage.Cost += gateway.Cost(n) * s.counts.Usage.Cost
	t.Attempts += n * s.attempts
	if s.duration >= 0 {
		t.Duration[s.duration] += n
	}
	if s.firstByte >= 0 {
		t.FirstByte[s.firstByte] += n
	}
}
