package admin

import (
	"context"
	"net/http"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// How much the overview lists.
const (
	topModels    = 8
	lastFailures = 8
)

type overviewAnswer struct {
	Provider     string              `json:"provider"`
	Range        rangeAnswer         `json:"range"`
	Verdict      poolVerdict         `json:"verdict"`
	States       statesAnswer        `json:"states"`
	Providers    []providerAnswer    `json:"providers"`
	InFlight     inFlightAnswer      `json:"inFlight"`
	Figures      overviewFigures     `json:"figures"`
	Series       []pointAnswer       `json:"series"`
	Tokens       tokensInUse         `json:"tokens"`
	Attention    []attentionAnswer   `json:"attention"`
	TopModels    []modelAnswer       `json:"topModels"`
	Rests        []restAnswer        `json:"rests"`
	LastFailures []requestRow        `json:"lastFailures"`
	Log          requestsInLogAnswer `json:"log"`
	Storage      storageAnswer       `json:"storage"`
	Timestamp    time.Time           `json:"timestamp"`
}

// overviewFigures are the figures of the range.
type overviewFigures struct {
	tallyAnswer
	Change *float64 `json:"change" description:"Requests against the period before, in percent; of it the same part counts that has passed of this one. Null where it had none."`
}

// providerAnswer is how one provider stands.
type providerAnswer struct {
	Provider   gateway.ProviderName `json:"provider"`
	Enabled    bool                 `json:"enabled"`
	Verdict    poolVerdict          `json:"verdict"`
	States     statesAnswer         `json:"states"`
	InFlight   int                  `json:"inFlight"`
	Breaker    breakerAnswer        `json:"breaker"`
	Requests   int64                `json:"requests" description:"In the range."`
	Success    int64                `json:"success"`
	Failure    int64                `json:"failure"`
	Rate       string               `json:"successRate"`
	NextReturn *time.Time           `json:"nextReturn"`
	Returning  int                  `json:"returning"`
}

type inFlightAnswer struct {
	Now    int        `json:"now"`
	Peak   int        `json:"peak" description:"The most at a time in the range, of the last 24 hours and since the start at most."`
	PeakAt *time.Time `json:"peakAt"`
}

type tokensInUse struct {
	Total   int `json:"total"`
	Used24h int `json:"used24h" description:"Used within the last 24 hours."`
}

var overviewDoc = operation{
	summary: "Everything that the overview shows",
	about:   "How the pool stands, what it did in a range of time, and what needs attention, in one call.",
	group:   "Statistics", query: rangeQuery{}, answer: overviewAnswer{},
}

// showOverview shows how everything stands.
func (a *API) showOverview(w http.ResponseWriter, r *http.Request) error {
	var f faults
	name, chosen := f.subjects(r, everyProvider)
	s := f.span(r, a.opt.Now())
	if err := f.err(); err != nil {
		return err
	}
	out, err := a.overview(r.Context(), name, chosen, &s)
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, out)
}

func (a *API) overview(ctx context.Context, name string, chosen []gateway.ProviderName, s *span) (*overviewAnswer, error) {
	if err := a.figures.Settle(ctx); err != nil {
		return nil, err
	}
	total, by, err := a.sums(ctx, s, chosen)
	if err != nil {
		return nil, err
	}
	c, err := a.chart(ctx, s, chosen)
	if err != nil {
		return nil, err
	}
	out := &overviewAnswer{
		Provider: name, Range: s.answer(), Timestamp: s.now,
		Figures: overviewFigures{newTallyAnswer(&total), c.change()}, Series: c.points,
	}
	standings := a.standings(chosen)
	out.Verdict, out.States = judgeAll(standings)
	for i := range standings {
		out.Providers = append(out.Providers, newProviderAnswer(chosen[i], &standings[i], by[chosen[i]]))
	}
	out.InFlight = a.inFlight(name, s, standings)
	if out.Tokens, err = a.tokensInUse(ctx, chosen, s.now); err != nil {
		return nil, err
	}
	if out.TopModels, err = a.topModels(ctx, s, chosen, topModels, total.Requests); err != nil {
		return nil, err
	}
	groups, err := a.groups(ctx, chosen, s.now)
	if err != nil {
		return nil, err
	}
	out.Attention = a.attention(chosen, standings, &groups, s.now)
	out.Rests = newRestAnswers(groups.rests, s.now)
	store := a.system.Storage()
	out.Storage = newStorageAnswer(&store)
	out.LastFailures, out.Log, err = a.lastFailures(ctx, name)
	return out, err
}

