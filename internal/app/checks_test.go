package app

import (
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/controlplane/check"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/sqlstore"
	"ollama-api-pool/internal/testkit"
)

// wire stands for the network to the upstreams.
type wire func(*http.Request) (status int, body string)

// RoundTrip implements http.RoundTripper.
func (w wire) RoundTrip(r *http.Request) (*http.Response, error) {
	status, body := w(r)
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), Request: r,
	}, nil
}

// startApp starts the program on a data directory; the function stops it.
func startApp(t *testing.T, dir string, transport http.RoundTripper, environ ...string) (*App, func()) {
	t.Helper()
	cfg, _, err := config.Load(append([]string{
		"LISTEN_ADDR=127.0.0.1:0", "DATA_DIR=" + dir, "ADMIN_TOKEN=admin-fake-0123456789abcdef", "CHECK_PER_SECOND=100000",
	}, environ...), "")
	if err != nil {
		t.Fatal(err)
	}
	a, err := Start(t.Context(), cfg, Deps{Log: slog.New(slog.DiscardHandler), Version: "1.2.3", Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceFunc(func() {
		if err := a.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return a, stop
}

// numbered are n keys with a name, each with an account of its own.
func numbered(name string, n int) iter.Seq2[gateway.Key, error] {
	return func(yield func(gateway.Key, error) bool) {
		for i := range n {
			k := gateway.Key{Secret: gateway.Secret(fmt.Sprintf("fake-%s-key-%06d", name, i)), Username: fmt.Sprintf("%s%d@example.com", name, i)}
			if !yield(k, nil) {
				return
			}
		}
	}
}

func addAll(t *testing.T, a *App, keys iter.Seq2[gateway.Key, error]) {
	t.Helper()
	if _, _, err := a.roster.AddKeys(t.Context(), gateway.Ollama, keys); err != nil {
		t.Fatal(err)
	}
}

// allKeys are the ids of all keys of a provider.
func allKeys(t *testing.T, a *App) []gateway.KeyID {
	t.Helper()
	ids, err := a.store.KeyIDs(t.Context(), gateway.Ollama, gateway.KeyFilter{})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// await waits for a job's end.
func await(t *testing.T, a *App, j gateway.Job, err error) gateway.Job {
	t.Helper()
	if err == nil {
		j, err = a.checks.Await(t.Context(), j.ID, 0, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// byName answers by the key's name.
func byName(r *http.Request) (int, string) {
	switch auth := r.Header.Get("Authorization"); {
	case r.URL.Path == "/api/tags":
		return 200, `{"models":[{"name":"qwen3:480b"}]}`
	case strings.Contains(auth, "fake-good-"):
		return 400, `{"error":"model is required"}`
	case strings.Contains(auth, "fake-bad-"):
		return 401, `{"error":"unauthorized"}`
	}
	return 503, `{"error":"busy"}`
}

// What checks of many keys showed is in memory, in the store, and there after a
// restart; each key has its event.
func TestChecksAreApplied(t *testing.T) {
	const n = 3000
	dir := t.TempDir()
	a, stop := startApp(t, dir, wire(byName))
	addAll(t, a, numbered("good", n))
	addAll(t, a, numbered("bad", n/10))
	addAll(t, a, numbered("odd", 10))
	ids := allKeys(t, a)
	// Some are out, and some of them by hand.
	first := gateway.IDOfKey("fake-good-key-000000")
	if _, err := a.roster.DisableKeys(t.Context(), gateway.Ollama, []gateway.KeyID{first}, 0); err != nil {
		t.Fatal(err)
	}
	seen := map[gateway.KeyID]gateway.CheckOutcome{}
	job, err := a.checks.StartCheck(t.Context(), gateway.Ollama, ids, "all keys", func(c check.Checked) { seen[c.Key] = c.Outcome })
	job = await(t, a, job, err)
	if job.State != gateway.JobDone || job.Done != len(ids) || job.Counts[check.CountHealthy] != n || job.Counts[check.CountUnhealthy] != n/10 ||
		job.Counts[check.CountInconclusive] != 10 || job.Categories["qwen"] != n || len(job.Bad) != n/10+10 || len(seen) != len(ids) {
		t.Errorf("%v %d of %d: %v %v, %d bad, %d seen", job.State, job.Done, job.Total, job.Counts, job.Categories, len(job.Bad), len(seen))
	}
	testkit.MustNotContain(t, fmt.Sprint(job.Bad), "fake-bad-key-000000")
	look := func(a *App, when string) {
		t.Helper()
		counts := a.pools[gateway.Ollama].Counts()
		if counts[gateway.KeyFailed] != n/10 || counts[gateway.KeyActive] != n-1+10 || counts[gateway.KeyDisabled] != 1 {
			t.Errorf("%s: %v", when, counts)
		}
		kept, err := a.store.CountKeys(t.Context(), gateway.Ollama)
		if err != nil || kept[gateway.KeyFailed] != n/10 || kept[gateway.KeyDisabled] != 1 {
			t.Errorf("%s, stored: %v, %v", when, kept, err)
		}
		for secret, what := range map[gateway.Secret]gateway.KeyEventKind{"fake-good-key-000001": gateway.EventCheckedOK, "fake-bad-key-000001": gateway.EventRefused} {
			events, err := a.store.KeyEvents(t.Context(), gateway.Ollama, gateway.IDOfKey(secret), 0)
			if err != nil || len(events) != 1 || events[0].What != what || what == gateway.EventRefused && events[0].Until.IsZero() {
				t.Errorf("%s: events %+v, %v", when, events, err)
			}
		}
		k, _, err := a.store.Key(t.Context(), gateway.Ollama, gateway.IDOfKey("fake-good-key-000001"))
		if err != nil || k.Category != "qwen" {
			t.Errorf("%s: category %q, %v", when, k.Category, err)
		}
	}
	look(a, "at once")
	stop()
	again, _ := startApp(t, dir, wire(byName))
	look(again, "after a restart")
}

// Of keys that fail in traffic while they are checked only one failure counts,
// and what the operator says meanwhile stands.
func TestChecksBesideOthers(t *testing.T) {
	gate := testkit.NewGate()
	up := testkit.NewUpstream(t)
	up.Handle(func(*testkit.Call) testkit.Answer {
		return testkit.After(gate, testkit.JSON(401, `{"error":"unauthorized"}`))
	})
	a, _ := startApp(t, t.TempDir(), nil, "OLLAMA_BASE_URL="+up.URL)
	addAll(t, a, numbered("bad", 3))
	ids := allKeys(t, a)
	job, err := a.checks.StartCheck(t.Context(), gateway.Ollama, ids, "all keys", nil)
	if err != nil {
		t.Fatal(err)
	}
	up.AwaitCalls(3, patience)
	trial, _, _ := a.pools[gateway.Ollama].BeginCheck(ids[0])
	a.pools[gateway.Ollama].EndCheck(trial, gateway.CheckRefused, "401 in traffic", time.Now())
	if _, err := a.roster.DisableKeys(t.Context(), gateway.Ollama, ids[1:2], time.Hour); err != nil {
		t.Fatal(err)
	}
	gate.Open()
	await(t, a, job, nil)
	for i, want := range []gateway.KeyState{
		{ConsecutiveFailures: 1, LastError: "401 in traffic"},
		{Disabled: gateway.DisabledManual, LastError: "disabled by the operator"},
		{ConsecutiveFailures: 1, LastError: "401 unauthorized"},
	} {
		got, _, _ := a.pools[gateway.Ollama].State(ids[i])
		got.FailedUntil, got.DisabledUntil = time.Time{}, time.Time{}
		if got != want {
			t.Errorf("key %d: %+v, want %+v", i, got, want)
		}
	}
}

// Keys that go while they are checked are left out.
func TestChecksOfKeysThatGo(t *testing.T) {
	gate := testkit.NewGate()
	up := testkit.NewUpstream(t)
	up.Handle(func(*testkit.Call) testkit.Answer { return testkit.After(gate, testkit.JSON(400, `{"error":"x"}`)) })
	a, _ := startApp(t, t.TempDir(), nil, "OLLAMA_BASE_URL="+up.URL, "CHECK_CONCURRENCY=2")
	addAll(t, a, numbered("good", 10))
	var states []gateway.KeyStatus
	job, err := a.checks.StartCheck(t.Context(), gateway.Ollama, allKeys(t, a), "all keys", func(c check.Checked) { states = append(states, c.State) })
	if err != nil {
		t.Fatal(err)
	}
	up.AwaitCalls(2, patience)
	if _, err := a.roster.DeleteKeys(t.Context(), gateway.Ollama, allKeys(t, a)); err != nil {
		t.Fatal(err)
	}
	gate.Open()
	job = await(t, a, job, nil)
	if job.Done != 10 || job.Counts[check.CountMissing]+len(states) != 10 || job.Counts[check.CountMissing] < 7 || slices.Contains(states, gateway.KeyActive) {
		t.Errorf("%+v, %v", job, states)
	}
}

// An orderly stop interrupts a job and says so, to who waits for it as well; of
// one that ran when the program was killed the next start says it.
func TestJobsAndTheEndOfTheProgram(t *testing.T) {
	dir := t.TempDir()
	up := testkit.NewUpstream(t)
	up.Always(testkit.Silent())
	a, stop := startApp(t, dir, nil, "OLLAMA_BASE_URL="+up.URL)
	addAll(t, a, numbered("good", 50))
	job, err := a.checks.StartCheck(t.Context(), gateway.Ollama, allKeys(t, a), "all keys", nil)
	if err != nil {
		t.Fatal(err)
	}
	up.AwaitCalls(16, patience)
	waiting := make(chan gateway.Job, 1)
	go func() {
		j, _ := a.checks.Await(t.Context(), job.ID, 0, nil)
		waiting <- j
	}()
	began := time.Now()
	stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("stopping took %v", took)
	}
	if j := <-waiting; j.State != gateway.JobInterrupted {
		t.Errorf("who waits sees %+v", j)
	}
	store, err := sqlstore.Open(t.Context(), sqlstore.Options{Path: StorePath(dir)})
	if err != nil {
		t.Fatal(err)
	}
	j, _, err := store.Job(t.Context(), job.ID)
	if err != nil || j.State != gateway.JobInterrupted || j.Error == "" || j.FinishedAt.IsZero() {
		t.Errorf("stored: %+v, %v", j, err)
	}
	killed := gateway.Job{ID: "0123456789abcdef", Kind: gateway.JobImport, Provider: gateway.Ollama, State: gateway.JobRunning, Total: 7, Done: 3}
	if err := store.PutJob(t.Context(), killed); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	b, _ := startApp(t, dir, nil, "OLLAMA_BASE_URL="+up.URL)
	if j, err := b.checks.Job(t.Context(), killed.ID); err != nil || j.State != gateway.JobInterrupted || j.Done != 3 {
		t.Errorf("after a kill: %+v, %v", j, err)
	}
	if n := b.pools[gateway.Ollama].Counts()[gateway.KeyActive]; n != 50 {
		t.Errorf("%d keys are active", n)
	}
}

// The schedule checks keys that failed and those that failures disabled, no
// others, and gives way to another job.
func TestSchedule(t *testing.T) {
	var asked sync.Map
	var silent atomic.Bool
	a, _ := startApp(t, t.TempDir(), wire(func(r *http.Request) (int, string) {
		asked.Store(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), true)
		if silent.Load() {
			<-r.Context().Done()
		}
		return byName(r)
	}), "KEY_DISABLE_THRESHOLD=2", "HEALTH_CHECK_INTERVAL=1h")
	addAll(t, a, numbered("good", 5))
	refuse := func(n, times int) {
		t.Helper()
		for range times {
			trial, _, _ := a.pools[gateway.Ollama].BeginCheck(gateway.IDOfKey(gateway.Secret(fmt.Sprintf("fake-good-key-%06d", n))))
			if !a.pools[gateway.Ollama].EndCheck(trial, gateway.CheckRefused, "401", time.Now()) {
				t.Fatal("it does not count")
			}
		}
	}
	refuse(0, 1)
	refuse(1, 2)
	if _, err := a.roster.DisableKeys(t.Context(), gateway.Ollama, []gateway.KeyID{gateway.IDOfKey("fake-good-key-000002")}, 0); err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		if err := a.checks.recheck(t.Context()); err != nil {
			t.Fatal(err)
		}
		job, err := a.checks.Job(t.Context(), scheduleID(gateway.Ollama))
		job = await(t, a, job, err)
		if job.By != "schedule" || job.Counts[check.CountHealthy] != 2 || job.State != gateway.JobDone {
			t.Errorf("round %d: %+v", round, job)
		}
		if counts := a.pools[gateway.Ollama].Counts(); counts[gateway.KeyActive] != 4 || counts[gateway.KeyDisabled] != 1 {
			t.Errorf("round %d: %v", round, counts)
		}
		refuse(0, 1)
		refuse(1, 2)
	}
	for n, want := range []bool{true, true, false, false, false} {
		if _, got := asked.Load(fmt.Sprintf("fake-good-key-%06d", n)); got != want {
			t.Errorf("key %d was asked about: %v", n, got)
		}
	}
	if _, total, err := a.checks.Jobs(t.Context(), "", 0, 10); err != nil || total != 1 {
		t.Errorf("%d jobs are listed, %v", total, err)
	}
	silent.Store(true)
	job, err := a.checks.StartCheck(t.Context(), gateway.Ollama, allKeys(t, a), "all keys", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.checks.recheck(t.Context()); err != nil {
		t.Errorf("beside another job: %v", err)
	}
	if running := a.checks.Running(); len(running) != 1 || running[0].ID != job.ID {
		t.Errorf("running: %+v", running)
	}
	if _, err := a.checks.Cancel(t.Context(), job.ID); err != nil {
		t.Error(err)
	}
	// Without keys that failed nothing is started.
	if _, err := a.roster.EnableKeys(t.Context(), gateway.Ollama, allKeys(t, a)); err != nil {
		t.Fatal(err)
	}
	if err := a.checks.recheck(t.Context()); err != nil || len(a.checks.Running()) != 0 {
		t.Errorf("nothing to do: %v, %v", err, a.checks.Running())
	}
}

// An import checks what is new and adds it in one step; what was deleted or
// added by others meanwhile does no harm.
func TestStartImport(t *testing.T) {
	const n = 2000
	a, _ := startApp(t, t.TempDir(), wire(byName))
	addAll(t, a, numbered("good", 10))
	keys := func() iter.Seq2[gateway.Key, error] {
		return func(yield func(gateway.Key, error) bool) {
			for _, seq := range []iter.Seq2[gateway.Key, error]{numbered("good", n), numbered("bad", n/2), numbered("odd", 5)} {
				for k, err := range seq {
					if !yield(k, err) {
						return
					}
				}
			}
		}
	}
	closed := 0
	in := check.Import{
		Source: "new.txt", Keys: keys, Line: func(i int) int { return i + 1 }, Existing: 3, Bad: []gateway.BadKey{{Line: 9, Reason: "no key"}}, BadLines: 1,
		Close: func() { closed++ },
	}
	lines := map[int]string{}
	in.Each = func(t check.Tried) { lines[t.Line] = t.Masked }
	job, err := a.checks.StartImport(t.Context(), gateway.Ollama, in)
	job = await(t, a, job, err)
	want := map[string]int{"valid": n - 10, "invalid": n / 2, "inconclusive": 5, "existing": 13, "added": n - 10, "bad": 1}
	if fmt.Sprint(job.Counts) != fmt.Sprint(want) || job.State != gateway.JobDone || job.Total != n-10+n/2+5 || job.Done != job.Total || closed != 1 {
		t.Errorf("%+v, want %v; closed %d times", job.Counts, want, closed)
	}
	if a.pools[gateway.Ollama].Len() != n || lines[n] != "fake-g…1999" || lines[5] != "" || len(lines) != job.Total {
		t.Errorf("%d keys, %d lines", a.pools[gateway.Ollama].Len(), len(lines))
	}
	k, _, err := a.store.Key(t.Context(), gateway.Ollama, gateway.IDOfKey("fake-good-key-000011"))
	if err != nil || k.Category != "qwen" || k.Username != "good11@example.com" {
		t.Errorf("%+v, %v", k, err)
	}
	// A list that cannot be read adds nothing.
	broken := fmt.Errorf("damaged")
	in.Keys = func() iter.Seq2[gateway.Key, error] {
		return func(yield func(gateway.Key, error) bool) {
			if yield(gateway.Key{Secret: "fake-good-key-999999"}, nil) {
				yield(gateway.Key{}, broken)
			}
		}
	}
	job, err = a.checks.StartImport(t.Context(), gateway.Ollama, in)
	if job = await(t, a, job, err); job.State != gateway.JobFailed || job.Error != "internal error" || closed != 2 || a.pools[gateway.Ollama].Len() != n {
		t.Errorf("%+v, closed %d times", job, closed)
	}
}
