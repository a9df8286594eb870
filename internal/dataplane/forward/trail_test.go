package forward_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/dataplane/usage"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

// books are what the program keeps of its requests.
type books struct {
	ledger *usage.Ledger
	trail  *usage.Trail
	done   chan struct{} // one for each request
}

// keep makes a scene keep books.
func keep(s *scene, mode usage.TrailMode) *books {
	b := &books{
		ledger: usage.NewLedger(usage.Options{Analytics: true, SampleRate: 1, ModelSampleRate: 1}),
		trail:  usage.NewTrail(usage.TrailOptions{Mode: mode}),
		done:   make(chan struct{}, 1<<12),
	}
	s.ended = func(x *gateway.Exchange) {
		b.ledger.Add(x)
		b.trail.Add(x)
		b.done <- struct{}{}
	}
	return b
}

func (b *books) await(t *testing.T, n int) {
	t.Helper()
	for range n {
		select {
		case <-b.done:
		case <-time.After(soon):
			t.Fatal("no request ended")
		}
	}
}

// entry is the only request that was kept.
func (b *books) entry(t *testing.T) (gateway.LogEntry, []gateway.KeyEvent) {
	t.Helper()
	b.await(t, 1)
	deltas := b.trail.Drain()
	if len(deltas) != 1 || len(deltas[0].Log) != 1 {
		t.Fatalf("kept %+v", deltas)
	}
	return deltas[0].Log[0], deltas[0].Events
}

// What the request log and the keys' stories get to know of a request.
func TestTrail(t *testing.T) {
	s := newScene(t, keys(4))
	b := keep(s, usage.TrailFailures)
	s.up.Handle(testkit.InTurn(
		fails(401, "unauthorized"),
		testkit.WithHeader(fails(429, "slow"), "Retry-After", "40"),
		testkit.JSON(403, `{"error":"this model requires a subscription"}`, "X-Request-Id", "their-third"),
		testkit.WithHeader(testkit.SSE(`{"choices":[{"delta":{"content":"a"}}]}`, "[DONE]"), "X-Request-Id", "their-fourth"),
	))
	got := s.post("/t/"+token+"/v1/chat/completions", chat, "X-Request-Id", "mine", "User-Agent", "curl/8.5")
	equal(t, "X-Pool-Attempts", got.Header.Get("X-Pool-Attempts"), "4")
	e, events := b.entry(t)
	equal(t, "request", fmt.Sprint(e.ID, " ", e.Path, " ", e.Provider, " ", e.Model, " ", e.Agent, " ", e.Client), "mine /t/***/v1/chat/completions ollama gpt-oss:120b curl/8.5 127.0.0.1")
	equal(t, "token", e.TokenName+" "+e.TokenHash, "test "+gateway.HashToken(token))
	equal(t, "answer", fmt.Sprint(e.Status, e.Stream, e.Error, " ", e.UpstreamRequestID, " ", e.Sent, e.Usage.Output), fmt.Sprint(200, true, " ", "their-fourth", " ", len(chat), 1))
	var steps []string
	last := time.Duration(0)
	for i, step := range e.Trail {
		steps = append(steps, fmt.Sprint(step.Status, " ", step.Scope, ": ", step.Action, ", ", step.Next))
		equal(t, "key", step.Key, idOf(i))
		if step.Began < last || step.Duration <= 0 || step.Began+step.Duration > e.Duration {
			t.Errorf("step %d began after %v, took %v of %v", i, step.Began, step.Duration, e.Duration)
		}
		last = step.Began + step.Duration
	}
	equalSlices(t, "trail", steps, []string{
		"401 key: fail key, next key", "429 account: rest account, next key",
		"403 key+model: pass over for model, one more key", "200 none: nothing, deliver",
	})
	var told []string
	for _, k := range events {
		told = append(told, fmt.Sprintf("%s %s %s %d, until %t", k.What, k.RequestID, k.Model, k.Attempt, !k.Until.IsZero()))
		equal(t, "key", k.Key, idOf(k.Attempt-1))
	}
	equalSlices(t, "events", told, []string{
		"refused mine gpt-oss:120b 1, until true", "rested mine gpt-oss:120b 2, until true", "passed over mine gpt-oss:120b 3, until true",
	})
	testkit.MustNotContain(t, fmt.Sprintf("%+v %+v", e, events), token, key(0), key(1), key(2), key(3))
}

