package pool

import (
	"container/heap"
	"fmt"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// openScene is a scene whose breaker has just opened.
func openScene(t *testing.T) *scene {
	t.Helper()
	s := newScene(t)
	s.put(20, "")
	for range strikesToOpen {
		s.try(fault)
	}
	if !s.p.Health().Open {
		t.Fatal("five faults in a row do not open the breaker")
	}
	return s
}

func TestBreakerOpens(t *testing.T) {
	const f, a, r, c = "fault", "served", "refused", "client gone"
	tests := []struct {
		name  string
		row   []string
		every time.Duration
		open  bool
	}{
		{"four faults", []string{f, f, f, f}, 0, false},
		{"five faults", []string{f, f, f, f, f}, 0, true},
		{"five faults in ten seconds", []string{f, f, f, f, f}, 2500 * time.Millisecond, true},
		{"five faults in more", []string{f, f, f, f, f}, 2500*time.Millisecond + 1, false},
		{"an answer among them", []string{f, f, f, f, a, f}, 0, false},
		{"a refusal among them", []string{f, f, f, f, r, f}, 0, false},
		{"a client that left among them", []string{f, f, f, f, c, f}, 0, true},
		{"slow ones, then quick ones", []string{f, f, f, a, f, f, f, f, f}, time.Second, true},
	}
	answers := map[string]gateway.Verdict{f: fault, a: served, r: refused("unauthorized"), c: wentAway}
	for _, test := range tests {
		s := newScene(t)
		s.put(20, "")
		for i, name := range test.row {
			if i > 0 {
				s.wait(test.every)
			}
			s.try(answers[name])
		}
		h := s.p.Health()
		if h.Open != test.open || h.Refusal != "" || test.open && !h.OpenedAt.Equal(s.now) {
			t.Errorf("%s: %+v", test.name, h)
		}
	}
}

func TestOpenBreakerLetsOneProbeASecondThrough(t *testing.T) {
	s := openScene(t)
	s.wantNone(&Want{}, BreakerOpen, time.Second)
	s.wait(400 * time.Millisecond)
	s.wantNone(&Want{}, BreakerOpen, 600*time.Millisecond)
	for range 5 {
		s.wait(time.Second)
		probe := s.lend(&Want{})
		s.wantNone(&Want{}, BreakerOpen, time.Second)
		probe.Release(&fault, s.now)
		s.wantNone(&Want{}, BreakerOpen, time.Second)
	}
	if s.p.MayRepeat() {
		t.Error("a request may be repeated while the breaker is open")
	}
}

func TestWhatClosesTheBreaker(t *testing.T) {
	tests := []struct {
		v      gateway.Verdict
		closes bool
	}{
		{served, true},
		{badRequest, true},
		{unknown, true},
		{plan, true},
		{quota(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)), true},
		{refused("unauthorized"), true},
		{fault, false},
		{wentAway, false},
	}
	for _, test := range tests {
		s := openScene(t)
		s.wait(time.Second)
		s.try(test.v)
		if open := s.p.Health().Open; open == test.closes {
			t.Errorf("after %q the breaker is open: %v", test.v.Reason, open)
		}
	}
}

func TestAnswerForARemovedKeyClosesTheBreaker(t *testing.T) {
	for _, v := range []gateway.Verdict{served, refused("unauthorized")} {
		s := openScene(t)
		s.wait(time.Second)
		probe := s.lend(&Want{})
		s.p.Remove(probe.Key())
		probe.Release(&v, s.now)
		if s.p.Health().Open {
			t.Errorf("still open after %q", v.Reason)
		}
	}
}

// A request that has no key left to try does not use up the second's probe.
func TestProbeIsSpentOnlyWhenAKeyGoesOut(t *testing.T) {
	s := newScene(t)
	s.put(1, "")
	w := &Want{}
	s.lend(w)
	for range strikesToOpen {
		s.try(fault)
	}
	s.wait(time.Second)
	s.wantNone(w, AllTried, 0)
	s.lend(&Want{})
}

func TestRepetitions(t *testing.T) {
	s := newScene(t)
	s.put(1, "")
	for i := range retryReserve {
		if !s.p.MayRepeat() {
			t.Fatalf("repetition %d is refused", i+1)
		}
	}
	if s.p.MayRepeat() {
		t.Fatal("repetitions without end")
	}
	s.try(fault)
	if s.p.MayRepeat() {
		t.Fatal("a fault gives a repetition back")
	}
	s.try(served)
	if !s.p.MayRepeat() || s.p.MayRepeat() {
		t.Fatal("an answer gives one repetition back, neither more nor less")
	}
	for range 3 * retryReserve {
		s.try(served)
	}
	for range retryReserve {
		if !s.p.MayRepeat() {
			t.Fatal("the reserve does not fill up again")
		}
	}
	if s.p.MayRepeat() {
		t.Fatal("the reserve overflows")
	}
}

