package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"ollama-api-pool/internal/testkit"
)

var clientToken = regexp.MustCompile(`client token  (sk-\w+)`)

// TestDemo follows what the demo prints, and looks at its past: nobody else asks.
func TestDemo(t *testing.T) {
	t.Parallel()
	i := newDemo(t, "--listen", "127.0.0.1:0", "--traffic=false")
	i.Path = quickProgram(t) // a month is much to count; TestDemoIsAlive looks for races
	// What the environment says belongs to the real one.
	if err := os.MkdirAll(i.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	i.Start()
	t.Run("past", func(t *testing.T) { demoPast(t, i) })
	lines := pasted(i.Out.String())
	if len(lines) < 4 {
		t.Fatalf("%d curl lines in\n%s", len(lines), i.Out.String())
	}
	wants := []string{simulated, "data: [DONE]", `"object":"list"`, `"api_keys":[`}
	for n, line := range lines[:4] {
		if got := i.Shell(line).works(t); !strings.Contains(got.Out, wants[n]) {
			t.Fatalf("%s\ngives %s%s", line, got.Out, got.Err)
		}
	}
	token := found(clientToken, i.Out.String())
	short := map[string]any{"model": ollamaFace.chat, "prompt": "Hello", "max_tokens": 1}
	before := demoStates(t, i)
	for n := range 30 { // the keys that came by hand have their turn, with all that can become of one
		status, answer, err := do(t.Context(), "POST", i.URL()+"/v1/completions", token, short)
		if err != nil || status != 200 {
			t.Errorf("call %d: %d %s %v", n, status, answer, err)
		}
	}
	if after := demoStates(t, i); after["failed"] == before["failed"] {
		t.Errorf("no key was refused: %v, then %v", before, after)
	}
	endDemo(t, i)
	testkit.MustNotContain(t, i.Err.String(), token, i.AdminToken()) // on its output they stand on purpose
}

// demoPast expects that every page has something to show.
func demoPast(t *testing.T, i *Instance) {
	for _, span := range []string{"1h", "24h", "7d", "30d"} {
		var over struct {
			Figures   struct{ Requests, Success, Failure int64 }
			States    map[string]int
			Series    []struct{ Requests int64 }
			Attention []struct{ Kind string }
			TopModels []struct{ Model string }
			Rests     []struct{ Keys int }
			Tokens    struct{ Total int }
		}
		demoAsk(t, i, "/admin/overview?range="+span, &over)
		busy := 0
		for _, p := range over.Series {
			if p.Requests > 0 {
				busy++
			}
		}
		// The last points have only begun.
		if over.Figures.Success == 0 || over.Figures.Failure == 0 || busy < len(over.Series)-3 {
			t.Errorf("%s: %+v, requests in %d of %d points", span, over.Figures, busy, len(over.Series))
		}
		if len(over.Attention) < 3 || len(over.TopModels) != 8 || len(over.Rests) < 3 || over.Tokens.Total != 6 {
			t.Errorf("%s: attention %v, models %v, rests %v, %d tokens", span, over.Attention, over.TopModels, over.Rests, over.Tokens.Total)
		}
		for _, state := range []string{"active", "resting", "failed", "disabled", "expired"} {
			if over.States[state] == 0 {
				t.Errorf("no key is %s: %v", state, over.States)
			}
		}
		for _, of := range []string{"models", "keys", "tokens"} {
			var table map[string]any
			demoAsk(t, i, "/admin/analytics/"+of+"?range="+span, &table)
			if rows, _ := table[of].([]any); len(rows) < 4 {
				t.Errorf("%s by %s: %d rows", span, of, len(rows))
			}
		}
	}
	for _, which := range []string{"failed", "retried", "slow"} {
		var log struct {
			Requests []struct{ Attempts int }
		}
		demoAsk(t, i, "/admin/requests?limit=100&status="+which, &log)
		if len(log.Requests) < 10 || which == "retried" && log.Requests[0].Attempts < 2 {
			t.Errorf("%d %s requests", len(log.Requests), which)
		}
	}
	var jobs struct {
		Jobs []struct{ Kind, State string }
	}
	demoAsk(t, i, "/admin/jobs", &jobs)
	if said := fmt.Sprint(jobs.Jobs); !strings.Contains(said, "{import done}") || !strings.Contains(said, "{check done}") {
		t.Errorf("jobs: %s", said)
	}
	var public struct {
		HourlyTrend                []struct{ Requests int64 }
		TopModels, RecentTopModels []any
	}
	demoAsk(t, i, "/admin/public-stats", &public)
	if len(public.HourlyTrend) != 24 || public.HourlyTrend[0].Requests == 0 || len(public.TopModels) != 10 || len(public.RecentTopModels) != 3 {
		t.Errorf("the public figures: %+v", public)
	}
	demoKey(t, i)
}

// demoKey looks at the story of a key that rests.
func demoKey(t *testing.T, i *Instance) {
	var list struct {
		Keys []struct{ ID string } `json:"api_keys"`
	}
	demoAsk(t, i, "/admin/api-keys?status=resting", &list)
	if len(list.Keys) == 0 {
		t.Fatal("no key rests")
	}
	var story struct {
		Why    string
		Hours  []struct{ Total int64 }
		Events []struct{ What string }
	}
	demoAsk(t, i, "/admin/api-keys/"+list.Keys[0].ID, &story)
	var attempts int64
	for _, h := range story.Hours {
		attempts += h.Total
	}
	said := fmt.Sprint(story.Events)
	if attempts < 10 || !strings.Contains(said, "{added}") || !strings.Contains(said, "{rested}") || !strings.Contains(story.Why, "it returns by itself") {
		t.Errorf("its story: %+v", story)
	}
}

// TestDemoIsAlive watches the clients at work.
func TestDemoIsAlive(t *testing.T) {
	t.Parallel()
	i := newDemo(t, "--listen", "127.0.0.1:0", "--past=false", "--keys", "100")
	i.Start()
	var first, now struct {
		Total int64 `json:"total_requests"`
	}
	demoAsk(t, i, "/admin/stats", &first)
	await(t, "growing count of requests", func() bool {
		demoAsk(t, i, "/admin/stats", &now)
		return now.Total >= first.Total+5
	})
	var log struct {
		Requests []struct {
			ID    string
			Token struct{ Name string }
		}
	}
	demoAsk(t, i, "/admin/requests", &log)
	var entry struct{ Agent string }
	demoAsk(t, i, "/admin/requests/"+log.Requests[0].ID, &entry)
	if name := log.Requests[0].Token.Name; name == "" || !strings.HasSuffix(entry.Agent, " (simulated client "+name+")") {
		t.Errorf("%q asked as %q", name, entry.Agent)
	}
	endDemo(t, i)
	wantFiles(t, i.Home)
}

// demoAsk asks the admin API of a demo with the token that it shows.
func demoAsk(t *testing.T, i *Instance, path string, into any) {
	t.Helper()
	status, answer, err := do(t.Context(), "GET", i.URL()+path, i.AdminToken(), nil)
	if err == nil && status == 200 {
		err = json.Unmarshal(answer, into)
	}
	if err != nil || status != 200 {
		t.Fatalf("%s: %d %s %v", path, status, answer, err)
	}
}

func demoStates(t *testing.T, i *Instance) map[string]int {
	t.Helper()
	var over struct{ States map[string]int }
	demoAsk(t, i, "/admin/overview?provider=ollama", &over)
	return over.States
}

// endDemo ends a demo as Ctrl-C does, and expects that nothing is left.
func endDemo(t *testing.T, i *Instance) {
	t.Helper()
	i.Signal(syscall.SIGINT)
	if code := i.Wait(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, i.Log())
	}
	left, err := filepath.Glob(filepath.Join(i.Home, "ollama-api-pool-demo-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestDemoWithItsPortTaken starts the demo while its usual port is in use.
func TestDemoWithItsPortTaken(t *testing.T) {
	t.Parallel()
	const usual = "127.0.0.1:8787"
	var lc net.ListenConfig
	if l, err := lc.Listen(t.Context(), "tcp", usual); err == nil { // else it is taken already
		defer func() { _ = l.Close() }()
	}
	i := newDemo(t, "--past=false")
	i.Start()
	if strings.HasSuffix(i.URL(), usual) {
		t.Errorf("it says that it listens on %s", i.URL())
	}
	if status, answer, err := do(context.WithoutCancel(t.Context()), "GET", i.URL()+"/health", "", nil); err != nil || status != 200 {
		t.Errorf("health: %d %s %v", status, answer, err)
	}
	endDemo(t, i)
	wantFiles(t, i.Home)
}

func newDemo(t *testing.T, args ...string) *Instance {
	i := newInstance(t, "LISTEN_ADDR=") // as if it were not set
	i.Args = append([]string{"demo"}, args...)
	return i
}

// wantFiles expects exactly these names in a directory.
func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, want) {
		t.Errorf("in %s there is %v, want %v", filepath.Base(dir), got, want)
	}
}
