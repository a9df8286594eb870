package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

func eventsOf(t *testing.T, s *Store, p gateway.ProviderName, id gateway.KeyID, limit int) []gateway.KeyEvent {
	t.Helper()
	events, err := s.KeyEvents(t.Context(), p, id, limit)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func conformEvents(t *testing.T, open openStore) {
	s := open(Options{})
	keys := someKeys(0, 2)
	add(t, s, gateway.Ollama, keys...)
	add(t, s, gateway.OpenRouter, keys[0])
	id, other := gateway.IDOfKey(keys[0].Secret), gateway.IDOfKey(keys[1].Secret)
	rested := gateway.KeyEvent{
		Key: id, At: noon, What: gateway.EventRested, Detail: "quota: hourly", Until: noon.Add(time.Hour),
		RequestID: "req-1", Attempt: 2, Model: "kimi",
	}
	cleared := gateway.KeyEvent{Key: id, At: noon.Add(time.Minute), What: gateway.EventCleared}
	early := gateway.KeyEvent{Key: id, At: noon.Add(-time.Hour), What: gateway.EventEnabled, Detail: "odd\x00'\xff"}
	apply(t, s, gateway.Delta{Provider: gateway.Ollama, Events: []gateway.KeyEvent{rested, cleared, early, {Key: other, At: noon, What: gateway.EventDisabled}}},
		gateway.Delta{Provider: gateway.OpenRouter, Events: []gateway.KeyEvent{{Key: id, At: noon, What: gateway.EventCheckedOK}}})
	early.Detail = "odd'\uFFFD"
	wantEqual(t, "events", eventsOf(t, s, gateway.Ollama, id, 0), []gateway.KeyEvent{cleared, rested, early})
	wantEqual(t, "the newest", eventsOf(t, s, gateway.Ollama, id, 1), []gateway.KeyEvent{cleared})
	if got := eventsOf(t, s, gateway.Ollama, "0123456789abcdef", 5); len(got) != 0 {
		t.Errorf("a key without events has %+v", got)
	}
	for _, limit := range []int{-1, maxEventPage + 1} {
		_, err := s.KeyEvents(t.Context(), gateway.Ollama, id, limit)
		wantKind(t, fmt.Sprint("limit ", limit), err, gateway.KindInvalid)
	}
	if err := s.PruneEvents(t.Context(), noon); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "pruned", eventsOf(t, s, gateway.Ollama, id, 0), []gateway.KeyEvent{cleared, rested})
	if _, err := s.DeleteKeys(t.Context(), gateway.Ollama, []gateway.KeyID{id}); err != nil {
		t.Fatal(err)
	}
	for who, n := range map[gateway.KeyID]int{id: 0, other: 1} {
		if got := eventsOf(t, s, gateway.Ollama, who, 0); len(got) != n {
			t.Errorf("after the deletion %s has %d events, want %d", who, len(got), n)
		}
	}
	if got := eventsOf(t, s, gateway.OpenRouter, id, 0); len(got) != 1 {
		t.Errorf("the other provider's key has %d events, want 1", len(got))
	}
}

