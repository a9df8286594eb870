package admin

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// What the public page shows.
const (
	publicTop       = 10
	publicRecentTop = 3
)

type publicStatsAnswer struct {
	Global          publicGlobal  `json:"global"`
	TopModels       []publicModel `json:"topModels" description:"Of all time, ten at most."`
	RecentTopModels []publicModel `json:"recentTopModels" description:"Of the last 24 hours, three at most."`
	HourlyTrend     []publicHour  `json:"hourlyTrend" description:"The last 24 hours, the oldest first; the last one has only begun."`
	Storage         string        `json:"storage"`
	Meta            publicMeta    `json:"meta"`
	Timestamp       time.Time     `json:"timestamp"`
}

type publicGlobal struct {
	TotalRequests int64     `json:"totalRequests"`
	SuccessCount  int64     `json:"successCount"`
	FailureCount  int64     `json:"failureCount"`
	SuccessRate   string    `json:"successRate"`
	LastUpdated   time.Time `json:"lastUpdated"`
	TotalAPIKeys  int       `json:"totalApiKeys"`
	ActiveKeys    int       `json:"activeKeys"`
	FailedKeys    int       `json:"failedKeys" description:"Failed, disabled or expired."`
	Storage       string    `json:"storage"`
}

type publicModel struct {
	Model       string `json:"model"`
	Requests    int64  `json:"requests"`
	Success     int64  `json:"success"`
	Failure     int64  `json:"failure"`
	SuccessRate string `json:"successRate"`
}

type publicHour struct {
	Hour     string `json:"hour" description:"HH:MM in the time zone."`
	Requests int64  `json:"requests"`
	Success  int64  `json:"success"`
	Failure  int64  `json:"failure"`
}

type publicMeta struct {
	Provider string `json:"provider"`
	TZ       string `json:"tz"`
	Hours    int    `json:"hours"`
	Seconds  int    `json:"refreshSeconds" description:"How old the figures may be."`
}

// publicQuery is the query of the public statistics.
type publicQuery struct {
	Provider string `query:"provider" enum:"all,ollama,openrouter" default:"ollama"`
	TZ       string `query:"tz" default:"UTC" description:"Time zone of the hours, by its IANA name."`
}

var publicStatsDoc = operation{
	summary: "Public statistics",
	about:   "Totals, the last 24 hours and the busiest models, for everybody to see: no key, no token, no user name.",
	group:   "Statistics", query: publicQuery{}, answer: publicStatsAnswer{}, open: true,
}

// showPublicStats shows everybody how the pool is used.
func (a *API) showPublicStats(w http.ResponseWriter, r *http.Request) error {
	var f faults
	name, chosen := f.subjects(r, string(gateway.Ollama))
	loc := f.zone(r)
	if err := f.err(); err != nil {
		return err
	}
	known, err := a.public.get(r.Context(), name, func(ctx context.Context) (*publicFigures, error) {
		return a.publicFigures(ctx, chosen)
	})
	if err != nil {
		return err
	}
	out := known.answer
	out.Meta = publicMeta{Provider: name, TZ: loc.String(), Hours: len(known.hours.points), Seconds: int(publicFor / time.Second)}
	out.HourlyTrend = make([]publicHour, 0, len(known.hours.points))
	for _, p := range known.hours.points {
		out.HourlyTrend = append(out.HourlyTrend, publicHour{p.At.In(loc).Format("15:04"), p.Requests, p.Success, p.Failure})
	}
	return httpkit.WriteJSON(w, http.StatusOK, out)
}

// publicFigures are the public statistics without the words of a time zone.
type publicFigures struct {
	answer publicStatsAnswer
	hours  chart
	until  time.Time // when they are to be read anew
}

