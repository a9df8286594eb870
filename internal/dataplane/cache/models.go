// Package cache is the step that answers from memory what need not be asked
// upstream again: model lists.
package cache

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// Models keeps the upstreams' model lists. However many clients wait for a
// list that is not at hand, one of them asks upstream and all get the answer.
// It may be used concurrently.
type Models struct {
	ttl time.Duration
	now func() time.Time

	mu      sync.Mutex // guards entries and what they hold; never held while asking upstream
	entries map[listKey]*list
}

// listKey names a list: there is a handful of them.
type listKey struct {
	provider gateway.ProviderName
	path     string
}

type list struct {
	page    *page
	expires time.Time
	flight  *flight
}

// page is an upstream's answer to a question about models. It is read only.
type page struct {
	status int
	header http.Header
	body   []byte
	once   sync.Once // guards the rest, which is made when first asked for
	models *modelList
	err    error
}

// flight is one question under way.
type flight struct {
	done      chan struct{} // closed at its end; then the rest is set
	page      *page
	err       error
	abandoned bool // whoever asked has gone; somebody else must ask
}

// NewModels makes a cache whose lists are good for ttl; 0 asks every time.
func NewModels(ttl time.Duration, now func() time.Time) *Models {
	return &Models{ttl: ttl, now: now, entries: map[listKey]*list{}}
}

// errGone says that the client went away while it waited.
var errGone = &gateway.Error{Kind: gateway.KindInternal, Message: "the client went away", Cause: http.ErrAbortHandler}

// Serve is the step: it answers questions about models and lets others pass.
func (m *Models) Serve(next httpkit.Handler) httpkit.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		x := gateway.ExchangeFrom(r.Context())
		switch x.Route.Service {
		case gateway.ServiceModels:
			return m.answer(w, r, x, next, (*page).writeList)
		case gateway.ServiceModel:
			return m.answer(w, r, x, next, (*page).writeModel)
		case gateway.ServiceTags:
			return m.answer(w, r, x, next, (*page).writeRaw)
		case gateway.ServiceLocal:
			return m.answer(w, r, x, next, (*page).writeLocal)
		default:
			return next(w, r)
		}
	}
}

// answer finds the page that a question is about and writes what was asked.
func (m *Models) answer(w http.ResponseWriter, r *http.Request, x *gateway.Exchange, next httpkit.Handler,
	write func(*page, http.ResponseWriter, *gateway.Exchange) error,
) error {
	local := x.Route.Service == gateway.ServiceLocal
	x.Route.Path = listPath(x)
	p, how, err := m.page(r, x, next)
	if err != nil {
		if local && !isGone(err) {
			p, err = &page{status: http.StatusNotFound}, nil
		} else {
			return err
		}
	}
	w.Header()["X-Cache"] = []string{how}
	x.Record.Counted = x.Principal != nil
	x.Record.End = gateway.EndDone
	return write(p, w, x)
}

// listPath is where the upstream keeps the list that a route is about.
func listPath(x *gateway.Exchange) string {
	switch {
	case x.Route.Service == gateway.ServiceLocal || x.Route.Service == gateway.ServiceTags:
		return x.Route.Path
	case x.Route.Provider == gateway.Ollama:
		return "/api/tags"
	}
	return "/v1/models"
}

// What X-Cache says.
const (
	hit    = "HIT"
	miss   = "MISS"
	bypass = "BYPASS"
)

func (m *Models) page(r *http.Request, x *gateway.Exchange, next httpkit.Handler) (*page, string, error) {
	if r.URL.RawQuery != "" { // a question of the client's own wording is not kept
		p, err := ask(r, next)
		return p, bypass, err
	}
	key := listKey{x.Route.Provider, x.Route.Path}
	for {
		p, f, mine := m.look(key)
		switch {
		case p != nil:
			return p, hit, nil
		case mine:
			m.fly(key, f, r, next)
			return f.page, miss, f.err
		}
		select {
		case <-f.done:
			if !f.abandoned {
				return f.page, miss, f.err
			}
		case <-r.Context().Done():
			x.Record.End = gateway.EndClientClosed
			return nil, "", errGone
		}
	}
}

// look finds a fresh page, or the question under way, or begins one.
func (m *Models) look(key listKey) (p *page, f *flight, mine bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries[key]
	if e == nil {
		e = &list{}
		m.entries[key] = e
	}
	if e.page != nil && m.now().Before(e.expires) {
		return e.page, nil, false
	}
	if e.flight == nil {
		e.flight = &flight{done: make(chan struct{}), abandoned: true}
		mine = true
	}
	return nil, e.flight, mine
}

// fly asks upstream on behalf of all who wait.
func (m *Models) fly(key listKey, f *flight, r *http.Request, next httpkit.Handler) {
	defer func() { // also when a step below panics: the others must not wait for ever
		m.mu.Lock()
		defer m.mu.Unlock()
		e := m.entries[key]
		e.flight = nil
		if f.page != nil && f.page.status == http.StatusOK {
			e.page, e.expires = f.page, m.now().Add(m.ttl)
		}
		close(f.done)
	}()
	f.page, f.err = ask(r, next)
	f.abandoned = f.err != nil && (isGone(f.err) || r.Context().Err() != nil)
}

func isGone(err error) bool {
	return errors.Is(err, http.ErrAbortHandler) || errors.Is(err, context.Canceled)
}

// ask sends the question through the rest of the chain and keeps the answer.
func ask(r *http.Request, next httpkit.Handler) (*page, error) {
	q := *r
	q.Method = http.MethodGet
	q.Body, q.ContentLength = http.NoBody, 0
	rec := &recorder{header: http.Header{}, status: http.StatusOK}
	if err := next(rec, &q); err != nil {
		if errors.Is(err, http.ErrAbortHandler) && r.Context().Err() == nil {
			return nil, gateway.Errorf(gateway.KindUpstream, "the upstream's model list broke off")
		}
		return nil, err
	}
	return &page{status: rec.status, header: rec.header, body: rec.body.Bytes()}, nil
}

// recorder is a ResponseWriter that keeps what is written.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
func (r *recorder) Flush()                      {}

// Clear forgets every list and returns how many there were.
func (m *Models) Clear() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, e := range m.entries {
		if e.page != nil {
			e.page = nil
			n++
		}
	}
	return n
}