// conformManyEvents also holds the other side of what a bulk act does: states.
func conformManyEvents(t *testing.T, open openStore) {
	s := open(Options{})
	const n = insertedRows + idsAtOnce + 7
	keys := someKeys(0, n)
	add(t, s, gateway.Ollama, keys...)
	d := gateway.Delta{Provider: gateway.Ollama}
	var ids []gateway.KeyID
	for i, k := range keys {
		id := gateway.IDOfKey(k.Secret)
		ids = append(ids, id)
		d.Events = append(d.Events, gateway.KeyEvent{Key: id, At: noon, What: gateway.EventDisabled, Attempt: i})
		d.States = append(d.States, gateway.StateChange{Key: id, State: gateway.KeyState{Disabled: gateway.DisabledManual, LastError: "by hand"}})
	}
	apply(t, s, d)
	for i, id := range ids {
		if i%97 != 0 && i < n-2 {
			continue
		}
		if got := eventsOf(t, s, gateway.Ollama, id, 5); len(got) != 1 || got[0].Attempt != i {
			t.Fatalf("key %d has the events %+v", i, got)
		}
	}
	if _, total := list(t, s, gateway.KeyQuery{Status: gateway.KeyDisabled, Limit: 1}); total != n {
		t.Errorf("%d keys are disabled, want %d", total, n)
	}
	twice := append(slices.Clone(ids[:n-1]), ids[0], "0123456789abcdef")
	deleted, err := s.DeleteKeys(t.Context(), gateway.Ollama, twice)
	if err != nil || !slices.Equal(deleted, ids[:n-1]) {
		t.Errorf("%d of %d keys are deleted, %v", len(deleted), n-1, err)
	}
	if left := all(t, s, gateway.Ollama); len(left) != 1 {
		t.Errorf("%d keys are left, want 1", len(left))
	}
	var events int
	if err := s.reader.QueryRowContext(t.Context(), "select count(*) from ollama_api_key_events").Scan(&events); err != nil || events != 1 {
		t.Errorf("%d events are left, %v; want 1", events, err)
	}
}

func someJob(n int, state gateway.JobState) gateway.Job {
	return gateway.Job{
		ID: fmt.Sprintf("%016x", n), Kind: gateway.JobImport, Provider: gateway.Ollama, State: state,
		Source: "ollama.txt", By: "api", StartedAt: noon.Add(time.Duration(n) * time.Minute), UpdatedAt: noon.Add(time.Duration(n)*time.Minute + time.Second),
		Total: 100, Done: 7, Counts: map[string]int{"added": 3, "bad": 1}, Categories: map[string]int{"kimi": 3},
		Bad: []gateway.BadKey{{Line: 12, Reason: "key is shorter than 8 characters"}, {Key: "fake-k…real", Reason: "refused"}},
	}
}

