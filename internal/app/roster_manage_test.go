package app

import (
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// An act of the operator that the store refuses changes nothing, neither there nor
// in memory; one that it takes is noted once.
func TestOperatorsActsHoldWhole(t *testing.T) {
	dir := t.TempDir()
	o, closeStore := openRoster(t, dir)
	defer closeStore()
	k := gateway.Key{Secret: "fake-upstream-key-00", CreatedAt: time.Now()}
	if _, _, err := o.AddKeys(t.Context(), gateway.Ollama, func(yield func(gateway.Key, error) bool) { yield(k, nil) }); err != nil {
		t.Fatal(err)
	}
	ids := []gateway.KeyID{gateway.IDOfKey(k.Secret)}
	resting := gateway.KeyState{RestsUntil: time.Now().Add(time.Hour), RestStep: 2, ConsecutiveFailures: 3, LastError: "429"}
	rest := func() {
		change := gateway.StateChange{Key: ids[0], State: resting, Forced: true}
		if err := o.store.Apply(t.Context(), []gateway.Delta{{Provider: gateway.Ollama, States: []gateway.StateChange{change}}}); err != nil {
			t.Fatal(err)
		}
		o.pools[gateway.Ollama].SetState(ids[0], resting, time.Now())
	}
	status := func(want gateway.KeyStatus) {
		t.Helper()
		_, memory, _ := o.pools[gateway.Ollama].State(ids[0])
		stored, _, err := o.store.Key(t.Context(), gateway.Ollama, ids[0])
		if err != nil || memory != want || stored.State.StatusAt(time.Now(), time.Time{}) != want {
			t.Errorf("in memory %s, stored %+v, %v; want %s", memory, stored.State, err, want)
		}
	}
	for name, act := range map[string]func() ([]gateway.KeyID, error){
		"clear the rest": func() ([]gateway.KeyID, error) { return o.ClearRest(t.Context(), gateway.Ollama, ids) },
		"enable":         func() ([]gateway.KeyID, error) { return o.EnableKeys(t.Context(), gateway.Ollama, ids) },
		"disable": func() ([]gateway.KeyID, error) {
			return o.DisableKeys(t.Context(), gateway.Ollama, ids, time.Hour)
		},
	} {
		rest()
		execute(t, StorePath(dir), "create trigger no_events before insert on ollama_api_key_events begin select raise(abort, 'refused'); end")
		if _, err := act(); err == nil {
			t.Errorf("%s: it was done", name)
		}
		status(gateway.KeyResting)
		execute(t, StorePath(dir), "drop trigger no_events")
		if done, err := act(); err != nil || len(done) != 1 {
			t.Errorf("%s: %v, %v", name, done, err)
		}
		want := gateway.KeyActive
		if name == "disable" {
			want = gateway.KeyDisabled
		}
		status(want)
	}
	events, err := o.store.KeyEvents(t.Context(), gateway.Ollama, ids[0], 10)
	if err != nil || len(events) != 3 {
		t.Errorf("%d events, %v", len(events), err)
	}
	marks, err := o.store.KeyMarks(t.Context(), gateway.Ollama, ids)
	if err != nil {
		t.Fatal(err)
	}
	if !o.pools[gateway.Ollama].Follow(marks[0], time.Now()) {
		t.Error("memory knows another version than the store")
	}
}

// A token whose limits cannot be filled with what it has used is changed all the
// same, since that is stored.
func TestTokenChangeHoldsOnceStored(t *testing.T) {
	dir := t.TempDir()
	o, closeStore := openRoster(t, dir)
	defer closeStore()
	issued, _, err := o.IssueToken(t.Context(), gateway.Token{Name: "old", Providers: gateway.Providers()})
	if err != nil {
		t.Fatal(err)
	}
	execute(t, StorePath(dir), "alter table ollama_api_tally_day rename to elsewhere")
	name := "new"
	limits := gateway.Limits{RequestsPerDay: 5}
	changed, found, err := o.UpdateToken(t.Context(), issued.Hash, gateway.TokenChange{Name: &name, Limits: &limits})
	if err != nil || !found || changed.Name != name {
		t.Errorf("%+v, %v, %v", changed, found, err)
	}
}