func (a *API) publicFigures(ctx context.Context, chosen []gateway.ProviderName) (*publicFigures, error) {
	if err := a.figures.Settle(ctx); err != nil {
		return nil, err
	}
	s, _ := newSpan(oneDay, time.UTC, a.opt.Now())
	var out publicFigures
	var err error
	if out.hours, err = a.chart(ctx, &s, chosen); err != nil {
		return nil, err
	}
	g := &out.answer.Global
	for _, p := range chosen {
		counts, err := a.stats.Totals(ctx, p)
		if err != nil {
			return nil, err
		}
		g.TotalRequests += counts.Requests
		g.SuccessCount += counts.Success
		g.FailureCount += counts.Failure
		keys := a.keys.CountKeys(p)
		g.TotalAPIKeys += sum(keys)
		g.ActiveKeys += keys[gateway.KeyActive]
		g.FailedKeys += keys[gateway.KeyFailed] + keys[gateway.KeyDisabled] + keys[gateway.KeyExpired]
	}
	g.SuccessRate = rate(g.SuccessCount, g.FailureCount)
	g.LastUpdated, g.Storage = s.now, a.opt.Storage
	out.answer.Storage, out.answer.Timestamp = a.opt.Storage, s.now
	if out.answer.TopModels, err = a.publicModels(ctx, nil, chosen, publicTop); err != nil {
		return nil, err
	}
	out.answer.RecentTopModels, err = a.publicModels(ctx, &s, chosen, publicRecentTop)
	return &out, err
}

// publicModels lists the busiest models of a span, of all time where there is
// none. A model that several providers have is one.
func (a *API) publicModels(ctx context.Context, s *span, chosen []gateway.ProviderName, most int) ([]publicModel, error) {
	var found []subject
	var err error
	q := gateway.TallyQuery{Of: gateway.OfModel, Per: gateway.Ever, Counted: true}
	if s != nil {
		found, err = a.tallies(ctx, s, chosen, q)
	} else {
		found, err = a.talliesEver(ctx, chosen, q)
	}
	if err != nil {
		return nil, err
	}
	out := []publicModel{}
	places := map[string]int{}
	for i := range found {
		t := &found[i]
		place, known := places[t.name]
		if !known {
			place = len(out)
			places[t.name] = place
			out = append(out, publicModel{Model: t.name})
		}
		m := &out[place]
		m.Requests += t.tally.Requests
		m.Success += t.tally.Success
		m.Failure += t.tally.Failure
		m.SuccessRate = rate(m.Success, m.Failure)
	}
	// What never worked may be a name that a client invented.
	out = slices.DeleteFunc(out, func(m publicModel) bool { return m.Success == 0 })
	slices.SortStableFunc(out, func(x, y publicModel) int {
		if x.Requests != y.Requests {
			return int(min(max(y.Requests-x.Requests, -1), 1))
		}
		return strings.Compare(x.Model, y.Model)
	})
	return out[:min(len(out), most)], nil
}

func (a *API) talliesEver(ctx context.Context, chosen []gateway.ProviderName, q gateway.TallyQuery) ([]subject, error) {
	var all []subject
	for _, p := range chosen {
		found, err := a.figures.Tallies(ctx, p, q)
		if err != nil {
			return nil, err
		}
		for i := range found {
			all = append(all, subject{provider: p, name: found[i].Name, tally: found[i].Tally})
		}
	}
	return all, nil
}

// publicFor is how long public statistics are shown before they are read anew,
// so that strangers cannot keep the store busy.
const publicFor = 2 * time.Second

// publicCache keeps the public statistics for a moment. While one caller reads
// them the others wait for what it reads. It may be used concurrently.
type publicCache struct {
	now func() time.Time

	mu    sync.Mutex // guards known and the places of turns
	known map[string]*publicFigures
	turns map[string]chan struct{} // holds one place: who has it reads
}

func newPublicCache(now func() time.Time) *publicCache {
	return &publicCache{now: now, known: map[string]*publicFigures{}, turns: map[string]chan struct{}{}}
}

// get returns what is known under a name, or reads it. Names must be few.
func (c *publicCache) get(ctx context.Context, name string, read func(context.Context) (*publicFigures, error)) (*publicFigures, error) {
	known, turn := c.look(name)
	if known != nil {
		return known, nil
	}
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if known, _ = c.look(name); known != nil {
		return known, nil
	}
	fresh, err := read(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	fresh.until = c.now().Add(publicFor)
	c.known[name] = fresh
	return fresh, nil
}

// look returns what is known and not too old.
func (c *publicCache) look(name string) (known *publicFigures, turn chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.turns[name] == nil {
		c.turns[name] = make(chan struct{}, 1)
	}
	if known = c.known[name]; known != nil && !c.now().Before(known.until) {
		known = nil
	}
	return known, c.turns[name]
}
