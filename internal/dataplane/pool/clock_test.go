package pool

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"ollama-api-pool/internal/gateway"
)

// lend takes a key at the clock's own time.
func lend(p *Pool) (Lease, error) { return p.Acquire(&Want{}, time.Now()) }

// A rest of unknown length ends by itself after 30 s, then after twice that,
// on the clock that the program runs by.
func TestRestsEndByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(gateway.Ollama, Settings{FailedFor: time.Hour, DisableThreshold: 3, DisabledFor: time.Hour})
		p.Put(gateway.Key{Secret: "fake-key-for-the-clock"}, time.Now())
		for _, rest := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute} {
			l, err := lend(p)
			if err != nil {
				t.Fatalf("before a rest of %s: %v", rest, err)
			}
			l.Release(&gateway.Verdict{Scope: gateway.ScopeAccount, Action: gateway.ActionRest, Next: gateway.NextKey}, time.Now())
			time.Sleep(rest - time.Second)
			var out *Exhausted
			if _, err := lend(p); !errors.As(err, &out) || out.Reason != AllResting || out.RetryAfter != time.Second {
				t.Fatalf("a second before the end of %s: %+v", rest, err)
			}
			time.Sleep(time.Second)
		}
		if _, err := lend(p); err != nil {
			t.Fatal(err)
		}
	})
}

// Five faults open the breaker; then one probe a second goes out, and an
// answer closes it.
func TestBreakerByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(gateway.Ollama, Settings{FailedFor: time.Hour, DisableThreshold: 3, DisabledFor: time.Hour})
		p.Put(gateway.Key{Secret: "fake-key-for-the-clock"}, time.Now())
		strike := gateway.Verdict{Scope: gateway.ScopeProvider, Action: gateway.ActionStrike, Next: gateway.NextAfterPause}
		for range strikesToOpen {
			l, err := lend(p)
			if err != nil {
				t.Fatal(err)
			}
			l.Release(&strike, time.Now())
			time.Sleep(time.Second)
		}
		for range 10 { // half open: one a second, and it fails
			l, err := lend(p)
			if err != nil {
				t.Fatalf("no probe after a second: %v", err)
			}
			var out *Exhausted
			if _, err := lend(p); !errors.As(err, &out) || out.Reason != BreakerOpen {
				t.Fatalf("a second probe: %v", err)
			}
			l.Release(&strike, time.Now())
			time.Sleep(time.Second)
		}
		l, err := lend(p)
		if err != nil {
			t.Fatal(err)
		}
		l.Release(&gateway.Verdict{OK: true}, time.Now())
		for range 3 {
			if _, err := lend(p); err != nil {
				t.Fatalf("after an answer: %v", err)
			}
		}
	})
}
