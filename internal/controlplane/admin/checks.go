package admin

import (
	"bufio"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"ollama-api-pool/internal/controlplane/check"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// Checks asks the upstreams about keys, at once or in jobs, and applies what that
// shows. Its methods may be called concurrently.
type Checks interface {
	// VerifyKey checks one key; one that is not there is a gateway.Error of
	// KindNotFound.
	VerifyKey(ctx context.Context, p gateway.ProviderName, id gateway.KeyID) (check.Checked, error)
	// StartCheck starts a job that checks keys. Each is told what became of each
	// key, one after the other; it may be nil. Where a job of the provider runs,
	// the error is a gateway.Error of KindConflict; so it is with StartImport.
	StartCheck(ctx context.Context, p gateway.ProviderName, ids []gateway.KeyID, source string, each func(check.Checked)) (gateway.Job, error)
	// StartImport starts a job that checks new keys and adds the good ones.
	StartImport(ctx context.Context, p gateway.ProviderName, in check.Import) (gateway.Job, error)
}

type verifyRequest struct {
	APIKey      string `json:"apiKey,omitempty" description:"The key or its id."`
	APIKeyAlias string `json:"api_key,omitempty" description:"Another name of apiKey."`
	Provider    string `json:"provider,omitempty"`
}

// verdictAnswer is what a check of a key showed.
type verdictAnswer struct {
	ID             gateway.KeyID `json:"id"`
	APIKey         string        `json:"apiKey" description:"Masked."`
	Outcome        string        `json:"outcome" enum:"valid,refused,inconclusive" description:"inconclusive: the upstream did not say, and the key stays as it is."`
	Status         string        `json:"status" description:"Of the key, after the check: active, resting, failed, disabled, expired; deleted if it went meanwhile."`
	UpstreamStatus int           `json:"upstreamStatus" description:"HTTP status of the upstream's answer, 0 if none came."`
	Category       string        `json:"category,omitempty" description:"Family of the first model that the upstream lists for the key."`
	Model          string        `json:"model,omitempty"`
	LatencyMs      int64         `json:"latencyMs"`
	Error          string        `json:"error,omitempty" description:"Why the key is not valid, or why nobody knows."`
	Timestamp      time.Time     `json:"timestamp"`
}

func newVerdict(c *check.Checked) verdictAnswer {
	status := string(c.State)
	if status == "" {
		status = "deleted"
	}
	return verdictAnswer{
		ID: c.Key, APIKey: c.Masked, Outcome: c.Outcome.String(), Status: status, UpstreamStatus: c.CheckResult.Status,
		Category: c.Category, Model: c.Model, LatencyMs: c.Latency.Milliseconds(), Error: c.Reason, Timestamp: c.At.UTC(),
	}
}

type verifyAnswer struct {
	Valid bool `json:"valid"`
	verdictAnswer
}

var verifyKeyDoc = operation{
	summary: "Check a key", group: "Checks", query: providerQuery{}, body: verifyRequest{}, answer: verifyAnswer{},
	about: "Asks the upstream whether it accepts the key, which costs no tokens, and applies the answer: a valid key loses its marks of failure, " +
		"a refused one fails as it would with a client's request. An upstream that does not say changes nothing.",
	example: `{"apiKey":"0123456789abcdef"}`, tolerant: true,
}

// verifyKey checks one key.
func (a *API) verifyKey(w http.ResponseWriter, r *http.Request) error {
	var in verifyRequest
	if err := httpkit.DecodeJSON(w, r, maxBody, &in, httpkit.AllowUnknown); err != nil {
		return err
	}
	var f faults
	p := f.provider(r, in.Provider)
	ref := strings.TrimSpace(f.one("apiKey", in.APIKey, "api_key", in.APIKeyAlias))
	if ref == "" {
		f.add("apiKey", "is missing")
	}
	if err := f.err(); err != nil {
		return err
	}
	checked, err := a.checks.VerifyKey(r.Context(), p, a.idOf(p, ref))
	if err != nil {
		return err
	}
	a.noteKeys(r, "key checked", p, slog.String("key", string(checked.Key)), slog.String("outcome", checked.Outcome.String()))
	return httpkit.WriteJSON(w, http.StatusOK, verifyAnswer{checked.Outcome == gateway.CheckValid, newVerdict(&checked)})
}

type checkRequest struct {
	keyChoice
	Status string `json:"status,omitempty" enum:"all,active,resting,failed,disabled,expired" description:"Short for a filter with this status."`
}

type checkQuery struct {
	providerQuery
	Async bool `query:"async" description:"Answers 202 with the job at once."`
}

// checkTotals are what a check of many keys came to.
type checkTotals struct {
	Healthy      int    `json:"healthy"`
	Unhealthy    int    `json:"unhealthy"`
	Inconclusive int    `json:"inconclusive" description:"The upstream did not say; these keys stay as they are."`
	Failed       int    `json:"failed" description:"Keys that were named but are not there."`
	Unchecked    int    `json:"unchecked" description:"Keys that were not reached, where the check was stopped."`
	Stopped      string `json:"stopped,omitempty" description:"Why the check ended early: it was cancelled, or the upstream gave no usable answers for two minutes."`
	Job          string `json:"job" description:"The job's id."`
}

type healthResult struct {
	Healthy bool `json:"healthy"`
	verdictAnswer
}

type healthAnswer struct {
	Results []healthResult `json:"results"`
	checkTotals
}

// checkProgress is what the stream tells of a check under way.
type checkProgress struct {
	Done         int `json:"done"`
	Total        int `json:"total"`
	Healthy      int `json:"healthy"`
	Unhealthy    int `json:"unhealthy"`
	Inconclusive int `json:"inconclusive"`
	jobWait
}

// jobWait tells of a job under way that it waits.
type jobWait struct {
	Waiting string `json:"waiting,omitempty"`
}

var aboutJobs = "It runs as a job, one at a time for each provider (409 while another runs), and goes on when the caller leaves. " +
	"With `Accept: text/event-stream` the answer is a stream of events: `progress` every half second, with `waiting` while the upstream is down, and at last `result`, or `error`. "

var checkKeysDoc = operation{
	summary: "Check many keys", group: "Checks", query: checkQuery{}, body: checkRequest{}, answer: healthAnswer{}, optional: true, tolerant: true,
	about: "Keys by name, by `filter` or by `status`; all of them if nothing is sent. " + aboutJobs +
		"It asks the upstream about a few keys at a time, which costs no tokens, and applies each answer to its key. " +
		"An upstream that is down, or that refuses everybody, changes no key.",
	example: `{"status":"failed"}`,
	more:    map[int]any{http.StatusAccepted: jobStarted{}, http.StatusOK: "text/event-stream"},
}

// checkKeys checks some keys, or all, as a job.
func (a *API) checkKeys(w http.ResponseWriter, r *http.Request) error {
	var in checkRequest
	if err := httpkit.DecodeJSON(w, r, maxBulkBody, &in, httpkit.AllowUnknown, httpkit.AllowEmpty); err != nil {
		return err
	}
	var f faults
	async := f.truth(r, "async")
	source := in.complete(&f)
	c, err := a.chosenBy(r, &f, &in.keyChoice)
	if err != nil {
		return err
	}
	there := c.there(a)
	if !c.bulk && len(there) == 0 {
		return noSuchKey()
	}
	var results []check.Checked
	each := func(c check.Checked) { results = append(results, c) }
	if async {
		each = nil
	}
	job, err := a.checks.StartCheck(r.Context(), c.provider, there, source, each)
	if err != nil {
		return err
	}
	a.noteKeys(r, "check started", c.provider, slog.Int("keys", len(there)), slog.String("job", job.ID))
	if async {
		return httpkit.WriteJSON(w, http.StatusAccepted, jobStarted{newJobAnswer(&job, a.opt.Now())})
	}
	return a.follow(w, r, job.ID, following{
		progress: func(j *gateway.Job) any {
			return checkProgress{j.Done, j.Total, j.Counts[check.CountHealthy], j.Counts[check.CountUnhealthy], j.Counts[check.CountInconclusive], jobWait{j.Waiting}}
		},
		result: func(out *bufio.Writer, j *gateway.Job) error {
			return writeLists(out, totalsOf(j, c.named-c.count(there)), longList{"results", len(results), func(i int) any {
				return healthResult{results[i].Outcome == gateway.CheckValid, newVerdict(&results[i])}
			}})
		},
	})
}

// complete makes a choice of what was left out, and says in words what is
// chosen.
func (in *checkRequest) complete(f *faults) (source string) {
	named := in.APIKey != "" || in.APIKeyAlias != "" || in.APIKeys != nil
	switch {
	case in.Status != "" && (named || in.Filter != nil):
		f.add("status", "and another choice are both there: send one of them")
	case in.Status != "":
		in.Filter = &filterChoice{Status: in.Status}
	case !named && in.Filter == nil:
		in.Filter = &filterChoice{Status: "all"}
	}
	switch {
	case in.Filter == nil:
		return "chosen keys"
	case in.Filter.Category != "" || in.Filter.Search != "" || in.Filter.Reason != "":
		return "keys that match a filter"
	case in.Filter.Status == "" || strings.EqualFold(in.Filter.Status, "all"):
		return "all keys"
	}
	return "keys that are " + gateway.Clip(strings.ToLower(in.Filter.Status), 20)
}

func totalsOf(j *gateway.Job, missing int) checkTotals {
	t := checkTotals{
		Healthy: j.Counts[check.CountHealthy], Unhealthy: j.Counts[check.CountUnhealthy], Inconclusive: j.Counts[check.CountInconclusive],
		Failed: missing + j.Counts[check.CountMissing], Unchecked: j.Total - j.Done, Job: j.ID,
	}
	if j.State != gateway.JobDone {
		t.Stopped = j.Error
	}
	return t
}