func newProviderAnswer(name gateway.ProviderName, s *Standing, t *gateway.Tally) providerAnswer {
	return providerAnswer{
		Provider: name, Enabled: s.Enabled, Verdict: judgeOne(s), States: newStatesAnswer(s.Keys), InFlight: s.InFlight,
		Breaker: newBreakerAnswer(s), Requests: t.Requests, Success: t.Success, Failure: t.Failure, Rate: rate(t.Success, t.Failure),
		NextReturn: orNull(s.NextReturn), Returning: s.Returning,
	}
}

// chart is the requests of a span by its points.
func (a *API) chart(ctx context.Context, s *span, chosen []gateway.ProviderName) (chart, error) {
	c := newChart(s)
	for _, p := range chosen {
		found, err := a.figures.TallySeries(ctx, p, gateway.TallyQuery{Of: gateway.OfProvider, Per: s.per, Since: s.before, Counted: true})
		if err != nil {
			return c, err
		}
		for i := range found {
			c.add(s, &found[i])
		}
	}
	return c, nil
}

// inFlight is what is being served. The peak is that of the whole program when
// the call is about all providers.
func (a *API) inFlight(name string, s *span, standings []Standing) inFlightAnswer {
	var out inFlightAnswer
	for i := range standings {
		out.Now += standings[i].InFlight
	}
	var of gateway.ProviderName
	if name != everyProvider {
		of = gateway.ProviderName(name)
	}
	peak, at := a.live.Peak(of, s.from())
	if out.Peak = max(peak, out.Now); out.Peak > 0 {
		out.PeakAt = orNull(at)
	}
	return out
}

// tokensInUse counts the client tokens that are valid for a provider.
func (a *API) tokensInUse(ctx context.Context, chosen []gateway.ProviderName, now time.Time) (out tokensInUse, err error) {
	tokens, err := a.tokens.Tokens(ctx)
	if err != nil {
		return out, err
	}
	for i := range tokens {
		t := &tokens[i]
		for _, p := range chosen {
			if t.ValidFor(p) {
				out.Total++
				if now.Sub(t.LastUsed) < 24*time.Hour {
					out.Used24h++
				}
				break
			}
		}
	}
	return out, nil
}

// topModels lists the models with the most requests in a span.
func (a *API) topModels(ctx context.Context, s *span, chosen []gateway.ProviderName, most int, requests int64) ([]modelAnswer, error) {
	found, err := a.tallies(ctx, s, chosen, gateway.TallyQuery{Of: gateway.OfModel, Counted: true})
	if err != nil {
		return nil, err
	}
	found = found[:min(len(found), most)]
	if err := a.complete(ctx, s, gateway.OfModel, found); err != nil {
		return nil, err
	}
	for i := range found { // models may be sampled apart
		requests = max(requests, found[i].tally.Requests)
	}
	out := make([]modelAnswer, 0, len(found))
	for i := range found {
		out = append(out, newModelAnswer(&found[i], requests))
	}
	return out, nil
}

// lastFailures lists the latest failures that the request log holds.
func (a *API) lastFailures(ctx context.Context, name string) ([]requestRow, requestsInLogAnswer, error) {
	q := gateway.LogQuery{Failed: true, Limit: lastFailures}
	if name != everyProvider {
		q.Provider = gateway.ProviderName(name)
	}
	page, err := a.figures.Requests(ctx, q)
	if err != nil {
		return nil, requestsInLogAnswer{}, err
	}
	rows := make([]requestRow, 0, len(page.Entries))
	for i := range page.Entries {
		rows = append(rows, a.newRequestRow(&page.Entries[i]))
	}
	kept, err := a.inLog(ctx)
	return rows, kept, err
}
