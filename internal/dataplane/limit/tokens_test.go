package limit

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// bearer is a client with a limited token.
type bearer struct {
	t       *testing.T
	tokens  *Tokens
	limits  gateway.Limits
	ip      netip.Addr
	service gateway.Service
	then    httpkit.Handler // nil: nothing happens
	header  http.Header     // of the last answer
	record  gateway.Record  // of the last request
}

func (b *bearer) ask() error {
	b.t.Helper()
	x := &gateway.Exchange{ClientIP: b.ip, Principal: &gateway.Principal{TokenHash: "hash", Limits: &b.limits}, Route: gateway.Route{Service: b.service}}
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(gateway.WithExchange(b.t.Context(), x), http.MethodPost, "/", nil)
	passed := false
	err := b.tokens.Limit(func(w http.ResponseWriter, r *http.Request) error {
		passed = true
		if b.then == nil {
			return nil
		}
		return b.then(w, r)
	})(w, r)
	if !passed && (err == nil || !x.Record.Counted) {
		b.t.Errorf("refused, counted %v, with the error %v", x.Record.Counted, err)
	}
	b.header, b.record = w.Header(), x.Record
	return err
}

// passes and waits say how a request must end.
func (b *bearer) passes() {
	b.t.Helper()
	if err := b.ask(); err != nil {
		b.t.Errorf("refused: %v", err)
	}
}

func (b *bearer) waits(want time.Duration, words string) {
	b.t.Helper()
	e := gateway.AsError(b.ask())
	if e.Kind != gateway.KindRateLimited || e.RetryAfter != want || !strings.Contains(e.Message, words) {
		b.t.Errorf("%d %q, wait %s, want %q and %s", e.Kind, e.Message, e.RetryAfter, words, want)
	}
}

// uses makes every request use model tokens.
func uses(input, output int64) httpkit.Handler {
	return func(_ http.ResponseWriter, r *http.Request) error {
		gateway.ExchangeFrom(r.Context()).Record.Usage = gateway.Usage{Input: input, Output: output}
		return nil
	}
}

func newBearer(t *testing.T, clock *hand, l gateway.Limits) *bearer {
	t.Helper()
	return &bearer{t: t, tokens: NewTokens(clock.now), limits: l, ip: visitor}
}

func TestRequestsPerMinute(t *testing.T) {
	clock := newHand()
	b := newBearer(t, clock, gateway.Limits{RequestsPerMinute: 2})
	b.passes()
	clock.move(20 * time.Second)
	b.passes()
	b.waits(40*time.Second, "2 per minute (requests per minute)")
	clock.move(40*time.Second - time.Millisecond)
	b.waits(time.Millisecond, "2 per minute")
	clock.move(time.Millisecond)
	b.passes() // who was turned away has used nothing
	b.waits(20*time.Second, "2 per minute")
	if got := b.tokens.Refused(); !maps.Equal(got, map[string]int64{"requests_per_minute": 3}) {
		t.Errorf("refused: %v", got)
	}
	b.limits.RequestsPerMinute = 4
	b.passes() // changed limits hold at once
	b.passes()
	b.limits.RequestsPerMinute = 1
	b.waits(60*time.Second, "1 per minute") // until all four have left
	b.limits.RequestsPerMinute = 3
	b.waits(60*time.Second, "3 per minute")
	clock.move(20 * time.Second)
	b.limits.RequestsPerMinute = 4
	b.passes()
}

func TestRequestsPerDay(t *testing.T) {
	clock := newHand() // at noon
	b := newBearer(t, clock, gateway.Limits{RequestsPerDay: 3})
	b.passes()
	b.passes()
	b.passes()
	b.waits(12*time.Hour, "3, until 00:00 UTC (requests per day)")
	clock.move(12*time.Hour - time.Second)
	b.waits(time.Second, "(requests per day)")
	clock.move(time.Second)
	b.passes()
	if used, _ := b.tokens.Usage("hash"); used.Requests != 1 {
		t.Errorf("the new day begins with %+v", used)
	}
	clock.move(-time.Hour) // a clock that is set back opens no second day
	b.passes()
	b.passes()
	b.waits(25*time.Hour, "(requests per day)")
}

// A clock that was years ahead when the program started does not keep tokens
// out for years once it is put right.
func TestRequestsPerDayAfterAClockThatWasAhead(t *testing.T) {
	clock := newHand()
	clock.move(1000 * 24 * time.Hour)
	b := newBearer(t, clock, gateway.Limits{RequestsPerDay: 1})
	b.passes()
	b.waits(12*time.Hour, "(requests per day)")
	clock.move(-1000 * 24 * time.Hour)
	b.passes()
	b.waits(12*time.Hour, "(requests per day)")
}

