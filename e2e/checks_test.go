package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
)

type verdict struct {
	ID, APIKey, Outcome, Status, Error, Category, Model string
	Valid, Healthy                                      bool
	UpstreamStatus                                      int
}

type checkResult struct {
	Results                                             []verdict
	Healthy, Unhealthy, Inconclusive, Failed, Unchecked int
	Stopped, Job                                        string
}

type job struct {
	ID, Kind, State, Source, By string
	Total, Done, BadListed      int
	Counts, Categories          map[string]int
	Error                       string
	FinishedAt                  *string
}

type started struct{ Job job }

// checkedKey is the n-th key of a pool of which every tenth is bad, and of
// every twenty-fifth the upstream does not say what it is.
func checkedKey(n int) string {
	kind, family := "good", "kimi"
	switch {
	case n%10 == 4:
		kind = "bad"
	case n%25 == 3:
		kind = "odd"
	}
	if n%2 == 1 {
		family = "glm"
	}
	return fmt.Sprintf("%s%s-%s-%06d", checkMark, kind, family, n)
}

const checkMark = "fake-e2e-check-"

// kinds counts the keys of a range by what they are.
func kinds(from, to int) (good, bad, odd int) {
	for n := from; n < to; n++ {
		switch key := checkedKey(n); {
		case strings.Contains(key, "-bad-"):
			bad++
		case strings.Contains(key, "-odd-"):
			odd++
		default:
			good++
		}
	}
	return good, bad, odd
}

// checkedLines are import lines of a range of them, each of an account of its own.
func checkedLines(group string, from, to int) string {
	var b strings.Builder
	for n := from; n < to; n++ {
		fmt.Fprintf(&b, "%s%06d@example.invalid----%s%d----%s%d----%s\n", group, n, linePassword, n, lineSession, n, checkedKey(n))
	}
	return b.String()
}

const (
	textImport      = "/admin/api-keys/import-from-txt"
	validatedImport = "/admin/api-keys/import-with-validation"
	healthCheck     = "/admin/keys/health-check"
)

// checking is an instance with keys in front of an upstream that is only asked
// about them.
func checking(t *testing.T, settings ...string) (*checker, *Instance) {
	t.Helper()
	up := newChecker(t)
	i := newInstance(t, append(append(up.settings(), encryptionKey, "ADMIN_TOKEN=fake-admin-token-of-checks"), settings...)...)
	i.plantLines(checkMark)
	i.Start()
	return up, i
}

// TestChecks checks keys one by one, many at a time and before they are added,
// and loses nothing when the program ends meanwhile. None of it costs a token.
func TestChecks(t *testing.T) {
	t.Parallel()
	up, i := checking(t)
	want[imported](t, i, http.StatusOK, withText(textImport, checkedLines("many", 0, 1000)+checkedLines("rest", 1000, 1100)))
	verifies(t, i)
	health := checksByFilter(t, i, up)
	validated := importsValidated(t, i, up)
	cancels(t, i, up)
	interrupts(t, i, up)
	searchAnswers(t, i, map[string]string{"key": idOf(checkedKey(14)), "id": health})
	for _, id := range []string{"", "/" + validated, "/" + validated + "/bad"} {
		if got, err := i.Ask(t.Context(), call{method: "GET", path: "/admin/jobs" + id}); err != nil || got.Status != http.StatusOK {
			t.Errorf("%s: %d %v", id, got.Status, err)
		}
	}
	backs(t, i)
	i.Stop()
	searchFiles(t, i, false)
	if n := up.spent(); n != 0 {
		t.Errorf("%d requests would have cost tokens", n)
	}
	if up.questions() == 0 {
		t.Error("the upstream was asked nothing")
	}
}