// Three of ten answers are faults: every request gets its repetitions.
func TestFlakyUpstreamIsAskedAgain(t *testing.T) {
	s := newScene(t)
	s.put(10, "")
	for i := range 1000 {
		if i%10 < 3 {
			s.try(fault)
			if !s.p.MayRepeat() {
				t.Fatalf("fault %d may not be repeated", i)
			}
		} else {
			s.try(served)
		}
	}
}

// clients is a number of clients of one pool, on one clock: what they do next
// stands in a heap.
type clients struct {
	*scene
	events   events
	upstream func() gateway.Verdict
	latency  time.Duration // of the upstream
	asked    int           // attempts that reached the upstream
	served   []time.Time
}

type event struct {
	at time.Time
	do func()
}

type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at.Before(e[j].at) }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any          { last := (*e)[len(*e)-1]; *e = (*e)[:len(*e)-1]; return last }

func (c *clients) after(d time.Duration, do func()) {
	heap.Push(&c.events, event{c.now.Add(d), do})
}

func (c *clients) run() {
	for len(c.events) > 0 {
		e := heap.Pop(&c.events).(event)
		c.now = e.at
		e.do()
	}
}

// firstServed is when the first request was served, of which there must be one.
func (c *clients) firstServed() time.Time {
	c.Helper()
	if len(c.served) == 0 {
		c.Fatal("not one request was served")
	}
	return c.served[0]
}

// request is one client's request: up to four attempts, as the proxy makes them.
func (c *clients) request() { c.attempt(&Want{Model: "large"}, 1) }

func (c *clients) attempt(w *Want, n int) {
	l, err := c.p.Acquire(w, c.now)
	if err != nil {
		return
	}
	c.asked++
	v := c.upstream()
	c.after(c.latency, func() {
		l.Release(&v, c.now)
		switch {
		case v.OK:
			c.served = append(c.served, c.now)
		case n == 4:
		case v.Next == gateway.NextKey:
			w.Again = false
			c.attempt(w, n+1)
		case v.Next == gateway.NextAfterPause && c.p.MayRepeat():
			w.Again = true
			c.after(time.Duration(100*n)*time.Millisecond, func() { c.attempt(w, n+1) })
		}
	})
}

// Under a total outage the upstream sees little more than one attempt for each
// client request, however they come, and no key is marked.
func TestTotalOutage(t *testing.T) {
	for _, n := range []int{60, 100, 600} {
		for _, keys := range []int{1, 3, 100} {
			for _, latency := range []time.Duration{0, 20 * time.Millisecond, 3 * time.Second, time.Minute} {
				for name, every := range map[string]time.Duration{"burst": 0, "20 a second": 50 * time.Millisecond, "1 a second": time.Second, "1 in 2.6 s": 2600 * time.Millisecond, "1 in 11 s": 11 * time.Second} {
					c := &clients{scene: newScene(t), upstream: func() gateway.Verdict { return fault }, latency: latency}
					ids := c.put(keys, "")
					for i := range n {
						c.after(time.Duration(i)*every, c.request)
					}
					c.run()
					if c.asked*10 > n*12 {
						t.Errorf("%d requests, %s, %d keys, latency %v: %d attempts", n, name, keys, latency, c.asked)
					}
					c.wait(0)
					c.wantUntouched(ids...)
				}
			}
		}
	}
}

// Service is back soon after the upstream is, and stays.
func TestRecoveryFromAnOutage(t *testing.T) {
	for _, every := range []time.Duration{10 * time.Millisecond, 500 * time.Millisecond, time.Second, 4 * time.Second, 11 * time.Second} {
		for _, latency := range []time.Duration{10 * time.Millisecond, 900 * time.Millisecond} {
			t.Run(fmt.Sprint(every, latency), func(t *testing.T) {
				c := &clients{scene: newScene(t), latency: latency}
				c.put(50, "")
				back := c.now.Add(time.Minute)
				c.upstream = func() gateway.Verdict {
					if c.now.Before(back) {
						return fault
					}
					return served
				}
				late, lost := 0, 0
				for at := time.Duration(0); at < 2*time.Minute; at += every {
					c.after(at, func() {
						before := c.asked
						c.request()
						if since := c.now.Sub(back); since > 3*time.Second {
							late++
							if c.asked == before {
								lost++
							}
						}
					})
				}
				c.run()
				if limit := 3*time.Second + every; c.firstServed().Sub(back) > limit {
					t.Errorf("first served %v after the upstream's return", c.firstServed().Sub(back))
				}
				if lost > 0 {
					t.Errorf("%d of %d requests were sent away after that", lost, late)
				}
			})
		}
	}
}
