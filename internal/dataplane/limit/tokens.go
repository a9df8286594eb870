package limit

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// bound is one of the limits that a token can have.
type bound uint8

const (
	boundNetworks bound = iota
	boundModels
	boundConcurrent
	boundMinute
	boundDay
	boundModelTokens
	bounds
)

// boundNames are the names by which refusals are counted.
var boundNames = [bounds]string{"networks", "models", "concurrent", "requests_per_minute", "requests_per_day", "tokens_per_day"}

// Tokens holds client tokens to their limits. What a token has used is counted
// from its first request with a limit on, or from what Seed tells. It takes
// memory for the limited tokens of one day, and may be used concurrently.
type Tokens struct {
	now     func() time.Time
	began   time.Time
	shared  Counters // nil: this instance is alone
	refused [bounds]atomic.Int64

	mu     sync.Mutex // guards what follows; held while one request is looked at
	used   map[string]*consumption
	swept  int64 // the day on which used was last rid of what nobody uses
	number int64 // of the last count that was told to others
}

// consumption is what one token has used.
type consumption struct {
	day      int64 // since the epoch, UTC: that of requests and tokens
	requests int64
	tokens   int64
	running  int
	minute   track

	// Of what this instance tells others: which count it is, and what of the day's
	// numbers was counted here.
	life, told                 int64 // told is the number of its last count
	ownRequests, ownTokens     int64
	othersRequests, othersUsed int64 // of the day, as far as they are known
	othersRun                  int
}

// day is how long requests and model tokens per day are counted.
const day = 24 * time.Hour

// NewTokens makes the step. now is the clock.
func NewTokens(now func() time.Time) *Tokens {
	return &Tokens{now: now, began: now(), used: map[string]*consumption{}}
}

// Limit is the step. A token that may not be used from the client's network
// gets 403; one that has used up what it may for a while 429, with the time to
// wait. Who is refused has used nothing, but is counted as a request that
// failed. The answers tell what is left, in the headers that OpenAI has for it
// (https://platform.openai.com/docs/guides/rate-limits).
func (t *Tokens) Limit(next httpkit.Handler) httpkit.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		x := gateway.ExchangeFrom(r.Context())
		if x == nil {
			return fmt.Errorf("limit a token: %w", errNoExchange)
		}
		if x.Principal == nil || x.Principal.Limits == nil {
			return next(w, r)
		}
		return t.limited(w, r, x, next)
	}
}

func (t *Tokens) limited(w http.ResponseWriter, r *http.Request, x *gateway.Exchange, next httpkit.Handler) (err error) {
	l := x.Principal.Limits
	if !l.AllowsClient(x.ClientIP) {
		t.refused[boundNetworks].Add(1)
		x.Record.Counted = true
		return gateway.Errorf(gateway.KindForbidden, "this token may not be used from this network (networks)")
	}
	if s := x.Route.Service; s == gateway.ServiceGreeting || s == gateway.ServiceForbidden {
		return next(w, r) // nothing is done there that could be used up
	}
	a := t.admit(x.Principal.TokenHash, l)
	if a.wait == 0 && t.shared != nil && counted(l) {
		t.agree(r.Context(), &a, l)
	}
	a.tell(w.Header(), l)
	if a.wait > 0 {
		t.refused[a.bound].Add(1)
		x.Record.Counted = true
		return &gateway.Error{Kind: gateway.KindRateLimited, Message: a.bound.message(l), RetryAfter: a.wait}
	}
	defer func() { t.settle(a, x, err) }()
	return next(w, r)
}

// admission is what was found out about one request.
type admission struct {
	hash string
	who  *consumption
	at   int64 // in ms since the Tokens began
	day  int64

	bound bound         // which keeps it out, and
	wait  time.Duration // for how long; 0: it is let in

	left     leftover // after it
	midnight time.Duration

	// Where all instances count together.
	count    gateway.TokenCount // with the request in it
	takenAt  int64              // by their clock
	agreed   bool               // they were asked and let it in
	together bool               // they are to be told of its end
}

// leftover is what a token may still use.
type leftover struct {
	perMinute, perDay int
	tokens            int64
}

// admit looks whether a token has something left and takes one request of it.
func (t *Tokens) admit(hash string, l *gateway.Limits) admission {
	now := t.now()
	a := admission{hash: hash, at: now.Sub(t.began).Milliseconds()}
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.visit(hash, now)
	a.who, a.day = c, c.day
	a.midnight = time.Unix((c.day+1)*int64(day/time.Second), 0).Sub(now)
	a.at = max(a.at, c.minute.lastAt) // a clock that was set back stands still
	c.minute.forget(a.at, time.Minute.Milliseconds())
	a.check(l)
	if a.wait == 0 {
		c.running++
		c.requests++
		c.ownRequests++
		a.count = t.countOf(hash, c, l)
		if l.RequestsPerMinute > 0 {
			c.minute.add(a.at, grainOf(l.RequestsPerMinute, time.Minute))
		}
	}
	a.left = leftover{
		perMinute: max(l.RequestsPerMinute-c.minute.used, 0),
		perDay:    int(max(int64(l.RequestsPerDay)-c.requests, 0)),
		tokens:    max(l.TokensPerDay-c.tokens, 0),
	}
	return a
}

// check finds the limit that keeps a request out the longest.
func (a *admission) check(l *gateway.Limits) {
	c := a.who
	a.judge(l, usedUp{running: c.running, minute: c.minute.wait(l.RequestsPerMinute, a.at, time.Minute), requests: c.requests, tokens: c.tokens})
}

