package admin

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// tableQuery is the query of a table.
type tableQuery struct {
	rangeQuery
	Page     int    `query:"page" minimum:"1" default:"1"`
	PageSize int    `query:"pageSize" minimum:"1" default:"50" description:"More than 200 counts as 200."`
	Sort     string `query:"sort" default:"-requests" description:"The name of a column, with - in front for descending: requests, success, failure, successRate, attempts, tokensIn, tokensOut, cost, duration.p50, duration.p95, firstByte.p50, firstByte.p95, lastUsed or name."`
	Format   string `query:"format" enum:"json,csv" default:"json" description:"csv gives all rows as a file."`
}

// keyTableQuery is the query of the table of keys.
type keyTableQuery struct {
	Provider string `query:"provider" enum:"all,ollama,openrouter" default:"all"`
	Page     int    `query:"page" minimum:"1" default:"1"`
	PageSize int    `query:"pageSize" minimum:"1" default:"50" description:"More than 200 counts as 200."`
	Sort     string `query:"sort" enum:"requests,-requests,success,-success,failure,-failure,lastUsed,-lastUsed" default:"-requests"`
	Format   string `query:"format" enum:"json,csv" default:"json" description:"csv gives all rows as a file."`
}

// table is which part of a table is asked for.
type table struct {
	name       string
	chosen     []gateway.ProviderName
	span       span
	page, size int
	by         string
	descending bool
	csv        bool
}

// table reads the query of a table that can be sorted by some columns.
func (f *faults) table(a *API, r *http.Request, columns []string) table {
	t := table{
		page: f.count(r, "page", 1, 1<<30),
		size: min(f.count(r, "pageSize", defaultPageSize, 1<<30), maxPageSize),
		span: f.span(r, a.opt.Now()),
	}
	t.name, t.chosen = f.subjects(r, everyProvider)
	by := cmp.Or(r.URL.Query().Get("sort"), "-requests")
	t.by, t.descending = strings.CutPrefix(by, "-")
	if !slices.Contains(columns, t.by) {
		f.add("sort", "must be one of %s, with - in front for descending", strings.Join(columns, ", "))
	}
	switch r.URL.Query().Get("format") {
	case "", "json":
	case "csv":
		t.csv = true
	default:
		f.add("format", "must be json or csv")
	}
	return t
}

// cut is the part of n rows that is on the page.
func (t *table) cut(n int) (from, to int) {
	from = min((t.page-1)*t.size, n)
	return from, min(from+t.size, n)
}

// pagesAnswer says which part of a table an answer has.
type pagesAnswer struct {
	Total      int `json:"total"`
	Page       int `json:"page"`
	PageSize   int `json:"pageSize"`
	TotalPages int `json:"totalPages"`
}

func (t *table) pages(total int) pagesAnswer {
	return pagesAnswer{Total: total, Page: t.page, PageSize: t.size, TotalPages: max((total+t.size-1)/t.size, 1)}
}

// columnValues are the columns by which models and tokens can be sorted.
var columnValues = map[string]func(s *subject) float64{
	"requests":  func(s *subject) float64 { return float64(s.tally.Requests) },
	"success":   func(s *subject) float64 { return float64(s.tally.Success) },
	"failure":   func(s *subject) float64 { return float64(s.tally.Failure) },
	"attempts":  func(s *subject) float64 { return float64(s.tally.Attempts) },
	"tokensIn":  func(s *subject) float64 { return float64(s.tally.Usage.Input) },
	"tokensOut": func(s *subject) float64 { return float64(s.tally.Usage.Output) },
	"cost":      func(s *subject) float64 { return float64(s.tally.Usage.Cost) },
	"lastUsed":  func(s *subject) float64 { return float64(s.lastUsed.Unix()) },
	"successRate": func(s *subject) float64 {
		return percent(s.tally.Success, s.tally.Success+s.tally.Failure)
	},
	"duration.p50":  func(s *subject) float64 { return quantile(&s.tally.Duration, 0.5) },
	"duration.p95":  func(s *subject) float64 { return quantile(&s.tally.Duration, 0.95) },
	"firstByte.p50": func(s *subject) float64 { return quantile(&s.tally.FirstByte, 0.5) },
	"firstByte.p95": func(s *subject) float64 { return quantile(&s.tally.FirstByte, 0.95) },
}

