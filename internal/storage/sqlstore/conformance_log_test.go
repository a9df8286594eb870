package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// logEntry is a request that one key answered.
func logEntry(id string, p gateway.ProviderName) gateway.LogEntry {
	return gateway.LogEntry{
		ID: id, Provider: p, Model: "kimi-k2", Path: "/v1/chat/completions", TokenHash: gateway.HashToken("sk-fake"), TokenName: "ci",
		Status: 200, StartedAt: noon, Duration: 1500 * time.Millisecond,
		Trail: []gateway.TrailStep{{Key: "00000000000000aa", Status: 200, OK: true, Duration: time.Second}},
	}
}

// retried is a request that failed after two attempts, with every field set.
func retried(id string) gateway.LogEntry {
	e := logEntry(id, gateway.Ollama)
	e.UpstreamRequestID, e.Client, e.Agent = "up-1", netip.MustParseAddr("2001:db8::7"), `curl/8 "quoted" <ü>`
	e.Status, e.End, e.Error, e.Stream, e.Cache, e.Sent = 502, gateway.EndCut, "quota: hourly", true, "MISS", 1234
	e.Usage = gateway.Usage{Input: 10, Output: 20, Cost: 5 * gateway.CostUnit}
	e.FirstByte = 250 * time.Microsecond
	e.Trail = []gateway.TrailStep{
		{
			Key: "00000000000000aa", Status: 429, Scope: gateway.ScopeAccount, Action: gateway.ActionRest, Next: gateway.NextKey,
			Reason: "quota: hourly", Until: noon.Add(time.Hour), Duration: 40 * time.Millisecond,
		},
		{
			Key: "00000000000000bb", Scope: gateway.ScopeUnknown, Action: gateway.ActionStrike, Next: gateway.NextStop,
			Reason: "broke off", Began: 41 * time.Millisecond, Duration: time.Second,
		},
	}
	return e
}

func logged(t *testing.T, s *Store, entries ...gateway.LogEntry) {
	t.Helper()
	apply(t, s, gateway.Delta{Provider: gateway.Ollama, Log: entries})
}

func requestsOf(t *testing.T, s *Store, q gateway.LogQuery) (ids string, page gateway.LogPage) {
	t.Helper()
	page, err := s.Requests(t.Context(), q)
	if err != nil {
		t.Fatalf("Requests(%+v): %v", q, err)
	}
	var names []string
	for i := range page.Entries {
		names = append(names, page.Entries[i].ID)
	}
	return strings.Join(names, " "), page
}

func conformLogRoundTrip(t *testing.T, open openStore) {
	s := open(Options{})
	_, none := requestsOf(t, s, gateway.LogQuery{})
	wantEqual(t, "a page of an empty log", none, gateway.LogPage{})
	full, plain := retried("r-full"), logEntry("r-plain", gateway.OpenRouter)
	bare := gateway.LogEntry{ID: "r-bare", StartedAt: noon}
	logged(t, s, full, plain, bare)
	bare.Provider = gateway.Ollama // the delta's
	_, page := requestsOf(t, s, gateway.LogQuery{})
	wantEqual(t, "the page", page.Entries, []gateway.LogEntry{bare, plain, full})
	for _, want := range []gateway.LogEntry{full, plain, bare} {
		got, found, err := s.Request(t.Context(), want.ID)
		if err != nil || !found {
			t.Fatalf("Request(%s) = %v, %v", want.ID, found, err)
		}
		wantEqual(t, want.ID, got, want)
	}
	if _, found, err := s.Request(t.Context(), "r-none"); found || err != nil {
		t.Errorf("a request that never was: %v, %v", found, err)
	}
	twice := logEntry("r-full", gateway.Ollama)
	twice.Model = "chosen again"
	logged(t, s, twice)
	if got, _, err := s.Request(t.Context(), "r-full"); err != nil || got.Model != "chosen again" {
		t.Errorf("of two requests with one id %q is given, %v; want the newest", got.Model, err)
	}
	odd := retried("r-odd\x00\xff")
	odd.Model, odd.Agent, odd.Error = "';drop\x00", "\xff\x00agent", strings.Repeat("long ", 1000)
	logged(t, s, odd)
	got, found, err := s.Request(t.Context(), "r-odd\x00\xff")
	if err != nil || !found || got.Model != "';drop" || got.Error != odd.Error {
		t.Errorf("hostile text came back as %+v, %v", got, err)
	}
}

