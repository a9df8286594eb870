package usage

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"ollama-api-pool/internal/gateway"
)

const (
	// maxModels is how many models (one for each hour) a provider's page names
	// between two drains. Clients choose the names, so they must not be able to
	// fill the memory; what comes beyond is counted under OtherModel.
	maxModels = 4096
	// keepEntries is the largest list that is kept for use after a drain.
	keepEntries = 4096
)

// OtherModel is the name under which requests are counted that named one
// model too many.
const OtherModel = "(other)"

// Options say what a Ledger counts.
type Options struct {
	Analytics       bool           // count by model and hour too
	SampleRate      float64        // 0…1: share of requests noted for the global and token totals
	ModelSampleRate float64        // 0…1: the same for models and hours
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

// Add counts one request, unless it is not to be counted. It copies what it
// needs of r. A token's last use is noted whether or not the request is sampled.
func (l *Ledger) Add(r *gateway.Record) {
	if !r.Counted {
		return
	}
	one := gateway.Counts{Requests: 1, Usage: r.Usage}
	switch success, failure := r.Outcome(); {
	case success:
		one.Success = 1
	case failure:
		one.Failure = 1
	}
	total, byModel := l.total.weight(), int64(0)
	// What was not found is no model, and must not fill the tables with names.
	if r.Model != "" && r.Status != http.StatusNotFound {
		byModel = l.models.weight()
	}
	if !l.total.on() && byModel == 0 {
		return
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.open.page(r.Provider)
	if total > 0 {
		p.global.Add(times(one, total))
	}
	if r.TokenHash != "" && l.total.on() {
		p.tokens.add(r.TokenHash, times(one, total), r.StartedAt)
	}
	if byModel > 0 {
		p.addModel(modelHour{r.Model, hourOf(r.StartedAt)}, times(one, byModel), r.StartedAt)
	}
}

// Drain returns what came since the last one, for each provider with anything
// to write, and empties the Ledger. Requests are counted on meanwhile.
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
// Drain gives it again. Keys, States and Refusals are not the Ledger's.
func (l *Ledger) Restore(deltas []gateway.Delta) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range deltas {
		d := &deltas[i]
		p := l.open.page(d.Provider)
		p.global.Add(d.Global)
		for _, m := range d.Models {
			p.addModel(modelHour{m.Model, hourOf(m.Hour)}, m.Counts, m.LastUsed)
		}
		for _, t := range d.Tokens {
			p.tokens.add(t.Hash, t.Counts, t.LastUsed)
		}
	}
}

// times multiplies every count, so that a sampled request stands for n.
func times(c gateway.Counts, n int64) gateway.Counts {
	if n == 1 {
		return c
	}
	c.Requests *= n
	c.Success *= n
	c.Failure *= n
	c.Usage.Input *= n
	c.Usage.Output *= n
	return c
}

// book holds a page for each provider: there are two or three.
type book struct{ pages []*page }

func (b *book) page(name gateway.ProviderName) *page {
	for _, p := range b.pages {
		if p.provider == name {
			return p
		}
	}
	p := &page{provider: name}
	b.pages = append(b.pages, p)
	return p
}

// page is what one provider's requests add up to.
type page struct {
	provider gateway.ProviderName
	global   gateway.Counts
	models   tally[modelHour]
	tokens   tally[string]
}

// modelHour is a model and the hour's beginning, in seconds of the epoch.
type modelHour struct {
	model string
	hour  int64
}

func hourOf(t time.Time) int64 {
	s := t.Unix()
	return s - s%3600
}

func (p *page) addModel(k modelHour, c gateway.Counts, at time.Time) {
	if len(p.models.entries) >= maxModels && !p.models.has(k) {
		k.model = OtherModel
	}
	p.models.add(k, c, at)
}

// delta writes the page down.
func (p *page) delta() gateway.Delta {
	d := gateway.Delta{Provider: p.provider, Global: p.global}
	d.Models = slices.Grow(d.Models, len(p.models.entries))
	for _, e := range p.models.entries {
		d.Models = append(d.Models, gateway.ModelDelta{
			Model: e.key.model, Hour: time.Unix(e.key.hour, 0).UTC(), LastUsed: e.lastUsed.Round(0).UTC(), Counts: e.counts,
		})
	}
	d.Tokens = slices.Grow(d.Tokens, len(p.tokens.entries))
	for _, e := range p.tokens.entries {
		d.Tokens = append(d.Tokens, gateway.TokenDelta{Hash: e.key, LastUsed: e.lastUsed.Round(0).UTC(), Counts: e.counts})
	}
	return d
}

func (p *page) clear() {
	p.global = gateway.Counts{}
	p.models.clear()
	p.tokens.clear()
}

// tally counts by key. The entries lie in a list so that it can be emptied and
// filled again without allocating.
type tally[K comparable] struct {
	index   map[K]int // place in entries
	entries []entry[K]
}

type entry[K comparable] struct {
	key      K
	counts   gateway.Counts
	lastUsed time.Time
}

func (t *tally[K]) has(k K) bool {
	_, ok := t.index[k]
	return ok
}

func (t *tally[K]) add(k K, c gateway.Counts, at time.Time) {
	i, ok := t.index[k]
	if !ok {
		if t.index == nil {
			t.index = make(map[K]int)
		}
		i = len(t.entries)
		t.index[k] = i
		t.entries = append(t.entries, entry[K]{key: k})
	}
	e := &t.entries[i]
	e.counts.Add(c)
	if at.After(e.lastUsed) {
		e.lastUsed = at
	}
}

func (t *tally[K]) clear() {
	if cap(t.entries) > keepEntries {
		*t = tally[K]{}
		return
	}
	clear(t.index)
	clear(t.entries)
	t.entries = t.entries[:0]
}

// sampler decides for how many requests a request stands.
type sampler struct {
	rate float64 // 0…1
	draw func() float64
}

// newSampler puts the rate into its bounds. Below one in a million it would
// overflow the counts rather than save work.
func newSampler(rate float64, draw func() float64) sampler {
	switch {
	case rate >= 1:
		rate = 1
	case rate > 0:
		rate = max(rate, 1e-6)
	default:
		rate = 0
	}
	return sampler{rate, draw}
}

// on reports whether anything is counted at all.
func (s *sampler) on() bool { return s.rate > 0 }

// weight is 0 for a request that is passed over. Else it is 1/rate, rounded up
// or down at random so that its mean is exact, and with it that of the totals.
func (s *sampler) weight() int64 {
	switch s.rate {
	case 0:
		return 0
	case 1:
		return 1
	}
	if s.draw() >= s.rate {
		return 0
	}
	whole := int64(1 / s.rate)
	if rest := 1/s.rate - float64(whole); rest > 0 && s.draw() < rest {
		whole++
	}
	return whole
}
