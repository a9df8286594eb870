package usage

// sampler decides for how many requests a request stands.
type sampler struct {
	rate float64 // 0…1
	draw func() float64
}

// newSampler puts the rate into its bounds. Below one in a million it would
// overflow the counts rather than save work.
func newSampler(rate float64, draw func() float64) sampler {
	switch {
	case rate >= 1:
		rate = 1
	case rate > 0:
		rate = max(rate, 1e-6)
	default:
		rate = 0
	}
	return sampler{rate, draw}
}

// on reports whether anything is counted at all.
func (s *sampler) on() bool { return s.rate > 0 }

// weight is 0 for a request that is passed over. Else it is 1/rate, rounded up
// or down at random so that its mean is exact, and with it that of the totals.
func (s *sampler) weight() int64 {
	switch s.rate {
	case 0:
		return 0
	case 1:
		return 1
	}
	if s.draw() >= s.rate {
		return 0
	}
	whole := int64(1 / s.rate)
	if rest := 1/s.rate - float64(whole); rest > 0 && s.draw() < rest {
		whole++
	}
	return whole
}
