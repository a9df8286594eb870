package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/sqlstore"
)

// What the statistics are spread over.
const (
	models     = 40
	tokens     = 50
	days       = 90 // of statistics by the hour, as many as are kept
	minutes    = 180
	logged     = 40_000
	perRequest = 1000 // tokens of a model
)

// fill stops the program, writes the statistics of a busy pool into its store
// and starts it again.
func (m *measurement) fill(ctx context.Context) error {
	if err := m.pool.Stop(); err != nil {
		return err
	}
	store, err := sqlstore.Open(ctx, sqlstore.Options{Path: filepath.Join(m.data(), "pool.db")})
	if err != nil {
		return err
	}
	f := &filler{ctx: ctx, store: store, now: time.Now()}
	f.hours(m.o.requests)
	f.keys(m.o.keys)
	f.log(m.o.keys)
	if err := errors.Join(f.err, store.Fold(ctx), store.Close()); err != nil {
		return fmt.Errorf("fill the store: %w", err)
	}
	return m.start(ctx, "start with all of it, until it is ready")
}

// filler writes into a store until something fails.
type filler struct {
	ctx   context.Context
	store *sqlstore.Store
	now   time.Time
	err   error
}

func (f *filler) apply(d gateway.Delta) {
	if f.err == nil {
		d.Provider = gateway.Ollama
		f.err = f.store.Apply(f.ctx, []gateway.Delta{d})
	}
}

// hours spreads so many requests a month over every hour, model and token, and
// some over the last minutes.
func (f *filler) hours(requests int) {
	each := max(int64(requests/(30*24)), 1)
	for h := range days * 24 {
		f.apply(moment(f.now.Add(-time.Duration(h)*time.Hour), each, h))
	}
	for n := range minutes {
		f.apply(moment(f.now.Add(-time.Duration(n)*time.Minute), max(each/60, 1), n))
	}
}

// moment is what became of n requests in one minute.
func moment(at time.Time, n int64, turn int) gateway.Delta {
	at = at.UTC().Truncate(time.Minute)
	t := tally(n)
	d := gateway.Delta{
		Global:  t.Counts,
		Tallies: []gateway.TallyDelta{{Of: gateway.OfProvider, Minute: at, Tally: t}},
	}
	spread := func(of gateway.Subject, many int, name func(i int) string) {
		for i := range many {
			part := n / int64(many)
			if int64((i+turn)%many) < n%int64(many) {
				part++
			}
			if part > 0 {
				d.Tallies = append(d.Tallies, gateway.TallyDelta{Of: of, Name: name(i), Minute: at, Tally: tally(part)})
			}
		}
	}
	spread(gateway.OfModel, models, func(i int) string { return fmt.Sprintf("fake-model-%d:120b", i) })
	spread(gateway.OfToken, tokens, func(i int) string { return gateway.HashToken(gateway.Secret(fmt.Sprint("fake-token-", i))) })
	return d
}

func tally(n int64) gateway.Tally {
	failed := n / 50
	t := gateway.Tally{Attempts: n + failed, Counts: gateway.Counts{
		Requests: n, Success: n - failed, Failure: failed, Usage: gateway.Usage{Input: n * perRequest, Output: n * perRequest / 3},
	}}
	t.Duration.Observe(1700*time.Millisecond, n)
	t.FirstByte.Observe(400*time.Millisecond, n-failed)
	return t
}

// keys gives every second key counts, and takes a third of them out.
func (f *filler) keys(n int) {
	d := gateway.Delta{}
	reasons := []string{"quota: hourly", "quota: session", "quota: weekly"}
	for i := range n {
		id := gateway.IDOfKey(gateway.Secret(key("one", i)))
		if i%2 == 0 {
			times := int64(i*7919%1000 + 1)
			d.Keys = append(d.Keys, gateway.KeyDelta{Key: id, Counts: gateway.KeyCounts{Total: times, Success: times, LastUsed: f.now.Add(-time.Duration(i) * time.Second)}})
			d.Tallies = append(d.Tallies, gateway.TallyDelta{Of: gateway.OfKey, Name: string(id), Tally: tally(times)})
		}
		switch {
		case i%4 == 0:
			d.States = append(d.States, gateway.StateChange{Key: id, State: gateway.KeyState{
				RestsUntil: f.now.Add(time.Duration(i%3000+60) * time.Minute), LastError: reasons[i/4%len(reasons)],
			}})
		case i%13 == 0:
			d.States = append(d.States, gateway.StateChange{Key: id, State: gateway.KeyState{FailedUntil: f.now.Add(2 * time.Hour), LastError: "401 unauthorized"}})
		}
	}
	f.apply(d)
}

// log fills the request log.
func (f *filler) log(keys int) {
	for from := 0; from < logged; from += 1000 {
		d := gateway.Delta{}
		for i := from; i < from+1000; i++ {
			step := gateway.TrailStep{
				Key: gateway.IDOfKey(gateway.Secret(key("one", i%keys))), Status: 502,
				Scope: gateway.ScopeProvider, Action: gateway.ActionStrike, Next: gateway.NextAfterPause, Reason: "upstream fault",
			}
			d.Log = append(d.Log, gateway.LogEntry{
				ID: fmt.Sprint("fake-request-", i), Provider: gateway.Ollama, Model: fmt.Sprintf("fake-model-%d:120b", i%models),
				Path: "/v1/chat/completions", TokenHash: gateway.HashToken("fake"), TokenName: "team", Agent: "a client/1.0",
				Status: 200 + i%2*302, StartedAt: f.now.Add(time.Duration(i-logged) * time.Second), Duration: time.Duration(i%20) * time.Second,
				Error: "upstream fault", Trail: []gateway.TrailStep{step, step},
			})
		}
		f.apply(d)
	}
}
