package admin

import (
	"context"
	"encoding/csv"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// Jobs knows the long work that runs and that ran. Its methods may be called
// concurrently. A job that is not known is a gateway.Error of KindNotFound.
type Jobs interface {
	// Running gives the jobs that run, as they are now.
	Running() []gateway.Job
	// Jobs lists jobs of a kind, "" all, the newest first, and how many there are.
	Jobs(ctx context.Context, kind gateway.JobKind, offset, limit int) ([]gateway.Job, int, error)
	// Job gives a job as it is now.
	Job(ctx context.Context, id string) (gateway.Job, error)
	// Cancel ends a job that runs, and waits until it has ended. Of one that does
	// not run any more the error is of KindConflict.
	Cancel(ctx context.Context, id string) (gateway.Job, error)
	// Await waits for a job's end and calls seen, if there is one, every so often.
	Await(ctx context.Context, id string, every time.Duration, seen func(gateway.Job)) (gateway.Job, error)
}

// jobAnswer is a job as it is shown.
type jobAnswer struct {
	ID          string               `json:"id"`
	Kind        gateway.JobKind      `json:"kind"`
	Provider    gateway.ProviderName `json:"provider"`
	State       gateway.JobState     `json:"state"`
	Source      string               `json:"source" description:"Where the keys came from, or which were chosen."`
	By          string               `json:"by" description:"Who began it: api, schedule or command."`
	StartedAt   time.Time            `json:"startedAt"`
	UpdatedAt   time.Time            `json:"updatedAt"`
	FinishedAt  *time.Time           `json:"finishedAt"`
	Total       int                  `json:"total" description:"Steps, 0 while unknown."`
	Done        int                  `json:"done"`
	Rate        float64              `json:"rate" description:"Steps per second, on average."`
	SecondsLeft *int                 `json:"secondsLeft" description:"Of a job that runs, as far as that can be told; null while it waits."`
	Waiting     *string              `json:"waiting" description:"Of a job that runs why it makes no progress at present: the upstream is down, or refuses everybody. It goes on by itself when that is over, or stops after two minutes."`
	Counts      map[string]int       `json:"counts" description:"What came of the steps: healthy, unhealthy, inconclusive, missing; valid, invalid, added, existing, bad."`
	Categories  map[string]int       `json:"categories" description:"Valid keys by family of models."`
	BadListed   int                  `json:"badListed" description:"How many lines and keys that could not be used its table lists."`
	Error       *string              `json:"error" description:"Why it did not get to its end."`
}

func newJobAnswer(j *gateway.Job, now time.Time) jobAnswer {
	out := jobAnswer{
		ID: j.ID, Kind: j.Kind, Provider: j.Provider, State: j.State, Source: j.Source, By: j.By,
		StartedAt: j.StartedAt.UTC(), UpdatedAt: j.UpdatedAt.UTC(), FinishedAt: orNull(j.FinishedAt),
		Total: j.Total, Done: j.Done, Counts: orNone(j.Counts), Categories: orNone(j.Categories),
		BadListed: len(j.Bad), Error: textOrNull(j.Error),
	}
	until := j.FinishedAt
	if j.State == gateway.JobRunning {
		until = now
	}
	if took := until.Sub(j.StartedAt).Seconds(); took > 0 {
		out.Rate = math.Round(100*float64(j.Done)/took) / 100
	}
	if j.State == gateway.JobRunning {
		out.Waiting = textOrNull(j.Waiting)
	}
	if j.State == gateway.JobRunning && j.Waiting == "" && out.Rate > 0 && j.Total > 0 {
		left := int(math.Ceil(float64(max(j.Total-j.Done, 0)) / out.Rate))
		out.SecondsLeft = &left
	}
	return out
}

func orNone(counts map[string]int) map[string]int {
	if counts == nil {
		return map[string]int{}
	}
	return counts
}

type jobStarted struct {
	Job jobAnswer `json:"job"`
}

type jobsQuery struct {
	Kind     string `query:"kind" enum:"import,check"`
	Page     int    `query:"page" minimum:"1" default:"1"`
	PageSize int    `query:"pageSize" minimum:"1" default:"50" description:"More than 200 counts as 200."`
}

type jobsAnswer struct {
	Jobs    []jobAnswer `json:"jobs"`
	Running []jobAnswer `json:"running" description:"Those that run now, whatever page is asked for."`
	paging
}

var listJobsDoc = operation{
	summary: "Jobs", group: "Checks", query: jobsQuery{}, answer: jobsAnswer{},
	about: "Checks and imports, the newest first. Of scheduled checks the last one of each provider is kept.",
}

// listJobs shows a page of jobs.
func (a *API) listJobs(w http.ResponseWriter, r *http.Request) error {
	var f faults
	page := f.count(r, "page", 1, math.MaxInt32)
	size := min(f.count(r, "pageSize", defaultPageSize, math.MaxInt32), maxPageSize)
	kind := gateway.JobKind(r.URL.Query().Get("kind"))
	if kind != "" && kind != gateway.JobImport && kind != gateway.JobCheck {
		f.add("kind", "must be import or check")
	}
	if err := f.err(); err != nil {
		return err
	}
	list, total, err := a.jobs.Jobs(r.Context(), kind, (page-1)*size, size)
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, jobsAnswer{
		Jobs: a.jobAnswers(list), Running: a.jobAnswers(a.jobs.Running()),
		paging: paging{Total: total, Page: page, PageSize: size, TotalPages: max((total+size-1)/size, 1)},
	})
}

