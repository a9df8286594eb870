package limit

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// company are the other instances, as a test wants them.
type company struct {
	mu      sync.Mutex // guards what follows
	silent  bool       // nobody answers
	window  time.Duration
	token   func(d gateway.TokenDemand) gateway.TokenShare
	clients []string
	slides  []gateway.Sliding
	demands []gateway.TokenDemand
	told    []gateway.TokenCount
	backs   []int64
}

func (c *company) TakeRequest(_ context.Context, client string, w gateway.Sliding) (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clients, c.slides = append(c.clients, client), append(c.slides, w)
	return c.window, !c.silent
}

func (c *company) TakeToken(_ context.Context, d gateway.TokenDemand) (gateway.TokenShare, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.demands = append(c.demands, d)
	if c.silent {
		return gateway.TokenShare{}, false
	}
	return c.token(d), true
}

func (c *company) TellToken(n gateway.TokenCount) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = append(c.told, n)
}

func (c *company) TakeBack(_ string, at int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.backs = append(c.backs, at)
}

// lets lets a request in, and tells that the others used as much more.
func lets(others gateway.TokenShare) func(gateway.TokenDemand) gateway.TokenShare {
	return func(d gateway.TokenDemand) gateway.TokenShare {
		return gateway.TokenShare{
			Admitted: true, At: 77, PerMinute: others.PerMinute + 1,
			Requests: others.Requests + d.Count.RequestsBefore + d.Count.Requests,
			Tokens:   others.Tokens + d.Count.TokensBefore + d.Count.Tokens,
			Running:  others.Running + d.Count.Running,
		}
	}
}

func TestTheOthersAreAskedLast(t *testing.T) {
	clock := newHand()
	c := &company{token: lets(gateway.TokenShare{})}
	b := newBearer(t, clock, gateway.Limits{RequestsPerMinute: 1})
	b.tokens.Share(c)
	b.passes()
	b.waits(time.Minute, "per minute")
	if len(c.demands) != 1 {
		t.Errorf("asked %d times: what is refused here needs no other", len(c.demands))
	}
	if d := c.demands[0]; d.Minute != (gateway.Sliding{Limit: 1, Span: time.Minute}) || d.PerDay+d.Concurrent != 0 || d.Count.PerDay || d.Count.Concurrent {
		t.Errorf("%+v", d)
	}
	for _, l := range []gateway.Limits{{}, {Models: []string{"m"}}, {Networks: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}} {
		b.limits = l
		b.passes()
	}
	b.limits = gateway.Limits{RequestsPerDay: 1000}
	b.service = gateway.ServiceGreeting
	b.passes()
	if len(c.demands) != 1 {
		t.Errorf("asked %d times where nothing is counted", len(c.demands))
	}
}

// TestTheOthersRefuse lets them refuse for each reason: the wait and what is left
// are theirs, and nothing is counted here.
func TestTheOthersRefuse(t *testing.T) {
	all := gateway.Limits{RequestsPerMinute: 100, RequestsPerDay: 10, TokensPerDay: 50, Concurrent: 3}
	for name, tt := range map[string]struct {
		share gateway.TokenShare
		wait  time.Duration
		words string
		left  string
	}{
		"minute":     {gateway.TokenShare{PerMinute: 100, MinuteWait: 7 * time.Second}, 7 * time.Second, "per minute", "0"},
		"day":        {gateway.TokenShare{PerMinute: 1, Requests: 10}, 12 * time.Hour, "requests per day", "0"},
		"tokens":     {gateway.TokenShare{PerMinute: 1, Requests: 3, Tokens: 60}, 12 * time.Hour, "tokens per day", "7"},
		"concurrent": {gateway.TokenShare{PerMinute: 1, Requests: 3, Running: 3}, time.Second, "concurrent", "7"},
		"longest":    {gateway.TokenShare{PerMinute: 100, MinuteWait: time.Second, Requests: 10, Running: 3}, 12 * time.Hour, "requests per day", "0"},
		"no reason":  {gateway.TokenShare{PerMinute: 1}, time.Second, "concurrent", "10"},
	} {
		t.Run(name, func(t *testing.T) {
			c := &company{token: func(gateway.TokenDemand) gateway.TokenShare { return tt.share }}
			b := newBearer(t, newHand(), all)
			b.tokens.Share(c)
			b.waits(tt.wait, tt.words)
			if got := b.header.Get("X-Ratelimit-Remaining-Requests"); got != tt.left {
				t.Errorf("left: %s, want %s", got, tt.left)
			}
			if len(c.told)+len(c.backs) != 0 {
				t.Errorf("they were told %+v %v", c.told, c.backs)
			}
			// Here everything is free still.
			c.silent = true
			for range 3 {
				b.passes()
			}
			if u, _ := b.tokens.Usage("hash"); u.Running != max(tt.share.Running, 0) || c.demands[3].Count.Requests != 3 || c.demands[3].Count.Running != 1 {
				t.Errorf("%+v, told %+v", u, c.demands[3].Count)
			}
		})
	}
}

