package cache

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// AnswersOptions are what Answers are made with.
type AnswersOptions struct {
	TTL      time.Duration // how long an answer is good for; more than 0
	MaxBytes int64         // what all answers take together, at most; one may take a sixteenth of it, and 4 MiB
	Shared   bool          // whether one token's answers are given to others
	Now      func() time.Time
	// Open reads a request's body and leaves it in the request, and refuses what
	// the step behind would not send upstream: what it refuses gets no answer from
	// the cache either.
	Open func(w http.ResponseWriter, r *http.Request) ([]byte, error)
}

// Answers keeps whole answers of models, and gives them to who asks the same
// again. However many ask the same at once, one of them asks upstream. It may be
// used concurrently.
type Answers struct {
	opts    AnswersOptions
	largest int64 // body that is kept
	tier    Tier  // behind the store; nil: none
	store   *otter.Cache[digest, *saved]

	hits, misses, bypassed atomic.Int64
	inHand                 atomic.Int64 // bytes of answers that are being taken down

	mu       sync.Mutex // guards what follows, and what is put into the store; never held while asking upstream
	flights  map[digest]*inquiry
	clearing int // how often Clear was called
}

// saved is an answer as it is kept. It is read only.
type saved struct {
	provider gateway.ProviderName
	path     string
	model    string
	status   int
	header   http.Header
	body     []byte
}

// inquiry is a question under way, for which several may wait.
type inquiry struct {
	writing atomic.Int64 // since when the client of who asks is being written to; 0: it is not

	done      chan struct{} // closed at its end; then the rest is set
	over      bool          // it is; guarded by the Answers' mu
	answer    *saved        // nil: it is none that can be kept, and each has to ask by itself
	abandoned bool          // whoever asked has gone; somebody else must ask
}

// How long who wait for an answer wait for a client that asked and does not take
// it, and how often they look.
const (
	patience  = 5 * time.Second
	lookAgain = time.Second
)

// largestAnswer is the size above which an answer is hardly asked for twice.
const largestAnswer = 4 << 20

// entryCost is what an answer takes besides its body and header, roughly.
const entryCost = 512

// NewAnswers makes an empty cache.
func NewAnswers(o AnswersOptions) *Answers {
	a := &Answers{opts: o, largest: min(o.MaxBytes/16, largestAnswer), flights: map[digest]*inquiry{}}
	a.store = otter.Must(&otter.Options[digest, *saved]{
		MaximumWeight:    uint64(max(o.MaxBytes, 1)),
		Weigher:          func(_ digest, s *saved) uint32 { return s.weight() },
		ExpiryCalculator: otter.ExpiryWriting[digest, *saved](o.TTL),
		Clock:            clock(o.Now),
		Executor:         func(work func()) { work() }, // no goroutine outlives its request
	})
	return a
}

// clock is the cache's time. It does not tick: see Tick.
type clock func() time.Time

// NowNano is the time in nanoseconds of the epoch.
func (c clock) NowNano() int64 { return c().UnixNano() }

// Tick gives no ticks.
func (c clock) Tick(time.Duration) <-chan time.Time { return nil }

func (s *saved) weight() uint32 {
	n := entryCost + len(s.body) + len(s.model)
	for name, values := range s.header {
		n += len(name) + 64
		for _, v := range values {
			n += len(v) + 16
		}
	}
	return uint32(min(n, 1<<31))
}

// Serve is the step: it answers what was asked before and lets all else pass.
func (a *Answers) Serve(next httpkit.Handler) httpkit.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		x := gateway.ExchangeFrom(r.Context())
		if x.Route.Service != gateway.ServiceForward || r.Method != http.MethodPost || !generates(x.Route.Path) {
			return next(w, r)
		}
		q := *r // the body is put into the copy
		body, err := a.opts.Open(w, &q)
		if err != nil {
			return err
		}
		if !wantsWhole(x.Route.Path, body) {
			return next(w, &q)
		}
		return a.answer(&asking{a: a, w: w, r: &q, x: x, next: next, key: a.keyOf(x, &q, body)})
	}
}

// asking is one request that the cache may know the answer of.
type asking struct {
	a    *Answers
	w    http.ResponseWriter
	r    *http.Request
	x    *gateway.Exchange
	next httpkit.Handler
	key  digest
}

func (a *Answers) answer(q *asking) error {
	switch readControl(q.r.Header) {
	case noStore:
		return q.ask(bypass, nil, false)
	case noCache:
		return q.ask(bypass, nil, true)
	}
	for {
		s, f, mine := a.look(q.key)
		switch {
		case s != nil:
			return q.replay(s)
		case mine:
			if s := a.fetch(q.r.Context(), q.key, f); s != nil {
				return q.replay(s)
			}
			return q.ask(miss, f, true)
		}
		if !a.await(q, f) {
			q.x.Record.End = gateway.EndClientClosed
			return errGone
		}
		switch {
		case f.answer != nil:
			return q.replay(f.answer)
		case !f.abandoned:
			return q.ask(miss, nil, true)
		}
	}
}

