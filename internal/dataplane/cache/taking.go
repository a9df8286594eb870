package cache

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
)

// taking is the ResponseWriter of a request that is asked upstream: what is
// written goes to the client at once and is taken down on the way, as long as it
// looks like an answer that can be kept. It is used by one goroutine at a time.
type taking struct {
	q        *asking
	client   http.ResponseWriter
	header   http.Header // what the steps behind set: the upstream's
	status   int
	flight   *inquiry // who wait for it; nil: nobody, or no more
	keeps    bool     // it may be kept, as far as is known
	body     []byte
	clearing int
}

// Header is that of the steps behind, apart from what is set before them, which
// concerns this one client.
func (t *taking) Header() http.Header { return t.header }

// Unwrap gives the client's writer to http.ResponseController.
func (t *taking) Unwrap() http.ResponseWriter { return t.client }

// WriteHeader sends the head, and tells who wait if they wait for nothing.
func (t *taking) WriteHeader(status int) {
	if t.status != 0 || status < http.StatusOK {
		t.client.WriteHeader(status)
		return
	}
	t.status = status
	mergeHeader(t.client.Header(), t.header)
	if t.keeps && !t.promising() {
		t.drop()
	}
	t.client.WriteHeader(status)
}

// promising reports whether an answer with this head can be kept: a good one
// that comes whole and is not too large.
func (t *taking) promising() bool {
	if t.status < 200 || t.status >= 300 || isStream(t.header.Get("Content-Type")) {
		return false
	}
	length, err := strconv.ParseInt(t.header.Get("Content-Length"), 10, 64)
	if err != nil {
		return true // of unknown length
	}
	t.body = make([]byte, 0, max(0, min(length, smallAnswer)))
	return length <= t.q.a.largest
}

// smallAnswer is for how much room is made before it comes.
const smallAnswer = 64 << 10

// isStream tells a stream of events by its content type.
func isStream(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.TrimSpace(media)
	return strings.EqualFold(media, "text/event-stream") || strings.EqualFold(media, "application/x-ndjson")
}

// Write sends a part of the body.
func (t *taking) Write(p []byte) (int, error) {
	if t.status == 0 {
		t.WriteHeader(http.StatusOK)
	}
	t.take(p)
	defer t.writing()()
	return t.client.Write(p)
}

// writing lets who wait for the answer see that its client has to take it first.
func (t *taking) writing() (done func()) {
	f := t.flight
	if f == nil {
		return func() {}
	}
	f.writing.Store(t.q.a.opts.Now().UnixNano())
	return func() { f.writing.Store(0) }
}

// FlushError sends what is buffered.
func (t *taking) FlushError() error {
	if t.status == 0 {
		t.WriteHeader(http.StatusOK)
	}
	defer t.writing()()
	return http.NewResponseController(t.client).Flush()
}

// take keeps a part of the body, unless that would be too much for one answer
// or for all that are under way.
func (t *taking) take(p []byte) {
	if !t.keeps {
		return
	}
	a := t.q.a
	if int64(len(t.body)+len(p)) > a.largest {
		t.drop()
		return
	}
	t.body = append(t.body, p...)
	if a.inHand.Add(int64(len(p))) > a.opts.MaxBytes {
		t.drop()
	}
}

// drop gives up keeping the answer. Who wait for it have to ask by themselves,
// and need not wait until it has ended.
func (t *taking) drop() {
	t.free()
	t.land(nil, false)
}

// free lets go of what was taken down.
func (t *taking) free() {
	if t.keeps {
		t.q.a.inHand.Add(-int64(len(t.body)))
	}
	t.keeps, t.body = false, nil
}

// land ends the inquiry of which this is the answer.
func (t *taking) land(s *saved, abandoned bool) {
	if t.flight != nil {
		t.q.a.settle(t.q.key, t.flight, s, abandoned)
		t.flight = nil
	}
}

// pass hands on the header of an answer that was not begun, for the error that
// is made in its place, and the trailer of one that was.
func (t *taking) pass() {
	if t.status == 0 {
		mergeHeader(t.client.Header(), t.header)
		return
	}
	for name, values := range t.header {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			t.client.Header()[name] = values
			t.drop() // an answer with a trailer would be kept without it
		}
	}
}

// conclude keeps an answer that came well to its end, and gives it to all who
// wait.
func (t *taking) conclude(good, gone bool) {
	if !good || t.status == 0 || !t.keeps {
		t.land(nil, gone)
		return
	}
	x := t.q.x
	s := &saved{
		provider: x.Route.Provider, path: x.Route.Path, model: x.Record.Model,
		status: t.status, header: keptHeader(t.header), body: bytes.Clone(t.body),
	}
	t.q.a.put(t.q.key, s, t.clearing)
	t.land(s, false)
}

// end cleans up, whatever happened.
func (t *taking) end() {
	t.free()
	t.land(nil, true)
}

// mergeHeader puts an upstream's header behind what is set already. What this
// program says itself stands: how the cache did, and what is left of a token's
// limits. Both have a say in Vary.
func mergeHeader(dst, src http.Header) {
	for name, values := range src {
		switch have := dst[name]; {
		case name == "X-Cache", len(have) > 0 && strings.HasPrefix(name, limitsPrefix):
		case name == "Vary" && len(have) > 0:
			dst[name] = append(have[:len(have):len(have)], values...)
		default:
			dst[name] = values
		}
	}
}

const limitsPrefix = "X-Ratelimit-"

// keptHeader is what holds for everybody who gets an answer: not what names or
// dates the one request in which it came, or speaks of the key that asked.
func keptHeader(h http.Header) http.Header {
	kept := make(http.Header, len(h))
	for name, values := range h {
		switch name {
		case "Age", "Content-Length", "Date", "Retry-After", "Set-Cookie", "X-Cache", "X-Pool-Attempts", "X-Request-Id", upstreamRequestID:
			continue
		}
		if !strings.HasPrefix(name, limitsPrefix) {
			kept[name] = values
		}
	}
	return kept
}
