package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/simulator"
)

// upstream plays both providers on a loopback port of the test's process.
type upstream struct {
	*simulator.Simulator
	URL     string
	held    atomic.Pointer[hold]
	trusted atomic.Pointer[string] // a key that stands for every other, nil: none
	once    atomic.Pointer[http.HandlerFunc]
}

// nextAnswer makes the next answer another one than the simulator's.
func (u *upstream) nextAnswer(h http.HandlerFunc) { u.once.Store(&h) }

// newUpstream starts an upstream that knows these keys.
func newUpstream(tb testing.TB, fates map[string]fate) *upstream {
	u := &upstream{Simulator: simulator.New(simulator.Options{Keys: fates})}
	server := httptest.NewServer(http.HandlerFunc(u.serve))
	tb.Cleanup(server.Close)
	u.URL = server.URL
	return u
}

// settings point an instance at the upstream.
func (u *upstream) settings() []string {
	return []string{"OLLAMA_BASE_URL=" + u.URL, "OPENROUTER_BASE_URL=" + u.URL + simulator.OpenRouterPath}
}

// mixed are the fates of keys of which requests meet bad ones too, as many in
// a row as a request may try; healthy ones all work.
var (
	mixed = []fate{
		fateOK, simulator.FateRevoked, fateOK, simulator.FateOverQuota,
		fateOK, simulator.FateNoCredit, fateOK,
	}
	healthy = []fate{fateOK, fateOK, fateOK}
)

func fakeKey(p gateway.ProviderName, n int) string {
	return fmt.Sprintf("fake-e2e-%s-key-%06d", p, n)
}

// serving is an upstream and an instance in front of it, with a key of each
// fate in both pools, and a token for both providers.
func serving(tb testing.TB, fates []fate, settings ...string) (*upstream, *Instance, string) {
	tb.Helper()
	known := map[string]fate{}
	keys := map[gateway.ProviderName][]string{}
	for _, p := range gateway.Providers() {
		for n, fate := range fates {
			known[fakeKey(p, n)] = fate
			keys[p] = append(keys[p], fakeKey(p, n))
		}
	}
	up := newUpstream(tb, known)
	i := start(tb, up, settings...)
	for p, secrets := range keys {
		i.AddKeys(p, secrets...)
	}
	return up, i, i.CreateToken("e2e", "all")
}

// hold is where one answer of the upstream waits.
type hold struct {
	parts   int           // after so many flushed parts; 0: before anything
	reached chan struct{} // closed when the answer waits
	release chan struct{} // closed to let it go on
	gone    chan struct{} // closed when whoever asked has left
}

// hold makes the next answer wait after so many parts.
func (u *upstream) hold(parts int) *hold {
	h := &hold{parts: parts, reached: make(chan struct{}), release: make(chan struct{}), gone: make(chan struct{})}
	u.held.Store(h)
	return h
}

func (u *upstream) serve(w http.ResponseWriter, r *http.Request) {
	if h := u.once.Swap(nil); h != nil {
		(*h)(w, r)
		return
	}
	if key := u.trusted.Load(); key != nil {
		r.Header.Set("Authorization", "Bearer "+*key)
	}
	h := u.held.Swap(nil)
	if h == nil {
		u.ServeHTTP(w, r)
		return
	}
	if h.parts == 0 {
		// net/http notices that a client has left once its body is read.
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		h.wait(r)
	}
	u.ServeHTTP(&holding{ResponseWriter: w, r: r, hold: h}, r)
}

// wait waits for the release, or until nobody waits for the answer.
func (h *hold) wait(r *http.Request) {
	close(h.reached)
	select {
	case <-h.release:
	case <-r.Context().Done():
		close(h.gone)
	}
}

// holding counts the parts of an answer.
type holding struct {
	http.ResponseWriter
	r    *http.Request
	hold *hold
	n    int
}

// FlushError is what http.ResponseController calls after each part.
func (h *holding) FlushError() error {
	err := http.NewResponseController(h.ResponseWriter).Flush()
	if h.n++; h.n == h.hold.parts {
		h.hold.wait(h.r)
	}
	return err
}

// awaitClosed fails the test if a channel is not closed in time.
func awaitClosed(tb testing.TB, c <-chan struct{}, within time.Duration, what string) {
	tb.Helper()
	select {
	case <-c:
	case <-time.After(within):
		tb.Errorf("not within %v: %s", within, what)
	}
}

// Names of the simulator that tests use often.
type fate = simulator.Fate

const fateOK = simulator.FateOK
