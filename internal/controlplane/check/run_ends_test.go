package check

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ollama-api-pool/internal/gateway"
)

// What comes late from before an outage does not vouch for what came in it.
func TestLateAnswers(t *testing.T) {
	for name, what := range map[string]gateway.CheckOutcome{"silent": unsaid, "refusing": refused} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				s := &scene{targets: list(1000, true), slow: 400 * time.Millisecond}
				s.o.Concurrency = 100
				s.says = func(t Target, _ int) gateway.CheckOutcome {
					if since := time.Since(began); since > time.Second && since < 10*time.Second {
						return what
					}
					return valid
				}
				sum, err := s.run(t.Context())
				if good, _, _ := s.count(t, sum); good != 1000 || err != nil {
					t.Errorf("%+v, %v", sum, err)
				}
			})
		})
	}
}

// Doubtful refusals say why they are not believed.
func TestDoubtIsExplained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scene{targets: list(30, true), says: func(Target, int) gateway.CheckOutcome { return refused }}
		if _, err := s.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, r := range s.results {
			if r.Reason != reasonEverybody {
				t.Errorf("%d: %q", r.Number, r.Reason)
			}
		}
	})
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scene{targets: list(100, true), says: func(Target, int) gateway.CheckOutcome { return valid }}
		s.o.Concurrency, s.o.PerSecond = 3, 10
		if _, err := s.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range s.began {
			if i >= 11 && s.began[i].Sub(s.began[i-11]) < time.Second {
				t.Fatalf("eleven probes began within %v", s.began[i].Sub(s.began[i-11]))
			}
		}
		if s.peak > 3 {
			t.Errorf("%d at a time", s.peak)
		}
	})
}

// Of a run that is cancelled what is certain by then is settled; no probe goes on.
func TestCancel(t *testing.T) {
	for name, says := range map[string]gateway.CheckOutcome{"running": valid, "paused": unsaid} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				enough := errors.New("enough")
				time.AfterFunc(2500*time.Millisecond, func() { cancel(enough) })
				s := &scene{targets: list(10_000, true), says: func(_ Target, n int) gateway.CheckOutcome {
					if n < 20 {
						return valid
					}
					return says
				}}
				began := time.Now()
				sum, err := s.run(ctx)
				if !errors.Is(err, enough) || time.Since(began) != 2500*time.Millisecond {
					t.Errorf("%v after %v", err, time.Since(began))
				}
				if good, _, _ := s.count(t, sum); good < 20 || good > 500 {
					t.Errorf("%d valid", good)
				}
			})
		})
	}
}

// What fails on our side ends the run with the error.
func TestFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := errors.New("disk full")
		s := &scene{targets: list(1000, true), says: func(Target, int) gateway.CheckOutcome { return valid }}
		s.o.Settle = func(context.Context, []Result) error { return full }
		if _, err := s.run(t.Context()); !errors.Is(err, full) || s.asked > 600 {
			t.Errorf("%v after %d probes", err, s.asked)
		}
		broken := errors.New("cannot be read")
		_, err := Run(t.Context(), func(yield func(Target, error) bool) {
			if yield(Target{}, nil) {
				yield(Target{}, broken)
			}
		}, Options{
			Probe:  func(context.Context, Target) gateway.CheckResult { return gateway.CheckResult{Outcome: valid} },
			Settle: func(context.Context, []Result) error { return nil },
		})
		if !errors.Is(err, broken) {
			t.Errorf("%v", err)
		}
	})
}

// A hundred thousand keys, a third of them bad, are asked about in no time, and
// what is told of the progress only grows.
func TestManyKeys(t *testing.T) {
	const n = 100_000
	var probes atomic.Int64
	var last Summary
	settled := make([]bool, n)
	sum, err := Run(t.Context(), each(list(n, true)), Options{
		PerSecond: -1,
		Probe: func(_ context.Context, target Target) gateway.CheckResult {
			probes.Add(1)
			if target.Number%3 == 0 {
				return gateway.CheckResult{Outcome: refused}
			}
			return gateway.CheckResult{Outcome: valid, Category: fmt.Sprint("family-", target.Number%3)}
		},
		Settle: func(_ context.Context, results []Result) error {
			for _, r := range results {
				if settled[r.Number] {
					return errors.New("settled twice")
				}
				settled[r.Number] = true
			}
			return nil
		},
		Progress: func(s Summary) {
			if s.Asked < last.Asked || s.Valid < last.Valid || s.Refused < last.Refused {
				t.Errorf("from %+v to %+v", last, s)
			}
			last = s
		},
	})
	if err != nil || sum.Asked != n || sum.Valid != 66_666 || sum.Refused != 33_334 || sum.Categories["family-2"] != 33_333 {
		t.Errorf("%+v, %v", sum, err)
	}
	if p := probes.Load(); p > n+100 {
		t.Errorf("%d probes", p)
	}
}