func conformJobs(t *testing.T, open openStore) {
	s := open(Options{})
	put := func(j gateway.Job) {
		t.Helper()
		if err := s.PutJob(t.Context(), j); err != nil {
			t.Fatal(err)
		}
	}
	running := someJob(3, gateway.JobRunning)
	check := someJob(2, gateway.JobRunning)
	check.Kind, check.Provider = gateway.JobCheck, gateway.OpenRouter
	put(someJob(1, gateway.JobRunning))
	failed := someJob(1, gateway.JobFailed)
	failed.Done, failed.Error, failed.FinishedAt = 100, "the disk is full", noon.Add(time.Hour)
	put(running)
	put(check)
	put(failed) // in place of what was stored
	list := func(kind gateway.JobKind, offset, limit int) ([]gateway.Job, int) {
		t.Helper()
		jobs, total, err := s.Jobs(t.Context(), kind, offset, limit)
		if err != nil {
			t.Fatal(err)
		}
		return jobs, total
	}
	jobs, total := list("", 0, 0)
	wantEqual(t, "jobs", jobs, []gateway.Job{running, check, failed})
	wantEqual(t, "in total", total, 3)
	jobs, total = list(gateway.JobImport, 1, 5)
	wantEqual(t, "imports but one", jobs, []gateway.Job{failed})
	wantEqual(t, "imports in total", total, 2)
	one, found, err := s.Job(t.Context(), check.ID)
	if err != nil || !found {
		t.Fatal(found, err)
	}
	wantEqual(t, "one job", one, check)
	if _, found, err := s.Job(t.Context(), "' or 1=1"); found || err != nil {
		t.Errorf("a job that is not there: %v, %v", found, err)
	}
	if n, err := s.InterruptJobs(t.Context(), 0); n != 2 || err != nil {
		t.Errorf("InterruptJobs = %d, %v; want 2", n, err)
	}
	const why = "the program ended before the job was done"
	running.State, running.FinishedAt, running.Error = gateway.JobInterrupted, running.UpdatedAt, why
	check.State, check.FinishedAt, check.Error = gateway.JobInterrupted, check.UpdatedAt, why
	jobs, _ = list("", 0, 0)
	wantEqual(t, "interrupted", jobs, []gateway.Job{running, check, failed})
	if n, err := s.InterruptJobs(t.Context(), 0); n != 0 || err != nil {
		t.Errorf("InterruptJobs again = %d, %v; want none", n, err)
	}
	old := someJob(0, gateway.JobRunning)
	put(old)
	if err := s.PruneJobs(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	jobs, _ = list("", 0, 0)
	wantEqual(t, "pruned, but for what runs", jobs, []gateway.Job{running, old})
}

func conformJobsWrong(t *testing.T, open openStore) {
	s := open(Options{})
	for what, spoil := range map[string]func(*gateway.Job){
		"no id": func(j *gateway.Job) { j.ID = "" }, "large letters": func(j *gateway.Job) { j.ID = "ABCDEF0123456789" },
		"kind": func(j *gateway.Job) { j.Kind = "dance" }, "state": func(j *gateway.Job) { j.State = "tired" },
		"provider": func(j *gateway.Job) { j.Provider = "nowhere" },
	} {
		j := someJob(1, gateway.JobDone)
		spoil(&j)
		wantKind(t, what, s.PutJob(t.Context(), j), gateway.KindInvalid)
	}
	if _, total, err := s.Jobs(t.Context(), "", 0, 0); total != 0 || err != nil {
		t.Errorf("%d jobs, %v; want none", total, err)
	}
	odd := someJob(1, gateway.JobDone)
	odd.Source, odd.Bad[0].Reason = "a\x00b'\xff", "\x00"
	if err := s.PutJob(t.Context(), odd); err != nil {
		t.Fatal(err)
	}
	if got, _, err := s.Job(t.Context(), odd.ID); err != nil || got.Source != "ab'\uFFFD" {
		t.Errorf("hostile text came back as %q, %v", got.Source, err)
	}
	if _, err := s.writer.ExecContext(t.Context(), "update pool_jobs set job = 'x'"); err != nil {
		t.Fatal(err)
	}
	if got, found, err := s.Job(t.Context(), odd.ID); err != nil || !found || got.State != gateway.JobDone || !strings.Contains(got.Error, "cannot be read") {
		t.Errorf("a job that somebody spoilt: %+v, %v, %v", got, found, err)
	}
}

func conformSessions(t *testing.T, open openStore) {
	now := noon
	s := open(Options{Now: func() time.Time { return now }})
	session := func(cookie gateway.Secret, life time.Duration) gateway.Session {
		return gateway.Session{Hash: gateway.HashToken(cookie), CSRF: "csrf of " + cookie.Reveal(), CreatedAt: noon, ExpiresAt: noon.Add(life)}
	}
	short, long := session("fake-cookie-1", time.Hour), session("fake-cookie-2", 24*time.Hour)
	for _, one := range []gateway.Session{short, long} {
		if err := s.AddSession(t.Context(), one); err != nil {
			t.Fatal(err)
		}
	}
	wantKind(t, "a session that is there", s.AddSession(t.Context(), short), gateway.KindConflict)
	for what, spoil := range map[string]func(*gateway.Session){
		"a cookie for a hash": func(s *gateway.Session) { s.Hash = "fake-cookie-3" },
		"no CSRF token":       func(s *gateway.Session) { s.CSRF = "" },
		"no end":              func(s *gateway.Session) { s.ExpiresAt = time.Time{} },
	} {
		one := session("fake-cookie-3", time.Hour)
		spoil(&one)
		err := s.AddSession(t.Context(), one)
		wantKind(t, what, err, gateway.KindInvalid)
		if strings.Contains(err.Error(), "fake-cookie") {
			t.Errorf("%s: the error tells the cookie: %v", what, err)
		}
	}
	look := func(want gateway.Session, there bool) {
		t.Helper()
		got, found, err := s.Session(t.Context(), want.Hash)
		if err != nil || found != there {
			t.Fatalf("Session = %v, %v; want %v", found, err, there)
		}
		if !there {
			want = gateway.Session{}
		}
		wantEqual(t, "session", got, want)
	}
	look(short, true)
	look(session("fake-cookie-4", 0), false)
	now = short.ExpiresAt
	look(short, false)
	look(long, true)
	if err := s.PruneSessions(t.Context()); err != nil {
		t.Fatal(err)
	}
	var left int
	if err := s.reader.QueryRowContext(t.Context(), "select count(*) from pool_sessions").Scan(&left); err != nil || left != 1 {
		t.Errorf("%d sessions are left, %v; want 1", left, err)
	}
	for range 2 {
		if err := s.DeleteSession(t.Context(), long.Hash); err != nil {
			t.Fatal(err)
		}
	}
	look(long, false)
}

// conformEnded holds that calls whose caller has gone do nothing.
func conformEnded(t *testing.T, open openStore) {
	s := open(Options{})
	add(t, s, gateway.Ollama, someKeys(0, 1)...)
	id := gateway.IDOfKey(secretOf(0))
	tok := gateway.Token{Hash: gateway.HashToken("sk-fake"), Providers: gateway.Providers(), CreatedAt: noon}
	if err := s.AddToken(t.Context(), tok); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	name := "renamed"
	for what, call := range map[string]func() error{
		"Apply": func() error {
			return s.Apply(ctx, []gateway.Delta{{Provider: gateway.Ollama, Log: []gateway.LogEntry{logEntry("r", gateway.Ollama)}, Events: []gateway.KeyEvent{{Key: id, What: gateway.EventEnabled}}}})
		},
		"Requests":   func() error { _, err := s.Requests(ctx, gateway.LogQuery{}); return err },
		"Request":    func() error { _, _, err := s.Request(ctx, "r"); return err },
		"LogFigures": func() error { _, err := s.LogFigures(ctx); return err },
		"KeyEvents":  func() error { _, err := s.KeyEvents(ctx, gateway.Ollama, id, 1); return err },
		"PutJob":     func() error { return s.PutJob(ctx, someJob(1, gateway.JobDone)) },
		"Jobs":       func() error { _, _, err := s.Jobs(ctx, "", 0, 0); return err },
		"AddSession": func() error {
			return s.AddSession(ctx, gateway.Session{Hash: gateway.HashToken("x"), CSRF: "y", ExpiresAt: noon})
		},
		"Session":       func() error { _, _, err := s.Session(ctx, "x"); return err },
		"UpdateToken":   func() error { _, _, err := s.UpdateToken(ctx, tok.Hash, gateway.TokenChange{Name: &name}); return err },
		"KeyIDs":        func() error { _, err := s.KeyIDs(ctx, gateway.Ollama, gateway.KeyFilter{}); return err },
		"ExpiringKeys":  func() error { _, err := s.ExpiringKeys(ctx, gateway.Ollama, noon, noon); return err },
		"SetCategories": func() error { return s.SetCategories(ctx, gateway.Ollama, map[gateway.KeyID]string{id: "kimi"}) },
	} {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s with an ended context: %v", what, err)
		}
	}
	if _, page := requestsOf(t, s, gateway.LogQuery{}); len(page.Entries) != 0 || len(eventsOf(t, s, gateway.Ollama, id, 0)) != 0 {
		t.Error("something was written for a caller who had gone")
	}
	if k, _, err := s.Key(t.Context(), gateway.Ollama, id); err != nil || k.Category != "" {
		t.Errorf("the key's category is %q, %v", k.Category, err)
	}
	if tokens, err := s.Tokens(t.Context()); err != nil || tokens[0].Name != "" {
		t.Errorf("the token's name is %q, %v", tokens[0].Name, err)
	}
}