func conformLogFilters(t *testing.T, open openStore) {
	s := open(Options{})
	slow, other, aborted := logEntry("slow", gateway.Ollama), logEntry("other", gateway.OpenRouter), logEntry("aborted", gateway.Ollama)
	slow.Duration = time.Minute
	other.Model, other.TokenHash, other.Trail[0].Key = "llama", gateway.HashToken("sk-fake-other"), "00000000000000cc"
	aborted.End, aborted.Status = gateway.EndClientClosed, 0
	logged(t, s, logEntry("ok", gateway.Ollama), retried("failed"), slow)
	apply(t, s, gateway.Delta{Provider: gateway.OpenRouter, Log: []gateway.LogEntry{other, aborted}})
	for _, c := range []struct {
		q    gateway.LogQuery
		want string
	}{
		{gateway.LogQuery{}, "aborted other slow failed ok"},
		{gateway.LogQuery{Provider: gateway.OpenRouter}, "other"},
		{gateway.LogQuery{Failed: true}, "failed"},
		{gateway.LogQuery{Retried: true}, "failed"},
		{gateway.LogQuery{Slow: 2 * time.Second}, "slow"},
		{gateway.LogQuery{Model: "llama"}, "other"},
		{gateway.LogQuery{Model: "%"}, ""},
		{gateway.LogQuery{Token: gateway.HashToken("sk-fake-other")}, "other"},
		{gateway.LogQuery{Key: "00000000000000AA"}, "aborted slow failed ok"},
		{gateway.LogQuery{Key: "00000000000000bb"}, "failed"},
		{gateway.LogQuery{Key: "00000000000000b"}, ""},
		{gateway.LogQuery{Key: "%"}, ""},
		{gateway.LogQuery{Key: "_000000000000aa"}, ""},
		{gateway.LogQuery{Status: 200, Provider: gateway.Ollama}, "slow ok"},
		{gateway.LogQuery{Failed: true, Model: "llama"}, ""},
	} {
		if got, _ := requestsOf(t, s, c.q); got != c.want {
			t.Errorf("%+v: got %q, want %q", c.q, got, c.want)
		}
	}
	for what, q := range map[string]gateway.LogQuery{
		"provider": {Provider: "nowhere"}, "negative limit": {Limit: -1}, "large limit": {Limit: 201},
		"cursor": {Before: "c1x!"}, "number": {Before: "12"}, "other form": {After: "c0001"}, "too large": {After: "c" + strings.Repeat("z", 20)},
		"hostile": {After: "c1 or 1=1"}, "negative": {After: "c-1"},
	} {
		_, err := s.Requests(t.Context(), q)
		wantKind(t, what, err, gateway.KindInvalid)
	}
}

func conformLogPages(t *testing.T, open openStore) {
	s := open(Options{})
	write := func(from, to int) {
		var entries []gateway.LogEntry
		for n := from; n < to; n++ {
			e := logEntry(fmt.Sprint(n), gateway.Ollama)
			if n%2 == 1 {
				e.Status = 500
			}
			entries = append(entries, e)
		}
		logged(t, s, entries...)
	}
	write(0, 250)
	var walked []string
	q := gateway.LogQuery{Failed: true, Limit: 40}
	newest := ""
	for pages := 0; ; pages++ {
		ids, page := requestsOf(t, s, q)
		walked = append(walked, strings.Fields(ids)...)
		if newest == "" {
			newest = page.Newest
			write(250, 260) // what comes meanwhile does not move the pages
		}
		if page.Next == "" || pages > 9 {
			break
		}
		q.Before = page.Next
	}
	var want []string
	for n := 249; n > 0; n -= 2 {
		want = append(want, fmt.Sprint(n))
	}
	if !slices.Equal(walked, want) {
		t.Errorf("walking the pages gave %q", walked)
	}
	ids, page := requestsOf(t, s, gateway.LogQuery{Failed: true, After: newest})
	if ids != "259 257 255 253 251" || page.Next != "" {
		t.Errorf("newer ones: %q, next %q", ids, page.Next)
	}
	ids, again := requestsOf(t, s, gateway.LogQuery{Failed: true, After: page.Newest})
	if ids != "" || again.Newest != page.Newest {
		t.Errorf("nothing newer: %q, %q; want the cursor %q again", ids, again.Newest, page.Newest)
	}
	if ids, page = requestsOf(t, s, gateway.LogQuery{}); len(strings.Fields(ids)) != logPage || page.Next == "" {
		t.Errorf("a page without a limit: %q", ids)
	}
	// A cursor outlives everything that was there when it was given.
	if err := s.PruneRequests(t.Context(), noon.Add(time.Hour), 0); err != nil {
		t.Fatal(err)
	}
	write(300, 301)
	if ids, _ = requestsOf(t, s, gateway.LogQuery{After: page.Newest}); ids != "300" {
		t.Errorf("after an emptied log: %q, want the new one", ids)
	}
}

