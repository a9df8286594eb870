package limit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// Bounds of what a Window remembers. Together they keep it under some 64 MiB
// when every address uses all it may; a visitor of one request costs about 100
// bytes.
const (
	maxClients = 100_000
	maxExact   = 64 // requests a window that are remembered one by one
	grains     = 60 // parts of a window in which requests are remembered together
)

// maxSpan keeps times of one client comparable as 32 bits of milliseconds.
const maxSpan = 24 * 24 * time.Hour

// Window limits the requests of each client address in a sliding window. It is
// a real one: it remembers when the requests were let through, to the
// millisecond and each by itself up to 64 requests a window; above that, those
// of the same sixtieth of the window share a mark that counts as its latest, so
// that the limit holds in every window and a place becomes free at most a
// sixtieth of it late. Requests that were turned away do not count.
//
// IPv6 clients count by their /64, which one household or machine holds. At
// most 100,000 addresses are remembered; when more come within a window, the
// one that was quiet the longest is forgotten. Window may be used concurrently.
type Window struct {
	limit   int
	span    time.Duration
	grain   int64 // requests within so many milliseconds share a mark
	now     func() time.Time
	began   time.Time
	clients int      // at most
	shared  Counters // nil: this instance is alone

	refused atomic.Int64 // requests turned away

	mu     sync.Mutex // guards what follows; held while one client is looked up
	places map[address]int32
	ring   []client // a list through prev and next, from the newest to the oldest
	newest int32
	oldest int32
}

// address is the part of an IP address that clients are told apart by.
type address struct{ high, low uint64 }

// client is what is remembered of one address.
type client struct {
	address address
	newer   int32
	older   int32
	track
}

// track remembers when requests were let through.
type track struct {
	lastAt int64 // of the last request let through, in ms since the Window began
	used   int   // requests in the window, as the marks say
	marks  []mark
}

// mark is some requests that were let through, the latest of them at a time in
// ms since the Window began, cut to 32 bits.
type mark struct {
	at uint32
	n  uint32
}

// NewWindow makes a limit of so many requests, at least one, in every span of
// time, at most 24 days. now is the clock.
func NewWindow(requests int, span time.Duration, now func() time.Time) *Window {
	return newWindow(requests, span, now, maxClients)
}

func newWindow(requests int, span time.Duration, now func() time.Time, clients int) *Window {
	w := &Window{
		limit: max(requests, 1), span: min(max(span, time.Millisecond), maxSpan), now: now, began: now(),
		clients: clients, places: map[address]int32{}, newest: -1, oldest: -1,
	}
	w.grain = grainOf(w.limit, w.span)
	return w
}

// grainOf is how long requests share a mark, in ms; 0: each has its own.
func grainOf(limit int, span time.Duration) int64 {
	if limit <= maxExact {
		return 0
	}
	return (span.Milliseconds() + grains - 1) / grains
}

var errNoExchange = errors.New("the request reached the limit without an exchange")

// Limit is the step that turns a client away with 429 when it asks too often.
func (w *Window) Limit(next httpkit.Handler) httpkit.Handler {
	return func(rw http.ResponseWriter, r *http.Request) error {
		x := gateway.ExchangeFrom(r.Context())
		if x == nil {
			return fmt.Errorf("limit requests: %w", errNoExchange)
		}
		if wait := w.take(r.Context(), x.ClientIP); wait > 0 {
			w.refused.Add(1)
			return &gateway.Error{
				Kind:       gateway.KindRateLimited,
				Message:    fmt.Sprintf("too many requests from this address: the limit is %d in %s", w.limit, w.span),
				RetryAfter: wait,
			}
		}
		return next(rw, r)
	}
}

// Share has requests counted for all instances together, nil for this one alone.
// It comes before the first request.
func (w *Window) Share(c Counters) { w.shared = c }

// take counts a request of a client here and, where this instance alone would let
// it in, in what all instances count. Who is refused there is not counted here.
func (w *Window) take(ctx context.Context, ip netip.Addr) (wait time.Duration) {
	wait, at := w.count(ip)
	if wait > 0 || w.shared == nil {
		return wait
	}
	wait, known := w.shared.TakeRequest(ctx, addressOf(ip).name(), gateway.Sliding{
		Limit: w.limit, Span: w.span, Grain: time.Duration(w.grain) * time.Millisecond,
	})
	if !known {
		return 0
	}
	if wait > 0 {
		w.takeBack(ip, at)
	}
	return wait
}

