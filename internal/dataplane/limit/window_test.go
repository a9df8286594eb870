package limit

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

var visitor = netip.MustParseAddr("203.0.113.9")

// hand is a clock that a test moves.
type hand struct{ at time.Time }

func newHand() *hand                      { return &hand{time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)} }
func (h *hand) now() time.Time            { return h.at }
func (h *hand) move(d time.Duration)      { h.at = h.at.Add(d) }
func (h *hand) since(t time.Time) float64 { return h.at.Sub(t).Seconds() }

func TestWindowSlides(t *testing.T) {
	clock := newHand()
	w := NewWindow(3, time.Minute, clock.now)
	took := func(after time.Duration, want time.Duration) {
		t.Helper()
		clock.move(after)
		if wait := w.Take(visitor); wait != want {
			t.Errorf("has to wait %s, want %s", wait, want)
		}
	}
	took(0, 0)
	took(50*time.Second, 0)
	took(5*time.Second, 0)
	took(0, 5*time.Second)                               // the first one leaves at 60 s
	took(4999*time.Millisecond, 1*time.Millisecond)      // who is turned away waits no longer for it
	took(1*time.Millisecond, 0)                          // 60 s
	took(0, 50*time.Second)                              // the second leaves at 110 s
	took(49*time.Second, 1*time.Second)                  // 109 s
	took(1*time.Second, 0)                               // 110 s
	took(0, 5*time.Second)                               // the third leaves at 115 s
	took(time.Hour, 0)                                   // all have left
	took(0, 0)                                           //
	took(0, 0)                                           //
	took(0, time.Minute)                                 //
	took(-time.Hour, time.Minute)                        // a clock that is set back stands still
	took(time.Hour+60*time.Second-time.Millisecond, 1e6) //
	took(time.Millisecond, 0)                            //
}

// TestWindowAgainstALog compares with a list of every request let through.
func TestWindowAgainstALog(t *testing.T) {
	for _, tt := range []struct {
		limit int
		span  time.Duration
	}{
		{1, time.Second},
		{5, 10 * time.Second},
		{64, time.Minute},
		{65, time.Minute},
		{100, 100 * time.Millisecond},
		{1000, time.Minute},
		{700, 50 * time.Millisecond},
	} {
		random := rand.New(rand.NewPCG(1, uint64(tt.limit)))
		clock := newHand()
		w := NewWindow(tt.limit, tt.span, clock.now)
		late := time.Duration(w.grain) * time.Millisecond // how much later than exact a place may become free
		var log []time.Time
		mean := tt.span.Milliseconds() / int64(tt.limit)
		for range 4000 {
			step := random.Int64N(mean + 2)
			if random.IntN(500) == 0 {
				step = tt.span.Milliseconds()
			}
			clock.move(time.Duration(step) * time.Millisecond)
			within, surely := 0, 0 // let through in the window, and in one longer by late
			for i := len(log) - 1; i >= 0 && clock.at.Sub(log[i]) < tt.span+late; i-- {
				surely++
				if clock.at.Sub(log[i]) < tt.span {
					within++
				}
			}
			wait := w.Take(visitor)
			switch {
			case wait == 0 && within >= tt.limit:
				t.Fatalf("%d in %s: %d let through before", tt.limit, tt.span, within)
			case wait == 0:
				log = append(log, clock.at)
			case surely < tt.limit:
				t.Fatalf("%d in %s: turned away after %d", tt.limit, tt.span, surely)
			default:
				exact := log[len(log)-within].Add(tt.span).Sub(clock.at)
				if within < tt.limit {
					exact = 0
				}
				if wait < exact || wait > exact+late {
					t.Fatalf("%d in %s: has to wait %s, exactly %s", tt.limit, tt.span, wait, exact)
				}
			}
			if n := len(w.ring[0].marks); n > maxExact {
				t.Fatalf("%d in %s: %d marks", tt.limit, tt.span, n)
			}
		}
	}
}

