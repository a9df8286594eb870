package gateway

import (
	"math"
	"time"
)

// HistogramBounds are the upper ends of the buckets in which times are counted,
// each included in its bucket. What took longer falls into one more bucket.
var HistogramBounds = [...]time.Duration{
	5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 35 * time.Millisecond,
	60 * time.Millisecond, 100 * time.Millisecond, 160 * time.Millisecond, 250 * time.Millisecond,
	400 * time.Millisecond, 600 * time.Millisecond, time.Second, 1600 * time.Millisecond,
	2500 * time.Millisecond, 4 * time.Second, 6 * time.Second, 10 * time.Second,
	16 * time.Second, 25 * time.Second, 40 * time.Second, 60 * time.Second,
	100 * time.Second, 160 * time.Second, 300 * time.Second,
}

// HistogramBuckets is the number of buckets.
const HistogramBuckets = len(HistogramBounds) + 1

// Histogram counts times by size. Two are added bucket by bucket, so that
// those of hours, models and instances add up without loss.
type Histogram [HistogramBuckets]int64

// HistogramBucket is the place of the bucket into which a time falls; what is
// below nothing counts as nothing.
func HistogramBucket(d time.Duration) int {
	lo, hi := 0, len(HistogramBounds)
	for lo < hi {
		if mid := (lo + hi) / 2; d <= HistogramBounds[mid] {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// Observe counts n times of length d.
func (h *Histogram) Observe(d time.Duration, n int64) { h[HistogramBucket(d)] += n }

// Add adds other to h.
func (h *Histogram) Add(other *Histogram) {
	for i, n := range other {
		h[i] += n
	}
}

// Count is how many times were counted.
func (h *Histogram) Count() (n int64) {
	for _, c := range h {
		n += c
	}
	return n
}

// Quantile estimates the time below which the share q (0…1) of all lie, by
// going through its bucket evenly; false where nothing was counted. In the last
// bucket, which has no end, it is the bucket's beginning.
func (h *Histogram) Quantile(q float64) (time.Duration, bool) {
	total := h.Count()
	if total == 0 {
		return 0, false
	}
	rank := min(max(q, 0), 1) * float64(total)
	below := 0.0
	for i, n := range h {
		if n == 0 || below+float64(n) < rank {
			below += float64(n)
			continue
		}
		var from time.Duration
		if i > 0 {
			from = HistogramBounds[i-1]
		}
		if i == len(HistogramBounds) {
			return from, true
		}
		part := (rank - below) / float64(n)
		return from + time.Duration(math.Round(part*float64(HistogramBounds[i]-from))), true
	}
	return HistogramBounds[len(HistogramBounds)-1], true
}
