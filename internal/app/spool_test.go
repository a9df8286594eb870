package app

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"ollama-api-pool/internal/dataplane/usage"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/sqlstore"
)

// What waits for a database that is away for long is added up: little is kept,
// and nothing of it is lost but the oldest of the request log.
func TestMuchWaits(t *testing.T) {
	local, err := sqlstore.Open(t.Context(), sqlstore.Options{Path: filepath.Join(t.TempDir(), localName)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := local.Close(); err != nil {
			t.Error(err)
		}
	})
	away, err := sqlstore.New(sqlstore.Options{URL: "postgres://127.0.0.1:1/none"})
	if err != nil {
		t.Fatal(err)
	}
	w := newWriter()
	w.store, w.local, w.instance = away, local, "test"
	w.standing = newStanding(away, slog.New(slog.DiscardHandler))
	w.ledger = usage.NewLedger(usage.Options{Analytics: true, SampleRate: 1, ModelSampleRate: 1})
	w.trail = usage.NewTrail(usage.TrailOptions{Mode: usage.TrailAll})
	w.standing.lost(t.Context(), errors.New("away"))
	w.foldAt = 10
	const rounds = 37
	for i := range rounds {
		x := &gateway.Exchange{RequestID: fmt.Sprint("r", i), Path: "/api/chat", Principal: &gateway.Principal{Name: "test"}}
		x.Record = gateway.Record{
			Provider: gateway.Ollama, Model: "m", TokenHash: gateway.HashToken("sk-fake"), Status: 200, Counted: true,
			Usage: gateway.Usage{Input: 2, Output: 1}, StartedAt: time.Now(), Duration: time.Second,
		}
		w.ledger.Add(x)
		w.trail.Add(x)
		if err := w.runOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	all, err := local.Spooled(t.Context(), 0)
	if err != nil || len(all) != w.waits() || len(all) > w.foldAt {
		t.Fatalf("%d batches wait, %d by our count, %v", len(all), w.waits(), err)
	}
	var sum gateway.Counts
	entries, last := 0, int64(0)
	for _, s := range all {
		if s.Err != nil || s.Batch.Writer != "test" || s.Batch.Number <= last {
			t.Errorf("batch %d of %s after %d: %v", s.Batch.Number, s.Batch.Writer, last, s.Err)
		}
		last = s.Batch.Number
		for _, d := range s.Batch.Deltas {
			sum.Add(d.Global)
			entries += len(d.Log)
		}
	}
	want := gateway.Counts{Requests: rounds, Success: rounds, Usage: gateway.Usage{Input: 2 * rounds, Output: rounds}}
	if sum != want || entries != rounds || last != rounds {
		t.Errorf("%+v, %d entries, the last is %d; want %+v and %d", sum, entries, last, want, rounds)
	}
}

// Counts of keys add up, the last refusal and the last state count, and of the
// request log the newest entries are kept.
func TestAddUp(t *testing.T) {
	now := time.Now()
	batch := func(n int64, state gateway.KeyState, until time.Time, entries int) gateway.Batch {
		d := gateway.Delta{Provider: gateway.Ollama, Log: make([]gateway.LogEntry, entries)}
		d.Keys = []gateway.KeyDelta{{Key: "0123456789abcdef", Counts: gateway.KeyCounts{Total: n, Success: 1, LastUsed: now.Add(time.Duration(n))}}}
		d.States = []gateway.StateChange{{Key: "0123456789abcdef", State: state, Version: 4}}
		d.Refusals = []gateway.Refusal{{Key: "0123456789abcdef", Model: "m", Until: until}}
		return gateway.Batch{Writer: "w", Number: n, Deltas: []gateway.Delta{d}}
	}
	one := addUp([]gateway.Batch{
		batch(1, gateway.KeyState{ConsecutiveFailures: 1}, now, spooledEntries), batch(2, gateway.KeyState{ConsecutiveFailures: 2}, now.Add(1), 5),
	})
	if len(one.deltas) != 1 || one.dropped != 5 {
		t.Fatalf("%d deltas, %d dropped", len(one.deltas), one.dropped)
	}
	d := &one.deltas[0]
	if len(d.Keys) != 1 || d.Keys[0].Counts != (gateway.KeyCounts{Total: 3, Success: 2, LastUsed: now.Add(2)}) {
		t.Errorf("keys: %+v", d.Keys)
	}
	if len(d.States) != 1 || d.States[0].State.ConsecutiveFailures != 2 {
		t.Errorf("states: %+v", d.States)
	}
	if m := one.merged[gateway.Ollama]; len(m) != 1 || m[0].State.ConsecutiveFailures != 1 {
		t.Errorf("states that gave way: %+v", m)
	}
	if len(d.Refusals) != 1 || !d.Refusals[0].Until.Equal(now.Add(1)) {
		t.Errorf("refusals: %+v", d.Refusals)
	}
	if len(d.Log) != spooledEntries {
		t.Errorf("%d entries", len(d.Log))
	}
}