func conformLogPrune(t *testing.T, open openStore) {
	s := open(Options{})
	const n = 2*pruneRows + 10
	var entries []gateway.LogEntry
	for i := range n {
		e := logEntry(fmt.Sprintf("r-%06d", i), gateway.Ollama)
		e.StartedAt = noon.Add(time.Duration(i) * time.Second)
		entries = append(entries, e)
	}
	logged(t, s, entries...)
	figures := func() gateway.LogFigures {
		t.Helper()
		f, err := s.LogFigures(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	before := figures()
	if before.Entries != n || before.Bytes < n*100 || !before.Oldest.Equal(noon) {
		t.Fatalf("figures %+v", before)
	}
	each := before.Bytes / n
	if err := s.PruneRequests(t.Context(), noon.Add(time.Second), 0); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "pruned by age", figures(), gateway.LogFigures{Entries: n - 1, Bytes: before.Bytes - each, Oldest: noon.Add(time.Second)})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.PruneRequests(ctx, noon, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled pruning gave %v", err)
	}
	if err := s.PruneRequests(t.Context(), time.Time{}, 20*each+1); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "pruned by bytes", figures(), gateway.LogFigures{Entries: 20, Bytes: 20 * each, Oldest: noon.Add((n - 20) * time.Second)})
	if err := s.PruneRequests(t.Context(), time.Time{}, 20*each); err != nil || figures().Entries != 20 {
		t.Errorf("pruning what fits: %+v, %v", figures(), err)
	}
	if err := s.PruneRequests(t.Context(), noon.Add(n*time.Second), 1); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "an emptied log", figures(), gateway.LogFigures{})
}

func conformLogConcurrency(t *testing.T, open openStore) {
	a, b := open(Options{}), open(Options{})
	var wg sync.WaitGroup
	const rounds, each = 10, 30
	for w, s := range []*Store{a, b} {
		wg.Go(func() {
			for round := range rounds {
				var entries []gateway.LogEntry
				for i := range each {
					entries = append(entries, logEntry(fmt.Sprintf("%d-%d-%d", w, round, i), gateway.Ollama))
				}
				if err := s.Apply(t.Context(), []gateway.Delta{{Provider: gateway.Ollama, Log: entries}}); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() { // follows the log and misses nothing
			seen, after := map[string]bool{}, ""
			for len(seen) < 2*rounds*each && t.Context().Err() == nil {
				var newest string
				for q := (gateway.LogQuery{After: after, Limit: 7}); ; {
					page, err := s.Requests(t.Context(), q)
					if err != nil {
						t.Error(err)
						return
					}
					if newest == "" {
						newest = page.Newest
					}
					for i := range page.Entries {
						seen[page.Entries[i].ID] = true
					}
					if page.Next == "" {
						break
					}
					q.Before = page.Next
				}
				after = newest
			}
		})
	}
	wg.Wait()
}

func TestDamagedLogEntry(t *testing.T) {
	s := mustOpen(t, Options{Path: filepath.Join(t.TempDir(), "pool.db")})
	logged(t, s, retried("r-1"), retried("r-2"))
	if _, err := s.writer.ExecContext(t.Context(), `update pool_requests set entry = '{"t":[' where request_id = 'r-1'`); err != nil {
		t.Fatal(err)
	}
	page, err := s.Requests(t.Context(), gateway.LogQuery{})
	if err != nil || len(page.Entries) != 2 {
		t.Fatal(page, err)
	}
	bad := page.Entries[1]
	if bad.ID != "r-1" || bad.Status != 502 || !strings.Contains(bad.Error, "cannot be read") || len(page.Entries[0].Trail) != 2 {
		t.Errorf("a damaged entry makes %+v", page.Entries)
	}
}

func FuzzLogText(f *testing.F) {
	e := retried("r")
	f.Add(encodeEntry(&e))
	f.Add(`{"t":[{"c":255,"a":77,"n":9}],"e":200}`)
	f.Add(`{"c":"fe80::1%eth0"}`)
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		var e gateway.LogEntry
		decodeEntry(text, &e)
		_ = e.End.String()
		for _, st := range e.Trail {
			_ = st.Scope.String() + st.Action.String() + st.Next.String()
		}
		var again gateway.LogEntry
		decodeEntry(encodeEntry(&e), &again)
		if again.Path != e.Path || len(again.Trail) != len(e.Trail) || again.End != e.End || again.Usage != e.Usage {
			t.Errorf("read %+v, then %+v", e, again)
		}
	})
}
