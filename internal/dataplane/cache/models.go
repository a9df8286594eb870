// Package cache is the step that answers from memory what need not be asked
// upstream again: model lists.
package cache

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// Models keeps the upstreams' model lists. However many clients wait for a
// list that is not at hand, one of them asks upstream and all get the answer.
// It may be used concurrently.
type Models struct {
	ttl  time.Duration
	now  func() time.Time
	tier Tier // behind entries; nil: none

	hits, misses, bypassed atomic.Int64

	mu       sync.Mutex // guards what follows, and what the entries hold; never held while asking upstream
	entries  map[listKey]*list
	clearing int // how often Clear was called
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
	size   atomic.Int64 // bytes of what was made of it
	once   sync.Once    // guards the rest, which is made when first asked for
	models *modelList
	err    error
}

// flight is one question under way.
type flight struct {
	done      chan struct{} // closed at its end; then the rest is set
	page      *page
	how       string // what X-Cache says
	err       error
	abandoned bool // whoever asked has gone; somebody else must ask
}

// NewModels makes a cache whose lists are good for ttl; 0 asks every time.
func NewModels(ttl time.Duration, now func() time.Time) *Models {
	return &Models{ttl: ttl, now: now, entries: map[listKey]*list{}}
}

// errGone says that the client went away while it waited.
var errGone = &gateway.Error{Kind: gateway.KindInternal, Message: "the client went away", Cause: context.Canceled}

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
			return m.answer(w, r, x, next, (*page).writeTags)
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
	x.Record.Counted = x.Principal != nil
	x.Route.Path = listPath(x)
	p, how, err := m.page(w, r, x, next)
	x.Record.Status = 0 // what was asked upstream is not yet what the client sees
	httpkit.SetAttempts(w.Header(), len(x.Record.Attempts))
	if how != "" {
		m.note(w, x, how)
	}
	switch {
	case err == nil:
	case x.Route.Service == gateway.ServiceLocal && !isGone(err) && gateway.AsError(err).Kind != gateway.KindProviderDisabled:
		p = &page{status: http.StatusNotFound}
	case isGone(err):
		return err
	default:
		x.Record.End = gateway.EndDone // the client gets the error whole
		return err
	}
	x.Record.End = gateway.EndDone
	x.Record.FirstByte = m.now().Sub(x.Record.StartedAt)
	return write(p, w, x)
}

// note tells and counts how a question was answered.
func (m *Models) note(w http.ResponseWriter, x *gateway.Exchange, how string) {
	x.Record.Cache = how
	w.Header()["X-Cache"] = []string{how}
	switch how {
	case hit:
		m.hits.Add(1)
	case miss:
		m.misses.Add(1)
	default:
		m.bypassed.Add(1)
	}
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

func (m *Models) page(w http.ResponseWriter, r *http.Request, x *gateway.Exchange, next httpkit.Handler) (*page, string, error) {
	// A question of a client's own wording is not kept. A stranger gets the list
	// as it is: what bypasses the cache costs a call upstream.
	if r.URL.RawQuery != "" && x.Principal != nil && !madeHere(x) {
		p, err := ask(w, r, next, r.URL.RawQuery)
		return p, bypass, err
	}
	key := listKey{x.Route.Provider, x.Route.Path}
	for {
		p, f, mine := m.look(key)
		switch {
		case p != nil:
			return p, hit, nil
		case mine:
			m.fly(key, f, w, r, next)
			return f.page, f.how, f.err
		}
		select {
		case <-f.done:
			if !f.abandoned {
				return f.page, f.how, f.err
			}
		case <-r.Context().Done():
			x.Record.End = gateway.EndClientClosed
			return nil, "", errGone
		}
	}
}

// madeHere reports whether an answer is built from a list that takes no
// questions, so that the client's query means nothing.
func madeHere(x *gateway.Exchange) bool {
	return x.Route.Provider == gateway.Ollama && x.Route.Service != gateway.ServiceTags
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
		e.flight = &flight{done: make(chan struct{}), how: miss, abandoned: true}
		mine = true
	}
	return nil, e.flight, mine
}

