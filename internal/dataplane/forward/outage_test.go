package forward_test

import (
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/testkit"
)

// outages are the ways in which an upstream can be gone altogether.
var outages = map[string]struct {
	begin, end func(*testkit.Upstream)
}{
	"refused":           {(*testkit.Upstream).Down, (*testkit.Upstream).Up},
	"reset":             answering(testkit.Reset()),
	"closed":            answering(testkit.Close()),
	"503":               answering(testkit.JSON(503, `{"error":"overloaded"}`)),
	"page":              answering(testkit.Reply(502, "text/html", "<html>Bad gateway</html>")),
	"garbage":           answering(testkit.Garbage()),
	"empty stream":      answering(testkit.Stream("text/event-stream")),
	"error in a stream": answering(testkit.SSE(`{"error":{"code":502,"message":"no"}}`)),
	"silent":            {(*testkit.Upstream).Freeze, (*testkit.Upstream).Thaw},
	"firewall":          answering(testkit.Reply(403, "text/html", "<html>Forbidden</html>")),
}

func answering(a testkit.Answer) struct{ begin, end func(*testkit.Upstream) } {
	return struct{ begin, end func(*testkit.Upstream) }{
		func(u *testkit.Upstream) { u.Always(a) },
		func(u *testkit.Upstream) { u.Always(testkit.JSON(200, done)) },
	}
}

// While the upstream is gone it sees little more than one attempt for each
// request, no key is marked, clients are told to come back, and when it is back
// so is the service.
func TestTotalOutage(t *testing.T) {
	for name, outage := range outages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, keys(5), func(set *setting) {
				if name == "silent" {
					set.opts.HeaderTimeout = 150 * time.Millisecond
				}
			})
			equal(t, "before", s.chat().Status, 200)
			attempts := len(s.record().Attempts)
			outage.begin(s.up)
			const requests = 100
			told := 0
			for range requests {
				got := s.chat()
				attempts += len(s.record().Attempts)
				switch {
				case got.Status == 503 && got.Header.Get("Retry-After") == "1":
					told++
					if e := readError(t, got.Body); !strings.Contains(e.message, "not answering") {
						t.Errorf("message: %q", e.message)
					}
				case got.Status == 200 && name == "error in a stream":
				case got.Status < 500 && got.Status != 403:
					t.Errorf("status %d: %s", got.Status, got.Body)
				}
			}
			if attempts > requests*12/10 {
				t.Errorf("%d attempts for %d requests", attempts, requests)
			}
			if told < requests*3/4 {
				t.Errorf("%d of %d were told to come back", told, requests)
			}
			equal(t, "breaker open", s.pool.Health().Open, true)
			s.untouched(0, 1, 2, 3, 4)

			outage.end(s.up)
			began := time.Now()
			for s.chat().Status != 200 {
				if time.Since(began) > soon {
					t.Fatalf("not back after %v", soon)
				}
				time.Sleep(50 * time.Millisecond) // as clients that come back
			}
			equal(t, "breaker open", s.pool.Health().Open, false)
			for range 10 {
				equal(t, "after", s.chat().Status, 200)
			}
			s.untouched(0, 1, 2, 3, 4)
		})
	}
}

// The same refusal from everybody is an outage too, and costs no key.
func TestEverybodyRefused(t *testing.T) {
	served := func(set *setting) {
		for i := range set.keys {
			set.keys[i].Counts.LastSuccess = time.Now()
		}
	}
	s := newScene(t, keys(20), served)
	s.up.Always(fails(401, "unauthorized"))
	for range 20 {
		got := s.chat()
		equal(t, "status", got.Status, 503)
		if got.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	for i := range 20 {
		s.untouched(i)
	}
	if n := len(s.up.Calls()); n > 30 {
		t.Errorf("%d calls", n)
	}
	s.up.Always(testkit.JSON(200, done))
	for began := time.Now(); s.chat().Status != 200; time.Sleep(50 * time.Millisecond) { // as clients that come back
		if time.Since(began) > soon {
			t.Fatal("not back")
		}
	}
}

// An upstream that fails now and then is asked again as often as needed.
func TestUnsteadyUpstream(t *testing.T) {
	s := newScene(t, keys(5))
	s.up.Handle(func(c *testkit.Call) testkit.Answer {
		if c.N%3 == 0 {
			return testkit.Reset()
		}
		return testkit.JSON(200, done)
	})
	for range 100 {
		equal(t, "status", s.chat().Status, 200)
	}
	s.untouched(0, 1, 2, 3, 4)
}

// However slowly requests come, so that the breaker never opens, an upstream
// that is down sees little more than one attempt for each.
func TestSlowOutage(t *testing.T) {
	clock := newClock()
	s := newScene(t, keys(5), func(set *setting) { set.opts.Now = clock.now })
	s.up.Always(fails(503, "overloaded"))
	const requests = 100
	for range requests {
		equal(t, "status", s.chat().Status, 503)
		equal(t, "breaker open", s.pool.Health().Open, false)
		clock.pass(11 * time.Second)
	}
	if n := len(s.up.Calls()); n > requests*12/10 {
		t.Errorf("%d calls for %d requests", n, requests)
	}
	s.up.Always(testkit.JSON(200, done))
	equal(t, "after", s.chat().Status, 200)
}

// While the upstream is tried again with a stream, its first byte is proof
// enough for all others.
func TestProbeIsAStream(t *testing.T) {
	s := newScene(t, keys(2), retries(0))
	s.up.Down()
	for !s.pool.Health().Open {
		s.chat()
	}
	s.up.Up()
	gate := testkit.NewGate()
	s.up.Always(testkit.Stream("text/event-stream", testkit.Event("{}"), testkit.Wait(gate), testkit.Event("[DONE]")))
	c := testkit.DialRaw(t, s.addr)
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) { // as clients that come back
		c.Send(s.request("/v1/chat/completions", chat))
		if c.Head().Status == 200 {
			break
		}
		if _, err := c.Next(); err != nil || time.Since(began) > soon {
			t.Fatal("not back", err)
		}
	}
	equal(t, "breaker open", s.pool.Health().Open, false)
	s.up.Always(testkit.JSON(200, done))
	equal(t, "another request meanwhile", s.chat().Status, 200)
	gate.Open()
	for {
		if _, err := c.Next(); err != nil {
			break
		}
	}
}
