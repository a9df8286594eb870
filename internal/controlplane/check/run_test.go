package check

import (
	"context"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Outcomes, short.
const (
	unsaid  = gateway.CheckInconclusive
	valid   = gateway.CheckValid
	refused = gateway.CheckRefused
)

// scene is a run with an upstream that a function stands for.
type scene struct {
	targets []Target
	// says is what the upstream says of a target when it is asked for the nth
	// time in all, from 0.
	says func(t Target, n int) gateway.CheckOutcome
	slow time.Duration // what a valid key's answer takes longer than others
	o    Options

	mu      sync.Mutex // guards what follows
	asked   int
	began   []time.Time
	flying  int
	peak    int
	results map[int]Result
	twice   bool // a target was settled more than once
}

// list makes n targets in good standing, or not.
func list(n int, good bool) []Target {
	targets := make([]Target, n)
	for i := range targets {
		targets[i] = Target{Number: i, Good: good}
	}
	return targets
}

func (s *scene) run(ctx context.Context) (Summary, error) {
	s.results = map[int]Result{}
	s.o.Probe = func(ctx context.Context, t Target) gateway.CheckResult {
		s.mu.Lock()
		n := s.asked
		s.asked++
		s.began = append(s.began, time.Now())
		s.flying++
		s.peak = max(s.peak, s.flying)
		s.mu.Unlock()
		out := gateway.CheckResult{At: time.Now(), Category: "kimi"}
		select {
		case <-time.After(50 * time.Millisecond):
			if out.Outcome = s.says(t, n); out.Outcome == valid {
				time.Sleep(s.slow)
			}
		case <-ctx.Done():
		}
		s.mu.Lock()
		s.flying--
		s.mu.Unlock()
		return out
	}
	if s.o.Settle == nil {
		s.o.Settle = func(_ context.Context, results []Result) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, r := range results {
				_, there := s.results[r.Number]
				s.twice = s.twice || there
				s.results[r.Number] = r
			}
			return nil
		}
	}
	return Run(ctx, each(s.targets), s.o)
}

func each(targets []Target) iter.Seq2[Target, error] {
	return func(yield func(Target, error) bool) {
		for _, t := range targets {
			if !yield(t, nil) {
				return
			}
		}
	}
}

// count adds up the results that were settled, and checks the summary by them.
func (s *scene) count(t *testing.T, sum Summary) (good, bad, open int) {
	t.Helper()
	for _, r := range s.results {
		switch r.Outcome {
		case valid:
			good++
		case refused:
			bad++
		default:
			open++
		}
	}
	if sum.Valid != good || sum.Refused != bad || sum.Inconclusive != open || sum.Asked != len(s.results) || s.twice || s.flying != 0 {
		t.Errorf("summary %+v, settled %d, %d, %d; twice %v, still flying %d", sum, good, bad, open, s.twice, s.flying)
	}
	return good, bad, open
}

