package usage

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"ollama-api-pool/internal/gateway"
)

// failure is a request that was refused with its only key.
func failure() *gateway.Exchange {
	x := tried(done("a", "t1"), "k1")
	x.RequestID = "r1"
	x.Record.Status, x.Record.Error = 503, "the upstream refused every key that was tried"
	x.Record.Attempts[0].Verdict = gateway.Verdict{Scope: gateway.ScopeKey, Action: gateway.ActionFail, Next: gateway.NextKey, Reason: "401 unauthorized"}
	return x
}

func TestTrailKeeps(t *testing.T) {
	twice := tried(done("a", "t1"), "k1", "k2")
	broken := tried(done("a", "t1"), "k1")
	broken.Record.End = gateway.EndCut
	left := tried(done("a", "t1"), "k1")
	left.Record.End = gateway.EndClientClosed
	stranger := failure()
	stranger.Record.Counted = false
	traced, strange := tried(done("a", "t1"), "k1"), tried(done("a", "t1"), "k1")
	traced.Trace, strange.Trace, strange.Record.Counted = true, true, false
	for name, tt := range map[string]struct {
		x                  *gateway.Exchange
		off, failures, all int // entries
		events             int
	}{
		"success":                     {tried(done("a", "t1"), "k1"), 0, 0, 1, 0},
		"success without an attempt":  {done("a", "t1"), 0, 0, 1, 0},
		"success with the second key": {twice, 0, 1, 1, 0},
		"failure":                     {failure(), 0, 1, 1, 1},
		"cut":                         {broken, 0, 1, 1, 0},
		"client left":                 {left, 0, 0, 1, 0},
		"stranger":                    {stranger, 0, 0, 0, 1},
		"success with a trace":        {traced, 0, 1, 1, 0},
		"stranger with a trace":       {strange, 0, 0, 0, 0},
	} {
		for mode, want := range map[TrailMode]int{TrailOff: tt.off, TrailFailures: tt.failures, TrailAll: tt.all} {
			trail := NewTrail(TrailOptions{Mode: mode})
			trail.Add(tt.x)
			entries, events := 0, 0
			for _, d := range trail.Drain() {
				entries += len(d.Log)
				events += len(d.Events)
			}
			if entries != want || events != tt.events || trail.Dropped() != 0 {
				t.Errorf("%s in mode %d: %d entries and %d events, want %d and %d", name, mode, entries, events, want, tt.events)
			}
		}
	}
}