// TestNobodyAnswers counts here alone, and tells it later.
func TestNobodyAnswers(t *testing.T) {
	clock := newHand()
	c := &company{silent: true}
	b := newBearer(t, clock, gateway.Limits{RequestsPerDay: 2, TokensPerDay: 100, Concurrent: 5})
	b.tokens.Share(c)
	b.tokens.Seed("hash", 0, 60, clock.now())
	b.then = uses(10, 5)
	b.passes()
	b.passes()
	b.waits(12*time.Hour, "requests per day")
	if got := b.header.Get("X-Ratelimit-Remaining-Tokens"); got != "10" {
		t.Errorf("tokens left: %s", got)
	}
	want := []gateway.TokenCount{
		{Requests: 1, Running: 1}, {Requests: 1, Tokens: 15}, {Requests: 2, Tokens: 15, Running: 1}, {Requests: 2, Tokens: 30},
	}
	if len(c.told) != len(want) {
		t.Fatalf("told %d times: %+v", len(c.told), c.told)
	}
	last := int64(0)
	for i, got := range c.told {
		if got.Number <= last {
			t.Errorf("number %d after %d", got.Number, last)
		}
		last = got.Number
		if got.Hash != "hash" || got.Life == 0 || got.Day != dayOf(clock.now()) || got.TokensBefore != 60 || got.RequestsBefore != 0 || !got.PerDay || !got.Concurrent {
			t.Errorf("%+v", got)
		}
		if got.Requests != want[i].Requests || got.Tokens != want[i].Tokens || got.Running != want[i].Running {
			t.Errorf("told %+v, want %+v", got, want[i])
		}
	}
}

// TestTheOthersAreTold follows what they hear of requests that end in each way.
func TestTheOthersAreTold(t *testing.T) {
	clock := newHand()
	c := &company{token: lets(gateway.TokenShare{Requests: 20, Tokens: 200, Running: 2, PerMinute: 4})}
	b := newBearer(t, clock, gateway.Limits{RequestsPerMinute: 10, RequestsPerDay: 100, TokensPerDay: 1000, Concurrent: 9})
	b.tokens.Share(c)
	b.then = uses(30, 3)
	b.passes()
	if got := b.header.Get("X-Ratelimit-Remaining-Requests") + " " + b.header.Get("X-Ratelimit-Remaining-Tokens"); got != "5 800" {
		t.Errorf("left: %s", got)
	}
	if u, _ := b.tokens.Usage("hash"); u != (gateway.TokenUsage{Requests: 21, Tokens: 233, Running: 2}) {
		t.Errorf("used by all: %+v", u)
	}
	// One that a step behind refuses to the token has used nothing.
	b.then = func(http.ResponseWriter, *http.Request) error {
		return gateway.Errorf(gateway.KindForbidden, "not this model")
	}
	if b.ask() == nil {
		t.Error("let through")
	}
	if len(c.backs) != 1 || c.backs[0] != 77 {
		t.Errorf("taken back: %v", c.backs)
	}
	if n := c.told[len(c.told)-1]; n.Requests != 1 || n.Tokens != 33 || n.Running != 0 {
		t.Errorf("%+v", n)
	}
	// The next day begins with nothing.
	clock.move(12 * time.Hour)
	b.then = nil
	b.passes()
	if d := c.demands[len(c.demands)-1].Count; d.Requests != 1 || d.Tokens != 0 || d.Day != dayOf(clock.now()) || d.RequestsBefore != 0 {
		t.Errorf("%+v", d)
	}
	// A count that begins anew is told apart from the one before.
	life := c.told[0].Life
	b.tokens.Forget("hash")
	b.tokens.Seed("hash", 50, 500, clock.now())
	b.passes()
	if d := c.demands[len(c.demands)-1].Count; d.Life == life || d.Requests != 1 || d.RequestsBefore != 50 || d.TokensBefore != 500 {
		t.Errorf("%+v", d)
	}
}

