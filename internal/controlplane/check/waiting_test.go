package check

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ollama-api-pool/internal/gateway"
)

// A run that pauses says why, and says when it goes on.
func TestRunTellsThatItWaits(t *testing.T) {
	for name, c := range map[string]struct {
		during gateway.CheckOutcome
		until  time.Duration
		want   []string
	}{
		"silent":         {unsaid, 10 * time.Second, []string{"", waitsSilent, ""}},
		"refusing":       {refused, 10 * time.Second, []string{"", waitsRefusing, ""}},
		"for good":       {unsaid, time.Hour, []string{"", waitsSilent, ""}},
		"over in a wink": {refused, 0, []string{""}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				s := &scene{targets: list(500, true), says: func(Target, int) gateway.CheckOutcome {
					if since := time.Since(began); since > time.Second && since < time.Second+c.until {
						return c.during
					}
					return valid
				}}
				var told []string
				s.o.Progress = func(sum Summary) { told = append(told, sum.Waiting) }
				sum, err := s.run(t.Context())
				if err != nil || sum.Waiting != "" {
					t.Errorf("%+v, %v", sum, err)
				}
				if got := slices.Compact(told); !slices.Equal(got, c.want) {
					t.Errorf("told %q, want %q", got, c.want)
				}
			})
		})
	}
}
