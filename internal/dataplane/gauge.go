package dataplane

import (
	"sync/atomic"
	"time"

	"ollama-api-pool/internal/gateway"
)

// peakMinutes is for how many minutes a Gauge remembers its peaks: a day.
const peakMinutes = 24 * 60

// Gauge counts how many client requests run for each provider and for all of
// them together, and remembers how many ran at most in each minute of the last
// day. It may be used concurrently and takes no locks.
type Gauge struct {
	now       func() time.Time
	providers []flight
	all       flight
}

// flight is what a Gauge knows of one provider.
type flight struct {
	provider gateway.ProviderName
	running  atomic.Int64
	// peaks holds for each minute, in the place of its number modulo peakMinutes,
	// the number of the minute in the high half and its peak in the low half, so
	// that both change in one step.
	peaks [peakMinutes]atomic.Int64
}

// NewGauge makes a Gauge for every provider.
func NewGauge(now func() time.Time) *Gauge {
	g := &Gauge{now: now, providers: make([]flight, len(gateway.Providers()))}
	for i, name := range gateway.Providers() {
		g.providers[i].provider = name
	}
	return g
}

// of finds a provider, with "" all of them together; nil is one that nobody
// counts.
func (g *Gauge) of(p gateway.ProviderName) *flight {
	if g == nil {
		return nil
	}
	if p == "" {
		return &g.all
	}
	for i := range g.providers {
		if g.providers[i].provider == p {
			return &g.providers[i]
		}
	}
	return nil
}

// begin counts a request in.
func (g *Gauge) begin(p gateway.ProviderName, now time.Time) {
	if f := g.of(p); f != nil && p != "" {
		f.note(f.running.Add(1), now)
		g.all.note(g.all.running.Add(1), now)
	}
}

// end counts a request out. How many ran until now is a peak of this minute,
// too: perhaps all of them began before it.
func (g *Gauge) end(p gateway.ProviderName, now time.Time) {
	if f := g.of(p); f != nil && p != "" {
		f.note(f.running.Add(-1)+1, now)
		g.all.note(g.all.running.Add(-1)+1, now)
	}
}

// note keeps n, if it is the most so far in the minute.
func (f *flight) note(n int64, now time.Time) {
	minute := minuteNumber(now)
	place := &f.peaks[minute%peakMinutes]
	entry := minute<<32 | min(max(n, 0), 1<<32-1)
	for {
		// A later minute is a larger number, and so is a higher peak.
		old := place.Load()
		if old >= entry || place.CompareAndSwap(old, entry) {
			return
		}
	}
}

// minuteNumber counts minutes since 1970; it fits into 31 bits until the year 6053.
func minuteNumber(t time.Time) int64 { return max(t.Unix(), 0) / 60 }

// Now is how many requests to a provider run, with "" to all of them.
func (g *Gauge) Now(p gateway.ProviderName) int64 {
	if f := g.of(p); f != nil {
		return f.running.Load()
	}
	return 0
}

// Peak is how many requests to a provider, with "" to all of them together, ran
// at most at the same time since a time not longer ago than a day, and the minute
// (its beginning, UTC) in which that was last so. Of the minute in which since
// lies all counts.
func (g *Gauge) Peak(p gateway.ProviderName, since time.Time) (n int64, at time.Time) {
	f := g.of(p)
	if f == nil {
		return 0, time.Time{}
	}
	now := g.now()
	n, at = f.running.Load(), now
	from := max(minuteNumber(since), minuteNumber(now.Add(time.Minute-peakMinutes*time.Minute)))
	for minute := minuteNumber(now); minute >= from; minute-- {
		entry := f.peaks[minute%peakMinutes].Load()
		if peak := entry & (1<<32 - 1); entry>>32 == minute && peak > n {
			n, at = peak, time.Unix(minute*60, 0)
		}
	}
	return n, at.UTC().Truncate(time.Minute)
}