// fly asks upstream on behalf of all who wait, unless another instance did.
func (m *Models) fly(key listKey, f *flight, w http.ResponseWriter, r *http.Request, next httpkit.Handler) {
	var until time.Time // zero: it is not kept
	clearing := m.clears()
	defer func() { // also when a step below panics: the others must not wait for ever
		m.mu.Lock()
		defer m.mu.Unlock()
		e := m.entries[key]
		e.flight = nil
		if !until.IsZero() && clearing == m.clearing {
			e.page, e.expires = f.page, until
			if f.how == miss {
				m.hand(key, f.page)
			}
		}
		close(f.done)
	}()
	if p, good := m.fetch(r.Context(), key); p != nil {
		f.page, f.how, f.abandoned, until = p, hit, false, good
		return
	}
	f.page, f.err = ask(w, r, next, "")
	f.abandoned = f.err != nil && (isGone(f.err) || r.Context().Err() != nil)
	if f.err == nil && f.page.worthKeeping(key) {
		until = m.now().Add(m.ttl)
	}
}

func (m *Models) clears() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.clearing
}

func isGone(err error) bool { return errors.Is(err, context.Canceled) }

// ask sends the question through the rest of the chain and keeps the answer.
// It is asked in the same words for everybody; w, the asking client's, gets
// only what concerns this one request.
func ask(w http.ResponseWriter, r *http.Request, next httpkit.Handler, query string) (*page, error) {
	q := *r
	u := *r.URL
	u.RawQuery = query
	q.Method, q.URL = http.MethodGet, &u
	q.Body, q.ContentLength = http.NoBody, 0
	q.Header = http.Header{"Accept": acceptJSON}
	if agent := r.Header["User-Agent"]; len(agent) > 0 {
		q.Header["User-Agent"] = agent
	}
	rec := &recorder{header: http.Header{}, status: http.StatusOK}
	err := next(rec, &q)
	if id := rec.header[upstreamRequestID]; len(id) > 0 {
		w.Header()[upstreamRequestID] = id
	}
	switch {
	case rec.full:
		return nil, gateway.Errorf(gateway.KindUpstream, "the upstream's model list is larger than %d bytes", maxPage)
	case err != nil:
		return nil, err
	}
	for _, name := range [...]string{upstreamRequestID, "Age", "Date", "Set-Cookie", "X-Cache", "X-Pool-Attempts"} {
		delete(rec.header, name)
	}
	return &page{status: rec.status, header: rec.header, body: rec.body.Bytes()}, nil
}

var acceptJSON = []string{"application/json"}

const upstreamRequestID = "X-Upstream-Request-Id"

// maxPage bounds what is kept in memory of one answer: hundred times the
// largest list there is.
const maxPage = 64 << 20

var errPageFull = errors.New("the answer is too large to be kept")

// recorder is a ResponseWriter that keeps what is written.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
	full   bool // more came than is kept
}

func (r *recorder) Header() http.Header    { return r.header }
func (r *recorder) WriteHeader(status int) { r.status = status }
func (r *recorder) Flush()                 {}

func (r *recorder) Write(p []byte) (int, error) {
	if r.body.Len()+len(p) > maxPage {
		r.full = true
		return 0, errPageFull
	}
	return r.body.Write(p)
}

// Clear forgets the lists that a pattern means and returns how many those were.
// Of a list it compares the provider and the path at which the upstream has it;
// nothing means all of them. What other instances use too is forgotten there as
// well, which may take some seconds; their own memory is theirs to clear. Of both
// the larger number is returned.
func (m *Models) Clear(pattern string) int {
	n := m.clear(pattern)
	if m.tier != nil {
		n = max(n, m.tier.Drop(modelsTier, packedHead, chosenBy(pattern)))
	}
	return n
}

func (m *Models) clear(pattern string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clearing++
	n := 0
	for key, e := range m.entries {
		if e.page != nil && chosen(pattern, key.provider, key.path, "") {
			e.page = nil
			n++
		}
	}
	return n
}

// Figures tell how full the cache is and how it did.
func (m *Models) Figures() gateway.CacheFigures {
	f := gateway.CacheFigures{Name: "models", Hits: m.hits.Load(), Misses: m.misses.Load(), Bypassed: m.bypassed.Load()}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.entries {
		if e.page != nil {
			f.Entries++
			f.Bytes += int64(len(e.page.body)) + e.page.size.Load()
		}
	}
	return f
}
