package dataplane

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// hand is a clock whose time a test sets.
type hand struct{ at time.Time }

func (h *hand) now() time.Time { return h.at }

func TestGauge(t *testing.T) {
	start := time.Date(2025, 11, 4, 12, 0, 30, 0, time.UTC)
	h := &hand{start}
	g := NewGauge(h.now)
	minutes := func(n int) time.Time { return start.Add(time.Duration(n) * time.Minute) }
	begin := func(at time.Time, n int) {
		for range n {
			h.at = at
			g.begin(gateway.Ollama, at)
		}
	}
	end := func(at time.Time, n int) {
		for range n {
			h.at = at
			g.end(gateway.Ollama, at)
		}
	}
	want := func(since time.Time, n int64, at time.Time) {
		t.Helper()
		got, when := g.Peak(gateway.Ollama, since)
		if got != n || !when.Equal(at.Truncate(time.Minute)) || when.Location() != time.UTC {
			t.Errorf("since %s: %d at %s, want %d at %s", since, got, when, n, at.Truncate(time.Minute))
		}
	}
	want(start, 0, start)
	begin(start, 5)
	end(start, 2)
	if n := g.Now(gateway.Ollama); n != 3 {
		t.Errorf("%d run, want 3", n)
	}
	want(start, 5, start)

	// For minutes in which nothing begins or ends those that run count on.
	h.at = minutes(10)
	want(minutes(9), 3, minutes(10))
	want(start, 5, start)
	end(minutes(10), 3)
	want(minutes(9), 3, minutes(10))
	want(minutes(10), 3, minutes(10))
	h.at = minutes(11)
	want(minutes(11), 0, minutes(11))

	// The last of several minutes with the same peak, and the highest wherever it is.
	begin(minutes(20), 4)
	end(minutes(20), 4)
	begin(minutes(30), 4)
	end(minutes(30), 4)
	want(minutes(11), 4, minutes(30))
	want(time.Time{}, 5, start)

	// A minute is forgotten after a day, when its place is needed again at the latest.
	h.at = start.Add(24*time.Hour - time.Minute)
	want(time.Time{}, 5, start)
	h.at = start.Add(24 * time.Hour)
	want(time.Time{}, 4, minutes(30))
	begin(h.at, 1)
	want(h.at, 1, h.at)
	want(time.Time{}, 4, minutes(30))
	end(h.at, 1)
	// A clock that was set back spoils nothing.
	begin(start, 2)
	h.at = start.Add(24 * time.Hour)
	want(h.at, 2, h.at)
	end(h.at, 2)

	if n := g.Now(gateway.OpenRouter); n != 0 {
		t.Errorf("%d requests of the other provider", n)
	}
	if n, _ := g.Peak(gateway.OpenRouter, time.Time{}); n != 0 {
		t.Errorf("a peak of %d for the other provider", n)
	}
}

// Early times, unknown providers and no gauge at all do no harm.
func TestGaugeAtItsEdges(t *testing.T) {
	h := &hand{time.Unix(30, 0)}
	g := NewGauge(h.now)
	g.begin(gateway.Ollama, h.at)
	if n, at := g.Peak(gateway.Ollama, time.Time{}); n != 1 || at.Unix() != 0 {
		t.Errorf("%d at %s", n, at)
	}
	for _, g := range []*Gauge{g, nil} {
		g.begin("other", h.at)
		g.end("other", h.at)
		if n, at := g.Peak("other", time.Time{}); n != 0 || g.Now("other") != 0 || !at.IsZero() {
			t.Errorf("%d at %s", n, at)
		}
	}
}

// However many begin and end at once, the peak is one that can have been.
func TestGaugeConcurrently(t *testing.T) {
	const clients, each = 8, 2000
	at := time.Date(2025, 11, 4, 12, 0, 0, 0, time.UTC)
	g := NewGauge(func() time.Time { return at })
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for range each {
				g.begin(gateway.OpenRouter, at)
				g.end(gateway.OpenRouter, at)
			}
		})
	}
	wg.Wait()
	if n, when := g.Peak(gateway.OpenRouter, at); g.Now(gateway.OpenRouter) != 0 || n < 1 || n > clients || !when.Equal(at) {
		t.Errorf("%d run, the peak was %d at %s", g.Now(gateway.OpenRouter), n, when)
	}
}

func TestGaugeAllocates(t *testing.T) {
	at := time.Now()
	g := NewGauge(time.Now)
	if n := testing.AllocsPerRun(100, func() { g.begin(gateway.Ollama, at); g.end(gateway.Ollama, at) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A request is in flight from its beginning to its end, also to one that panics.
func TestSurfaceCountsRequestsInFlight(t *testing.T) {
	g := NewGauge(time.Now)
	began := time.Now()
	inside := int64(-1)
	for _, panics := range []bool{false, true} {
		visit(t, &Surface{Flight: g}, ask(t, "POST", "/openrouter/v1/messages"), func(w http.ResponseWriter, r *http.Request) error {
			inside = g.Now(gateway.OpenRouter)
			if panics {
				panic("boom")
			}
			return fine(w, r)
		})
		if n, _ := g.Peak(gateway.OpenRouter, began); inside != 1 || g.Now(gateway.OpenRouter) != 0 || n != 1 || g.Now(gateway.Ollama) != 0 {
			t.Errorf("%d inside, %d after, peak %d", inside, g.Now(gateway.OpenRouter), n)
		}
	}
}

func TestGaugeOfAll(t *testing.T) {
	start := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	h := &hand{start}
	g := NewGauge(h.now)
	g.begin(gateway.Ollama, start)
	g.end(gateway.Ollama, start)
	g.begin(gateway.OpenRouter, start)
	g.begin(gateway.OpenRouter, start)
	g.begin("", start) // an address that is nobody's
	g.end("", start)
	if n := g.Now(""); n != 2 {
		t.Errorf("%d run, want 2", n)
	}
	// One and then two at a time are two, although the peaks of both are three together.
	if n, _ := g.Peak("", start); n != 2 {
		t.Errorf("the peak is %d, want 2", n)
	}
	g.begin(gateway.Ollama, start)
	if n, at := g.Peak("", start); n != 3 || !at.Equal(start.Truncate(time.Minute)) {
		t.Errorf("the peak is %d at %s, want 3", n, at)
	}
}
