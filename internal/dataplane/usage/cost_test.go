package usage

import (
	"encoding/json"
	"math/big"
	"testing"

	"ollama-api-pool/internal/gateway"
)

// costs are JSON values and what they are in billionths.
var costs = map[string]gateway.Cost{
	"0": 0, "0.0": 0, "0e9": 0, "1": 1e9, "10": 1e10, "0.95": 950_000_000, "0.000142": 142_000,
	"8.19e-05": 81_900, "1.96E-6": 1_960, "5e-9": 5, "1e+2": 1e11, "1.5e2": 15e10,
	// Rounded to the nearest billionth.
	"4.9e-10": 0, "5e-10": 1, "1.4e-9": 1, "1.5e-9": 2, "0.0000000014999999999999999999": 1,
	"0.30000000000000004": 300_000_000, "0.1234567894999999999999999999999": 123_456_789, "0.1234567895000000000000000000001": 123_456_790,
	"0.00000000000000000000000000000000000000000000000000000000001": 0, "1e-400": 0, "1e-99999999999": 0,
	// The most that is believed.
	"1000": 1e12, "1000.0000000004": 1e12, "1000.0000000005": 0, "1001": 0, "1e3": 1e12, "1e4": 0, "1e400": 0, "1e99999999999": 0,
	"99999999999999999999": 0, "9223372036854775808": 0, "123456789012345678901234567890e-28": 12_345_678_901,
	// No charge, or no number.
	"-1": 0, "-0.5": 0, "+1": 0, "": 0, ".5": 0, "5.": 0, "1.e3": 0, "1e": 0, "1e+": 0, "1e1.5": 0, "01": 0, "00.1": 0,
	"0x10": 0, "1_000": 0, "1,5": 0, " 1": 0, "1 ": 0, "null": 0, "true": 0, `"1"`: 0, "[1]": 0, `{"a":1}`: 0, "NaN": 0, "Infinity": 0,
}

func TestCostIsRead(t *testing.T) {
	for text, want := range costs {
		if got := cost([]byte(text)); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
}

// Many small charges add up without drift.
func TestCostsAddUp(t *testing.T) {
	var sum gateway.Cost
	for range 1_000_000 {
		sum += cost([]byte("0.000001"))
	}
	if sum != gateway.CostUnit {
		t.Errorf("a million millionths are %d", sum)
	}
}

func TestCostAllocates(t *testing.T) {
	text := []byte("0.00013420000000000001")
	if n := testing.AllocsPerRun(100, func() { _ = cost(text) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzCost compares with exact arithmetic.
func FuzzCost(f *testing.F) {
	for text := range costs {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got := cost(text)
		if got < 0 || got > maxCost {
			t.Fatalf("%q: %d is not in bounds", text, got)
		}
		if len(text) == 0 || text[0] < '0' || text[0] > '9' || text[len(text)-1] < '0' || text[len(text)-1] > '9' || !json.Valid(text) {
			if got != 0 {
				t.Fatalf("%q is no number, read as %d", text, got)
			}
			return
		}
		if len(text) > longestNumber {
			return
		}
		if power, _ := powerOfTen(exponentOf(text)); power > 100 || power < -100 {
			return // too much work for big.Rat; the table has such
		}
		exact, ok := new(big.Rat).SetString(string(text))
		if !ok {
			t.Fatalf("%q is no number to big.Rat", text)
		}
		exact.Mul(exact, big.NewRat(int64(gateway.CostUnit), 1))
		low := new(big.Rat).Sub(exact, big.NewRat(1, 2))
		if exact.Cmp(big.NewRat(int64(maxCost), 1)) > 0 {
			if got != 0 && got != maxCost {
				t.Fatalf("%q is too much, read as %d", text, got)
			}
			return
		}
		read := big.NewRat(int64(got), 1)
		if read.Cmp(low) < 0 || read.Cmp(low.Add(low, big.NewRat(1, 1))) > 0 {
			t.Fatalf("%q: %d", text, got)
		}
	})
}

// exponentOf returns what stands behind the e of a number, "0" where there is none.
func exponentOf(text []byte) []byte {
	for i, c := range text {
		if c|0x20 == 'e' {
			return text[i+1:]
		}
	}
	return []byte("0")
}
