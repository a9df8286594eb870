package gateway

import "time"

// JobKind says what a job does.
type JobKind string

// Kinds of job.
const (
	JobImport JobKind = "import"
	JobCheck  JobKind = "check"
)

// JobState says how far a job is.
type JobState string

// States of a job.
const (
	JobRunning     JobState = "running"
	JobDone        JobState = "done"
	JobFailed      JobState = "failed"
	JobCancelled   JobState = "cancelled"
	JobInterrupted JobState = "interrupted" // the program ended before it did
)

// Job is a long piece of work: its progress while it runs, its outcome after.
type Job struct {
	ID         string // 16 hex digits
	Kind       JobKind
	Provider   ProviderName
	State      JobState
	Source     string // where the keys came from or which were chosen, in words; never a secret
	By         string // who began it: "api", "schedule", "command"
	Where      string // the name of the machine that runs it, "" where there is but one
	StartedAt  time.Time
	UpdatedAt  time.Time
	FinishedAt time.Time // zero while it runs
	Total      int       // steps, 0 while unknown
	Done       int
	Counts     map[string]int // what came of the steps: added, existing, bad, valid, invalid, inconclusive, healthy, unhealthy
	Categories map[string]int // valid keys by family
	Bad        []BadKey       // the first of those that could not be used
	Error      string         // why it failed
	Waiting    string         // why it makes no progress at present, "" while it does; not stored
}

// BadKey is a line or key that could not be used, without its content.
type BadKey struct {
	Line   int    // 0: not from a file
	Key    string // masked, "" where the line held none
	Reason string
}

// Session is a login to the pages. Only the hash of its cookie is kept.
type Session struct {
	Hash      string // of the cookie, like a token's
	CSRF      string // what calls that change something must repeat
	CreatedAt time.Time
	ExpiresAt time.Time
}