// TestWaitIsRight makes sure that who waits as told is let through.
func TestWaitIsRight(t *testing.T) {
	for _, limit := range []int{1, 3, 64, 100, 1000} {
		clock := newHand()
		w := NewWindow(limit, time.Minute, clock.now)
		for range 10 {
			wait := w.Take(visitor)
			for wait == 0 {
				clock.move(3 * time.Millisecond)
				wait = w.Take(visitor)
			}
			clock.move(wait - time.Millisecond)
			if wait := w.Take(visitor); wait != time.Millisecond {
				t.Fatalf("%d: at the end of the wait told to wait %s", limit, wait)
			}
			clock.move(time.Millisecond)
			if wait := w.Take(visitor); wait > 0 {
				t.Fatalf("%d: told to wait %s more", limit, wait)
			}
		}
	}
}

func TestWindowSurvivesLongUptimes(t *testing.T) {
	clock := newHand()
	w := NewWindow(2, maxSpan+time.Hour, clock.now) // cut to maxSpan
	for range 20 {                                  // more than a year
		for range 2 {
			if wait := w.Take(visitor); wait > 0 {
				t.Fatalf("after %.0f s: has to wait %s", clock.since(w.began), wait)
			}
			clock.move(time.Hour)
		}
		if wait := w.Take(visitor); wait != maxSpan-2*time.Hour {
			t.Fatalf("after %.0f s: has to wait %s", clock.since(w.began), wait)
		}
		clock.move(maxSpan)
	}
}

func TestWindowAfterALongRest(t *testing.T) {
	clock := newHand()
	w := NewWindow(1, time.Minute, clock.now)
	w.Take(visitor)
	clock.move((1<<32 + 1) * time.Millisecond) // when 32 bits of time are where they were
	if wait := w.Take(visitor); wait > 0 {
		t.Errorf("has to wait %s", wait)
	}
}

func TestClientsAreToldApart(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{"203.0.113.9", "203.0.113.9", true},
		{"203.0.113.9", "203.0.113.8", false},
		{"203.0.113.9", "::ffff:203.0.113.9", true},
		{"2001:db8::1", "2001:db8::ffff:1", true},
		{"2001:db8::1", "2001:db8:0:0:ffff::", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"::1", "0.0.0.1", false},
		{"::1", "::ffff:0.0.0.1", false},
	} {
		w := NewWindow(1, time.Minute, newHand().now)
		w.Take(netip.MustParseAddr(tt.a))
		if same := w.Take(netip.MustParseAddr(tt.b)) > 0; same != tt.same {
			t.Errorf("%s and %s: the same client: %v", tt.a, tt.b, same)
		}
	}
	w := NewWindow(1, time.Minute, newHand().now)
	w.Take(netip.Addr{})
	if w.Take(netip.Addr{}) == 0 || w.Take(netip.MustParseAddr("::")) > 0 || w.Take(netip.MustParseAddr("0.0.0.0")) > 0 {
		t.Error("clients without an address do not share a place of their own")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	clock := newHand()
	w := newWindow(1, time.Minute, clock.now, 10)
	ip := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }
	for i := range 10 {
		w.Take(ip(i))
	}
	if w.Take(ip(0)) == 0 { // seen again, so no longer the quietest
		t.Error("0 was forgotten")
	}
	for i := 10; i < 19; i++ {
		if w.Take(ip(i)) > 0 {
			t.Errorf("%d is new and has to wait", i)
		}
	}
	if len(w.ring) != 10 || len(w.places) != 10 {
		t.Errorf("%d places, %d names", len(w.ring), len(w.places))
	}
	if w.Take(ip(0)) == 0 {
		t.Error("0 was forgotten before quieter ones")
	}
	if w.Take(ip(18)) == 0 {
		t.Error("18 was forgotten before quieter ones")
	}
	if w.Take(ip(1)) > 0 {
		t.Error("1 was remembered beyond the bound")
	}
}