// A quota that ends in the middle of an answer lets the key rest, and that is
// told with its end.
func TestTrailOfAQuotaInsideAnAnswer(t *testing.T) {
	s := newScene(t, keys(1))
	b := keep(s, usage.TrailFailures)
	s.up.Handle(testkit.InTurn(testkit.SSE(`{"choices":[{"delta":{"content":"a"}}]}`, `{"error":{"code":429,"message":"slow down"}}`)))
	began := time.Now()
	s.post("/v1/chat/completions", chat)
	e, events := b.entry(t)
	if len(events) != 1 || len(e.Trail) != 1 || events[0].What != gateway.EventRested {
		t.Fatalf("%+v %+v", events, e.Trail)
	}
	for what, until := range map[string]time.Time{"event": events[0].Until, "step": e.Trail[0].Until} {
		if rest := until.Sub(began); rest < 20*time.Second || rest > time.Minute {
			t.Errorf("%s: rests for %v", what, rest)
		}
	}
}

// Why a request failed, in the words that the client got or would have got.
func TestTrailOfFailures(t *testing.T) {
	for name, tt := range map[string]struct {
		answer testkit.Answer
		end    gateway.End
		why    string
	}{
		"refused":         {fails(401, "unauthorized"), gateway.EndDone, "the upstream refused every key that was tried (last: 401 unauthorized)"},
		"no answer":       {testkit.Reset(), gateway.EndDone, "ollama could not be reached or broke the connection"},
		"a fault":         {testkit.JSON(500, `{"error":"oops"}`), gateway.EndDone, "upstream fault"},
		"client's fault":  {testkit.JSON(400, `{"error":"bad"}`), gateway.EndDone, "request refused"},
		"cut":             {testkit.Stream("text/event-stream", testkit.Event("{}"), testkit.Break(testkit.FIN)), gateway.EndCut, "the upstream's answer broke off"},
		"an error inside": {testkit.SSE(`{"choices":[]}`, `{"error":{"code":502,"message":"no"}}`), gateway.EndCut, "upstream fault"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, keys(1), retries(0))
			b := keep(s, usage.TrailFailures)
			s.up.Always(tt.answer)
			s.chat()
			e, _ := b.entry(t)
			equal(t, "end", e.End, tt.end)
			equal(t, "failed", e.Failed(), true)
			if !strings.Contains(e.Error, tt.why) {
				t.Errorf("why: %q, want %q", e.Error, tt.why)
			}
		})
	}
}

// The number of attempts is told with the head, also where the head goes out
// while nothing of the answer has come.
func TestAttemptsOfASilentStream(t *testing.T) {
	gate := testkit.NewGate()
	s := newScene(t, impatient)
	s.up.Handle(testkit.InTurn(
		fails(401, "unauthorized"),
		testkit.Stream("text/event-stream", testkit.Wait(gate), testkit.Event("[DONE]")),
	))
	c := testkit.DialRaw(t, s.addr)
	c.Send(s.request("/v1/chat/completions", chat))
	equal(t, "X-Pool-Attempts", c.Head().Header.Get("X-Pool-Attempts"), "2")
	gate.Open()
	equal(t, "outcome", outcome(s.record()), "success")
}

