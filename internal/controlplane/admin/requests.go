package admin

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

const (
	defaultSlow     = 10 * time.Second
	maxSlow         = 24 * time.Hour
	defaultRequests = 50
	maxRequests     = 200
	maxCounted      = 10_000 // of a tab; more are not counted
	maxLogID        = 128
)

// requestRow is a request in a list.
type requestRow struct {
	ID        string               `json:"id"`
	At        time.Time            `json:"at"`
	Provider  gateway.ProviderName `json:"provider"`
	Model     string               `json:"model"`
	Path      string               `json:"path"`
	Token     requestToken         `json:"token"`
	Status    int                  `json:"status" description:"As the client saw it, 0 if it saw none."`
	Outcome   string               `json:"outcome" enum:"success,failure,cut,client_closed"`
	Error     *string              `json:"error"`
	Stream    bool                 `json:"stream"`
	Cache     *string              `json:"cache" description:"HIT, MISS or BYPASS; null where no cache was asked."`
	Attempts  int                  `json:"attempts"`
	Trail     []dotAnswer          `json:"trail" description:"What became of each attempt."`
	Key       *string              `json:"key" description:"The id of the key that was tried last."`
	APIKey    *string              `json:"apiKey" description:"The same, masked, where it is still there."`
	FirstByte float64              `json:"firstByteMs" description:"0 where none came."`
	Duration  float64              `json:"durationMs"`
	TokensIn  int64                `json:"tokensIn"`
	TokensOut int64                `json:"tokensOut"`
	Cost      float64              `json:"cost"`
}

type requestToken struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// dotAnswer is an attempt in a list.
type dotAnswer struct {
	Status int    `json:"status" description:"The upstream's, 0 if none came."`
	Scope  string `json:"scope" enum:"none,request,model,key+model,key,account,provider,client,unknown" description:"Whose fault the outcome was."`
	OK     bool   `json:"ok"`
}

func (a *API) newRequestRow(e *gateway.LogEntry) requestRow {
	row := requestRow{
		ID: e.ID, At: e.StartedAt.UTC(), Provider: e.Provider, Model: e.Model, Path: e.Path,
		Token: requestToken{tokenID(e.TokenHash), e.TokenName}, Status: e.Status, Outcome: outcomeOf(e),
		Error: textOrNull(e.Error), Stream: e.Stream, Cache: textOrNull(e.Cache), Attempts: len(e.Trail),
		Trail: make([]dotAnswer, 0, len(e.Trail)), FirstByte: milliseconds(e.FirstByte), Duration: milliseconds(e.Duration),
		TokensIn: e.Usage.Input, TokensOut: e.Usage.Output, Cost: units(e.Usage.Cost),
	}
	for i := range e.Trail {
		s := &e.Trail[i]
		row.Trail = append(row.Trail, dotAnswer{s.Status, s.Scope.String(), s.OK})
	}
	if n := len(e.Trail); n > 0 && e.Trail[n-1].Key != "" {
		id := e.Trail[n-1].Key
		row.Key = textOrNull(string(id))
		row.APIKey = a.masked(e.Provider, id)
	}
	return row
}

func (a *API) masked(p gateway.ProviderName, id gateway.KeyID) *string {
	masked, there := a.live.Masked(p, id)
	if !there {
		return nil
	}
	return &masked
}

func outcomeOf(e *gateway.LogEntry) string {
	switch {
	case e.End == gateway.EndClientClosed:
		return "client_closed"
	case e.End == gateway.EndCut:
		return "cut"
	case e.Failed():
		return "failure"
	}
	return "success"
}

// requestsInLogAnswer says what the request log holds.
type requestsInLogAnswer struct {
	Mode    string     `json:"mode" enum:"failures,all,off" description:"Which requests are kept (REQUEST_LOG)."`
	Entries int64      `json:"entries"`
	Bytes   int64      `json:"bytes"`
	Since   *time.Time `json:"since" description:"When the oldest of them began."`
}

func (a *API) inLog(ctx context.Context) (requestsInLogAnswer, error) {
	kept, err := a.figures.LogFigures(ctx)
	return requestsInLogAnswer{Mode: a.opt.RequestLog, Entries: kept.Entries, Bytes: kept.Bytes, Since: orNull(kept.Oldest)}, err
}

