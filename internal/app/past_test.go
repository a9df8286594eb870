package app

import (
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// A past that is added is what every question about it finds, and holds: a model
// that a key may not use, what a token has used today. What there is already
// stays.
func TestAddPast(t *testing.T) {
	o, closeStore := openRoster(t, t.TempDir())
	defer closeStore()
	ctx, now := t.Context(), time.Now().UTC()
	k := gateway.Key{Secret: "fake-upstream-key-00", CreatedAt: now}
	if _, _, err := o.AddKeys(ctx, gateway.Ollama, func(yield func(gateway.Key, error) bool) { yield(k, nil) }); err != nil {
		t.Fatal(err)
	}
	id := gateway.IDOfKey(k.Secret)
	token, _, err := o.IssueToken(ctx, gateway.Token{Name: "app", Providers: gateway.Providers(), Limits: gateway.Limits{RequestsPerDay: 100}})
	if err != nil {
		t.Fatal(err)
	}
	tally := gateway.Tally{Counts: gateway.Counts{Requests: 7, Success: 7}, Attempts: 8}
	minute := now.Truncate(24 * time.Hour)
	delta := gateway.Delta{
		Provider: gateway.Ollama, Global: tally.Counts,
		Tallies:  []gateway.TallyDelta{{Of: gateway.OfProvider, Minute: minute, Tally: tally}, {Of: gateway.OfToken, Name: token.Hash, Minute: minute, Tally: tally}},
		Keys:     []gateway.KeyDelta{{Key: id, Counts: gateway.KeyCounts{Total: 8, Success: 7, Failure: 1, LastUsed: now}}},
		Refusals: []gateway.Refusal{{Key: id, Model: "kimi-k2:1t", Until: now.Add(time.Hour)}},
		Log:      []gateway.LogEntry{{ID: "past", Provider: gateway.Ollama, Status: 200, StartedAt: now.Add(-time.Minute)}},
		Events:   []gateway.KeyEvent{{Key: id, At: now.Add(-time.Hour), What: gateway.EventRefused, Detail: "401 unauthorized"}},
	}
	job := gateway.Job{ID: "00000000000000aa", Kind: gateway.JobImport, Provider: gateway.Ollama, State: gateway.JobDone, StartedAt: now.Add(-time.Second), FinishedAt: now.Add(time.Second)}
	for range 2 {
		if err := o.AddPast(ctx, []gateway.Delta{delta}, []gateway.Job{job}); err != nil {
			t.Fatal(err)
		}
	}

	if got, err := o.Totals(ctx, gateway.Ollama); err != nil || got.Requests != 14 {
		t.Errorf("in all %+v, %v", got, err)
	}
	if got, err := o.Tallies(ctx, gateway.Ollama, gateway.TallyQuery{Of: gateway.OfProvider, Per: gateway.PerDay, Since: minute}); err != nil || len(got) != 1 || got[0].Tally.Attempts != 16 {
		t.Errorf("today %+v, %v", got, err)
	}
	if got, err := o.Key(ctx, gateway.Ollama, id); err != nil || got.Counts.Total != 16 {
		t.Errorf("the key %+v, %v", got.Counts, err)
	}
	if got := o.KeyRefusals(gateway.Ollama, id); len(got) != 1 || got[0].Model != "kimi-k2:1t" {
		t.Errorf("it may not use %+v", got)
	}
	if got, err := o.KeyEvents(ctx, gateway.Ollama, id, 10); err != nil || len(got) != 2 {
		t.Errorf("what happened to it: %+v, %v", got, err)
	}
	if got, found, err := o.Request(ctx, "past"); err != nil || !found || got.Status != 200 {
		t.Errorf("the request %+v, %v", got, err)
	}
	if got, found, err := o.ImportAt(ctx, gateway.Ollama, now); err != nil || !found || got.ID != job.ID {
		t.Errorf("the import %+v, %v", got, err)
	}
	if got := o.TokenUsage([]gateway.Token{token})[token.Hash]; got.Requests < 7 {
		t.Errorf("the token has used %+v today", got)
	}
}

// What makes no sense is refused, and the counts with it.
func TestAddPastRefuses(t *testing.T) {
	o, closeStore := openRoster(t, t.TempDir())
	defer closeStore()
	delta := gateway.Delta{Provider: gateway.Ollama, Global: gateway.Counts{Requests: 1}}
	if err := o.AddPast(t.Context(), []gateway.Delta{delta, {Provider: "nobody", Global: delta.Global}}, nil); err == nil {
		t.Error("counts of an unknown provider were taken")
	}
	if got, err := o.Totals(t.Context(), gateway.Ollama); err != nil || got.Requests != 0 {
		t.Errorf("in all %+v, %v", got, err)
	}
	if err := o.AddPast(t.Context(), nil, []gateway.Job{{ID: "short", Kind: gateway.JobCheck, Provider: gateway.Ollama, State: gateway.JobDone}}); err == nil {
		t.Error("a job without a proper id was taken")
	}
}