func TestTrailEntry(t *testing.T) {
	const second = time.Second
	reset := noon.Add(time.Hour)
	x := &gateway.Exchange{
		RequestID: "r1", UpstreamRequestID: "u1", ClientIP: netip.MustParseAddr("192.0.2.7"), Agent: "curl/8", Path: "/t/***/api/chat",
		PathToken: "sk-fake-in-the-path", Principal: &gateway.Principal{TokenHash: "hash", Name: "team"},
		Record: gateway.Record{
			Provider: gateway.Ollama, Model: "m", TokenHash: "hash", Stream: true, Cache: "MISS", Sent: 12, Status: 429,
			Error: "every key is out of quota", Usage: gateway.Usage{Input: 1, Output: 2, Cost: 3}, Counted: true,
			StartedAt: noon.In(time.FixedZone("", 3600)), FirstByte: 5 * second, Duration: 6 * second,
			Attempts: []gateway.Attempt{
				{Key: "k1", Status: 429, Began: second, Duration: second, Verdict: gateway.Verdict{Scope: gateway.ScopeAccount, Action: gateway.ActionRest, Next: gateway.NextKey, Reason: "quota: hourly", Until: reset}},
				{Key: "k2", Status: 429, Began: 2 * second, Duration: second, Verdict: gateway.Verdict{Scope: gateway.ScopeAccount, Action: gateway.ActionRestKey, Next: gateway.NextKey, Reason: "quota", For: 10 * second}},
				{Key: "k3", Status: 429, Began: 3 * second, Duration: second, Verdict: gateway.Verdict{Scope: gateway.ScopeAccount, Action: gateway.ActionRest, Reason: "quota"}},
				{Key: "k4", Status: 403, Began: 4 * second, Duration: second, Verdict: gateway.Verdict{Scope: gateway.ScopeKeyModel, Action: gateway.ActionPassOver, Reason: "plan", For: 24 * time.Hour}},
				{Key: "k5", Status: 401, Began: 5 * second, Duration: second, Verdict: gateway.Verdict{Scope: gateway.ScopeKey, Action: gateway.ActionFail, Reason: "401", Until: reset}},
				{Key: "k8", Status: 401, Began: 5 * second, Duration: second, Until: reset.In(time.FixedZone("", 3600)), Verdict: gateway.Verdict{Scope: gateway.ScopeKey, Action: gateway.ActionFail, Reason: "401"}},
				{Key: "k6", Began: 5 * second, Duration: second, Verdict: gateway.Verdict{Scope: gateway.ScopeProvider, Action: gateway.ActionStrike, Reason: "no answer"}},
				{Key: "k7", Status: 200, Began: 5 * second, Verdict: gateway.Verdict{OK: true}},
			},
		},
	}
	step := func(i int, until time.Time) gateway.TrailStep {
		a := x.Record.Attempts[i]
		v := a.Verdict
		return gateway.TrailStep{Key: a.Key, Status: a.Status, Scope: v.Scope, Action: v.Action, Next: v.Next, Reason: v.Reason, Until: until, OK: v.OK, Began: a.Began, Duration: a.Duration}
	}
	none := time.Time{}
	rest, plan := noon.Add(13*second), noon.Add(5*second+24*time.Hour)
	want := []gateway.Delta{{
		Provider: gateway.Ollama,
		Log: []gateway.LogEntry{{
			ID: "r1", UpstreamRequestID: "u1", Provider: gateway.Ollama, Model: "m", Path: "/t/***/api/chat", TokenHash: "hash", TokenName: "team",
			Client: x.ClientIP, Agent: "curl/8", Status: 429, Error: "every key is out of quota", Stream: true, Cache: "MISS", Sent: 12,
			Usage: x.Record.Usage, StartedAt: noon, FirstByte: 5 * second, Duration: 6 * second,
			Trail: []gateway.TrailStep{step(0, reset), step(1, rest), step(2, none), step(3, plan), step(4, none), step(5, reset), step(6, none), step(7, none)},
		}},
		Events: []gateway.KeyEvent{
			{Key: "k1", At: noon.Add(2 * second), What: gateway.EventRested, Detail: "quota: hourly", Until: reset, RequestID: "r1", Attempt: 1, Model: "m"},
			{Key: "k2", At: noon.Add(3 * second), What: gateway.EventRested, Detail: "quota", Until: rest, RequestID: "r1", Attempt: 2, Model: "m"},
			{Key: "k3", At: noon.Add(4 * second), What: gateway.EventRested, Detail: "quota", RequestID: "r1", Attempt: 3, Model: "m"},
			{Key: "k4", At: noon.Add(5 * second), What: gateway.EventPassed, Detail: "plan", Until: plan, RequestID: "r1", Attempt: 4, Model: "m"},
			{Key: "k5", At: noon.Add(6 * second), What: gateway.EventRefused, Detail: "401", RequestID: "r1", Attempt: 5, Model: "m"},
			{Key: "k8", At: noon.Add(6 * second), What: gateway.EventRefused, Detail: "401", Until: reset, RequestID: "r1", Attempt: 6, Model: "m"},
		},
	}}
	trail := NewTrail(TrailOptions{Mode: TrailFailures})
	trail.Add(x)
	got := trail.Drain()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if strings.Contains(fmt.Sprintf("%+v", got), x.PathToken.Reveal()) {
		t.Error("the token shows")
	}
	// What the caller does with the exchange afterwards changes nothing.
	x.Record.Attempts[0].Verdict.Reason = "changed"
	if got[0].Log[0].Trail[0].Reason != "quota: hourly" {
		t.Error("the entry shares the attempts")
	}
}

