package admin

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

var (
	home  = netip.MustParseAddr("192.0.2.1")
	other = netip.MustParseAddr("192.0.2.2")
)

func guardForTest() (*guard, *testkit.SafeBuffer) {
	var log testkit.SafeBuffer
	return newGuard(time.Now, slog.New(slog.NewTextHandler(&log, nil))), &log
}

// try makes a try and tells how long it took and what kind of error came.
func try(ctx context.Context, g *guard, ip netip.Addr, right bool) (took time.Duration, e *gateway.Error) {
	began := time.Now()
	err := g.admit(ctx, ip, right)
	_ = errors.As(err, &e)
	return time.Since(began), e
}

func TestGuardSlowsDownAnAddressAndThenRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := guardForTest()
		var sum time.Duration
		for i := 1; i <= maxTries; i++ {
			took, e := try(t.Context(), g, home, false)
			if e == nil || e.Kind != gateway.KindUnauthorized {
				t.Fatalf("try %d: %v", i, e)
			}
			if quick := took == 0; quick != (i <= freeTries) || took > longestPause {
				t.Errorf("try %d took %s", i, took)
			}
			sum += took
		}
		for _, right := range []bool{false, true} {
			took, e := try(t.Context(), g, home, right)
			if e == nil || e.Kind != gateway.KindRateLimited || took != 0 || e.RetryAfter <= 0 || e.RetryAfter > forgetEvery {
				t.Errorf("after %s, right %v: %v", sum, right, e)
			}
		}
		if took, e := try(t.Context(), g, other, true); e != nil || took != 0 {
			t.Errorf("another address: %v after %s", e, took)
		}
		_, e := try(t.Context(), g, home, true)
		time.Sleep(e.RetryAfter)
		if _, e := try(t.Context(), g, home, true); e != nil {
			t.Errorf("after Retry-After: %v", e)
		}
		if _, e := try(t.Context(), g, home, false); e == nil || e.Kind != gateway.KindUnauthorized {
			t.Errorf("one try is forgotten: %v", e)
		}
		if _, e := try(t.Context(), g, home, false); e == nil || e.Kind != gateway.KindRateLimited {
			t.Errorf("and no more than one: %v", e)
		}
		time.Sleep(maxTries * forgetEvery)
		if took, e := try(t.Context(), g, home, false); e == nil || e.Kind != gateway.KindUnauthorized || took != 0 {
			t.Errorf("when all is forgotten: %v after %s", e, took)
		}
	})
}

func TestGuardSlowsDownGuessingFromManyAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, log := guardForTest()
		answers := make(chan *gateway.Error, 1000)
		for i := range 1000 {
			go func() {
				_, e := try(t.Context(), g, addressNo(i), false)
				answers <- e
			}()
		}
		synctest.Wait()
		// Some were answered, some wait, and the rest is turned away at once.
		if g.pausing != maxPausing || len(answers) != 1000-maxPausing {
			t.Errorf("%d wait, %d are answered", g.pausing, len(answers))
		}
		if took, e := try(t.Context(), g, home, true); e != nil || took != 0 {
			t.Errorf("a right token has to wait for %s: %v", took, e)
		}
		refused := 0
		for range 1000 {
			if e := <-answers; e.Kind == gateway.KindRateLimited {
				refused++
			}
		}
		if refused != 1000-maxPausing-calmTries || g.pausing != 0 {
			t.Errorf("%d were turned away, %d still wait", refused, g.pausing)
		}
		if n := len(log.String()); n > 300 {
			t.Errorf("the log grew by %d bytes in a moment", n)
		}
		time.Sleep(calmTries * calmEvery)
		if took, e := try(t.Context(), g, other, false); took != 0 || e.Kind != gateway.KindUnauthorized {
			t.Errorf("afterwards: %v after %s", e, took)
		}
	})
}

func TestGuardForgetsWhenTheClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := guardForTest()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range maxTries {
			if took, _ := try(ctx, g, home, false); took != 0 {
				t.Errorf("waited %s for nobody", took)
			}
		}
		if g.pausing != 0 {
			t.Errorf("%d still count as waiting", g.pausing)
		}
	})
}

func TestGuardIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := guardForTest()
		for range maxTries {
			g.judge(home, false)
		}
		g.pausing = 0
		for i := range 2 * maxAddresses {
			g.judge(addressNo(i), false)
		}
		if len(g.until) != maxAddresses {
			t.Errorf("%d addresses", len(g.until))
		}
		if o := g.judge(home, true); o.err == nil {
			t.Error("an address that is out of tries was forgotten for one with a single try")
		}
		for i := range 50 { // of one network
			ip := netip.MustParseAddr("2001:db8::").As16()
			ip[15] = byte(i)
			g.judge(netip.AddrFrom16(ip), false)
		}
		if o := g.judge(netip.MustParseAddr("2001:db8::ffff"), true); o.err == nil {
			t.Error("another address of the same /64 has tries of its own")
		}
		if o := g.judge(netip.MustParseAddr("2001:db8:0:1::1"), true); o.err != nil {
			t.Errorf("another /64: %v", o.err)
		}
	})
}

func addressNo(i int) netip.Addr {
	var ip [4]byte
	binary.BigEndian.PutUint32(ip[:], 10<<24+uint32(i))
	return netip.AddrFrom4(ip)
}
