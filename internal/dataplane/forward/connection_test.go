package forward_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

// connections counts the connections on which calls came.
func (s *scene) connections() int {
	seen := map[int64]bool{}
	for _, c := range s.up.Calls() {
		seen[c.Conn] = true
	}
	return len(seen)
}

// Connections are used again and again, whatever became of a request on them.
func TestConnectionsAreReused(t *testing.T) {
	answers := map[string]testkit.Answer{
		"JSON":          testkit.JSON(200, done),
		"JSON in parts": testkit.Stream("application/json", testkit.Text(`{"a":`), testkit.Text(`1}`)),
		"large":         testkit.Reply(200, "text/plain", strings.Repeat("x", 100<<10)),
		"stream":        testkit.SSE("{}", "{}", "[DONE]"),
		"error":         testkit.JSON(400, `{"error":"bad"}`),
		"large error":   testkit.Reply(400, "text/plain", strings.Repeat("x", 100<<10)),
		"redirect":      testkit.Redirect(302, "/x"),
		"no content":    testkit.Reply(204, "", ""),
		"refusal":       fails(401, "no"),
	}
	protocols := map[string][]testkit.Option{
		"HTTP/1.1":          nil,
		"HTTP/1.1 over TLS": {testkit.WithTLS(), testkit.WithoutHTTP2()},
		"HTTP/2.0":          {testkit.WithTLS()},
	}
	for proto, opts := range protocols {
		for name, answer := range answers {
			t.Run(proto+"/"+name, func(t *testing.T) {
				requests := 10
				if name == "JSON" {
					requests = 100
				}
				s := newScene(t, keys(20), func(set *setting) { set.upstream = opts })
				s.up.Always(answer)
				client := testkit.DialRaw(t, s.addr)
				for range requests {
					client.Send(s.request("/v1/chat/completions", chat))
					if got := client.Response(); !got.CleanEnd {
						t.Fatalf("%+v", got)
					}
				}
				equal(t, "connections", s.connections(), 1)
				equal(t, "protocol", s.up.Calls()[0].Proto, proto[:8])
			})
		}
	}
}

// Both protocols carry the same: bodies, streams, refusals, broken streams.
func TestHTTP2(t *testing.T) {
	tls := func(set *setting) { set.upstream = []testkit.Option{testkit.WithTLS()} }
	t.Run("large body", func(t *testing.T) {
		s := newScene(t, tls)
		body := noise(3 << 20)
		s.up.Handle(func(c *testkit.Call) testkit.Answer { return testkit.Reply(200, "text/plain", string(c.Body)) })
		got := s.post("/v1/completions", body)
		equal(t, "body is the same", string(got.Body) == body, true)
	})
	t.Run("refused, then fine", func(t *testing.T) {
		s := newScene(t, tls)
		s.up.Handle(testkit.InTurn(fails(401, "no"), testkit.Reset(), fails(503, "no"), testkit.SSE("{}", "[DONE]")))
		got := s.chat()
		equal(t, "status", got.Status, 200)
		equal(t, "body", string(got.Body), "data: {}\n\ndata: [DONE]\n\n")
		equal(t, "reasons", fmt.Sprint(reasons(s.record())), "[401 unauthorized no connection upstream fault ]")
	})
	t.Run("stream that breaks", func(t *testing.T) {
		s := newScene(t, tls)
		s.up.Always(testkit.Stream("text/event-stream", testkit.Event("{}"), testkit.Break(testkit.RST)))
		got := s.chat()
		equal(t, "clean end", got.CleanEnd, false)
		rest, ok := strings.CutPrefix(string(got.Body), "data: {}\n\n")
		equal(t, "beginning", ok, true)
		checkBreak(t, gateway.DialectOpenAI, rest)
	})
	t.Run("early answer", func(t *testing.T) {
		s := newScene(t, tls)
		s.up.HandleEarly(func(*testkit.Call) testkit.Answer { return testkit.EarlyAnswer(200, "application/json", done) })
		for range 20 {
			got := s.post("/v1/chat/completions", chat+strings.Repeat(" ", 300<<10))
			equal(t, "status", got.Status, 200)
			equal(t, "body", string(got.Body), done)
		}
	})
}

