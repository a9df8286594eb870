package admin

import (
	"cmp"
	"context"
	"math"
	"net/http"
	"slices"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Figures is what the API needs of what was counted and written down. Its
// methods may be called concurrently.
type Figures interface {
	// Settle writes down what has been counted, so that what is read next has it.
	Settle(ctx context.Context) error
	// Tallies returns sums by name, the most requests first.
	Tallies(ctx context.Context, p gateway.ProviderName, q gateway.TallyQuery) ([]gateway.NamedTally, error)
	// TallySeries returns records by period and name, in the order of time.
	TallySeries(ctx context.Context, p gateway.ProviderName, q gateway.TallyQuery) ([]gateway.TallyPoint, error)
	// KeyRanks returns a page of the keys in the order of a count (requests,
	// success, failure, or lastUsed), and how many keys there are.
	KeyRanks(ctx context.Context, p gateway.ProviderName, by string, ascending bool, offset, limit int) ([]gateway.Key, int, error)
	// Groups groups the keys that are out: those that rest by when they return
	// and why, the soonest first; the others by why, the most keys first.
	Groups(p gateway.ProviderName) ([]gateway.RestGroup, []gateway.OutGroup)
	// ExpiringKeys counts the keys whose life ends in a span of time.
	ExpiringKeys(ctx context.Context, p gateway.ProviderName, from, until time.Time) (int, error)
	// Requests returns a page of the request log, the newest first.
	Requests(ctx context.Context, q gateway.LogQuery) (gateway.LogPage, error)
	// CountRequests counts the entries of the request log that a query finds,
	// up to most.
	CountRequests(ctx context.Context, q gateway.LogQuery, most int) (int, error)
	// Request returns the newest entry of the request log with an id.
	Request(ctx context.Context, id string) (gateway.LogEntry, bool, error)
	// LogFigures tells how much the request log holds.
	LogFigures(ctx context.Context) (gateway.LogFigures, error)
}

// Live is what the API needs of how things stand now. All of it is in memory.
// Its methods may be called concurrently.
type Live interface {
	// Standing tells how a provider stands.
	Standing(p gateway.ProviderName) Standing
	// Peak is the most requests that were in flight at a time since then, or
	// since the start: of one provider, with "" of all together.
	Peak(p gateway.ProviderName, since time.Time) (n int, at time.Time)
	// Masked shows as much of a key as may be shown, false if it is not there.
	Masked(p gateway.ProviderName, id gateway.KeyID) (string, bool)
	// RunningJobs lists the jobs that run.
	RunningJobs() []gateway.Job
}

// Standing is how a provider stands.
type Standing struct {
	Enabled    bool
	Keys       map[gateway.KeyStatus]int
	InFlight   int // requests that are being served
	Open       bool
	OpenedAt   time.Time // of the breaker, while it is open
	Refusal    string    // with which every account was refused; "": the upstream fails
	NextReturn time.Time // when the next key returns by itself; zero: none does
	Returning  int       // keys that return by themselves
}

// subjects reads which providers a call is about. Nothing means fallback.
func (f *faults) subjects(r *http.Request, fallback string) (name string, chosen []gateway.ProviderName) {
	name = cmp.Or(r.URL.Query().Get("provider"), fallback)
	if name == everyProvider {
		return name, gateway.Providers()
	}
	p, err := gateway.ParseProvider(name)
	if err != nil {
		*f = append(*f, err.Error()+` or "all"`)
	}
	return name, []gateway.ProviderName{p}
}

// tallyAnswer is what requests add up to.
type tallyAnswer struct {
	Requests    int64        `json:"requests"`
	Success     int64        `json:"success"`
	Failure     int64        `json:"failure" description:"What the client broke off is neither success nor failure."`
	SuccessRate string       `json:"successRate" description:"Percent, with two digits."`
	Attempts    int64        `json:"attempts" description:"Sent upstream for these requests."`
	TokensIn    int64        `json:"tokensIn"`
	TokensOut   int64        `json:"tokensOut"`
	Cost        float64      `json:"cost" description:"What the upstream charged where it tells, in its unit (OpenRouter's credit)."`
	Duration    *timesAnswer `json:"duration"`
	FirstByte   *timesAnswer `json:"firstByte"`
}

// timesAnswer are estimates from a histogram; null where nothing was counted.
type timesAnswer struct {
	P50 float64 `json:"p50" description:"Milliseconds."`
	P95 float64 `json:"p95" description:"Milliseconds."`
}

func newTallyAnswer(t *gateway.Tally) tallyAnswer {
	return tallyAnswer{
		Requests: t.Requests, Success: t.Success, Failure: t.Failure, SuccessRate: rate(t.Success, t.Failure),
		Attempts: t.Attempts, TokensIn: t.Usage.Input, TokensOut: t.Usage.Output, Cost: units(t.Usage.Cost),
		Duration: newTimesAnswer(&t.Duration), FirstByte: newTimesAnswer(&t.FirstByte),
	}
}

func newTimesAnswer(h *gateway.Histogram) *timesAnswer {
	half, ok := h.Quantile(0.5)
	if !ok {
		return nil
	}
	most, _ := h.Quantile(0.95)
	return &timesAnswer{P50: milliseconds(half), P95: milliseconds(most)}
}

// milliseconds of a time, with one digit.
func milliseconds(d time.Duration) float64 {
	return math.Round(float64(d)/1e5) / 10
}

func units(c gateway.Cost) float64 { return float64(c) / float64(gateway.CostUnit) }

// percent is a share in percent, with two digits; of nothing it is nothing.
func percent(part, whole int64) float64 {
	if whole == 0 {
		return 0
	}
	return math.Round(10000*float64(part)/float64(whole)) / 100
}

// subject is one row of a table: whose tally it is.
type subject struct {
	provider gateway.ProviderName
	name     string
	lastUsed time.Time
	tally    gateway.Tally
}

// tallies adds up by provider and name what happened in a span, the most
// requests first. Only counted leaves the histograms out, which is faster.
func (a *API) tallies(ctx context.Context, s *span, chosen []gateway.ProviderName, q gateway.TallyQuery) ([]subject, error) {
	var all []subject
	for _, p := range chosen {
		places := map[string]int{}
		first := len(all)
		for _, part := range s.reads(q.Of) {
			q.Per, q.Since, q.Until = part.per, part.since, part.until
			found, err := a.figures.Tallies(ctx, p, q)
			if err != nil {
				return nil, err
			}
			for i := range found {
				place, known := places[found[i].Name]
				if !known {
					place = len(all) - first
					places[found[i].Name] = place
					all = append(all, subject{provider: p, name: found[i].Name})
				}
				to := &all[first+place]
				to.tally.Add(&found[i].Tally)
				if found[i].LastUsed.After(to.lastUsed) {
					to.lastUsed = found[i].LastUsed
				}
			}
		}
	}
	slices.SortStableFunc(all, func(x, y subject) int { return cmp.Compare(y.tally.Requests, x.tally.Requests) })
	return all, nil
}

// sums adds up what happened in a span by provider, and of all of them.
func (a *API) sums(ctx context.Context, s *span, chosen []gateway.ProviderName) (total gateway.Tally, by map[gateway.ProviderName]*gateway.Tally, err error) {
	found, err := a.tallies(ctx, s, chosen, gateway.TallyQuery{Of: gateway.OfProvider})
	by = map[gateway.ProviderName]*gateway.Tally{}
	for _, p := range chosen {
		by[p] = &gateway.Tally{}
	}
	for i := range found {
		total.Add(&found[i].tally)
		by[found[i].provider].Add(&found[i].tally)
	}
	return total, by, err
}