func TestTokensPerDay(t *testing.T) {
	clock := newHand()
	b := newBearer(t, clock, gateway.Limits{TokensPerDay: 100})
	b.then = uses(60, 39)
	b.passes()
	b.passes() // one is left
	b.waits(12*time.Hour, "100, until 00:00 UTC (tokens per day)")
	if used, _ := b.tokens.Usage("hash"); used != (gateway.TokenUsage{Requests: 2, Tokens: 198}) {
		t.Errorf("used %+v", used)
	}
	clock.move(12 * time.Hour)
	b.then = func(w http.ResponseWriter, r *http.Request) error {
		clock.move(24 * time.Hour) // begins on one day, ends on the next
		return uses(100, 0)(w, r)
	}
	b.passes()
	b.waits(24*time.Hour, "(tokens per day)")
}

// A stream that does not tell what the model read counts by what was sent.
func TestTokensPerDayWithoutInput(t *testing.T) {
	b := newBearer(t, newHand(), gateway.Limits{TokensPerDay: 100})
	b.then = func(w http.ResponseWriter, r *http.Request) error {
		gateway.ExchangeFrom(r.Context()).Record.Sent = 4000
		return uses(0, 1)(w, r)
	}
	b.passes()
	b.waits(12*time.Hour, "(tokens per day)")
	if used, _ := b.tokens.Usage("hash"); used.Tokens != 1001 {
		t.Errorf("used %+v", used)
	}
}

// The longest of several waits is told.
func TestLongestWait(t *testing.T) {
	clock := newHand()
	b := newBearer(t, clock, gateway.Limits{RequestsPerMinute: 1, RequestsPerDay: 1})
	clock.move(12*time.Hour - 30*time.Second)
	b.passes()
	b.waits(time.Minute, "(requests per minute)")
	clock.move(-time.Hour)
	b.waits(time.Hour+30*time.Second, "(requests per day)")
}

func TestConcurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := NewTokens(time.Now)
		b := func() *bearer {
			return &bearer{t: t, tokens: tokens, limits: gateway.Limits{Concurrent: 3}, ip: visitor, then: func(http.ResponseWriter, *http.Request) error {
				time.Sleep(time.Minute)
				return errors.New("whatever comes of it")
			}}
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if e := gateway.AsError(b().ask()); e.Kind != gateway.KindInternal {
					t.Errorf("refused: %v", e)
				}
			})
		}
		synctest.Wait()
		b().waits(time.Second, "3 at the same time (concurrent requests)")
		if used, _ := tokens.Usage("hash"); used.Running != 3 {
			t.Errorf("running %+v", used)
		}
		wg.Wait()
		panics := b()
		panics.then = func(http.ResponseWriter, *http.Request) error { panic(http.ErrAbortHandler) }
		for range 5 {
			func() {
				defer func() { _ = recover() }()
				_ = panics.ask()
			}()
		}
		if used, _ := tokens.Usage("hash"); used != (gateway.TokenUsage{Requests: 8}) {
			t.Errorf("afterwards %+v", used)
		}
	})
}

