package admin

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"ollama-api-pool/internal/gateway"
)

// How wrong tries are dealt with. Those of one address are answered ever more
// slowly, then not at all until some are forgotten. Those of all addresses
// together only slow each other down: a right token from an address that
// behaves is never kept waiting.
//
// An operator who shares an address (NAT, a proxy that is not trusted) with
// somebody who guesses can be locked out with him. The way in is every other
// address, among them loopback on the machine itself, a session that exists
// already, which is no try, or TRUSTED_PROXIES, which tells the clients behind a
// proxy apart. Nothing is kept over a restart.
const (
	freeTries    = 3                // of one address, answered at once
	maxTries     = 20               // of one address, then 429
	forgetEvery  = 30 * time.Second // one try of an address is forgotten
	firstPause   = 100 * time.Millisecond
	longestPause = 500 * time.Millisecond

	calmTries    = 60          // of all addresses together, above which all pause
	calmEvery    = time.Second // one of them is forgotten
	crowdedPause = 2 * time.Second

	maxAddresses = 10_000 // that are remembered
	maxPausing   = 100    // tries that pause at a time; more are turned away
	sampled      = 8      // addresses looked at to find one to forget
	logEvery     = time.Second
)

// guard slows down who guesses the admin token. IPv6 clients are told apart by
// their /64, which one household or machine holds. It may be used concurrently.
type guard struct {
	now func() time.Time
	log *slog.Logger

	mu       sync.Mutex               // guards what follows; never held while a try pauses
	until    map[netip.Addr]time.Time // when the last wrong try of an address is forgotten
	overall  time.Time                // the same for all addresses together
	pausing  int                      // tries that pause now
	loggedAt time.Time
	unlogged int // wrong tries since then
}

func newGuard(now func() time.Time, log *slog.Logger) *guard {
	return &guard{now: now, log: log, until: map[netip.Addr]time.Time{}}
}

// admit lets a right token pass unless its address is out of tries. The answer
// to a wrong one comes after a pause.
func (g *guard) admit(ctx context.Context, ip netip.Addr, right bool) error {
	o := g.judge(ip, right)
	if o.log {
		g.log.LogAttrs(ctx, slog.LevelWarn, "wrong admin token",
			slog.String("client", ip.String()), slog.Int("left_out", o.leftOut))
	}
	if o.pause == 0 {
		return o.err
	}
	t := time.NewTimer(o.pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pausing--
	return o.err
}

// outcome is what becomes of a try.
type outcome struct {
	err     error         // nil: it may pass
	pause   time.Duration // before the answer; not 0: it is counted in pausing
	log     bool
	leftOut int // tries that were not logged since the last one that was
}

// judge takes note of a try.
func (g *guard) judge(ip netip.Addr, right bool) (o outcome) {
	address := networkOf(ip)
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	debt := max(g.until[address].Sub(now), 0)
	if wait := debt - (maxTries-1)*forgetEvery; wait > 0 {
		return outcome{err: tooManyTries(wait)}
	}
	if right {
		return outcome{}
	}
	debt += forgetEvery
	g.remember(address, now.Add(debt))
	o = outcome{
		err:   gateway.Errorf(gateway.KindUnauthorized, "wrong admin token"),
		pause: pauseAfter(int((debt + forgetEvery - 1) / forgetEvery)),
	}
	if now.Sub(g.loggedAt) >= logEvery {
		o.log, o.leftOut = true, g.unlogged
		g.loggedAt, g.unlogged = now, 0
	} else {
		g.unlogged++
	}
	if g.crowded(now) {
		o.pause = crowdedPause
	}
	switch {
	case o.pause == 0:
	case g.pausing >= maxPausing:
		o.err, o.pause = tooManyTries(o.pause), 0
	default:
		g.pausing++
	}
	return o
}

// crowded counts a wrong try of any address and reports whether there are too
// many of them.
func (g *guard) crowded(now time.Time) bool {
	debt := max(g.overall.Sub(now), 0) + calmEvery
	g.overall = now.Add(min(debt, calmTries*calmEvery))
	return debt > calmTries*calmEvery
}

// pauseAfter is how long an address waits for the answer to its so many-th
// wrong try.
func pauseAfter(tries int) time.Duration {
	if tries <= freeTries {
		return 0
	}
	pause := firstPause
	for range tries - freeTries - 1 {
		if pause *= 2; pause >= longestPause {
			return longestPause
		}
	}
	return pause
}

// remember keeps an address. When there are too many, one of a few that are
// picked at random goes: the one that is the first to be forgotten.
func (g *guard) remember(address netip.Addr, until time.Time) {
	if _, known := g.until[address]; !known && len(g.until) >= maxAddresses {
		var first netip.Addr
		n := 0
		for other, at := range g.until { // in no order
			if n == 0 || at.Before(g.until[first]) {
				first = other
			}
			if n++; n == sampled {
				break
			}
		}
		delete(g.until, first)
	}
	g.until[address] = until
}

func tooManyTries(wait time.Duration) *gateway.Error {
	e := gateway.Errorf(gateway.KindRateLimited, "too many wrong admin tokens: wait before the next try")
	e.RetryAfter = wait
	return e
}

// networkOf is the part of an address that clients are told apart by.
func networkOf(ip netip.Addr) netip.Addr {
	if !ip.Is6() {
		return ip
	}
	return netip.PrefixFrom(ip, 64).Masked().Addr()
}