func (a *API) jobAnswers(list []gateway.Job) []jobAnswer {
	out, now := make([]jobAnswer, 0, len(list)), a.opt.Now()
	for i := range list {
		out = append(out, newJobAnswer(&list[i], now))
	}
	return out
}

var showJobDoc = operation{summary: "A job", group: "Checks", answer: jobAnswer{}}

// showJob shows how far a job is, or what it came to.
func (a *API) showJob(w http.ResponseWriter, r *http.Request) error {
	j, err := a.jobs.Job(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, newJobAnswer(&j, a.opt.Now()))
}

type cancelAnswer struct {
	Success bool      `json:"success"`
	Job     jobAnswer `json:"job"`
}

var cancelJobDoc = operation{
	summary: "Cancel a job", group: "Checks", answer: cancelAnswer{},
	about: "Answers when the job has ended. What a check found out by then stays; an import adds nothing. 409 if the job does not run any more.",
}

// cancelJob ends a job that runs.
func (a *API) cancelJob(w http.ResponseWriter, r *http.Request) error {
	j, err := a.jobs.Cancel(r.Context(), r.PathValue("id"))
	if err != nil {
		return goneOr(err)
	}
	a.noteKeys(r, "job cancelled", j.Provider, slog.String("job", j.ID))
	return httpkit.WriteJSON(w, http.StatusOK, cancelAnswer{true, newJobAnswer(&j, a.opt.Now())})
}

var listBadDoc = operation{
	summary: "Lines and keys that a job could not use", group: "Checks", more: map[int]any{http.StatusOK: "text/csv"},
	about: "A table with line (0: not from a file), masked key and reason. Very long lists are cut.",
}

// listBad writes a table of what a job could not use.
func (a *API) listBad(w http.ResponseWriter, r *http.Request) error {
	j, err := a.jobs.Job(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="job-`+j.ID+`-bad.csv"`)
	out := newPatientWriter(w)
	table := csv.NewWriter(out)
	rows := [][]string{{"line", "key", "reason"}}
	for _, b := range j.Bad {
		rows = append(rows, []string{strconv.Itoa(b.Line), noFormula(b.Key), noFormula(b.Reason)})
	}
	_ = table.WriteAll(rows) // a client that has gone is no error
	_ = out.Flush()
	return nil
}
