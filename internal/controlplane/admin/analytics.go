package admin

import (
	"context"
	"net/http"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// seriesModels is how many models have a series of their own.
const seriesModels = 5

type analyticsAnswer struct {
	Provider  string          `json:"provider"`
	Range     rangeAnswer     `json:"range"`
	Totals    totalsAnswer    `json:"totals"`
	Points    []labelAnswer   `json:"points" description:"The times of the series, the oldest first."`
	Series    []seriesAnswer  `json:"series" description:"The models with the most requests."`
	Rest      []int64         `json:"rest" description:"Requests for all other models, or none."`
	Rows      analyticsCounts `json:"rows"`
	Timestamp time.Time       `json:"timestamp"`
}

// totalsAnswer are the figures of a range, in all and for a request.
type totalsAnswer struct {
	tallyAnswer
	AttemptsEach  float64 `json:"attemptsEach" description:"Attempts for a request."`
	TokensInEach  float64 `json:"tokensInEach"`
	TokensOutEach float64 `json:"tokensOutEach"`
}

type labelAnswer struct {
	At    time.Time `json:"at"`
	Label string    `json:"label"`
}

// seriesAnswer is the requests for one model, by point.
type seriesAnswer struct {
	Model    string               `json:"model"`
	Provider gateway.ProviderName `json:"provider"`
	Requests []int64              `json:"requests"`
	Failure  []int64              `json:"failure"`
}

// analyticsCounts is how many rows the tables have.
type analyticsCounts struct {
	Models int `json:"models"`
	Keys   int `json:"keys"`
	Tokens int `json:"tokens"`
}

var analyticsDoc = operation{
	summary: "Totals of a range, and the busiest models by hour",
	group:   "Statistics", query: rangeQuery{}, answer: analyticsAnswer{},
}

// showAnalytics shows the totals of a range and what became of the busiest
// models in the course of it.
func (a *API) showAnalytics(w http.ResponseWriter, r *http.Request) error {
	var f faults
	name, chosen := f.subjects(r, everyProvider)
	s := f.span(r, a.opt.Now())
	if err := f.err(); err != nil {
		return err
	}
	ctx := r.Context()
	if err := a.figures.Settle(ctx); err != nil {
		return err
	}
	total, _, err := a.sums(ctx, &s, chosen)
	if err != nil {
		return err
	}
	out := analyticsAnswer{Provider: name, Range: s.answer(), Totals: newTotalsAnswer(&total), Timestamp: s.now}
	if err := a.seriesOfModels(ctx, &s, chosen, &out); err != nil {
		return err
	}
	tokens, err := a.tallies(ctx, &s, chosen, gateway.TallyQuery{Of: gateway.OfToken, Counted: true})
	if err != nil {
		return err
	}
	out.Rows.Tokens = len(tokens)
	for _, p := range chosen {
		out.Rows.Keys += sum(a.keys.CountKeys(p))
	}
	return httpkit.WriteJSON(w, http.StatusOK, out)
}

func newTotalsAnswer(t *gateway.Tally) totalsAnswer {
	each := func(n int64) float64 { return percent(n, t.Requests*100) }
	return totalsAnswer{newTallyAnswer(t), each(t.Attempts), each(t.Usage.Input), each(t.Usage.Output)}
}

// seriesOfModels adds the series of the models with the most requests.
func (a *API) seriesOfModels(ctx context.Context, s *span, chosen []gateway.ProviderName, out *analyticsAnswer) error {
	c, err := a.chart(ctx, s, chosen)
	if err != nil {
		return err
	}
	out.Rest = make([]int64, len(c.points))
	for i, p := range c.points {
		out.Points = append(out.Points, labelAnswer{p.At, p.Label})
		out.Rest[i] = p.Requests
	}
	found, err := a.tallies(ctx, s, chosen, gateway.TallyQuery{Of: gateway.OfModel, Counted: true})
	if err != nil {
		return err
	}
	out.Rows.Models = len(found)
	out.Series = []seriesAnswer{}
	names := map[gateway.ProviderName][]string{}
	for _, m := range found[:min(len(found), seriesModels)] {
		names[m.provider] = append(names[m.provider], m.name)
		out.Series = append(out.Series, seriesAnswer{
			Model: m.name, Provider: m.provider, Requests: make([]int64, len(c.points)), Failure: make([]int64, len(c.points)),
		})
	}
	for p, of := range names {
		points, err := a.figures.TallySeries(ctx, p, gateway.TallyQuery{Of: gateway.OfModel, Names: of, Per: s.per, Since: s.from(), Counted: true})
		if err != nil {
			return err
		}
		for i := range points {
			out.take(s, p, &points[i])
		}
	}
	return nil
}

// take takes one record of a model into its series.
func (out *analyticsAnswer) take(s *span, p gateway.ProviderName, point *gateway.TallyPoint) {
	at := s.at(point.At)
	if at < 0 {
		return
	}
	for i := range out.Series {
		if of := &out.Series[i]; of.Provider == p && of.Model == point.Name {
			of.Requests[at] += point.Tally.Requests
			of.Failure[at] += point.Tally.Failure
			// Counted at another moment than the total, so not more than that.
			out.Rest[at] = max(out.Rest[at]-point.Tally.Requests, 0)
			return
		}
	}
}

// modelAnswer is one model of a table.
type modelAnswer struct {
	Model    string               `json:"model"`
	Provider gateway.ProviderName `json:"provider"`
	Share    float64              `json:"share" description:"Of all requests of the range, also those that named no model or none that was found, in percent."`
	tallyAnswer
	LastUsed *time.Time `json:"lastUsed" description:"The beginning of the minute, hour or day in which it was used last."`
}

func newModelAnswer(s *subject, requests int64) modelAnswer {
	return modelAnswer{
		Model: s.name, Provider: s.provider, Share: percent(s.tally.Requests, requests),
		tallyAnswer: newTallyAnswer(&s.tally), LastUsed: orNull(s.lastUsed),
	}
}

// tokenUseAnswer is one client token of a table.
type tokenUseAnswer struct {
	ID       string  `json:"id"`
	Token    string  `json:"token" description:"Masked; empty where the token is gone."`
	Name     string  `json:"name"`
	Provider string  `json:"provider"`
	Share    float64 `json:"share" description:"Of the requests of all tokens in the range, in percent."`
	tallyAnswer
	LastUsed *time.Time `json:"lastUsed"`
}

// keyUseAnswer is one key of a table. What a key counts are its attempts.
type keyUseAnswer struct {
	ID       gateway.KeyID        `json:"id"`
	APIKey   string               `json:"apiKey"`
	Username string               `json:"username"`
	Status   gateway.KeyStatus    `json:"status"`
	Provider gateway.ProviderName `json:"provider"`
	Share    float64              `json:"share" description:"Of all attempts of the provider's keys, in percent."`
	tallyAnswer
	LastUsed *time.Time `json:"lastUsed"`
}
