package forward_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

// within is how soon the upstream must notice that a client has left.
const within = time.Second

// checkLeft proves that a client that left counts neither way and harms no key.
func (s *scene) checkLeft(attempts int) gateway.Record {
	s.tb.Helper()
	rec := s.record()
	equal(s.tb, "end", rec.End, gateway.EndClientClosed)
	equal(s.tb, "outcome", outcome(rec), "neither")
	equal(s.tb, "attempts", len(rec.Attempts), attempts)
	s.untouched(0, 1, 2)
	if strings.Contains(s.log.String(), `"level":"WARN"`) {
		s.tb.Errorf("logged as if something were wrong: %s", s.log.String())
	}
	return rec
}

func TestClientLeavesBeforeTheHeader(t *testing.T) {
	for name, leave := range map[string]func(*testkit.RawConn){"close": (*testkit.RawConn).Close, "reset": (*testkit.RawConn).Reset} {
		for _, size := range []int{0, 3 << 10, 100 << 10} {
			for _, opts := range [][]testkit.Option{nil, {testkit.WithTLS()}} {
				t.Run(fmt.Sprint(name, size, len(opts)), func(t *testing.T) {
					s := newScene(t, func(set *setting) { set.upstream = opts })
					gate := testkit.NewGate()
					s.up.Always(testkit.After(gate, nil))
					c := testkit.DialRaw(t, s.addr)
					c.Send(s.request("/v1/chat/completions", chat+strings.Repeat(" ", size)))
					gate.AwaitReached(t)
					leave(c)
					s.up.AwaitCanceled(1, within)
					rec := s.checkLeft(1)
					equal(t, "status", rec.Status, 0)
					equal(t, "scope", rec.Attempts[0].Verdict.Scope, gateway.ScopeClient)
					equal(t, "counts", s.counts(), gateway.KeyCounts{Total: 1})
					equal(t, "calls", len(s.up.Calls()), 1)
				})
			}
		}
	}
}

func TestClientLeavesAStream(t *testing.T) {
	for _, opts := range [][]testkit.Option{nil, {testkit.WithTLS()}} {
		for _, events := range []int{0, 1, 3} {
			t.Run(fmt.Sprint(len(opts), events), func(t *testing.T) {
				s := newScene(t, impatient, func(set *setting) { set.upstream = opts })
				gate := testkit.NewGate()
				var pieces []testkit.Piece
				for range events {
					pieces = append(pieces, testkit.Event(`{"choices":[{"delta":{"content":"a"}}]}`))
				}
				s.up.Always(testkit.Stream("text/event-stream", append(pieces, testkit.Wait(gate))...))
				c := testkit.DialRaw(t, s.addr)
				c.Send(s.request("/v1/chat/completions", chat))
				equal(t, "status", c.Head().Status, 200)
				for n := 0; n < events*len("data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"); {
					b, err := c.Next()
					if err != nil {
						t.Fatal(err)
					}
					n += len(b)
				}
				c.Close()
				s.up.AwaitCanceled(1, within)
				rec := s.checkLeft(1)
				equal(t, "status", rec.Status, 200)
				equal(t, "usage up to then", rec.Usage, gateway.Usage{Output: int64(events)})
				equal(t, "counts", s.counts(), gateway.KeyCounts{Total: 1})
			})
		}
	}
}

// A client that leaves in the pause between two attempts ends it.
func TestClientLeavesInThePause(t *testing.T) {
	reached := make(chan struct{})
	s := newScene(t, func(set *setting) {
		set.opts.Pause = func(ctx context.Context, _ time.Duration) error {
			close(reached)
			<-ctx.Done()
			return ctx.Err()
		}
	})
	s.up.Always(fails(500, "oops"))
	c := testkit.DialRaw(t, s.addr)
	c.Send(s.request("/v1/chat/completions", chat))
	<-reached
	c.Close()
	rec := s.record()
	equal(t, "end", rec.End, gateway.EndClientClosed)
	equal(t, "outcome", outcome(rec), "neither")
	equal(t, "calls", len(s.up.Calls()), 1)
	equal(t, "counts", s.counts(), gateway.KeyCounts{Total: 1, Failure: 1}) // the attempt had failed before
}

// A client that leaves while an error's body is coming, or between the two.
func TestClientLeavesAnError(t *testing.T) {
	s := newScene(t)
	gate := testkit.NewGate()
	s.up.Always(testkit.StreamStatus(401, "application/json", testkit.Text(`{"error"`), testkit.Wait(gate)))
	c := testkit.DialRaw(t, s.addr)
	c.Send(s.request("/v1/chat/completions", chat))
	gate.AwaitReached(t)
	c.Close()
	s.up.AwaitCanceled(1, within)
	s.checkLeft(1)
	equal(t, "calls", len(s.up.Calls()), 1)
}

// Clients that close the connection as soon as they have the last word got all
// they asked for.
func TestClientLeavesAfterTheLastWord(t *testing.T) {
	s := newScene(t)
	gate := testkit.NewGate()
	s.up.Always(testkit.Stream("text/event-stream", testkit.Event("{}"), testkit.Event("[DONE]"), testkit.Wait(gate)))
	c := testkit.DialRaw(t, s.addr)
	c.Send(s.request("/v1/chat/completions", chat))
	c.Head()
	var got strings.Builder
	for !strings.Contains(got.String(), "[DONE]\n\n") {
		b, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		got.Write(b)
	}
	c.Close()
	rec := s.record()
	equal(t, "end", rec.End, gateway.EndDone)
	equal(t, "outcome", outcome(rec), "success")
	equal(t, "counts", s.counts(), gateway.KeyCounts{Total: 1, Success: 1})
}

// The clients of a hundred streams leave at once.
func TestManyClientsLeave(t *testing.T) {
	const clients = 100
	s := newScene(t)
	s.up.Always(testkit.Stream("text/event-stream", testkit.Event("{}"), testkit.Wait(testkit.NewGate())))
	conns := make([]*testkit.RawConn, clients)
	for i := range conns {
		conns[i] = testkit.DialRaw(t, s.addr)
		conns[i].Send(s.request("/v1/chat/completions", chat))
	}
	s.up.AwaitCalls(clients, soon)
	for _, c := range conns {
		equal(t, "status", c.Head().Status, 200)
	}
	for _, c := range conns {
		c.Close()
	}
	s.up.AwaitCanceled(clients, within+soon)
	for range clients {
		equal(t, "end", s.record().End, gateway.EndClientClosed)
	}
	equal(t, "counts", s.counts(), gateway.KeyCounts{Total: clients})
	s.untouched(0, 1, 2)
}
