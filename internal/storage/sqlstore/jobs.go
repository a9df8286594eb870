package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"time"

	"ollama-api-pool/internal/gateway"
)

// jobText is the text of a job: what has no column.
type jobText struct {
	Source     string         `json:"source,omitempty"`
	By         string         `json:"by,omitempty"`
	Where      string         `json:"where,omitempty"`
	Total      int            `json:"total,omitempty"`
	Done       int            `json:"done,omitempty"`
	Counts     map[string]int `json:"counts,omitempty"`
	Categories map[string]int `json:"categories,omitempty"`
	Bad        []badText      `json:"bad,omitempty"`
	Error      string         `json:"error,omitempty"`
}

type badText struct {
	Line   int    `json:"line,omitempty"`
	Key    string `json:"key,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// jobColumns are what a jobRow is made of.
const jobColumns = "id, kind, provider, state, started_at, updated_at, finished_at, job"

// jobRow is a row of pool_jobs.
type jobRow struct {
	id, kind, provider, state, text string
	started, updated, finished      when
}

func (r *jobRow) into() []any {
	return []any{&r.id, &r.kind, &r.provider, &r.state, &r.started, &r.updated, &r.finished, &r.text}
}

// job makes the job of a row. Of one whose text cannot be read, because
// somebody else has written it, there is what the columns say.
func (r *jobRow) job() gateway.Job {
	j := gateway.Job{
		ID: r.id, Kind: gateway.JobKind(r.kind), Provider: gateway.ProviderName(r.provider), State: gateway.JobState(r.state),
		StartedAt: r.started.Time, UpdatedAt: r.updated.Time, FinishedAt: r.finished.Time,
	}
	var t jobText
	if err := json.Unmarshal([]byte(r.text), &t); err != nil {
		j.Error = "the details of this job cannot be read"
		return j
	}
	j.Source, j.By, j.Where, j.Total, j.Done, j.Counts, j.Categories, j.Error = t.Source, t.By, t.Where, t.Total, t.Done, t.Counts, t.Categories, t.Error
	if j.State == gateway.JobInterrupted && j.Error == "" { // see InterruptJobs, which changes columns only
		j.Error = "the program ended before the job was done"
	}
	for _, b := range t.Bad {
		j.Bad = append(j.Bad, gateway.BadKey(b))
	}
	return j
}

// checkJob says what is wrong with a job that is to be stored.
func checkJob(j *gateway.Job) error {
	switch {
	case !isID(j.ID):
		return gateway.Errorf(gateway.KindInvalid, "a job needs an id of 16 hex digits")
	case j.Kind != gateway.JobImport && j.Kind != gateway.JobCheck:
		return gateway.Errorf(gateway.KindInvalid, "unknown kind of job %q", gateway.Clip(string(j.Kind), 40))
	case !slices.Contains([]gateway.JobState{
		gateway.JobRunning, gateway.JobDone, gateway.JobFailed, gateway.JobCancelled, gateway.JobInterrupted,
	}, j.State):
		return gateway.Errorf(gateway.KindInvalid, "unknown state of a job %q", gateway.Clip(string(j.State), 40))
	}
	_, err := tablesOf(j.Provider)
	return err
}

// isID tells whether s is 16 hex digits in small letters.
func isID(s string) bool {
	if len(s) != gateway.KeyIDLen {
		return false
	}
	for i := range len(s) {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return true
}

// PutJob stores a job, in place of what was stored under its id. Zero times of
// its start and its last change become now.
func (s *Store) PutJob(ctx context.Context, j gateway.Job) error {
	if err := checkJob(&j); err != nil {
		return err
	}
	now := s.now()
	if j.StartedAt.IsZero() {
		j.StartedAt = now
	}
	if j.UpdatedAt.IsZero() {
		j.UpdatedAt = now
	}
	t := jobText{
		Source: clean(j.Source), By: clean(j.By), Where: clean(j.Where), Total: j.Total, Done: j.Done,
		Counts: j.Counts, Categories: j.Categories, Error: clean(j.Error),
	}
	for _, b := range j.Bad {
		t.Bad = append(t.Bad, badText{Line: b.Line, Key: clean(b.Key), Reason: clean(b.Reason)})
	}
	return s.write(ctx, "write a job to the store", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `insert into pool_jobs (id, kind, provider, state, started_at, updated_at, finished_at, job)
			values (?, ?, ?, ?, ?, ?, ?, ?)
			on conflict (id) do update set kind = excluded.kind, provider = excluded.provider, state = excluded.state,
				started_at = excluded.started_at, updated_at = excluded.updated_at, finished_at = excluded.finished_at, job = excluded.job`,
			j.ID, string(j.Kind), string(j.Provider), string(j.State), at(j.StartedAt), at(j.UpdatedAt), at(j.FinishedAt), compactJSON(t))
		return err
	})
}

// Job returns a job, and whether it is there.
func (s *Store) Job(ctx context.Context, id string) (j gateway.Job, found bool, err error) {
	err = s.read(ctx, "read a job from the store", func(ctx context.Context, tx *sql.Tx) error {
		var r jobRow
		err := tx.QueryRowContext(ctx, "select "+jobColumns+" from pool_jobs where id = ?", clean(id)).Scan(r.into()...)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err == nil {
			j, found = r.job(), true
		}
		return err
	})
	return j, found, err
}

// Jobs returns some of the jobs of a kind, "" for all kinds, the newest first,
// and how many there are. No limit means all that follow the offset.
func (s *Store) Jobs(ctx context.Context, kind gateway.JobKind, offset, limit int) (jobs []gateway.Job, total int, err error) {
	if limit <= 0 {
		limit = math.MaxInt32
	}
	where := fragment{}
	if kind != "" {
		where = fragment{" where kind = ?", []any{string(kind)}}
	}
	err = s.read(ctx, "list the jobs in the store", func(ctx context.Context, tx *sql.Tx) error {
		if err := tx.QueryRowContext(ctx, "select count(*) from pool_jobs"+where.text, where.args...).Scan(&total); err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, "select "+jobColumns+" from pool_jobs"+where.text+ //nolint:gosec // a text of our own
			" order by started_at desc, id limit ? offset ?", append(where.args, limit, max(offset, 0))...)
		if err != nil {
			return err
		}
		found, err := collect(rows, (*jobRow).into)
		for i := range found {
			jobs = append(jobs, found[i].job())
		}
		return err
	})
	return jobs, total, err
}

// InterruptJobs notes of the jobs that are said to be running, but were not
// written down for some time, that they are not running any more, and ended when
// they were last heard of. It tells how many it were. With no time it is all of
// them, as at a start where nobody else works on the database.
func (s *Store) InterruptJobs(ctx context.Context, idle time.Duration) (int, error) {
	var n int64
	err := s.write(ctx, "look for interrupted jobs in the store", func(ctx context.Context, tx *sql.Tx) error {
		text, args := "update pool_jobs set state = ?, finished_at = updated_at where state = ?", []any{string(gateway.JobInterrupted), string(gateway.JobRunning)}
		if idle > 0 {
			text, args = text+" and updated_at <= ?", append(args, at(s.now().Add(-idle)))
		}
		res, err := tx.ExecContext(ctx, text, args...)
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
	})
	if err != nil {
		return 0, err
	}
	return int(n), nil
}

// PruneJobs deletes all jobs but the newest so many; running ones stay.
func (s *Store) PruneJobs(ctx context.Context, keep int) error {
	return s.write(ctx, "delete old jobs from the store", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `delete from pool_jobs where state <> ?
			and id not in (select id from pool_jobs order by started_at desc, id limit ?)`, string(gateway.JobRunning), max(keep, 0))
		return err
	})
}
