package limit

import (
	"context"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Share has tokens counted for all instances together, nil for this one alone. It
// comes before the first request.
func (t *Tokens) Share(c Counters) { t.shared = c }

// counted reports whether there is a limit on anything that is counted.
func counted(l *gateway.Limits) bool {
	return l.RequestsPerMinute > 0 || l.RequestsPerDay > 0 || l.TokensPerDay > 0 || l.Concurrent > 0
}

// countOf is what this instance has counted of a token. t.mu is held.
func (t *Tokens) countOf(hash string, c *consumption, l *gateway.Limits) gateway.TokenCount {
	t.number++
	c.told = t.number
	return gateway.TokenCount{
		Hash: hash, Life: c.life, Number: t.number, Day: c.day,
		Requests: c.ownRequests, Tokens: c.ownTokens, Running: c.running,
		RequestsBefore: max(c.requests-c.ownRequests, 0), TokensBefore: max(c.tokens-c.ownTokens, 0),
		PerDay: l.RequestsPerDay > 0 || l.TokensPerDay > 0, Concurrent: l.Concurrent > 0,
	}
}

// agree asks all instances together about a request that was let in here. Where
// they refuse it, it is taken back; where nobody answers it stays let in, and they
// are told later.
func (t *Tokens) agree(ctx context.Context, a *admission, l *gateway.Limits) {
	a.together = true
	d := gateway.TokenDemand{
		Count: a.count, PerDay: l.RequestsPerDay, TokensPerDay: l.TokensPerDay, Concurrent: l.Concurrent, Midnight: a.midnight,
	}
	if l.RequestsPerMinute > 0 {
		d.Minute = gateway.Sliding{
			Limit: l.RequestsPerMinute, Span: time.Minute,
			Grain: time.Duration(grainOf(l.RequestsPerMinute, time.Minute)) * time.Millisecond,
		}
	}
	s, known := t.shared.TakeToken(ctx, d)
	if !known {
		t.shared.TellToken(a.count)
		return
	}
	t.learn(a, &s)
	a.takenAt, a.agreed = s.At, s.Admitted
	a.left = leftover{
		perMinute: max(l.RequestsPerMinute-s.PerMinute, 0),
		perDay:    int(max(int64(l.RequestsPerDay)-s.Requests, 0)),
		tokens:    max(l.TokensPerDay-s.Tokens, 0),
	}
	if s.Admitted {
		return
	}
	a.judge(l, usedUp{running: s.Running, minute: s.MinuteWait, requests: s.Requests, tokens: s.Tokens})
	if a.wait <= 0 { // refused without a reason that is seen here
		a.bound, a.wait = boundConcurrent, time.Second
	}
	a.together = t.toldSince(a)
	t.finish(a, l, 0, true)
}

// toldSince reports whether a count was told after the one of a request: it had
// the request in it.
func (t *Tokens) toldSince(a *admission) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return a.who.told != a.count.Number
}

// learn keeps what the others have used, to show it.
func (t *Tokens) learn(a *admission, s *gateway.TokenShare) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := a.who
	if c.day != a.day {
		return // that day is over
	}
	own := int64(0)
	if !s.Admitted {
		own = 1
	}
	if a.count.PerDay {
		c.othersRequests, c.othersUsed = s.Requests-(a.count.Requests-own), s.Tokens-a.count.Tokens
	}
	if a.count.Concurrent {
		c.othersRun = max(s.Running-(a.count.Running-int(own)), 0)
	}
}
