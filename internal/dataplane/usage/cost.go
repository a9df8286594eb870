package usage

import "ollama-api-pool/internal/gateway"

const (
	// maxCost is the largest charge that is believed: no request costs a
	// thousand dollars. It also keeps sums from overflowing.
	maxCost = 1000 * gateway.CostUnit
	// costDecimals is how many decimal places a Cost has.
	costDecimals = 9
	// longestNumber is the longest JSON number that is read. Servers write at
	// most 17 significant digits, some with zeros before and behind.
	longestNumber = 64
	// maxDigits is how many digits fit into an int64 in any case.
	maxDigits = 18
)

// cost reads a JSON number of credits as it is written, rounded to a billionth.
// It never passes through a floating point number, whose error would add up.
// Anything else (negative, in quotes, no JSON number, more than maxCost) is 0.
func cost(v []byte) gateway.Cost {
	if len(v) > longestNumber {
		return 0
	}
	mantissa, exponent, ok := decimal(v)
	if !ok {
		return 0
	}
	for exponent += costDecimals; exponent > 0 && mantissa > 0; exponent-- {
		if mantissa > int64(maxCost) {
			return 0
		}
		mantissa *= 10
	}
	for ; exponent < 0 && mantissa > 0; exponent++ {
		if exponent == -1 {
			mantissa += 5
		}
		mantissa /= 10
	}
	if mantissa > int64(maxCost) {
		return 0
	}
	return gateway.Cost(mantissa)
}

// decimal reads a JSON number that is not negative as mantissa times ten to the
// power of exponent. Digits beyond maxDigits are dropped: they are worth
// nothing in any cost that is believed.
func decimal(v []byte) (mantissa int64, exponent int, ok bool) {
	i, digits := 0, 0
	take := func(inFraction bool) (n int) {
		for ; i < len(v) && v[i]-'0' <= 9; i++ {
			n++
			switch {
			case digits < maxDigits:
				mantissa = mantissa*10 + int64(v[i]-'0')
				if mantissa > 0 {
					digits++
				}
				if inFraction {
					exponent--
				}
			case !inFraction:
				exponent++
			}
		}
		return n
	}
	if n := take(false); n == 0 || n > 1 && v[0] == '0' {
		return 0, 0, false
	}
	if i < len(v) && v[i] == '.' {
		i++
		if take(true) == 0 {
			return 0, 0, false
		}
	}
	if i < len(v) && v[i]|0x20 == 'e' {
		power, ok := powerOfTen(v[i+1:])
		return mantissa, exponent + power, ok
	}
	return mantissa, exponent, i == len(v)
}

// powerOfTen reads what stands behind the e of a number.
func powerOfTen(v []byte) (power int, ok bool) {
	negative := len(v) > 0 && v[0] == '-'
	if len(v) > 0 && (v[0] == '-' || v[0] == '+') {
		v = v[1:]
	}
	for _, c := range v {
		if c-'0' > 9 {
			return 0, false
		}
		power = min(power*10+int(c-'0'), 1000) // beyond it all is nothing, or too much
	}
	if negative {
		power = -power
	}
	return power, len(v) > 0
}