// requestsQuery is the query of the request log.
type requestsQuery struct {
	Provider string `query:"provider" enum:"all,ollama,openrouter" default:"all"`
	Status   string `query:"status" description:"failed, retried (more than one attempt), slow, or the status that the client saw, such as 429."`
	Slow     int    `query:"slow" minimum:"1" default:"10000" description:"How many milliseconds are slow."`
	Model    string `query:"model"`
	Token    string `query:"token" description:"The id of a client token."`
	Key      string `query:"key" description:"The id of a key, or the key itself: requests that tried it."`
	Before   string `query:"before" description:"The next of the page before: older requests."`
	After    string `query:"after" description:"The newest of an earlier page: only requests since then."`
	Limit    int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

type requestsAnswer struct {
	Requests []requestRow        `json:"requests"`
	Newest   *string             `json:"newest" description:"For after."`
	Next     *string             `json:"next" description:"For before; null at the end."`
	Counts   requestCounts       `json:"counts"`
	Log      requestsInLogAnswer `json:"log"`
}

// requestCounts are the entries of the log by kind, for the provider asked for.
type requestCounts struct {
	Failed  int `json:"failed"`
	Retried int `json:"retried"`
	Slow    int `json:"slow"`
	Most    int `json:"most" description:"Above so many, counting stops."`
}

var requestsDoc = operation{
	summary: "Recent requests",
	about:   "The request log, the newest first. It holds no bodies and no credentials, and what it holds is bounded in age and size.",
	group:   "Requests", query: requestsQuery{}, answer: requestsAnswer{},
}

// listRequests shows a page of the request log.
func (a *API) listRequests(w http.ResponseWriter, r *http.Request) error {
	var f faults
	q, slow := f.logQuery(a, r)
	if err := f.err(); err != nil {
		return err
	}
	ctx := r.Context()
	var err error
	if q.Token, err = a.tokenHash(ctx, q.Token); err != nil {
		return err
	}
	if err := a.figures.Settle(ctx); err != nil {
		return err
	}
	page, err := a.figures.Requests(ctx, q)
	if err != nil {
		return err
	}
	out := requestsAnswer{Requests: make([]requestRow, 0, len(page.Entries)), Newest: textOrNull(page.Newest), Next: textOrNull(page.Next)}
	for i := range page.Entries {
		out.Requests = append(out.Requests, a.newRequestRow(&page.Entries[i]))
	}
	if out.Counts, err = a.countRequests(ctx, q.Provider, slow); err != nil {
		return err
	}
	if out.Log, err = a.inLog(ctx); err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, out)
}

// logQuery reads the query of the request log, and what counts as slow.
func (f *faults) logQuery(a *API, r *http.Request) (q gateway.LogQuery, slow time.Duration) {
	get := r.URL.Query().Get
	name, _ := f.subjects(r, everyProvider)
	if name != everyProvider {
		q.Provider = gateway.ProviderName(name)
	}
	slow = time.Duration(f.count(r, "slow", int(defaultSlow/time.Millisecond), int(maxSlow/time.Millisecond))) * time.Millisecond
	switch status := get("status"); status {
	case "", "all":
	case "failed":
		q.Failed = true
	case "retried":
		q.Retried = true
	case "slow":
		q.Slow = slow
	default:
		n, err := strconv.Atoi(status)
		if err != nil || n < 100 || n > 599 {
			f.add("status", "must be failed, retried, slow, or from 100 to 599")
		}
		q.Status = n
	}
	q.Model, q.Token = f.text("model", get("model"), maxLogID*2), f.text("token", get("token"), maxLogID)
	if key := strings.TrimSpace(get("key")); key != "" {
		q.Key = a.triedKey(key)
	}
	q.Before, q.After = get("before"), get("after")
	q.Limit = f.count(r, "limit", defaultRequests, maxRequests)
	return q, slow
}

// triedKey is the id of a key that is named by itself or its id, of whichever
// provider.
func (a *API) triedKey(ref string) gateway.KeyID {
	id := gateway.IDOfKey(gateway.Secret(ref))
	for _, p := range gateway.Providers() {
		if a.keys.HasKey(p, id) {
			return id
		}
	}
	return a.idOf(gateway.Ollama, ref)
}

// nobody is the hash of no token.
const nobody = "none"

// tokenHash finds the token with an id. There is none with an id that is not
// known, and so no request of it is found.
func (a *API) tokenHash(ctx context.Context, id string) (string, error) {
	if id == "" {
		return "", nil
	}
	tokens, err := a.tokens.Tokens(ctx)
	if err != nil {
		return "", err
	}
	for i := range tokens {
		if t := &tokens[i]; t.ID() == strings.ToLower(id) || t.Hash == gateway.HashToken(gateway.Secret(id)) {
			return t.Hash, nil
		}
	}
	return nobody, nil
}

// countRequests counts the entries of the log by kind.
func (a *API) countRequests(ctx context.Context, p gateway.ProviderName, slow time.Duration) (c requestCounts, err error) {
	c.Most = maxCounted
	for _, kind := range []struct {
		into  *int
		query gateway.LogQuery
	}{
		{&c.Failed, gateway.LogQuery{Failed: true}},
		{&c.Retried, gateway.LogQuery{Retried: true}},
		{&c.Slow, gateway.LogQuery{Slow: slow}},
	} {
		kind.query.Provider = p
		if *kind.into, err = a.figures.CountRequests(ctx, kind.query, maxCounted); err != nil {
			return c, err
		}
	}
	return c, nil
}
