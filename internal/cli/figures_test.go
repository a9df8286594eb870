package cli

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/simulator"
)

// What clients asked for is told while the instance runs and after it stopped.
func TestFigures(t *testing.T) {
	p := stopped(t).with(append(upstreamEnv(simulated(t)), "REQUEST_LOG=all")...)
	p.ok(t, samples(gateway.Ollama), "keys", "import", "-")
	url, stop := startAndStop(t, p)
	token := p.makeToken(t)
	for range 30 {
		if status := chat(t, url, token, "gpt-oss:20b"); status != 200 {
			t.Fatalf("status %d", status)
		}
	}
	if status := chat(t, url, token, "no-such-model"); status != 404 {
		t.Fatalf("status %d", status)
	}
	revoked := string(gateway.IDOfKey(sampleOf(t, simulator.FateRevoked)))
	var said strings.Builder
	ok := func(args ...string) string {
		t.Helper()
		r := p.ok(t, "", args...)
		said.WriteString(r.out + r.err)
		return r.out
	}
	look := func(t *testing.T) {
		stats := ok("stats")
		wantAll(t, stats, "All, the last 24h\n\n  requests    31: 30 good, 1 failed (96.77% good)\n  attempts    ", "  took        half within ",
			"  ollama      ", ": 20 keys, ", "  openrouter  empty: 0 keys", "MODEL", "gpt-oss:20b  ollama    30        96.8%  100.00%")
		o := fromJSON[overview](t, ok("stats", "--provider", "ollama", "--range", "1h", "--json"))
		if o.Provider != "ollama" || o.Range.Name != "1h" || o.Figures.Requests != 31 || o.Figures.Failure != 1 || o.Figures.TokensOut == 0 ||
			o.Figures.Duration == nil || len(o.TopModels) != 1 || o.States.Total != 20 || len(o.Providers) != 1 {
			t.Errorf("%+v", o)
		}
		wantAll(t, ok("stats", "--provider", "openrouter"), "Openrouter, the last 24h", "requests    none\n\n  openrouter  empty")

		all := fromJSON[requestPage](t, ok("requests", "--json"))
		if len(all.Requests) != 31 || all.Log.Mode != "all" || all.Log.Entries != 31 {
			t.Fatalf("%d requests, %+v", len(all.Requests), all.Log)
		}
		wantAll(t, ok("requests"), "WHEN", "gpt-oss:20b", "  app  ", "no-such-model")
		failed := fromJSON[requestPage](t, ok("requests", "--failed", "--json"))
		if len(failed.Requests) != 1 || failed.Requests[0].Model != "no-such-model" || failed.Requests[0].Status != 404 {
			t.Errorf("%+v", failed)
		}
		for _, args := range []string{"--status 404", "--model no-such-model", "--failed --token " + idOfToken(token), "--failed --token " + token} {
			got := fromJSON[requestPage](t, ok(append([]string{"requests", "--json"}, strings.Fields(args)...)...))
			if len(got.Requests) != 1 || got.Requests[0].ID != failed.Requests[0].ID {
				t.Errorf("%s: %+v", args, got)
			}
		}
		retried := fromJSON[requestPage](t, ok("requests", "--retried", "--json", "--key", revoked))
		if len(retried.Requests) == 0 || retried.Requests[0].Attempts < 2 {
			t.Fatalf("%+v", retried)
		}
		if got := fromJSON[requestPage](t, ok("requests", "--limit", "7", "--json")); len(got.Requests) != 7 || got.Requests[6].ID != all.Requests[6].ID {
			t.Errorf("%+v", got)
		}
		wantText(t, "none", ok("requests", "--status", "500"), "No request matches; the log holds 31 (REQUEST_LOG=all).\n")
		wantText(t, "none of another", ok("requests", "--provider", "openrouter"), "No request matches; the log holds 31 (REQUEST_LOG=all).\n")

		shown := ok("requests", "show", retried.Requests[0].ID)
		wantAll(t, shown, "Request "+retried.Requests[0].ID+"\n", "  address     /v1/chat/completions\n", "  model       gpt-oss:20b\n", " app\n", "  status      200\n",
			"\nAttempt 1, after ", "key "+revoked+" demo-o…", "  status      401 after ", "  fault       key", "\nAttempt 2, after ", "  status      200 after ", "  done        served\n")
		e := fromJSON[requestEntry](t, ok("requests", "show", retried.Requests[0].ID, "--json"))
		if len(e.Steps) != e.Attempts || !e.Steps[e.Attempts-1].OK || e.Token.Name != "app" || time.Since(e.At) > time.Hour {
			t.Errorf("%+v", e)
		}
		p.fails(t, exitPart, "no such request in the log", "", "requests", "show", "0000")
		wantAll(t, ok("keys", "show", revoked), "The upstream refused it", "refused", "gpt-oss:20b", retried.Requests[0].ID+" #1")
	}
	t.Run("running", look)
	stop()
	t.Run("stopped", look)
	wantNone(t, said.String(), token, "demo-ollama", "Hello")
}