// subjectColumns are the names of these columns, in the order of the table.
var subjectColumns = []string{
	"requests", "success", "failure", "successRate", "attempts", "tokensIn", "tokensOut", "cost",
	"duration.p50", "duration.p95", "firstByte.p50", "firstByte.p95", "lastUsed", "name",
}

func quantile(h *gateway.Histogram, q float64) float64 {
	d, ok := h.Quantile(q)
	if !ok {
		return -1
	}
	return float64(d)
}

// rows reads the subjects of a table: the page's in full, of the others what
// they are sorted by. It returns all of them, and requests in all.
func (a *API) rows(ctx context.Context, t *table, of gateway.Subject) (page []subject, total int, requests int64, err error) {
	if err := a.figures.Settle(ctx); err != nil {
		return nil, 0, 0, err
	}
	whole := t.csv || strings.Contains(t.by, ".") // needs every histogram
	found, err := a.tallies(ctx, &t.span, t.chosen, gateway.TallyQuery{Of: of, Counted: !whole})
	if err != nil {
		return nil, 0, 0, err
	}
	if requests, err = a.allRequests(ctx, t, of, found); err != nil {
		return nil, 0, 0, err
	}
	t.sort(found)
	if t.csv {
		return found, len(found), requests, nil
	}
	from, to := t.cut(len(found))
	page = found[from:to]
	if !whole {
		err = a.complete(ctx, &t.span, of, page)
	}
	return page, len(found), requests, err
}

// allRequests is of how many requests the rows of a table have their shares: of
// tokens all have one; some requests name no model, or none that was found.
func (a *API) allRequests(ctx context.Context, t *table, of gateway.Subject, rows []subject) (requests int64, err error) {
	for i := range rows {
		requests += rows[i].tally.Requests
	}
	if of != gateway.OfModel {
		return requests, nil
	}
	providers, err := a.tallies(ctx, &t.span, t.chosen, gateway.TallyQuery{Of: gateway.OfProvider, Counted: true})
	var all int64
	for i := range providers {
		all += providers[i].tally.Requests
	}
	return max(all, requests), err // models may be sampled apart
}

func (t *table) sort(rows []subject) {
	value := columnValues[t.by]
	slices.SortStableFunc(rows, func(x, y subject) int {
		order := 0
		if value == nil {
			order = cmp.Compare(x.name, y.name)
		} else {
			order = cmp.Compare(value(&x), value(&y))
		}
		if t.descending {
			order = -order
		}
		return cmp.Or(order, cmp.Compare(x.name, y.name), cmp.Compare(x.provider, y.provider))
	})
}

// complete reads the histograms of some rows.
func (a *API) complete(ctx context.Context, s *span, of gateway.Subject, rows []subject) error {
	names := map[gateway.ProviderName][]string{}
	for i := range rows {
		names[rows[i].provider] = append(names[rows[i].provider], rows[i].name)
	}
	for p, some := range names {
		found, err := a.tallies(ctx, s, []gateway.ProviderName{p}, gateway.TallyQuery{Of: of, Names: some})
		if err != nil {
			return err
		}
		for i := range rows {
			if rows[i].provider != p {
				continue
			}
			if j := slices.IndexFunc(found, func(x subject) bool { return x.name == rows[i].name }); j >= 0 {
				rows[i] = found[j]
			}
		}
	}
	return nil
}

type modelsAnswer struct {
	Provider string        `json:"provider"`
	Range    rangeAnswer   `json:"range"`
	Models   []modelAnswer `json:"models"`
	pagesAnswer
}