// verifies checks a key of each kind.
func verifies(t *testing.T, i *Instance) {
	t.Helper()
	for n, w := range map[int]verdict{
		1000: {Outcome: "valid", Status: "active", Category: "kimi", UpstreamStatus: 400, Valid: true},
		1004: {Outcome: "refused", Status: "failed", UpstreamStatus: 401},
		1003: {Outcome: "inconclusive", Status: "active", UpstreamStatus: 429},
	} {
		for _, ref := range []string{idOf(checkedKey(n)), checkedKey(n)} {
			got := post[verdict](t, i, "/admin/verify-key", map[string]any{"apiKey": ref})
			if got.Valid != w.Valid || got.Outcome != w.Outcome || got.Status != w.Status || got.Category != w.Category ||
				got.UpstreamStatus != w.UpstreamStatus || (got.Error == "") != w.Valid || got.APIKey != gateway.MaskKey(gateway.Secret(checkedKey(n))) {
				t.Errorf("key %d: %+v", n, got)
			}
			if now := get[keyEntry](t, i, "/admin/api-keys/"+idOf(checkedKey(n))); now.Status != w.Status {
				t.Errorf("key %d is %s", n, now.Status)
			}
		}
	}
	want[any](t, i, http.StatusNotFound, withJSON("POST", "/admin/verify-key", map[string]any{"apiKey": "0123456789abcdef"}))
	want[any](t, i, http.StatusBadRequest, withJSON("POST", "/admin/verify-key", map[string]any{}))
}

// checksByFilter checks the keys that a filter chooses and follows the progress.
func checksByFilter(t *testing.T, i *Instance, up *checker) (jobID string) {
	t.Helper()
	before := i.Keys(gateway.Ollama)
	asked := up.questions()
	stream := events(t, i, withJSON("POST", healthCheck, map[string]any{"filter": map[string]any{"search": "many"}, "expect": 1000}))
	good, bad, odd := kinds(0, 1000)
	got := last[checkResult](t, stream)
	if len(got.Results) != 1000 || got.Healthy != good || got.Unhealthy != bad || got.Inconclusive != odd || got.Stopped != "" {
		t.Errorf("%d results, %d healthy, %d unhealthy, %d inconclusive, stopped: %q", len(got.Results), got.Healthy, got.Unhealthy, got.Inconclusive, got.Stopped)
	}
	done := -1
	for n, e := range stream[:len(stream)-1] {
		var p struct{ Done, Total, Healthy, Unhealthy, Inconclusive int }
		if err := json.Unmarshal(e.Data, &p); err != nil || e.Name != "progress" || p.Total != 1000 || p.Done < done || p.Healthy+p.Unhealthy+p.Inconclusive > p.Done {
			t.Errorf("event %d after %d: %s %s %v", n, done, e.Name, e.Data, err)
		}
		done = p.Done
	}
	if done != 1000 {
		t.Errorf("the last progress is %d", done)
	}
	after := i.Keys(gateway.Ollama)
	for n := range 1100 {
		id, want := idOf(checkedKey(n)), before[idOf(checkedKey(n))].Status
		if n < 1000 && strings.Contains(checkedKey(n), "-bad-") {
			want = "failed"
		}
		if after[id].Status != want {
			t.Errorf("key %d is %s, want %s", n, after[id].Status, want)
		}
	}
	if n := up.questions() - asked; n < 1000 || n > 1000+odd+bad {
		t.Errorf("%d questions for 1000 keys", n)
	}
	if got := get[keyList](t, i, "/admin/api-keys?category=kimi&status=active&search=many"); got.Total == 0 || got.Total > 500 {
		t.Errorf("%d keys of the family kimi", got.Total)
	}
	type table struct{ Total int }
	if got := get[table](t, i, "/admin/jobs?kind=check"); got.Total != 1 {
		t.Errorf("%d checks are listed", got.Total)
	}
	j := get[job](t, i, "/admin/jobs/"+got.Job)
	if j.State != "done" || j.Done != 1000 || j.Counts["healthy"] != good || j.BadListed != bad+odd || j.By != "api" {
		t.Errorf("the job: %+v", j)
	}
	return j.ID
}