// More requests than one answer of the API holds are gathered.
func TestManyRequests(t *testing.T) {
	const n = 2*largestPage + 5
	p := serverWith(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		begin, _ := strconv.Atoi(q.Get("before"))
		limit, _ := strconv.Atoi(q.Get("limit"))
		if limit < 1 || limit > largestPage || q.Get("provider") != "all" || q.Get("status") != "failed" || r.URL.Path != "/admin/requests" {
			t.Errorf("asked for %s", r.URL)
		}
		next := "null"
		if begin+limit < n {
			next = strconv.Quote(strconv.Itoa(begin + limit))
		}
		var rows []string
		for i := range min(limit, n-begin) {
			rows = append(rows, fmt.Sprintf(`{"id":"r%d"}`, begin+i))
		}
		_, _ = fmt.Fprintf(w, `{"requests":[%s],"next":%s,"log":{"entries":%d}}`, strings.Join(rows, ","), next, n)
	})
	for limit, want := range map[int]int{1: 1, largestPage: largestPage, 203: 203, 1000: n} {
		got := fromJSON[requestPage](t, p.ok(t, "", "requests", "--failed", "--json", "--limit", fmt.Sprint(limit)).out)
		if len(got.Requests) != want || got.Log.Entries != n || got.Requests[want-1].ID != fmt.Sprintf("r%d", want-1) {
			t.Errorf("limit %d: %d requests", limit, len(got.Requests))
		}
	}
}

func TestFiguresUsage(t *testing.T) {
	p := emptied(t)
	for _, c := range [][2]string{
		{"stats --range 2h", `unknown span "2h"`},
		{"stats --provider mistral", "unknown provider"},
		{"stats x", "unknown command or argument"},
		{"requests x", "unknown command"},
		{"requests --failed --retried", "choose one of"},
		{"requests --failed --status 500", "choose one of"},
		{"requests --status foo", `invalid argument "foo" for "--status" flag: it must be a whole number` + "\n"},
		{"requests --failed=foo", `invalid argument "foo" for "--failed" flag: it must be true or false` + "\n"},
		{"requests --status 0", "--status must be from 100 to 599"},
		{"requests --limit 0", "--limit must be from 1 to"},
		{"requests --provider mistral", "unknown provider"},
		{"requests show", "ID is missing"},
		{"jobs list --kind x", `unknown kind "x"`},
		{"jobs list --limit 0", "--limit must be from 1 to 200"},
		{"jobs list --page 0", "--page must be from 1 on"},
		{"jobs show", "ID is missing"},
		{"jobs show a --bad --json", "leave out --json"},
		{"jobs x", "unknown command"},
	} {
		p.fails(t, exitUsage, c[1], "", strings.Fields(c[0])...)
	}
	wantText(t, "no job", p.ok(t, "", "jobs", "list").out, "There is no job yet: checks and imports are listed here.\n")
	wantText(t, "no check", p.ok(t, "", "jobs", "list", "--kind", "check").out, "There is no such job.\n")
	wantText(t, "no request", p.ok(t, "", "requests").out, "The request log is empty: it takes requests that failed or needed several attempts (REQUEST_LOG=failures).\n")
}

func TestTook(t *testing.T) {
	for want, ms := range map[string]float64{"0ms": 0, "12ms": 12.4, "1.0s": 1000, "59.9s": 59_900, "1m": 60_000, "1h30m": 5_400_000} {
		wantText(t, "took", took(ms), want)
	}
}