// usedUp is what a token has used before a request.
type usedUp struct {
	running          int
	minute           time.Duration // until its minute has room
	requests, tokens int64         // of the day
}

// judge finds the limit that keeps a request out the longest.
func (a *admission) judge(l *gateway.Limits, u usedUp) {
	reached := func(b bound, wait time.Duration) {
		if wait > a.wait {
			a.bound, a.wait = b, wait
		}
	}
	if l.Concurrent > 0 && u.running >= l.Concurrent {
		reached(boundConcurrent, time.Second)
	}
	if l.RequestsPerMinute > 0 {
		reached(boundMinute, u.minute)
	}
	if l.RequestsPerDay > 0 && u.requests >= int64(l.RequestsPerDay) {
		reached(boundDay, a.midnight)
	}
	if l.TokensPerDay > 0 && u.tokens >= l.TokensPerDay {
		reached(boundModelTokens, a.midnight)
	}
}

// visit finds what a token has used today, and makes room for a new one. Those
// that nobody uses any more, tokens that were revoked among them, are forgotten
// once a day.
func (t *Tokens) visit(hash string, now time.Time) *consumption {
	today := dayOf(now)
	if today != t.swept {
		t.sweep(today, now.Sub(t.began).Milliseconds())
	}
	c := t.used[hash]
	if c == nil {
		t.number++
		c = &consumption{day: today, life: t.number}
		t.used[hash] = c
	}
	c.turn(today)
	return c
}

func (t *Tokens) sweep(today, at int64) {
	t.swept = today
	for hash, c := range t.used {
		if c.day < today && c.running == 0 && at-c.minute.lastAt >= time.Minute.Milliseconds() {
			delete(t.used, hash)
		}
	}
}

// turn begins a new day. A clock that was set back stands still, so that nothing
// is given back; by days it is set back only where it was wrong before, and
// nobody is to wait until it has caught up.
func (c *consumption) turn(today int64) {
	if today > c.day || today < c.day-1 {
		c.day, c.requests, c.tokens = today, 0, 0
		c.ownRequests, c.ownTokens, c.othersRequests, c.othersUsed = 0, 0, 0, 0
	}
}

func dayOf(t time.Time) int64 { return t.Unix() / int64(day/time.Second) }

// settle ends a request that was let in: it adds the model tokens that it used,
// or takes it back where a step behind this one refused it to the token.
func (t *Tokens) settle(a admission, x *gateway.Exchange, err error) {
	refused := err != nil && len(x.Record.Attempts) == 0 && gateway.AsError(err).Kind == gateway.KindForbidden
	if refused {
		t.refused[boundModels].Add(1)
	}
	t.finish(&a, x.Principal.Limits, consumed(&x.Record), refused)
	if refused && a.agreed && x.Principal.Limits.RequestsPerMinute > 0 {
		t.shared.TakeBack(a.hash, a.takenAt)
	}
}

// finish counts the end of a request that was let in here, and tells the others.
func (t *Tokens) finish(a *admission, l *gateway.Limits, tokens int64, undone bool) {
	now := t.now()
	t.mu.Lock()
	c := a.who
	c.running--
	c.turn(dayOf(now))
	c.tokens += tokens
	c.ownTokens += tokens
	if undone {
		if c.day == a.day {
			c.requests--
			c.ownRequests--
		}
		c.minute.takeBack(a.at, max(now.Sub(t.began).Milliseconds(), c.minute.lastAt), time.Minute.Milliseconds())
	}
	count := t.countOf(a.hash, c, l)
	t.mu.Unlock()
	if a.together {
		t.shared.TellToken(count)
	}
}

// bytesOfToken is how many bytes of a request are taken for a token of the
// model where nobody says how many it read; English text has about as many.
const bytesOfToken = 4

// consumed is how many model tokens a request counts for. An answer that does
// not tell what the model read is no way around the limit.
func consumed(r *gateway.Record) int64 {
	in, out := max(r.Usage.Input, 0), max(r.Usage.Output, 0)
	if in == 0 && out > 0 {
		in = r.Sent / bytesOfToken
	}
	return in + out
}

// Seed tells what a token has used on the day of now before this program
// counted, so that a restart gives nothing back. What was counted here already
// is not added to it.
func (t *Tokens) Seed(hash string, requests, tokens int64, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.visit(hash, now)
	if c.day != dayOf(now) {
		return // that day is over
	}
	c.requests, c.tokens = max(c.requests, requests), max(c.tokens, tokens)
}

// Forget drops what a token has used: it has no limits any more, or is gone.
// What it uses from then on is not counted here, so it is to be seeded when it
// gets limits again.
func (t *Tokens) Forget(hash string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.used, hash)
}

// Usage tells what a limited token has used; false: nothing is known of it. Where
// instances count together it is what all of them did, as of this instance's last
// request with the token.
func (t *Tokens) Usage(hash string) (gateway.TokenUsage, bool) {
	today := dayOf(t.now())
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.used[hash]
	if c == nil {
		return gateway.TokenUsage{}, false
	}
	c.turn(today)
	return gateway.TokenUsage{
		Requests: max(c.requests, c.othersRequests+c.ownRequests),
		Tokens:   max(c.tokens, c.othersUsed+c.ownTokens),
		Running:  c.running + c.othersRun,
	}, true
}

// Refused counts the requests turned away since the start, by limit; limits
// that refused nothing are left out.
func (t *Tokens) Refused() map[string]int64 {
	counts := map[string]int64{}
	for b := range t.refused {
		if n := t.refused[b].Load(); n > 0 {
			counts[boundNames[b]] = n
		}
	}
	return counts
}