// takeBack makes undone that a request was counted here at a time.
func (w *Window) takeBack(ip netip.Addr, at int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i, known := w.places[addressOf(ip)]; known { // else others came meanwhile and took its place
		c := &w.ring[i]
		c.takeBack(at, max(w.now().Sub(w.began).Milliseconds(), c.lastAt), w.span.Milliseconds())
	}
}

// Refused is how many requests were turned away since the start.
func (w *Window) Refused() int64 { return w.refused.Load() }

// Take counts a request of a client here, whatever others count, and returns 0, or leaves it uncounted and
// returns how long the client has to wait until one is let through.
func (w *Window) Take(ip netip.Addr) (wait time.Duration) {
	wait, _ = w.count(ip)
	return wait
}

// count is Take, and tells the time in ms since the Window began.
func (w *Window) count(ip netip.Addr) (wait time.Duration, at int64) {
	a := addressOf(ip)
	at = w.now().Sub(w.began).Milliseconds()
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.visit(a, at)
	at = max(at, c.lastAt) // a clock that was set back stands still
	span := w.span.Milliseconds()
	c.forget(at, span)
	if c.used >= w.limit {
		return time.Duration(span-c.marks[0].age(at)) * time.Millisecond, at
	}
	c.add(at, w.grain)
	return 0, at
}

// visit finds a client's place, or makes one, and puts it in front.
func (w *Window) visit(a address, at int64) *client {
	i, known := w.places[a]
	switch {
	case known:
		w.unlink(i)
	case w.oldest >= 0 && (len(w.ring) >= w.clients || at-w.ring[w.oldest].lastAt >= w.span.Milliseconds()):
		i = w.oldest // its place is taken over
		w.unlink(i)
		delete(w.places, w.ring[i].address)
		w.ring[i] = client{address: a, track: track{lastAt: at, marks: w.ring[i].marks[:0]}}
		w.places[a] = i
	default:
		i = int32(len(w.ring)) //nolint:gosec // at most maxClients
		w.ring = append(w.ring, client{address: a, track: track{lastAt: at}})
		w.places[a] = i
	}
	w.ring[i].newer, w.ring[i].older = -1, w.newest
	if w.newest >= 0 {
		w.ring[w.newest].newer = i
	} else {
		w.oldest = i
	}
	w.newest = i
	return &w.ring[i]
}

// unlink takes a place out of the list.
func (w *Window) unlink(i int32) {
	c := &w.ring[i]
	if c.newer >= 0 {
		w.ring[c.newer].older = c.older
	} else {
		w.newest = c.older
	}
	if c.older >= 0 {
		w.ring[c.older].newer = c.newer
	} else {
		w.oldest = c.newer
	}
}

// forget drops the marks that have left the window.
func (c *track) forget(at, span int64) {
	if at-c.lastAt >= span {
		c.marks, c.used = c.marks[:0], 0
		return
	}
	gone := 0
	for gone < len(c.marks) && c.marks[gone].age(at) >= span {
		c.used -= int(c.marks[gone].n)
		gone++
	}
	if gone > 0 {
		c.marks = slices.Delete(c.marks, 0, gone)
	}
}

// add counts a request. Grains are aligned, so that no window holds parts of
// more than grains and one of them.
func (c *track) add(at, grain int64) {
	if n := len(c.marks); n > 0 && grain > 0 && at/grain == c.lastAt/grain {
		c.marks[n-1].at = uint32(at) //nolint:gosec // cut on purpose
		c.marks[n-1].n++
	} else {
		c.marks = append(c.marks, mark{at: uint32(at), n: 1}) //nolint:gosec // cut on purpose
	}
	c.used++
	c.lastAt = at
}

// age is how long ago a mark was, in ms. It is right as long as that is less
// than 49 days, which forget sees to.
func (m mark) age(at int64) int64 { return int64(uint32(at) - m.at) } //nolint:gosec // cut on purpose

// addressOf gives IPv4 addresses whole and IPv6 ones by their /64. What has no
// IP address shares one place.
func addressOf(ip netip.Addr) address {
	if !ip.IsValid() {
		return address{}
	}
	b := ip.As16()
	high := binary.BigEndian.Uint64(b[:8])
	if ip.Unmap().Is6() {
		return address{high: high, low: 1}
	}
	return address{high: high, low: binary.BigEndian.Uint64(b[8:])}
}

// name is the address as others are told it.
func (a address) name() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], a.high)
	binary.BigEndian.PutUint64(b[8:], a.low)
	return string(b[:])
}
