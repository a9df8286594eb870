package gateway

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestHistogramBuckets(t *testing.T) {
	if !slices.IsSorted(HistogramBounds[:]) || HistogramBuckets != len(HistogramBounds)+1 {
		t.Fatalf("the bounds are %v", HistogramBounds)
	}
	for i, bound := range HistogramBounds {
		var h Histogram
		h.Observe(bound, 1)                  // belongs to its own bucket
		h.Observe(bound+time.Nanosecond, 10) // and this to the next
		if h[i] != 1 || h[i+1] != 10 || h.Count() != 11 {
			t.Errorf("%v: %v", bound, h)
		}
	}
	var h Histogram
	h.Observe(-time.Second, 1)
	h.Observe(0, 1)
	h.Observe(1<<62, 1)
	if h[0] != 2 || h[HistogramBuckets-1] != 1 {
		t.Errorf("the ends: %v", h)
	}
}

func TestHistogramQuantile(t *testing.T) {
	var h Histogram
	if _, ok := h.Quantile(0.5); ok {
		t.Error("nothing was counted, yet there is a median")
	}
	h.Observe(8*time.Millisecond, 10) // 5 to 10 ms
	for q, want := range map[float64]time.Duration{0: 5 * time.Millisecond, 0.5: 7500 * time.Microsecond, 1: 10 * time.Millisecond, -1: 5 * time.Millisecond, 2: 10 * time.Millisecond} {
		if got, ok := h.Quantile(q); !ok || got != want {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
	h = Histogram{}
	h.Observe(time.Hour, 3)
	if got, _ := h.Quantile(0.95); got != 300*time.Second {
		t.Errorf("in the bucket without end: %v", got)
	}
	h = Histogram{}
	h.Observe(time.Millisecond, 50)
	h.Observe(time.Second, 50)
	if got, _ := h.Quantile(0.5); got != 5*time.Millisecond {
		t.Errorf("at the edge of a bucket: %v", got)
	}
}

// TestHistogramQuantileIsClose compares estimates with the truth: they may be
// off by the width of a bucket.
func TestHistogramQuantileIsClose(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var h Histogram
	times := make([]time.Duration, 10_000)
	for i := range times {
		times[i] = time.Duration(rnd.ExpFloat64() * float64(2*time.Second))
		h.Observe(times[i], 1)
	}
	slices.Sort(times)
	for _, q := range []float64{0.01, 0.25, 0.5, 0.9, 0.95, 0.99} {
		truth := times[int(q*float64(len(times)))]
		got, _ := h.Quantile(q)
		if ratio := float64(got) / float64(truth); ratio < 1/1.2 || ratio > 1.2 {
			t.Errorf("quantile %v: %v, in truth %v", q, got, truth)
		}
	}
}

func TestTallyAdd(t *testing.T) {
	one := Tally{Counts: Counts{Requests: 1, Success: 1, Usage: Usage{Input: 3, Output: 4, Cost: 5}}, Attempts: 2}
	one.Duration.Observe(time.Second, 1)
	one.FirstByte.Observe(time.Millisecond, 1)
	sum := one
	sum.Add(&one)
	if sum.Requests != 2 || sum.Success != 2 || sum.Failure != 0 || sum.Usage != (Usage{6, 8, 10}) || sum.Attempts != 4 ||
		sum.Duration.Count() != 2 || sum.FirstByte.Count() != 2 {
		t.Errorf("%+v", sum)
	}
}

func TestLimitsModels(t *testing.T) {
	for _, c := range []struct {
		patterns, model string
		want            bool
	}{
		{"", "anything", true},
		{"gpt-oss:20b", "gpt-oss:20b", true},
		{"gpt-oss:20b", "gpt-oss:120b", false},
		{"GPT-oss*", "gpt-OSS:120b", true},
		{"gpt-oss*", "my-gpt-oss", false},
		{"*", "anything", true},
		{"*", "", true},
		{"kimi*", "", true}, // names no model
		{"*:free", "a/b:free", true},
		{"*:free", "a/b:free2", false},
		{"a*b*c", "a-b-b-c", true},
		{"a*b*c", "acb", false},
		{"ab*ba", "aba", false}, // the parts must not overlap
		{"**", "x", true},
		{"gemma*,qwen*", "qwen3", true},
		{"anthropic/*", "anthropic/claude-x", true},
		{"a?c", "abc", false}, // only * is special
		{"[ab]", "a", false},
	} {
		l := Limits{}
		if c.patterns != "" {
			l.Models = strings.Split(c.patterns, ",")
		}
		if got := l.AllowsModel(c.model); got != c.want {
			t.Errorf("%q allows %q: %v", c.patterns, c.model, got)
		}
	}
}

// TestPatternsAreCheap matches patterns that are made to be slow: it would not
// end in a lifetime if it tried every way.
func TestPatternsAreCheap(t *testing.T) {
	l := Limits{Models: []string{strings.Repeat("*a", 200) + "*b"}}
	if l.AllowsModel(strings.Repeat("a", 4000)) {
		t.Error("it matches")
	}
}

func TestLimitsNetworks(t *testing.T) {
	l := Limits{Networks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8::/32")}}
	for ip, want := range map[string]bool{
		"10.1.2.3": true, "10.2.0.1": false, "::ffff:10.1.2.3": true, "2001:db8::1": true, "2001:db9::1": false,
	} {
		if got := l.AllowsClient(netip.MustParseAddr(ip)); got != want {
			t.Errorf("%s: %v", ip, got)
		}
	}
	if l.AllowsClient(netip.Addr{}) {
		t.Error("an unknown address is let in")
	}
	if !(&Limits{}).AllowsClient(netip.Addr{}) || (&Limits{}).Any() || !l.Any() {
		t.Error("no limit is a limit")
	}
}

func TestLogEntryFailed(t *testing.T) {
	for _, c := range []struct {
		status int
		end    End
		want   bool
	}{{200, EndDone, false}, {204, EndDone, false}, {500, EndDone, true}, {429, EndDone, true}, {200, EndCut, true}, {0, EndClientClosed, false}, {302, EndDone, true}} {
		if e := (LogEntry{Status: c.status, End: c.end}); e.Failed() != c.want {
			t.Errorf("%d %v: %v", c.status, c.end, e.Failed())
		}
	}
}