// TestARefusalThatOthersHeardOf: while one request is asked about, another one of
// the same token tells a count with it.
func TestARefusalThatOthersHeardOf(t *testing.T) {
	b := newBearer(t, newHand(), gateway.Limits{RequestsPerDay: 10})
	first := true
	c := &company{}
	c.token = func(d gateway.TokenDemand) gateway.TokenShare {
		if first {
			first = false
			c.mu.Unlock()
			b.passes() // meanwhile
			c.mu.Lock()
			return gateway.TokenShare{Requests: 10}
		}
		return lets(gateway.TokenShare{})(d)
	}
	b.tokens.Share(c)
	b.waits(12*time.Hour, "requests per day")
	if n := c.told[len(c.told)-1]; n.Requests != 1 || n.Running != 0 {
		t.Errorf("%+v of %d", n, len(c.told))
	}
}

func TestAddressesOfAllInstances(t *testing.T) {
	clock := newHand()
	w := NewWindow(3, time.Minute, clock.now)
	c := &company{}
	w.Share(c)
	step := w.Limit(func(http.ResponseWriter, *http.Request) error { return nil })
	ask := func(ip string) time.Duration {
		x := &gateway.Exchange{ClientIP: netip.MustParseAddr(ip)}
		r := httptest.NewRequestWithContext(gateway.WithExchange(t.Context(), x), http.MethodPost, "/", nil)
		if err := step(httptest.NewRecorder(), r); err != nil {
			return gateway.AsError(err).RetryAfter
		}
		return 0
	}
	if ask("192.0.2.1") != 0 || ask("192.0.2.2") != 0 || ask("2001:db8::1") != 0 || ask("2001:db8::2") != 0 {
		t.Fatal("refused")
	}
	if c.clients[0] == c.clients[1] || c.clients[2] != c.clients[3] || c.slides[0] != (gateway.Sliding{Limit: 3, Span: time.Minute}) {
		t.Errorf("%q %+v", c.clients, c.slides[0])
	}
	c.window = 9 * time.Second
	for range 5 { // their word holds, and nothing is counted here
		if wait := ask("192.0.2.1"); wait != 9*time.Second {
			t.Errorf("wait %s", wait)
		}
	}
	c.silent = true
	for range 2 {
		if wait := ask("192.0.2.1"); wait != 0 {
			t.Errorf("wait %s with two places free", wait)
		}
	}
	asked := len(c.clients)
	if wait := ask("192.0.2.1"); wait != time.Minute || len(c.clients) != asked {
		t.Errorf("wait %s, asked %d times", wait, len(c.clients)-asked)
	}
	if w.Refused() != 6 {
		t.Errorf("%d refused", w.Refused())
	}
	// Grains are theirs as well.
	many := NewWindow(600, time.Minute, clock.now)
	many.Share(c)
	many.take(t.Context(), netip.MustParseAddr("192.0.2.1"))
	if s := c.slides[len(c.slides)-1]; s.Grain != time.Second || s.Limit != 600 {
		t.Errorf("%+v", s)
	}
}