func TestTrailSaysWhy(t *testing.T) {
	for want, change := range map[string]func(*gateway.Record){
		"":                             func(r *gateway.Record) { r.Status, r.Error = 200, "" },
		"said to the client":           func(r *gateway.Record) { r.Error = "said to the client" },
		"401 unauthorized":             func(r *gateway.Record) { r.Error = "" },
		"the client went away":         func(r *gateway.Record) { r.Error, r.End, r.Attempts = "", gateway.EndClientClosed, nil },
		"internal error":               func(r *gateway.Record) { r.Error, r.Status, r.Attempts = "", 0, nil },
		strings.Repeat("é", 150) + "…": func(r *gateway.Record) { r.Error = strings.Repeat("é", 151) },
	} {
		x := failure()
		change(&x.Record)
		trail := NewTrail(TrailOptions{Mode: TrailAll})
		trail.Add(x)
		if got := trail.Drain()[0].Log[0].Error; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// Whatever a client sends as its name, a line of clean text of some length is kept.
func TestTrailCleansText(t *testing.T) {
	for agent, want := range map[string]string{
		"curl/8":                  "curl/8",
		"Grüße":                   "Grüße",
		"a\tb\nc\x7f":             "a b c ",
		"bad \xff\xfe":            "bad \ufffd\ufffd",
		strings.Repeat("x", 5000): strings.Repeat("x", maxAgent) + "…",
	} {
		x := failure()
		x.Agent = agent
		trail := NewTrail(TrailOptions{Mode: TrailFailures})
		trail.Add(x)
		if got := trail.Drain()[0].Log[0].Agent; got != want {
			t.Errorf("%q: %q", agent, got)
		}
	}
}

func FuzzPlain(f *testing.F) {
	f.Add("curl/8", uint8(3))
	f.Add("\xff\xf0\x9f\x00\u2028é", uint8(4))
	f.Fuzz(func(t *testing.T, s string, n uint8) {
		got := plain(s, int(n))
		// A byte that is no UTF-8 becomes three.
		if !utf8.ValidString(got) || len(got) > 3*int(n)+len("…") || strings.ContainsAny(got, "\x00\n\r\t\x7f") {
			t.Fatalf("%q at %d: %q", s, n, got)
		}
	})
}

func TestTrailIsBounded(t *testing.T) {
	trail := NewTrail(TrailOptions{Mode: TrailFailures})
	x := failure()
	size := func(deltas []gateway.Delta) (entries, events int) {
		for _, d := range deltas {
			entries += len(d.Log)
			events += len(d.Events)
		}
		return entries, events
	}
	for i := range maxEntries + 10 {
		x.Record.Provider = gateway.Providers()[i%2]
		trail.Add(x)
	}
	first := trail.Drain()
	if entries, events := size(first); entries != maxEntries || events != maxEntries+10 || trail.Dropped() != 10 {
		t.Errorf("%d entries, %d events, %d dropped", entries, events, trail.Dropped())
	}

	// What is taken back stands before what came meanwhile, and leaves less room.
	later := failure()
	later.RequestID = "later"
	trail.Add(later)
	trail.Restore(first)
	again := trail.Drain()
	if entries, events := size(again); entries != maxEntries || events != maxEntries+11 || trail.Dropped() != 11 {
		t.Errorf("%d entries, %d events, %d dropped", entries, events, trail.Dropped())
	}
	if e := again[0].Events; e[0].RequestID != "r1" || e[len(e)-1].RequestID != "later" {
		t.Error("the order is lost")
	}

	many := &gateway.Exchange{Record: gateway.Record{Provider: gateway.Ollama}}
	for range 100 {
		many.Record.Attempts = append(many.Record.Attempts, x.Record.Attempts[0])
	}
	for range maxEvents/100 + 1 {
		trail.Add(many)
	}
	if entries, events := size(trail.Drain()); entries != 0 || events != maxEvents || trail.Dropped() != 111 {
		t.Errorf("%d entries, %d events, %d dropped", entries, events, trail.Dropped())
	}
	if left := trail.Drain(); len(left) != 0 {
		t.Errorf("left over: %+v", left)
	}
}

// Nothing is lost or kept twice between Add, Drain and Restore.
func TestTrailConcurrently(t *testing.T) {
	const adders, each = 4, 400
	trail := NewTrail(TrailOptions{Mode: TrailFailures})
	seen := map[string]int{}
	take := func() {
		for _, d := range trail.Drain() {
			for _, e := range d.Log {
				seen[e.ID]++
			}
		}
	}
	var adding, draining sync.WaitGroup
	stop := make(chan struct{})
	draining.Go(func() {
		for i := 0; ; i++ {
			if i%2 == 0 {
				trail.Restore(trail.Drain())
			} else {
				take()
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for a := range adders {
		adding.Go(func() {
			for i := range each {
				x := failure()
				x.RequestID = fmt.Sprint(a, "-", i)
				trail.Add(x)
			}
		})
	}
	adding.Wait()
	close(stop)
	draining.Wait()
	take()
	if len(seen) != adders*each || trail.Dropped() != 0 {
		t.Errorf("%d requests, %d dropped", len(seen), trail.Dropped())
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s: %d times", id, n)
		}
	}
}

// A plain success costs a look, and no memory.
func TestTrailOfSuccessAllocates(t *testing.T) {
	trail := NewTrail(TrailOptions{Mode: TrailFailures})
	x := tried(done("a", "t1"), "k1")
	if n := testing.AllocsPerRun(100, func() { trail.Add(x) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkTrail adds requests that went well with their first key, and failures.
func BenchmarkTrail(b *testing.B) {
	for name, x := range map[string]*gateway.Exchange{"success": tried(done("a", "t1"), "k1"), "failure": failure()} {
		b.Run(name, func(b *testing.B) {
			trail := NewTrail(TrailOptions{Mode: TrailFailures})
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if trail.Add(x); i%1000 == 999 {
					trail.Drain()
				}
			}
		})
	}
}