// TestOrderOfClients compares the list with a slice, the newest first.
func TestOrderOfClients(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	w := newWindow(1000, time.Hour, newHand().now, 5)
	var want []address
	for range 2000 {
		ip := netip.AddrFrom4([4]byte{10, 0, 0, byte(random.IntN(8))})
		w.Take(ip)
		a := addressOf(ip)
		want = slices.DeleteFunc(want, func(b address) bool { return a == b })
		want = slices.Insert(want, 0, a)
		want = want[:min(len(want), 5)]

		var down, up []address
		for i := w.newest; i >= 0 && len(down) < 10; i = w.ring[i].older {
			down = append(down, w.ring[i].address)
		}
		for i := w.oldest; i >= 0 && len(up) < 10; i = w.ring[i].newer {
			up = append(up, w.ring[i].address)
		}
		slices.Reverse(up)
		if !slices.Equal(down, want) || !slices.Equal(up, want) {
			t.Fatalf("down %v, up %v, want %v", down, up, want)
		}
	}
}

func TestPlacesAreUsedAgain(t *testing.T) {
	clock := newHand()
	w := NewWindow(1, time.Minute, clock.now)
	for i := range 10_000 {
		w.Take(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}))
		clock.move(time.Second)
	}
	if n := len(w.ring); n > 61 || len(w.places) != n {
		t.Errorf("%d places, %d names for a client a second", n, len(w.places))
	}
}

func TestConcurrentClients(t *testing.T) {
	w := newWindow(50, time.Minute, newHand().now, 4)
	var through atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if w.Take(visitor) == 0 {
					through.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := through.Load(); n != 50 {
		t.Errorf("%d let through", n)
	}
}

func TestLimitStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := NewWindow(2, 10*time.Second, time.Now)
		h := httpkit.Entry(w.Limit(func(rw http.ResponseWriter, _ *http.Request) error {
			rw.WriteHeader(http.StatusNoContent)
			return nil
		}), httpkit.WriteDataError)
		ask := func() *httptest.ResponseRecorder {
			x := &gateway.Exchange{ClientIP: visitor}
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, httptest.NewRequestWithContext(gateway.WithExchange(t.Context(), x), http.MethodPost, "/", nil))
			return rec
		}
		ask()
		time.Sleep(2500 * time.Millisecond)
		if rec := ask(); rec.Code != 204 {
			t.Fatalf("the second request: %d", rec.Code)
		}
		rec := ask()
		var body struct {
			Error struct{ Message, Type string }
		}
		if err := json.Unmarshal(rec.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		if rec.Code != 429 || body.Error.Type != "rate_limit_error" || body.Error.Message != "too many requests from this address: the limit is 2 in 10s" {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
		if got := rec.Header().Get("Retry-After"); got != "8" { // 7.5 rounded up
			t.Errorf("Retry-After %s", got)
		}
		time.Sleep(8 * time.Second)
		if rec := ask(); rec.Code != 204 {
			t.Errorf("after the wait: %d", rec.Code)
		}
	})
}

func TestLimitStepWithoutExchange(t *testing.T) {
	h := NewWindow(1, time.Second, time.Now).Limit(func(http.ResponseWriter, *http.Request) error { return nil })
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	if err := h(httptest.NewRecorder(), r); gateway.AsError(err).Kind != gateway.KindInternal {
		t.Errorf("%v", err)
	}
}

func BenchmarkTake(b *testing.B) {
	for _, n := range []int{1, 50_000, 200_000} { // the last is more than are remembered
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := NewWindow(math.MaxInt, time.Minute, time.Now)
			ips := make([]netip.Addr, n)
			for i := range ips {
				ips[i] = netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
				w.Take(ips[i])
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if w.Take(ips[i%n]) > 0 {
					b.Fatal("turned away")
				}
				i++
			}
		})
	}
}