// Many requests at once, good, bad, repeated and broken off: every tally is
// what the clients and the upstream saw.
func TestExactTallies(t *testing.T) {
	const clients, each, leaving = 16, 20, 10
	const charged = `{"choices":[{"message":{"content":"hello"}}],"usage":{"prompt_tokens":7,"completion_tokens":3,"cost":0.000142,"cost_details":{"upstream_inference_cost":9}}}`
	s := newScene(t, openRouter, keys(10))
	b := keep(s, usage.TrailFailures)
	s.up.Handle(func(c *testkit.Call) testkit.Answer {
		switch c.N % 5 {
		case 0:
			return testkit.JSON(400, `{"error":{"code":400,"message":"bad"}}`)
		case 1:
			return testkit.SSE(`{"choices":[{"delta":{"content":"a"}}]}`, charged, "[DONE]")
		case 2:
			return testkit.JSON(403, `{"error":{"code":403,"message":"forbidden"}}`)
		}
		return testkit.JSON(200, charged)
	})
	type seen struct{ status, attempts int }
	answers := make(chan seen, clients*each)
	var wg sync.WaitGroup
	for i := range clients {
		c := testkit.DialRaw(t, s.addr)
		body := fmt.Sprintf(`{"model":"model-%d"}`, i%3)
		wg.Go(func() {
			for range each {
				c.Send(s.request("/v1/chat/completions", body))
				got := c.Response()
				n, _ := strconv.Atoi(got.Header.Get("X-Pool-Attempts"))
				answers <- seen{got.Status, n}
			}
		})
	}
	wg.Wait()
	before := len(s.up.Calls())
	s.up.Always(testkit.Silent())
	for i := range leaving {
		c := testkit.DialRaw(t, s.addr)
		c.Send(s.request("/v1/chat/completions", chat))
		s.up.AwaitCalls(before+i+1, soon)
		c.Close()
	}
	b.await(t, clients*each+leaving)

	var success, attempts, retried int64
	for range clients * each {
		a := <-answers
		attempts += int64(a.attempts)
		if a.status == 200 {
			success++
		}
		if a.status != 200 || a.attempts > 1 {
			retried++
		}
	}
	equal(t, "attempts told to clients", attempts, int64(before))
	calls := int64(len(s.up.Calls()))
	want := gateway.Counts{Requests: clients*each + leaving, Success: success, Failure: clients*each - success}
	want.Usage = gateway.Usage{Input: 7 * success, Output: 3 * success, Cost: gateway.Cost(142_000 * success)}

	deltas := b.ledger.Drain()
	if len(deltas) != 1 {
		t.Fatalf("%d deltas", len(deltas))
	}
	equal(t, "totals", deltas[0].Global, want)
	sums := map[gateway.Subject]*gateway.Tally{}
	var names []string
	byKey := map[string]int64{}
	for _, d := range deltas[0].Tallies {
		if sums[d.Of] == nil {
			sums[d.Of] = &gateway.Tally{}
		}
		sums[d.Of].Add(&d.Tally)
		if d.Of == gateway.OfKey {
			byKey[d.Name] += d.Tally.Attempts
		} else if name := string(d.Of) + " " + d.Name; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	equalSlices(t, "names", names, []string{"model gpt-oss:120b", "model model-0", "model model-1", "model model-2", "provider ", "token " + gateway.HashToken(token)})
	for of, sum := range sums {
		equal(t, string(of)+": counts", sum.Counts, want)
		equal(t, string(of)+": attempts", sum.Attempts, calls)
		equal(t, string(of)+": times", sum.Duration.Count(), clients*each)
		equal(t, string(of)+": times to the first byte", sum.FirstByte.Count(), success)
	}
	equal(t, "subjects", len(sums), 4)
	for i := range 10 {
		equal(t, key(i), byKey[string(idOf(i))], int64(len(s.up.CallsFor(key(i)))))
	}
	logged := int64(0)
	for _, d := range b.trail.Drain() {
		logged += int64(len(d.Log))
	}
	equal(t, "requests in the log", logged, retried)
}
