package admin

import (
	"context"
	"net/http"
	"time"

	"ollama-api-pool/internal/gateway"
)

var eventsDoc = operation{
	summary: "Live figures",
	about: "Server-sent events: `figures` at once and every two seconds (states, in flight, breakers, the last five minutes), `requests` " +
		"when the request log has new entries (`count` and the `newest` cursor), `jobs` while jobs run and when the last one has ended. " +
		"The id of an event is the newest cursor of the request log; with `Last-Event-ID` what came since is told first. " +
		"Streams end after 15 minutes, and soon after the session whose cookie began them; come back after `retry` milliseconds. " +
		"At most 100 at a time; then 503.",
	group: "Requests", more: map[int]any{http.StatusOK: eventType},
}

// figuresEvent is how things stand.
type figuresEvent struct {
	Timestamp time.Time       `json:"timestamp"`
	Verdict   poolVerdict     `json:"verdict"`
	States    statesAnswer    `json:"states"`
	InFlight  int             `json:"inFlight"`
	Providers []liveProvider  `json:"providers"`
	Minutes   []minuteOfEvent `json:"minutes"` // the last five, the oldest first
}

type liveProvider struct {
	Provider gateway.ProviderName `json:"provider"`
	Enabled  bool                 `json:"enabled"`
	Verdict  poolVerdict          `json:"verdict"`
	States   statesAnswer         `json:"states"`
	InFlight int                  `json:"inFlight"`
	Breaker  breakerAnswer        `json:"breaker"`
	Requests int64                `json:"requests"` // of the last five minutes
	Failure  int64                `json:"failure"`
}

type minuteOfEvent struct {
	At       time.Time `json:"at"`
	Requests int64     `json:"requests"`
	Failure  int64     `json:"failure"`
}

// requestsEvent says that the request log has new entries.
type requestsEvent struct {
	Count  int64   `json:"count"`
	Newest *string `json:"newest"`
}

// jobsEvent is how far the running jobs are.
type jobsEvent struct {
	Jobs []liveJob `json:"jobs"`
}

type liveJob struct {
	ID        string               `json:"id"`
	Kind      gateway.JobKind      `json:"kind"`
	Provider  gateway.ProviderName `json:"provider"`
	State     gateway.JobState     `json:"state"`
	Done      int                  `json:"done"`
	Total     int                  `json:"total"`
	Counts    map[string]int       `json:"counts"`
	Waiting   *string              `json:"waiting"` // as in the list of jobs
	StartedAt time.Time            `json:"startedAt"`
}

// Bounds of an event stream.
const (
	eventType  = "text/event-stream"
	maxViewers = 100
	viewFor    = 15 * time.Minute
	keepAlive  = 15 * time.Second // after which a comment is sent if nothing else was
	lookEvery  = 500 * time.Millisecond
	comeBack   = 3 * time.Second
)

// EndStreams ends every event stream at once, and those that come later. It is
// called when the program stops.
func (a *API) EndStreams() { a.hub.end() }

// streamEvents shows how things stand for as long as somebody looks.
func (a *API) streamEvents(w http.ResponseWriter, r *http.Request) error {
	if !a.hub.enter() {
		e := gateway.Errorf(gateway.KindUnavailable, "too many event streams: %d are open", maxViewers)
		e.RetryAfter = comeBack
		return e
	}
	defer a.hub.leave()
	ctx := r.Context()
	first, err := a.hub.look(ctx)
	if err != nil {
		return err
	}
	v := viewer{
		hub: a.hub, out: newEventWriter(w), seen: first, missed: a.missed(ctx, r.Header.Get("Last-Event-ID")),
		may: func() error { return a.allowed(r) },
	}
	if r.Method == http.MethodHead {
		return nil
	}
	v.run(ctx)
	return nil // what was sent is whole; who does not read it any more has gone
}

// missed is how many entries of the log came after the one with a cursor. A
// cursor that makes no sense is none.
func (a *API) missed(ctx context.Context, cursor string) int64 {
	if cursor == "" || cursor == noCursor {
		return 0
	}
	n, err := a.figures.CountRequests(ctx, gateway.LogQuery{After: cursor}, maxCounted)
	if err != nil {
		return 0
	}
	return int64(n)
}

// allowed makes sure that whoever began a long answer may still see it: the
// admin token stays what it is as long as the program runs, a session may end.
func (a *API) allowed(r *http.Request) error {
	if bearerOf(r) != "" {
		return nil
	}
	return a.inSession(r)
}

// viewer is one event stream. It belongs to its request.
type viewer struct {
	may    func() error // whoever looks may still do so
	hub    *hub
	out    *eventWriter
	seen   picture
	missed int64 // entries of the log that came before the stream began
}

func (v *viewer) run(ctx context.Context) {
	v.out.begin()
	v.figures(&v.seen)
	if v.missed > 0 {
		v.requests(&v.seen, v.missed)
	}
	if v.seen.running {
		v.out.event("jobs", v.seen.newest, v.seen.jobs)
	}
	tick := time.NewTicker(v.hub.lookEvery)
	defer tick.Stop()
	over := time.NewTimer(viewFor)
	defer over.Stop()
	for v.out.flush() == nil {
		select {
		case <-ctx.Done():
			return
		case <-over.C:
			return
		case <-v.hub.ended:
			return
		case <-tick.C:
			if !v.show(ctx) {
				return
			}
		}
	}
}

// show sends what is new. Whenever there are new figures it asks whether they
// may still be seen; false means that they may not.
func (v *viewer) show(ctx context.Context) bool {
	now, err := v.hub.look(ctx)
	renewed := err == nil && now.takenAt != v.seen.takenAt
	if renewed {
		if err = v.may(); err != nil && gateway.AsError(err).Kind != gateway.KindInternal {
			return false
		}
	}
	if err != nil {
		v.out.keepAlive() // it is tried again at the next tick
		return true
	}
	if renewed {
		v.figures(&now)
	}
	if n := now.entries - v.seen.entries; n > 0 {
		v.requests(&now, n)
	}
	if string(now.jobs) != string(v.seen.jobs) {
		v.out.event("jobs", now.newest, now.jobs)
	}
	v.out.keepAlive()
	v.seen = now
	return true
}

func (v *viewer) figures(p *picture) { v.out.event("figures", p.newest, p.figures) }

func (v *viewer) requests(p *picture, n int64) {
	v.out.event("requests", p.newest, encoded(requestsEvent{Count: n, Newest: textOrNull(p.newest)}))
}