type validated struct {
	Valid                                []struct{ ID, Key, Category, Model string }
	Invalid, Inconclusive                []struct{ Key, Error string }
	Total, Added, Existing, InvalidTotal int
	Categories                           map[string]int
	Job                                  string
	DryRun                               bool
	ToCheck                              *int
}

// importsValidated imports lines of every kind.
func importsValidated(t *testing.T, i *Instance, up *checker) (jobID string) {
	t.Helper()
	text := checkedLines("some", 1095, 1500) + "somebody@example.invalid----" + linePassword + "x----nothing else\n# nothing\n" +
		checkedLines("some", 1498, 1499) + "shorty\n"
	good, bad, odd := kinds(1100, 1500)
	count := func() int { return get[keyList](t, i, "/admin/api-keys?pageSize=1").Total }
	had, asked := count(), up.questions()
	got := want[validated](t, i, http.StatusOK, withText(validatedImport+"?dryRun=true", text))
	if !got.DryRun || got.ToCheck == nil || *got.ToCheck != 400 || got.InvalidTotal != 2 || got.Existing != 6 || count() != had || up.questions() != asked {
		t.Errorf("a dry run: %+v, %d keys, %d questions", got, count()-had, up.questions()-asked)
	}
	stream := events(t, i, withForm(validatedImport, "some.txt", text))
	got = last[validated](t, stream)
	if got.Total != 408 || got.Added != good || len(got.Valid) != good || got.Existing != 6 || len(got.Invalid) != bad+2 || got.InvalidTotal != bad+2 || len(got.Inconclusive) != odd {
		t.Errorf("%d lines, %d added, %d valid, %d existing, %d invalid, %d inconclusive", got.Total, got.Added, len(got.Valid), got.Existing, len(got.Invalid), len(got.Inconclusive))
	}
	families := map[string]int{}
	for _, k := range got.Valid {
		families[k.Category]++
	}
	if !maps.Equal(families, got.Categories) || families["kimi"]+families["glm"] != good || count() != had+good {
		t.Errorf("%v, told %v; %d keys are new", families, got.Categories, count()-had)
	}
	table, err := i.Ask(t.Context(), call{method: "GET", path: "/admin/jobs/" + got.Job + "/bad"})
	if lines := strings.Count(string(table.Body), "\n"); err != nil || lines != 1+bad+odd+2 {
		t.Errorf("the table of bad lines has %d, %v", lines, err)
	}
	again := want[validated](t, i, http.StatusOK, withText(validatedImport+"?includeInconclusive=true", text))
	if again.Added != odd || again.Existing != good+6 || len(again.Inconclusive) != odd {
		t.Errorf("again, with what nobody knows: %d added, %d existing, %d inconclusive", again.Added, again.Existing, len(again.Inconclusive))
	}
	return got.Job
}

// cancels begins jobs and cancels them half-way.
func cancels(t *testing.T, i *Instance, up *checker) {
	t.Helper()
	release := up.block(50)
	begun := want[started](t, i, http.StatusAccepted, withJSON("POST", healthCheck+"?async=true", map[string]any{"filter": map[string]any{"search": "many", "category": "glm"}})).Job
	await(t, "questions that wait", func() bool { return up.held() > 0 })
	want[any](t, i, http.StatusConflict, withJSON("POST", healthCheck, nil))
	want[any](t, i, http.StatusConflict, withText(validatedImport, checkedLines("none", 5000, 5001)))
	if j := get[job](t, i, "/admin/jobs/"+begun.ID); j.State != "running" || j.Total < 400 || j.Done > 60 || j.FinishedAt != nil {
		t.Errorf("the job that runs: %+v", j)
	}
	type cancelled struct{ Job job }
	if j := post[cancelled](t, i, "/admin/jobs/"+begun.ID+"/cancel", nil).Job; j.State != "cancelled" || j.Done >= j.Total || j.FinishedAt == nil {
		t.Errorf("the cancelled job: %+v", j)
	}
	want[any](t, i, http.StatusConflict, call{method: "POST", path: "/admin/jobs/" + begun.ID + "/cancel"})
	want[any](t, i, http.StatusNotFound, call{method: "POST", path: "/admin/jobs/0123456789abcdef/cancel"})
	release()
	// An import that is cancelled adds nothing.
	release = up.block(50)
	had := get[keyList](t, i, "/admin/api-keys?pageSize=1").Total
	begun = want[started](t, i, http.StatusAccepted, withText(validatedImport+"?async=true", checkedLines("none", 5000, 5200))).Job
	await(t, "questions that wait", func() bool { return up.held() > 0 })
	post[cancelled](t, i, "/admin/jobs/"+begun.ID+"/cancel", nil)
	release()
	if now := get[keyList](t, i, "/admin/api-keys?pageSize=1").Total; now != had {
		t.Errorf("a cancelled import added %d keys", now-had)
	}
}

