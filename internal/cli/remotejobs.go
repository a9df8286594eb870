package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"ollama-api-pool/internal/gateway"
)

const eventStream = "text/event-stream"

// CheckKeys implements operator.
func (r *remote) CheckKeys(ctx context.Context, set *keySet, seen func(step)) (checkResult, error) {
	var result checkResult
	ask, err := encoded(chosenBy(set))
	if err != nil {
		return result, err
	}
	err = r.stream(ctx, http.MethodPost, "/admin/keys/health-check", nil, ask, eventStream, func(body io.Reader) error {
		return r.events(body, seen, &result)
	})
	return result, err
}

// StartCheck implements operator.
func (r *remote) StartCheck(ctx context.Context, set *keySet) (job, error) {
	var answer struct {
		Job job `json:"job"`
	}
	err := r.call(ctx, http.MethodPost, "/admin/keys/health-check", url.Values{"async": {"true"}}, chosenBy(set), &answer)
	return answer.Job, err
}

// events reads the events of a job until its result.
func (r *remote) events(body io.Reader, seen func(step), into any) error {
	data, err := readEvents(body, func(data []byte) {
		var s step
		if json.Unmarshal(data, &s) == nil {
			seen(s)
		}
	})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s does not answer as an instance does: %w", r.base, err)
	}
	return nil
}

// Jobs implements operator.
func (r *remote) Jobs(ctx context.Context, kind gateway.JobKind, page, limit int) (jobPage, error) {
	ask := url.Values{"page": {strconv.Itoa(page)}, "pageSize": {strconv.Itoa(limit)}}
	if kind != "" {
		ask.Set("kind", string(kind))
	}
	var list jobPage
	err := r.call(ctx, http.MethodGet, "/admin/jobs", ask, nil, &list)
	return list, err
}

func jobPath(id string) string { return "/admin/jobs/" + url.PathEscape(id) }

// Job implements operator.
func (r *remote) Job(ctx context.Context, id string) (j job, err error) {
	err = r.call(ctx, http.MethodGet, jobPath(id), nil, nil, &j)
	return j, err
}

// CancelJob implements operator.
func (r *remote) CancelJob(ctx context.Context, id string) (job, error) {
	var answer struct {
		Job job `json:"job"`
	}
	err := r.call(ctx, http.MethodPost, jobPath(id)+"/cancel", nil, nil, &answer)
	return answer.Job, err
}

// JobBad implements operator.
func (r *remote) JobBad(ctx context.Context, id string, w io.Writer) error {
	return r.stream(ctx, http.MethodGet, jobPath(id)+"/bad", nil, http.NoBody, "*/*", func(body io.Reader) error {
		_, err := io.Copy(w, body)
		return err
	})
}
