package usage

import (
	"time"

	"ollama-api-pool/internal/gateway"
)

const (
	// maxModels is how many models (one for each minute) a provider's page names
	// between two drains. Clients choose the names, so they must not be able to
	// fill the memory; what comes beyond is counted under OtherModel.
	maxModels = 4096
	// maxTokens is how many tokens (one for each minute) a page holds before it
	// counts by the hour, at the hour's first minute. It takes a store that
	// fails for long; the names are the store's own, so that none is lost.
	maxTokens = 8192
	// keepEntries is the largest table that is kept for use after a drain.
	keepEntries = 1024
)

const (
	perMinute = 60 // seconds
	perHour   = 3600
)

func minuteOf(t time.Time) int64 { return beginning(t.Unix(), perMinute) }

// beginning is when the span of n seconds began in which a time lies; both are
// in seconds of the epoch.
func beginning(at, n int64) int64 { return at - at%n }

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
	all      table[int64] // by minute
	models   table[slot]
	tokens   table[slot]
	keys     table[gateway.KeyID]
}

// slot is a name and the beginning of a minute, in seconds of the epoch.
type slot struct {
	name   string
	minute int64
}

// model is where requests for a model are counted.
func (p *page) model(name string, minute int64) *entry[slot] {
	k := slot{name, minute}
	if p.models.n >= maxModels && !p.models.has(k) {
		k.name = OtherModel
	}
	return p.models.at(k)
}

// token is where requests with a token are counted.
func (p *page) token(hash string, minute int64) *entry[slot] {
	k := slot{hash, minute}
	if p.tokens.n >= maxTokens && !p.tokens.has(k) {
		k.minute = beginning(minute, perHour)
	}
	return p.tokens.at(k)
}

// addKeys counts a request for the keys that it tried: for each its attempts,
// for the last one, which answered if any did, the request itself.
func (p *page) addKeys(attempts []gateway.Attempt, s *sample, n int64) {
	for i := range attempts {
		t := &p.keys.at(attempts[i].Key).tally
		if i < len(attempts)-1 {
			t.Attempts += n
			continue
		}
		last := *s
		last.attempts = 1
		last.addTo(t, n)
	}
}

// delta writes the page down.
func (p *page) delta() gateway.Delta {
	d := gateway.Delta{Provider: p.provider}
	d.Tallies = make([]gateway.TallyDelta, 0, p.all.n+p.models.n+p.tokens.n+p.keys.n)
	for e := range p.all.each {
		d.Global.Add(e.tally.Counts)
		note(&d, gateway.OfProvider, "", e.key, &e.tally)
	}
	hours := make(map[slot]int, p.models.n) // places in d.Models, of hours instead of minutes
	for e := range p.models.each {
		note(&d, gateway.OfModel, e.key.name, e.key.minute, &e.tally)
		k := slot{e.key.name, beginning(e.key.minute, perHour)}
		i, there := hours[k]
		if !there {
			i = len(d.Models)
			hours[k] = i
			d.Models = append(d.Models, gateway.ModelDelta{Model: k.name, Hour: time.Unix(k.minute, 0).UTC()})
		}
		m := &d.Models[i]
		m.Counts.Add(e.tally.Counts)
		m.LastUsed = later(m.LastUsed, e.lastUsed)
	}
	tokens := make(map[string]int, p.tokens.n) // places in d.Tokens
	for e := range p.tokens.each {
		note(&d, gateway.OfToken, e.key.name, e.key.minute, &e.tally)
		i, there := tokens[e.key.name]
		if !there {
			i = len(d.Tokens)
			tokens[e.key.name] = i
			d.Tokens = append(d.Tokens, gateway.TokenDelta{Hash: e.key.name})
		}
		t := &d.Tokens[i]
		t.Counts.Add(e.tally.Counts)
		t.LastUsed = later(t.LastUsed, e.lastUsed)
	}
	for e := range p.keys.each {
		d.Tallies = append(d.Tallies, gateway.TallyDelta{Of: gateway.OfKey, Name: string(e.key), Tally: e.tally})
	}
	return d
}

// note appends a tally of one minute, unless it is empty.
func note(d *gateway.Delta, of gateway.Subject, name string, minute int64, t *gateway.Tally) {
	if t.Requests != 0 {
		d.Tallies = append(d.Tallies, gateway.TallyDelta{Of: of, Name: name, Minute: time.Unix(minute, 0).UTC(), Tally: *t})
	}
}

// later is the later of a time that was written down and one that was not.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b.Round(0).UTC()
	}
	return a
}

// restore adds back what delta gave. Every count is in a tally; what the other
// lists have beside is when something was used last.
func (p *page) restore(d *gateway.Delta) {
	for i := range d.Tallies {
		t := &d.Tallies[i]
		minute := t.Minute.Unix()
		switch t.Of {
		case gateway.OfProvider:
			p.all.at(minute).tally.Add(&t.Tally)
		case gateway.OfModel:
			p.model(t.Name, minute).tally.Add(&t.Tally)
		case gateway.OfToken:
			p.token(t.Name, minute).tally.Add(&t.Tally)
		case gateway.OfKey:
			p.keys.at(gateway.KeyID(t.Name)).tally.Add(&t.Tally)
		}
	}
	for _, m := range d.Models {
		p.model(m.Model, minuteOf(m.LastUsed)).used(m.LastUsed)
	}
	for _, t := range d.Tokens {
		p.token(t.Hash, minuteOf(t.LastUsed)).used(t.LastUsed)
	}
}

func (p *page) clear() {
	p.all.clear()
	p.models.clear()
	p.tokens.clear()
	p.keys.clear()
}

// table counts by key. The entries lie in blocks, so that it grows without
// moving them, and can be emptied and filled again without allocating.
type table[K comparable] struct {
	index  map[K]*entry[K]
	blocks []*[blockSize]entry[K]
	n      int
}

const blockSize = 64

type entry[K comparable] struct {
	key      K
	tally    gateway.Tally
	lastUsed time.Time
}

// used notes when something was used.
func (e *entry[K]) used(at time.Time) {
	if at.After(e.lastUsed) {
		e.lastUsed = at
	}
}

func (t *table[K]) has(k K) bool { return t.index[k] != nil }

// at is the entry for a key, an empty one where there was none.
func (t *table[K]) at(k K) *entry[K] {
	if e := t.index[k]; e != nil {
		return e
	}
	if t.index == nil {
		t.index = make(map[K]*entry[K])
	}
	if t.n == len(t.blocks)*blockSize {
		t.blocks = append(t.blocks, new([blockSize]entry[K]))
	}
	e := &t.blocks[t.n/blockSize][t.n%blockSize]
	e.key = k
	t.n++
	t.index[k] = e
	return e
}

// each yields the entries in the order in which they came.
func (t *table[K]) each(yield func(*entry[K]) bool) {
	for i := range t.n {
		if !yield(&t.blocks[i/blockSize][i%blockSize]) {
			return
		}
	}
}

func (t *table[K]) clear() {
	if t.n > keepEntries {
		*t = table[K]{}
		return
	}
	clear(t.index)
	for e := range t.each {
		*e = entry[K]{}
	}
	t.n = 0
}