// interrupts ends the program in the middle of jobs: in an orderly way, and not.
func interrupts(t *testing.T, i *Instance, up *checker) {
	t.Helper()
	had := get[keyList](t, i, "/admin/api-keys?pageSize=1").Total
	for name, end := range map[string]func(){"SIGTERM": i.Stop, "SIGKILL": i.Kill} {
		for _, c := range []call{
			withJSON("POST", healthCheck+"?async=true", map[string]any{"filter": map[string]any{"search": "many"}}),
			withText(validatedImport+"?async=true", checkedLines("none", 6000, 6300)),
		} {
			release := up.block(30)
			begun := want[started](t, i, http.StatusAccepted, c).Job
			await(t, "questions that wait", func() bool { return up.held() > 0 })
			end()
			release()
			i.Start()
			j := get[job](t, i, "/admin/jobs/"+begun.ID)
			if j.State != "interrupted" || j.FinishedAt == nil || j.Error == "" {
				t.Errorf("after %s: %+v", name, j)
			}
			if now := get[keyList](t, i, "/admin/api-keys?pageSize=1").Total; now != had {
				t.Errorf("after %s in the middle of %s there are %d more keys", name, begun.Kind, now-had)
			}
		}
	}
	left, err := filepath.Glob(filepath.Join(i.Data, "import-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	// What was interrupted keeps nobody from starting again.
	post[checkResult](t, i, healthCheck, map[string]any{"filter": map[string]any{"search": "rest"}})
}

// TestOutageChangesNoKey lets the upstream fail in the middle of a check, in
// several ways, and come back.
func TestOutageChangesNoKey(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]int{
		"out of order": http.StatusServiceUnavailable, "over quota": http.StatusTooManyRequests, "refuses everybody": http.StatusUnauthorized,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up, i := checking(t)
			var text strings.Builder
			for n := range 300 {
				fmt.Fprintf(&text, "user%06d----%sgood-kimi-%06d\n", n, checkMark, n)
			}
			want[imported](t, i, http.StatusOK, withText(textImport, text.String()))
			before := i.Keys(gateway.Ollama)
			up.setWeather(func(n int) int {
				if n > 100 {
					return status
				}
				return 0
			})
			go up.clearUp(t.Context(), 120)
			got := last[checkResult](t, events(t, i, withJSON("POST", healthCheck, nil)))
			if got.Healthy+got.Inconclusive != 300 || got.Unhealthy != 0 || got.Stopped != "" {
				t.Errorf("%d healthy, %d unhealthy, %d inconclusive, stopped: %q", got.Healthy, got.Unhealthy, got.Inconclusive, got.Stopped)
			}
			if got.Inconclusive > 32 {
				t.Errorf("of %d keys nobody knows more than before", got.Inconclusive)
			}
			sameKeys(t, before, i.Keys(gateway.Ollama))
			i.Restart()
			sameKeys(t, before, i.Keys(gateway.Ollama))
			i.Stop()
			if n := up.spent(); n != 0 {
				t.Errorf("%d requests would have cost tokens", n)
			}
		})
	}
}