// A connection that the upstream has closed while it was idle is no fault that
// a client sees.
func TestIdleConnectionClosed(t *testing.T) {
	s := newScene(t, keys(5))
	s.up.Always(testkit.KeepAliveThenClose(testkit.JSON(200, done)))
	for range 30 {
		got := s.chat()
		equal(t, "status", got.Status, 200)
		equal(t, "outcome", outcome(s.record()), "success")
	}
	s.untouched(0, 1, 2, 3, 4)
	equal(t, "breaker open", s.pool.Health().Open, false)
}

// An answer that comes before the body was read leaves nothing behind: later
// requests are as they should be (golang/go#40747).
func TestEarlyAnswers(t *testing.T) {
	for _, status := range []int{200, 400, 401, 413, 503} {
		for _, size := range []int{100, 100 << 10, 8 << 20} {
			t.Run(fmt.Sprint(status, size), func(t *testing.T) {
				s := newScene(t, keys(5), retries(1))
				early := testkit.EarlyAnswer(status, "application/json", `{"error":"early"}`)
				if status == 200 {
					early = testkit.EarlyAnswer(status, "application/json", done)
				}
				s.up.HandleEarly(func(c *testkit.Call) testkit.Answer {
					if c.N <= 2 {
						return early
					}
					return nil
				})
				s.up.Handle(func(c *testkit.Call) testkit.Answer { return testkit.Reply(200, "text/plain", string(c.Body)) })
				got := s.post("/v1/completions", noise(size))
				equal(t, "clean end", got.CleanEnd, true)
				want := status
				if status == 401 {
					want = 503
				}
				equal(t, "status", got.Status, want)
				for i := range 6 {
					body := strings.Repeat(string(rune('a'+i)), 5<<10)
					got := s.post("/v1/completions", body)
					if i > 0 || status != 200 { // the second call answers early as well
						continue
					}
					equal(t, "status", got.Status, 200)
				}
				body := strings.Repeat("z", 5<<10)
				got = s.post("/v1/completions", body)
				equal(t, "status", got.Status, 200)
				equal(t, "body is the same", string(got.Body) == body, true)
			})
		}
	}
}

// After whatever happened no goroutine, no timer and no connection is left.
func TestNothingIsLeft(t *testing.T) {
	before := settle(0)
	s := newScene(t, keys(20), retries(2), func(set *setting) {
		set.opts.HeaderTimeout, set.opts.StreamIdleTimeout = 200*time.Millisecond, 200*time.Millisecond
	})
	gate := testkit.NewGate()
	s.up.Handle(testkit.InTurn(
		testkit.JSON(200, done), testkit.Silent(), testkit.Reset(), testkit.SSE("{}", "[DONE]"), fails(401, "no"), fails(500, "no"),
		testkit.Stream("text/event-stream", testkit.Event("{}"), testkit.Break(testkit.FIN)),
		testkit.Stream("text/event-stream", testkit.Event("{}"), testkit.Wait(testkit.NewGate())),
		testkit.StreamStatus(500, "text/plain", testkit.Text("x"), testkit.Break(testkit.FIN)),
		testkit.Reply(502, "text/plain", strings.Repeat("x", 200<<10)), testkit.Garbage(), testkit.BadChunk("text/plain", "x"),
		testkit.After(gate, nil),
	))
	for range 10 {
		s.chat()
	}
	for range 10 {
		c := testkit.DialRaw(t, s.addr)
		c.Send(s.request("/v1/chat/completions", chat))
		c.Close()
	}
	for range 20 {
		s.record()
	}
	gate.Open()
	if err := s.server.Close(); err != nil {
		t.Error(err)
	}
	s.transport.CloseIdleConnections()
	s.up.AwaitIdle(soon)
	s.up.Down()
	if after := settle(before); after > before {
		buf := make([]byte, 1<<20)
		t.Errorf("%d goroutines before, %d after:\n%s", before, after, buf[:runtime.Stack(buf, true)])
	}
}

// settle counts goroutines once they are no more than want, or do not get
// fewer in a while.
func settle(want int) int {
	n := runtime.NumGoroutine()
	for range 100 {
		if n <= want {
			return n
		}
		runtime.Gosched()
		time.Sleep(10 * time.Millisecond) // nothing announces that a goroutine has ended
		m := runtime.NumGoroutine()
		if want == 0 && m == n {
			return n
		}
		n = m
	}
	return n
}