func TestRun(t *testing.T) {
	for name, c := range map[string]struct {
		targets []Target
		// says is told how long the run has lasted
		says                func(t Target, n int, since time.Duration) gateway.CheckOutcome
		valid, bad, unknown int
		stopped             string
		least, most         time.Duration
	}{
		"all well": {
			targets: list(1000, true), valid: 1000,
			says:  func(Target, int, time.Duration) gateway.CheckOutcome { return valid },
			least: 4900 * time.Millisecond, most: 5200 * time.Millisecond, // 200 a second
		},
		"nothing to do": {says: nil},
		"some are bad": {
			targets: list(300, true), valid: 200, bad: 100,
			says: func(t Target, _ int, _ time.Duration) gateway.CheckOutcome {
				return []gateway.CheckOutcome{valid, refused, valid}[t.Number%3]
			},
		},
		"some show nothing": {
			targets: list(300, true), valid: 200, unknown: 100,
			says: func(t Target, _ int, _ time.Duration) gateway.CheckOutcome {
				return []gateway.CheckOutcome{valid, unsaid, valid}[t.Number%3]
			},
		},
		"an outage of half a minute": {
			targets: list(1000, true), valid: 900, bad: 100,
			says: func(t Target, _ int, since time.Duration) gateway.CheckOutcome {
				switch {
				case since > time.Second && since < 30*time.Second:
					return unsaid
				case t.Number%10 == 0:
					return refused
				}
				return valid
			}, least: 30 * time.Second, most: 55 * time.Second,
		},
		"down for good": {
			targets: list(1000, true), valid: 190, unknown: 0, stopped: reasonSilent,
			says: func(_ Target, _ int, since time.Duration) gateway.CheckOutcome {
				if since > time.Second {
					return unsaid
				}
				return valid
			}, least: 2 * time.Minute, most: 3 * time.Minute,
		},
		"a few, and the upstream is down": {
			targets: list(19, true), unknown: 19,
			says: func(Target, int, time.Duration) gateway.CheckOutcome { return unsaid }, most: time.Second,
		},
		"twenty, and the upstream is down": {
			targets: list(20, true), unknown: 20, stopped: reasonSilent,
			says:  func(Target, int, time.Duration) gateway.CheckOutcome { return unsaid },
			least: 2 * time.Minute, most: 3 * time.Minute,
		},
		"an outage at the end of the list": {
			targets: list(100, true), valid: 100,
			says: func(_ Target, _ int, since time.Duration) gateway.CheckOutcome {
				if since > 300*time.Millisecond && since < 20*time.Second {
					return unsaid
				}
				return valid
			},
		},
		"everybody is refused": {
			targets: list(100, true), unknown: 100,
			says: func(Target, int, time.Duration) gateway.CheckOutcome { return refused },
		},
		"nineteen are refused": {
			targets: list(19, true), bad: 19,
			says: func(Target, int, time.Duration) gateway.CheckOutcome { return refused },
		},
		"everybody is refused, of whom nobody thought well": {
			targets: list(100, false), bad: 100,
			says: func(Target, int, time.Duration) gateway.CheckOutcome { return refused },
		},
		"one account is refused": {
			targets: func() []Target {
				l := list(100, true)
				for i := range l {
					l[i].Account = 7
				}
				return l
			}(), bad: 100,
			says: func(Target, int, time.Duration) gateway.CheckOutcome { return refused },
		},
		"a long row of bad keys between good ones": {
			targets: list(500, true), valid: 300, bad: 200,
			says: func(t Target, _ int, _ time.Duration) gateway.CheckOutcome {
				if t.Number >= 100 && t.Number < 300 {
					return refused
				}
				return valid
			}, most: 10 * time.Second,
		},
		"a long row of bad keys first": {
			targets: list(500, true), valid: 300, bad: 200,
			says: func(t Target, _ int, _ time.Duration) gateway.CheckOutcome {
				if t.Number < 200 {
					return refused
				}
				return valid
			}, most: 10 * time.Second,
		},
		"a long row of bad keys last": {
			targets: list(500, true), valid: 300, bad: 200,
			says: func(t Target, _ int, _ time.Duration) gateway.CheckOutcome {
				if t.Number >= 300 {
					return refused
				}
				return valid
			}, most: 10 * time.Second,
		},
		"everybody is refused for a while in the middle": {
			targets: list(1000, true), valid: 1000,
			says: func(_ Target, _ int, since time.Duration) gateway.CheckOutcome {
				if since > time.Second && since < 20*time.Second {
					return refused
				}
				return valid
			},
		},
		"everybody is refused for a moment": { // over before anybody can doubt it
			targets: list(1000, true), valid: 1000,
			says: func(_ Target, _ int, since time.Duration) gateway.CheckOutcome {
				if since > time.Second && since < 1200*time.Millisecond {
					return refused
				}
				return valid
			}, most: 10 * time.Second,
		},
		"everybody is refused for a while at the beginning": {
			targets: list(1000, true), valid: 1000,
			says: func(_ Target, _ int, since time.Duration) gateway.CheckOutcome {
				if since < time.Second {
					return refused
				}
				return valid
			},
		},
		"everybody is refused from some time on": {
			targets: list(1000, true), valid: 190, stopped: reasonRefusing,
			says: func(_ Target, _ int, since time.Duration) gateway.CheckOutcome {
				if since > time.Second {
					return refused
				}
				return valid
			}, least: 2 * time.Minute, most: 3 * time.Minute,
		},
		"everybody is refused from some time on, of whom nobody thought well": {
			targets: list(1000, false), valid: 190, stopped: reasonRefusing,
			says: func(_ Target, _ int, since time.Duration) gateway.CheckOutcome {
				if since > time.Second {
					return refused
				}
				return valid
			}, least: 2 * time.Minute, most: 3 * time.Minute,
		},
		"an outage from the beginning to the end of the list": {
			targets: list(25, true), valid: 25,
			says: func(_ Target, _ int, since time.Duration) gateway.CheckOutcome {
				if since < 20*time.Second {
					return unsaid
				}
				return valid
			},
		},
		"some always fail": { // also on their second time
			targets: list(200, true), valid: 150, unknown: 50,
			says: func(t Target, _ int, _ time.Duration) gateway.CheckOutcome {
				if t.Number >= 100 && t.Number < 150 {
					return unsaid
				}
				return valid
			}, most: 10 * time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				s := &scene{targets: c.targets, says: func(t Target, n int) gateway.CheckOutcome { return c.says(t, n, time.Since(began)) }}
				sum, err := s.run(t.Context())
				took := time.Since(began)
				if err != nil || sum.Stopped != c.stopped {
					t.Errorf("stopped: %q, %v", sum.Stopped, err)
				}
				good, bad, open := s.count(t, sum)
				if c.stopped != "" { // how far it came before is a matter of milliseconds
					good, open = good/10*10, c.unknown
				} else if len(s.results) != len(c.targets) {
					t.Errorf("%d results of %d", len(s.results), len(c.targets))
				}
				if good != c.valid || bad != c.bad || open != c.unknown {
					t.Errorf("valid %d, refused %d, inconclusive %d; want %d, %d, %d", good, bad, open, c.valid, c.bad, c.unknown)
				}
				if took < c.least || c.most > 0 && took > c.most {
					t.Errorf("took %v", took)
				}
				if s.peak > defaultConcurrency {
					t.Errorf("%d at a time", s.peak)
				}
			})
		})
	}
}