var modelsDoc = operation{
	summary: "What was counted by model", group: "Statistics", query: tableQuery{}, answer: modelsAnswer{},
	more: map[int]any{http.StatusOK: csvType},
}

// listModels shows what was counted by model.
func (a *API) listModels(w http.ResponseWriter, r *http.Request) error {
	var f faults
	t := f.table(a, r, subjectColumns)
	if err := f.err(); err != nil {
		return err
	}
	rows, total, requests, err := a.rows(r.Context(), &t, gateway.OfModel)
	if err != nil {
		return err
	}
	out := modelsAnswer{Provider: t.name, Range: t.span.answer(), Models: make([]modelAnswer, 0, len(rows)), pagesAnswer: t.pages(total)}
	for i := range rows {
		out.Models = append(out.Models, newModelAnswer(&rows[i], requests))
	}
	if t.csv {
		return writeCSV(w, "models-"+t.span.name, []string{"model", "provider"}, func(row func(names []string, share float64, t *tallyAnswer)) error {
			for i := range out.Models {
				m := &out.Models[i]
				row([]string{m.Model, string(m.Provider)}, m.Share, &m.tallyAnswer)
			}
			return nil
		})
	}
	return httpkit.WriteJSON(w, http.StatusOK, out)
}

type tokensUseAnswer struct {
	Provider string           `json:"provider"`
	Range    rangeAnswer      `json:"range"`
	Tokens   []tokenUseAnswer `json:"tokens"`
	pagesAnswer
}

var tokenUseDoc = operation{
	summary: "What was counted by client token",
	about:   "Tokens are counted by the hour: `range=1h` has the full hours that it touches.",
	group:   "Statistics", query: tableQuery{}, answer: tokensUseAnswer{}, more: map[int]any{http.StatusOK: csvType},
}

// listTokenUse shows what was counted by client token.
func (a *API) listTokenUse(w http.ResponseWriter, r *http.Request) error {
	var f faults
	t := f.table(a, r, subjectColumns)
	if err := f.err(); err != nil {
		return err
	}
	rows, total, requests, err := a.rows(r.Context(), &t, gateway.OfToken)
	if err != nil {
		return err
	}
	known, err := a.tokensByHash(r.Context())
	if err != nil {
		return err
	}
	out := tokensUseAnswer{Provider: t.name, Range: t.span.answer(), Tokens: make([]tokenUseAnswer, 0, len(rows)), pagesAnswer: t.pages(total)}
	for i := range rows {
		s, token := &rows[i], known[rows[i].name]
		out.Tokens = append(out.Tokens, tokenUseAnswer{
			ID: tokenID(s.name), Token: token.Preview, Name: token.Name, Provider: string(s.provider),
			Share: percent(s.tally.Requests, requests), tallyAnswer: newTallyAnswer(&s.tally), LastUsed: orNull(s.lastUsed),
		})
	}
	if t.csv {
		return writeCSV(w, "tokens-"+t.span.name, []string{"id", "name", "provider"}, func(row func(names []string, share float64, t *tallyAnswer)) error {
			for i := range out.Tokens {
				u := &out.Tokens[i]
				row([]string{u.ID, u.Name, u.Provider}, u.Share, &u.tallyAnswer)
			}
			return nil
		})
	}
	return httpkit.WriteJSON(w, http.StatusOK, out)
}

// tokenID is the public name of a token by its hash.
func tokenID(hash string) string {
	t := gateway.Token{Hash: hash}
	return t.ID()
}

// tokensByHash lists the tokens that there are.
func (a *API) tokensByHash(ctx context.Context) (map[string]gateway.Token, error) {
	tokens, err := a.tokens.Tokens(ctx)
	known := make(map[string]gateway.Token, len(tokens))
	for i := range tokens {
		known[tokens[i].Hash] = tokens[i]
	}
	return known, err
}