// await waits for the end of an inquiry; false: the client has gone meanwhile.
func (a *Answers) await(q *asking, f *inquiry) bool {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		select {
		case <-f.done:
			return true
		case <-q.r.Context().Done():
			return false
		case <-tick.C:
			if since := f.writing.Load(); since != 0 && a.opts.Now().UnixNano()-since > int64(patience) {
				a.settle(q.key, f, nil, true)
			}
		}
	}
}

// look finds an answer, or the inquiry under way, or begins one.
func (a *Answers) look(key digest) (s *saved, f *inquiry, mine bool) {
	if s, ok := a.store.GetIfPresent(key); ok {
		return s, nil, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if f = a.flights[key]; f != nil {
		return nil, f, false
	}
	if s, ok := a.store.GetIfPresent(key); ok { // it came in the meantime
		return s, nil, false
	}
	f = &inquiry{done: make(chan struct{})}
	a.flights[key] = f
	return nil, f, true
}

// ask asks upstream. The answer goes to the client as it comes, and is taken
// down on the way if it is to be kept. f is nil where nobody else waits for it.
func (q *asking) ask(how string, f *inquiry, keep bool) error {
	q.note(how)
	t := &taking{q: q, client: q.w, header: http.Header{}, flight: f, keeps: keep, clearing: q.a.clears()}
	defer t.end() // also when a step below panics: the others must not wait for ever
	err := q.next(t, q.r)
	t.pass()
	gone := err != nil && (isGone(err) || q.r.Context().Err() != nil)
	success, _ := q.x.Record.Outcome()
	t.conclude(err == nil && success, gone)
	return err
}

// replayTime is how long a client may take to read an answer.
const replayTime = 5 * time.Minute

// noAttempts is what X-Pool-Attempts says where nobody was asked.
var noAttempts = []string{"0"}

// replay gives a client an answer that another one got.
func (q *asking) replay(s *saved) error {
	q.note(hit)
	h := q.w.Header()
	mergeHeader(h, s.header)
	if len(h["Content-Type"]) == 0 {
		h["Content-Type"] = nil // the server is not to guess one
	}
	h["Content-Length"] = []string{strconv.Itoa(len(s.body))}
	h["X-Pool-Attempts"] = noAttempts
	rec, now := &q.x.Record, q.a.opts.Now()
	rec.Status, rec.FirstByte = s.status, now.Sub(rec.StartedAt)
	rc := http.NewResponseController(q.w)
	if rc.SetWriteDeadline(now.Add(replayTime)) == nil {
		defer func() { _ = rc.SetWriteDeadline(time.Time{}) }() // it was possible a moment ago
	}
	q.w.WriteHeader(s.status)
	if _, err := q.w.Write(s.body); err != nil {
		rec.End = gateway.EndClientClosed
		return &gateway.Error{Kind: gateway.KindInternal, Message: "the client stopped reading", Cause: context.Canceled}
	}
	return nil
}

// note tells and counts how a question was answered.
func (q *asking) note(how string) {
	q.x.Record.Cache = how
	q.w.Header()["X-Cache"] = []string{how}
	switch how {
	case hit:
		q.a.hits.Add(1)
	case miss:
		q.a.misses.Add(1)
	default:
		q.a.bypassed.Add(1)
	}
}

func (a *Answers) clears() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.clearing
}

// put keeps an answer, unless the cache was cleared since it was asked for.
func (a *Answers) put(key digest, s *saved, clearing int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if clearing == a.clearing {
		a.store.Set(key, s)
		a.hand(key, s)
	}
}

// settle ends an inquiry, unless it is over.
func (a *Answers) settle(key digest, f *inquiry, s *saved, abandoned bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if f.over {
		return
	}
	f.over, f.answer, f.abandoned = true, s, abandoned
	delete(a.flights, key)
	close(f.done)
}

// Tick forgets answers whose time is over. Without it they are gone all the
// same, but take memory until others need it. The host calls it now and then.
func (a *Answers) Tick() { a.store.CleanUp() }

// Clear forgets the answers that a pattern means and returns how many those
// were: those in whose provider/path/model it occurs, or, with a * in it, where
// that or one of the three fits; nothing means all. What other instances use too
// is forgotten there as well, which may take some seconds; their own memory is
// theirs to clear. Of both the larger number is returned.
func (a *Answers) Clear(pattern string) int {
	n := a.clear(pattern)
	if a.tier != nil {
		n = max(n, a.tier.Drop(answersTier, packedHead, chosenBy(pattern)))
	}
	return n
}

func (a *Answers) clear(pattern string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.clearing++
	var keys []digest
	for key, s := range a.store.All() {
		if chosen(pattern, s.provider, s.path, s.model) {
			keys = append(keys, key)
		}
	}
	n := 0
	for _, key := range keys {
		if _, there := a.store.Invalidate(key); there {
			n++
		}
	}
	return n
}

// Figures tell how full the cache is and how it did.
func (a *Answers) Figures() gateway.CacheFigures {
	a.store.CleanUp()
	return gateway.CacheFigures{
		Name: "response", Entries: a.store.EstimatedSize(), Bytes: int64(a.store.WeightedSize()), //nolint:gosec // bounded by MaxBytes
		Hits: a.hits.Load(), Misses: a.misses.Load(), Bypassed: a.bypassed.Load(),
	}
}
