package testkit

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Call is one request as it reached an Upstream. What Calls and a handler get
// is a copy.
type Call struct {
	N           int    // 1 for the first call of this upstream
	Conn        int64  // the connection it came on: equal numbers show reuse
	Proto       string // HTTP/1.1 or HTTP/2.0
	Method      string
	Host        string
	Path        string // decoded
	EscapedPath string // as it was sent
	RawQuery    string
	Header      http.Header
	Key         string // the credential: after "Bearer " in Authorization
	Body        []byte // nil until it was read whole
	Canceled    bool   // the client went away before the answer was complete
}

func newCall(r *http.Request) *Call {
	key, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return &Call{
		Conn:        connOf(r.Context()).id,
		Proto:       r.Proto,
		Method:      r.Method,
		Host:        r.Host,
		Path:        r.URL.Path,
		EscapedPath: r.URL.EscapedPath(),
		RawQuery:    r.URL.RawQuery,
		Header:      r.Header.Clone(),
		Key:         key,
	}
}

// ledger remembers the calls of an upstream.
type ledger struct {
	// mu guards all that follows, and the calls themselves.
	mu       sync.Mutex
	calls    []*Call
	gone     int           // calls canceled
	inFlight int           // calls being answered
	peak     int           // the most that ever were at once
	changed  chan struct{} // closed and replaced at every change
}

func newLedger() *ledger { return &ledger{changed: make(chan struct{})} }

// note wakes up whoever awaits something. The caller holds the lock.
func (l *ledger) note() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *ledger) add(c *Call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, c)
	c.N = len(l.calls)
	l.inFlight++
	l.peak = max(l.peak, l.inFlight)
	l.note()
}

func (l *ledger) done() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight--
	l.note()
}

func (l *ledger) canceled(c *Call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !c.Canceled {
		c.Canceled = true
		l.gone++
		l.note()
	}
}

// readBody reads a call's body and reports whether it came whole.
func (l *ledger) readBody(c *Call, body io.Reader) bool {
	b, err := io.ReadAll(body)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		return false
	}
	c.Body = b
	return true
}

func (l *ledger) copyOf(c *Call) *Call {
	l.mu.Lock()
	defer l.mu.Unlock()
	return c.clone()
}

// clone copies the call but for the body's bytes, which nothing here changes.
func (c *Call) clone() *Call {
	out := *c
	out.Header = c.Header.Clone()
	return &out
}

// await waits until ok holds and reports whether it came to that in time.
func (l *ledger) await(within time.Duration, ok func() bool) bool {
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	for {
		l.mu.Lock()
		met, changed := ok(), l.changed
		l.mu.Unlock()
		if met {
			return true
		}
		select {
		case <-changed:
		case <-timeout.C:
			return false
		}
	}
}

// Calls returns the calls so far, in the order in which they came.
func (u *Upstream) Calls() []Call {
	return u.callsWhere(func(*Call) bool { return true })
}

// CallsFor returns the calls made with one key.
func (u *Upstream) CallsFor(key string) []Call {
	return u.callsWhere(func(c *Call) bool { return c.Key == key })
}

func (u *Upstream) callsWhere(ok func(*Call) bool) []Call {
	u.ledger.mu.Lock()
	defer u.ledger.mu.Unlock()
	var out []Call
	for _, c := range u.ledger.calls {
		if ok(c) {
			out = append(out, *c.clone())
		}
	}
	return out
}

// Canceled counts the calls whose client went away while something was still
// to be sent.
func (u *Upstream) Canceled() int {
	u.ledger.mu.Lock()
	defer u.ledger.mu.Unlock()
	return u.ledger.gone
}

// InFlight counts the calls that are being answered.
func (u *Upstream) InFlight() int {
	u.ledger.mu.Lock()
	defer u.ledger.mu.Unlock()
	return u.ledger.inFlight
}

// PeakInFlight is the largest number of calls that were ever answered at once.
func (u *Upstream) PeakInFlight() int {
	u.ledger.mu.Lock()
	defer u.ledger.mu.Unlock()
	return u.ledger.peak
}

// AwaitCalls waits until n calls have come and fails the test if they do not in
// time. Like the other Await functions it must be called from the test's own
// goroutine.
func (u *Upstream) AwaitCalls(n int, within time.Duration) {
	u.tb.Helper()
	if !u.ledger.await(within, func() bool { return len(u.ledger.calls) >= n }) {
		u.tb.Fatalf("testkit: %d calls after %v, want %d", len(u.Calls()), within, n)
	}
}

// AwaitCanceled waits until the clients of n calls went away and fails the test
// if they do not in time.
func (u *Upstream) AwaitCanceled(n int, within time.Duration) {
	u.tb.Helper()
	if !u.ledger.await(within, func() bool { return u.ledger.gone >= n }) {
		u.tb.Fatalf("testkit: %d calls canceled after %v, want %d", u.Canceled(), within, n)
	}
}

// AwaitIdle waits until no call is being answered and fails the test if that
// does not happen in time.
func (u *Upstream) AwaitIdle(within time.Duration) {
	u.tb.Helper()
	if !u.ledger.await(within, func() bool { return u.ledger.inFlight == 0 }) {
		u.tb.Fatalf("testkit: %d calls still running after %v", u.InFlight(), within)
	}
}
