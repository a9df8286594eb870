package cache

import (
	"context"
	"time"
)

// The caches as a Tier knows them. The number is that of packedVersion, so that
// versions of this program that run side by side do not overwrite each other's.
const (
	answersTier = "answers1"
	modelsTier  = "models1"
)

// Share puts a cache behind this one that other instances use too, nil for none.
// It comes before the first request. Who may get an answer is in its name, so it
// holds there as well.
func (a *Answers) Share(t Tier) { a.tier = t }

// fetch looks for an answer behind this cache. It is called by who would else ask
// upstream, on behalf of all who wait; f is ended if something was found.
func (a *Answers) fetch(ctx context.Context, key digest, f *inquiry) *saved {
	if a.tier == nil {
		return nil
	}
	looked := false
	defer func() {
		if !looked { // it panicked; the others must not wait for ever
			a.settle(key, f, nil, true)
		}
	}()
	clearing := a.clears()
	b := a.tier.Find(ctx, answersTier, string(key[:]))
	looked = true
	if b == nil {
		return nil
	}
	p, err := unpack(b)
	if err != nil || int64(len(p.body)) > a.largest || p.status >= 300 {
		return nil
	}
	left := min(p.until.Sub(a.opts.Now()), a.opts.TTL)
	if left <= 0 {
		return nil
	}
	s := &saved{provider: p.provider, path: p.path, model: p.model, status: p.status, header: p.header, body: p.body}
	a.mu.Lock()
	if clearing != a.clearing {
		a.mu.Unlock()
		return nil // it may be one that was to be forgotten
	}
	a.store.Set(key, s)
	a.store.SetExpiresAfter(key, left)
	a.mu.Unlock()
	a.settle(key, f, s, false)
	return s
}

// hand gives an answer that is kept here to the other instances as well.
func (a *Answers) hand(key digest, s *saved) {
	if a.tier == nil {
		return
	}
	p := packed{
		until: a.opts.Now().Add(a.opts.TTL), provider: s.provider, path: s.path, model: s.model,
		status: s.status, header: s.header, body: s.body,
	}
	if b := p.pack(); b != nil {
		a.tier.Keep(answersTier, string(key[:]), b, a.opts.TTL)
	}
}

// Share puts a cache behind this one that other instances use too, nil for none.
// It comes before the first request.
func (m *Models) Share(t Tier) { m.tier = t }

func (k listKey) name() string { return string(k.provider) + " " + k.path }

// fetch looks for a page behind this cache, and tells until when it is good.
func (m *Models) fetch(ctx context.Context, key listKey) (*page, time.Time) {
	if m.tier == nil || m.ttl <= 0 {
		return nil, time.Time{}
	}
	b := m.tier.Find(ctx, modelsTier, key.name())
	if b == nil {
		return nil, time.Time{}
	}
	now := m.now()
	p, err := unpack(b)
	if err != nil || !p.until.After(now) || p.provider != key.provider || p.path != key.path {
		return nil, time.Time{}
	}
	found := &page{status: p.status, header: p.header, body: p.body}
	if !found.worthKeeping(key) {
		return nil, time.Time{}
	}
	until := now.Add(m.ttl)
	if p.until.Before(until) {
		until = p.until
	}
	return found, until
}

// hand gives a page that is kept here to the other instances as well.
func (m *Models) hand(key listKey, p *page) {
	if m.tier == nil || m.ttl <= 0 {
		return
	}
	b := (&packed{
		until: m.now().Add(m.ttl), provider: key.provider, path: key.path,
		status: p.status, header: p.header, body: p.body,
	}).pack()
	if b != nil {
		m.tier.Keep(modelsTier, key.name(), b, m.ttl)
	}
}