func TestNetworks(t *testing.T) {
	b := newBearer(t, newHand(), gateway.Limits{Networks: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/29"), netip.MustParsePrefix("2001:db8::/32")}, RequestsPerDay: 3})
	for ip, want := range map[string]bool{
		"203.0.113.7": true, "203.0.113.8": false, "::ffff:203.0.113.1": true, "2001:db8::1": true, "2001:db9::1": false, "": false,
	} {
		b.ip, _ = netip.ParseAddr(ip)
		err := b.ask()
		if e := gateway.AsError(err); (err == nil) != want || !want && (e.Kind != gateway.KindForbidden || !strings.Contains(e.Message, "(networks)")) {
			t.Errorf("%s: %v", ip, err)
		}
	}
	b.ip, b.service = netip.Addr{}, gateway.ServiceGreeting
	if err := b.ask(); gateway.AsError(err).Kind != gateway.KindForbidden {
		t.Errorf("a greeting to an unknown place: %v", err)
	}
	if used, _ := b.tokens.Usage("hash"); used.Requests != 3 || b.tokens.Refused()["networks"] != 4 {
		t.Errorf("used %+v, refused %v", used, b.tokens.Refused())
	}
}

// What a later step refuses to the token has used nothing.
func TestRefusedLater(t *testing.T) {
	for _, perMinute := range []int{2, 100} {
		clock := newHand()
		b := newBearer(t, clock, gateway.Limits{RequestsPerMinute: perMinute, RequestsPerDay: 2})
		b.passes()
		clock.move(time.Second)
		b.then = func(http.ResponseWriter, *http.Request) error {
			clock.move(time.Second)
			return gateway.Errorf(gateway.KindForbidden, "another model")
		}
		for range 10 {
			if err := b.ask(); gateway.AsError(err).Kind != gateway.KindForbidden {
				t.Errorf("%d: %v", perMinute, err)
			}
		}
		if used, _ := b.tokens.Usage("hash"); used != (gateway.TokenUsage{Requests: 1}) || b.tokens.Refused()["models"] != 10 {
			t.Errorf("%d: used %+v, refused %v", perMinute, used, b.tokens.Refused())
		}
		b.then = func(_ http.ResponseWriter, r *http.Request) error { // an upstream's refusal is an answer like any other
			rec := &gateway.ExchangeFrom(r.Context()).Record
			rec.Attempts = append(rec.Attempts, gateway.Attempt{Status: 403})
			return gateway.Errorf(gateway.KindForbidden, "refused upstream")
		}
		_ = b.ask()
		if used, _ := b.tokens.Usage("hash"); used.Requests != 2 || b.tokens.used["hash"].minute.used != 2 {
			t.Errorf("%d: used %+v, %+v in the window", perMinute, used, b.tokens.used["hash"].minute)
		}
		b.waits(12*time.Hour-11*time.Second, "(requests per day)")
	}
}

// A request that is taken back is its own, not a later one's.
func TestTakeBack(t *testing.T) {
	const span = 60_000
	random := rand.New(rand.NewPCG(3, 4))
	for _, grain := range []int64{0, 1000} {
		for range 200 {
			var c track
			var log []int64
			at := int64(0)
			for range 40 {
				at += random.Int64N(3000)
				c.forget(at, span)
				if len(log) > 0 && random.IntN(3) == 0 {
					i := random.IntN(len(log))
					c.takeBack(log[i], at, span)
					log = append(log[:i], log[i+1:]...)
					continue
				}
				c.add(at, grain)
				log = append(log, at)
			}
			within, surely := 0, 0
			for _, when := range log {
				if at-when < span {
					within++
				}
				if at-when < span+grain {
					surely++
				}
			}
			sum := 0
			for i, m := range c.marks {
				sum += int(m.n)
				if m.n == 0 || i > 0 && m.at < c.marks[i-1].at {
					t.Fatalf("marks %v", c.marks)
				}
			}
			if c.used != sum || c.used < within || c.used > surely {
				t.Fatalf("grain %d: %d in the window, %d in its marks, want %d to %d", grain, c.used, sum, within, surely)
			}
		}
	}
}

func TestHeaders(t *testing.T) {
	clock := newHand()
	told := func(b *bearer) string {
		var out []string
		for _, what := range []string{"Requests", "Tokens"} {
			for _, name := range []string{"Limit", "Remaining", "Reset"} {
				if v := b.header.Get("x-ratelimit-" + name + "-" + what); v != "" {
					out = append(out, v)
				}
			}
		}
		return strings.Join(out, " ")
	}
	for _, tt := range []struct {
		limits gateway.Limits
		want   []string // after each request
	}{
		{gateway.Limits{Concurrent: 1, Models: []string{"x"}}, []string{"", ""}},
		{gateway.Limits{RequestsPerMinute: 2}, []string{"2 1 1m0s", "2 0 1m0s", "2 0 1m0s"}},
		{gateway.Limits{RequestsPerDay: 2}, []string{"2 1 12h0m0s", "2 0 12h0m0s", "2 0 12h0m0s"}},
		{gateway.Limits{RequestsPerMinute: 2, RequestsPerDay: 9}, []string{"2 1 1m0s"}},
		{gateway.Limits{RequestsPerMinute: 9, RequestsPerDay: 2}, []string{"2 1 12h0m0s"}},
		{gateway.Limits{TokensPerDay: 250}, []string{"250 250 12h0m0s", "250 151 12h0m0s", "250 52 12h0m0s", "250 0 12h0m0s"}},
		{gateway.Limits{RequestsPerDay: 5, TokensPerDay: 100}, []string{"5 4 12h0m0s 100 100 12h0m0s", "5 3 12h0m0s 100 1 12h0m0s", "5 3 12h0m0s 100 0 12h0m0s"}},
	} {
		b := newBearer(t, clock, tt.limits)
		b.then = uses(99, 0)
		for i, want := range tt.want {
			_ = b.ask()
			if got := told(b); got != want {
				t.Errorf("%+v, request %d: %q, want %q", tt.limits, i, got, want)
			}
		}
	}
}

func TestSeed(t *testing.T) {
	clock := newHand()
	b := newBearer(t, clock, gateway.Limits{RequestsPerDay: 10, TokensPerDay: 1000})
	b.tokens.Seed("hash", 9, 10, clock.now())
	b.passes()
	b.waits(12*time.Hour, "(requests per day)")
	b.tokens.Seed("hash", 5, 1000, clock.now()) // counts the same requests once more
	if used, _ := b.tokens.Usage("hash"); used != (gateway.TokenUsage{Requests: 10, Tokens: 1000}) {
		t.Errorf("used %+v", used)
	}
	clock.move(12 * time.Hour)
	b.passes()
	b.tokens.Seed("hash", 10, 0, clock.now().Add(-time.Second)) // of yesterday
	if used, _ := b.tokens.Usage("hash"); used != (gateway.TokenUsage{Requests: 1}) {
		t.Errorf("the next day: used %+v", used)
	}
	b.tokens.Forget("other")
	b.then = func(http.ResponseWriter, *http.Request) error { b.tokens.Forget("hash"); return nil }
	b.passes() // its end finds nothing to add to
	if _, known := b.tokens.Usage("hash"); known {
		t.Error("a token that was to be forgotten is known")
	}
	if _, known := b.tokens.Usage("other"); known {
		t.Error("a token that never came is known")
	}
}

// What is remembered are the tokens of a day.
func TestForgotten(t *testing.T) {
	clock := newHand()
	tokens := NewTokens(clock.now)
	l := &gateway.Limits{RequestsPerMinute: 1, RequestsPerDay: 1}
	const lasting = "0 of day 0" // has a request that lasts for days
	for d := range 5 {
		for i := range 100 {
			tokens.admit(fmt.Sprintf("%d of day %d", i, d), l)
		}
		for hash, c := range tokens.used {
			if hash != lasting {
				c.running = 0
			}
		}
		clock.move(day)
	}
	if tokens.admit("new", l); len(tokens.used) != 2 || tokens.used[lasting] == nil {
		t.Errorf("%d tokens are remembered", len(tokens.used))
	}
}

// Exactly as many as may get in, whoever else asks.
func TestTokensConcurrently(t *testing.T) {
	tokens := NewTokens(time.Now)
	var passed, most, running atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 50 {
				b := &bearer{t: t, tokens: tokens, limits: gateway.Limits{RequestsPerDay: 300, RequestsPerMinute: 400, Concurrent: 5, TokensPerDay: 1 << 40}, ip: visitor}
				b.then = func(w http.ResponseWriter, r *http.Request) error {
					now := running.Add(1)
					defer running.Add(-1)
					for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
					}
					passed.Add(1)
					return uses(2, 1)(w, r)
				}
				for gateway.AsError(b.ask()).RetryAfter == time.Second { // too many at once
				}
				tokens.Usage("hash")
				tokens.Seed("hash", 1, 1, time.Now())
				tokens.Refused()
			}
		})
	}
	wg.Wait()
	if used, _ := tokens.Usage("hash"); passed.Load() != 300 || most.Load() > 5 || used != (gateway.TokenUsage{Requests: 300, Tokens: 900}) {
		t.Errorf("%d passed, %d at once, used %+v", passed.Load(), most.Load(), used)
	}
}

// Tokens without limits cost nothing, and nothing is remembered of them.
func TestUnlimited(t *testing.T) {
	tokens := NewTokens(time.Now)
	h := tokens.Limit(func(http.ResponseWriter, *http.Request) error { return nil })
	for _, who := range []*gateway.Principal{nil, {TokenHash: "hash"}} {
		x := &gateway.Exchange{Principal: who}
		r := httptest.NewRequestWithContext(gateway.WithExchange(t.Context(), x), http.MethodPost, "/", nil)
		if n := testing.AllocsPerRun(100, func() { _ = h(nil, r) }); n > 0 || len(tokens.used) > 0 {
			t.Errorf("%v allocations, %d remembered", n, len(tokens.used))
		}
	}
	if err := h(nil, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)); !errors.Is(err, errNoExchange) {
		t.Errorf("without an exchange: %v", err)
	}
}
