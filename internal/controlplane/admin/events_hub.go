package admin

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"ollama-api-pool/internal/gateway"
)

const (
	figuresEvery = 2 * time.Second
	entriesEvery = time.Second
	liveMinutes  = 5
	complainEach = time.Minute
)

// picture is what all viewers see at a moment.
type picture struct {
	takenAt   time.Time // of the figures
	figures   []byte
	countedAt time.Time // of the log's entries
	entries   int64     // of the log that came since somebody began to look
	newest    string    // cursor of the latest of them
	jobsAt    time.Time
	jobs      []byte
	running   bool // there are jobs
}

// hub takes one picture for all viewers. There is no loop: whoever looks and
// finds it too old takes the next one, so nothing happens while nobody looks.
// It may be used concurrently.
type hub struct {
	api                                   *API
	figuresEvery, entriesEvery, lookEvery time.Duration

	viewers atomic.Int32
	ending  sync.Once
	ended   chan struct{} // closed when every stream has to end

	turn         chan struct{} // holds one place: who has it may use what follows, and takes the picture
	latest       picture
	complainedAt time.Time
}

func newHub(a *API) *hub {
	return &hub{
		api: a, figuresEvery: figuresEvery, entriesEvery: entriesEvery, lookEvery: lookEvery,
		ended: make(chan struct{}), turn: make(chan struct{}, 1),
	}
}

func (h *hub) enter() bool {
	if h.viewers.Add(1) > maxViewers {
		h.viewers.Add(-1)
		return false
	}
	return true
}

func (h *hub) leave() { h.viewers.Add(-1) }

func (h *hub) end() { h.ending.Do(func() { close(h.ended) }) }

// look returns the latest picture, and takes what is too old of it anew.
func (h *hub) look(ctx context.Context) (picture, error) {
	select {
	case h.turn <- struct{}{}:
		defer func() { <-h.turn }()
	case <-ctx.Done():
		return picture{}, ctx.Err()
	}
	p := h.latest
	err := h.renew(ctx, &p, h.api.opt.Now())
	if err != nil && ctx.Err() == nil {
		h.complain(ctx, err)
	}
	h.latest = p
	return p, err
}

// renew takes anew what is too old.
func (h *hub) renew(ctx context.Context, p *picture, now time.Time) error {
	if now.Sub(p.jobsAt) >= h.lookEvery {
		p.jobsAt = now
		p.jobs, p.running = h.api.jobsPicture()
	}
	if now.Sub(p.countedAt) >= h.entriesEvery {
		if err := h.count(ctx, p); err != nil && !outOfReach(err) {
			return err
		}
		p.countedAt = now
	}
	if now.Sub(p.takenAt) >= h.figuresEvery {
		figures, err := h.api.figuresPicture(ctx, now)
		if err != nil {
			return err
		}
		p.takenAt, p.figures = now, figures
	}
	return nil
}

// count takes in the entries of the log that came since the last look.
func (h *hub) count(ctx context.Context, p *picture) error {
	page, err := h.api.figures.Requests(ctx, gateway.LogQuery{After: p.newest, Limit: 1})
	if err != nil || len(page.Entries) == 0 {
		return err
	}
	n := 1
	if !p.countedAt.IsZero() && page.Next != "" {
		if n, err = h.api.figures.CountRequests(ctx, gateway.LogQuery{After: p.newest}, maxCounted); err != nil {
			return err
		}
	}
	p.entries += int64(n)
	p.newest = page.Newest
	return nil
}

// outOfReach reports whether an error says that the store cannot be asked at
// present.
func outOfReach(err error) bool { return gateway.AsError(err).Kind == gateway.KindUnavailable }

// complain logs that no picture could be taken, once a minute.
func (h *hub) complain(ctx context.Context, err error) {
	if now := h.api.opt.Now(); now.Sub(h.complainedAt) >= complainEach {
		h.complainedAt = now
		h.api.opt.Log.LogAttrs(ctx, slog.LevelWarn, "live figures could not be read", slog.Any("error", err))
	}
}

// figuresPicture is how things stand.
func (a *API) figuresPicture(ctx context.Context, now time.Time) ([]byte, error) {
	chosen := gateway.Providers()
	standings := a.standings(chosen)
	out := figuresEvent{Timestamp: now.UTC()}
	out.Verdict, out.States = judgeAll(standings)
	since := now.UTC().Truncate(time.Minute).Add(-(liveMinutes - 1) * time.Minute)
	for i := range liveMinutes {
		out.Minutes = append(out.Minutes, minuteOfEvent{At: since.Add(time.Duration(i) * time.Minute)})
	}
	for i, p := range chosen {
		s := &standings[i]
		of := liveProvider{
			Provider: p, Enabled: s.Enabled, Verdict: judgeOne(s), States: newStatesAnswer(s.Keys),
			InFlight: s.InFlight, Breaker: newBreakerAnswer(s),
		}
		out.InFlight += s.InFlight
		found, err := a.figures.TallySeries(ctx, p, gateway.TallyQuery{Of: gateway.OfProvider, Per: gateway.PerMinute, Since: since, Counted: true})
		if err != nil && !outOfReach(err) { // how things stand is known all the same
			return nil, err
		}
		for j := range found {
			t := &found[j]
			of.Requests += t.Tally.Requests
			of.Failure += t.Tally.Failure
			if at := int(t.At.Sub(since) / time.Minute); at >= 0 && at < liveMinutes {
				out.Minutes[at].Requests += t.Tally.Requests
				out.Minutes[at].Failure += t.Tally.Failure
			}
		}
		out.Providers = append(out.Providers, of)
	}
	return encoded(out), nil
}

// jobsPicture is how far the running jobs are.
func (a *API) jobsPicture() (text []byte, running bool) {
	out := jobsEvent{Jobs: []liveJob{}}
	for _, j := range a.live.RunningJobs() {
		out.Jobs = append(out.Jobs, liveJob{
			ID: j.ID, Kind: j.Kind, Provider: j.Provider, State: j.State, Done: j.Done, Total: j.Total, Counts: j.Counts, Waiting: textOrNull(j.Waiting), StartedAt: j.StartedAt.UTC(),
		})
	}
	return encoded(out), len(out.Jobs) > 0
}

// encoded is what consists of plain fields as JSON, which cannot fail.
func encoded(v any) []byte {
	text, _ := json.Marshal(v)
	return text
}
