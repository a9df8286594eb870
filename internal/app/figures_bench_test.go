package app_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"ollama-api-pool/internal/app"
	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/sqlstore"
)

// The size at which the figures are measured: a pool of which a third is out,
// and what a million requests a month leave behind.
const (
	manyKeys   = 100_000
	manyModels = 60
	manyTokens = 60
	manyDays   = 60
	manyLogged = 40_000
)

func manySecret(i int) gateway.Secret {
	return gateway.Secret(fmt.Sprintf("fake-key-of-the-bench-%06d", i))
}

func manyID(i int) gateway.KeyID { return gateway.IDOfKey(manySecret(i % manyKeys)) }

// busyDir makes a data directory of that size.
func busyDir(b *testing.B, now time.Time) string {
	b.Helper()
	dir := b.TempDir()
	s, err := sqlstore.Open(b.Context(), sqlstore.Options{Path: app.StorePath(dir)})
	if err != nil {
		b.Fatal(err)
	}
	_, _, err = s.AddKeys(b.Context(), gateway.Ollama, func(yield func(gateway.Key, error) bool) {
		for i := range manyKeys {
			k := gateway.Key{Secret: manySecret(i), Username: fmt.Sprintf("user-%d@fake.example", i/4), CreatedAt: now}
			if i%50 == 0 {
				k.ExpiresAt = now.Add(time.Duration(i%1000-500) * time.Hour)
			}
			if !yield(k, nil) {
				return
			}
		}
	}, nil)
	if err != nil {
		b.Fatal(err)
	}
	apply := func(d gateway.Delta) {
		if err := s.Apply(b.Context(), []gateway.Delta{d}); err != nil {
			b.Fatal(err)
		}
	}
	apply(busyKeys(now))
	for h := range manyDays * 24 {
		apply(busyMinute(now.Add(-time.Duration(h) * time.Hour)))
	}
	for m := range 120 {
		apply(busyMinute(now.Add(-time.Duration(m) * time.Minute)))
	}
	for i := 0; i < manyLogged; i += 1000 {
		d := gateway.Delta{Provider: gateway.Ollama}
		for j := range 1000 {
			d.Log = append(d.Log, busyEntry(i+j, now.Add(time.Duration(i+j-manyLogged)*time.Second)))
		}
		apply(d)
	}
	if err := errors.Join(s.Fold(b.Context()), s.Close()); err != nil {
		b.Fatal(err)
	}
	return dir
}

func busyTally(n int64) gateway.Tally {
	t := gateway.Tally{Attempts: n, Counts: gateway.Counts{Requests: n, Success: n, Usage: gateway.Usage{Input: 900 * n, Output: 300 * n}}}
	t.Duration.Observe(1700*time.Millisecond, n)
	t.FirstByte.Observe(400*time.Millisecond, n)
	return t
}

// busyMinute has every model and every token be used.
func busyMinute(at time.Time) gateway.Delta {
	at = at.UTC().Truncate(time.Minute)
	d := gateway.Delta{Provider: gateway.Ollama, Tallies: []gateway.TallyDelta{{Of: gateway.OfProvider, Minute: at, Tally: busyTally(23 * manyModels)}}}
	for i := range manyModels {
		d.Tallies = append(d.Tallies, gateway.TallyDelta{Of: gateway.OfModel, Name: fmt.Sprintf("fake-model-%d:120b", i), Minute: at, Tally: busyTally(23)})
	}
	for i := range manyTokens {
		d.Tallies = append(d.Tallies, gateway.TallyDelta{Of: gateway.OfToken, Name: gateway.HashToken(gateway.Secret(fmt.Sprint(i))), Minute: at, Tally: busyTally(23)})
	}
	return d
}

// busyKeys has half of the keys be used and a third be out.
func busyKeys(now time.Time) gateway.Delta {
	d := gateway.Delta{Provider: gateway.Ollama}
	reasons := []string{"quota: hourly", "quota: session", "quota: weekly", "quota"}
	for i := range manyKeys {
		id := manyID(i)
		if i%2 == 0 {
			n := int64(i*7919%1000 + 1)
			d.Keys = append(d.Keys, gateway.KeyDelta{Key: id, Counts: gateway.KeyCounts{Total: n, Success: n, LastUsed: now}})
			d.Tallies = append(d.Tallies, gateway.TallyDelta{Of: gateway.OfKey, Name: string(id), Tally: busyTally(n)})
		}
		switch {
		case i%4 == 0:
			d.States = append(d.States, gateway.StateChange{Key: id, State: gateway.KeyState{
				RestsUntil: now.Add(time.Duration(i%3000+10) * time.Minute), LastError: reasons[i/4%4],
			}})
		case i%13 == 0:
			d.States = append(d.States, gateway.StateChange{Key: id, State: gateway.KeyState{FailedUntil: now.Add(time.Hour), LastError: "401 unauthorized"}})
		}
	}
	return d
}

func busyEntry(i int, at time.Time) gateway.LogEntry {
	step := gateway.TrailStep{Key: manyID(i), Status: 502, Scope: gateway.ScopeProvider, Action: gateway.ActionStrike, Next: gateway.NextAfterPause, Reason: "upstream fault"}
	return gateway.LogEntry{
		ID: fmt.Sprintf("req-%d", i), Provider: gateway.Ollama, Model: fmt.Sprintf("fake-model-%d:120b", i%manyModels), Path: "/v1/chat/completions",
		TokenHash: gateway.HashToken("fake"), TokenName: "team", Agent: "openai-python 2.6", Status: 200 + i%2*302, StartedAt: at,
		Duration: time.Duration(i%20) * time.Second, Error: "upstream fault", Trail: []gateway.TrailStep{step, step},
	}
}

// BenchmarkFigures measures every call about figures, over HTTP.
func BenchmarkFigures(b *testing.B) {
	cfg, _, err := config.Load([]string{"LISTEN_ADDR=127.0.0.1:0", "DATA_DIR=" + busyDir(b, time.Now()), "ADMIN_TOKEN=" + adminToken}, "")
	if err != nil {
		b.Fatal(err)
	}
	a, err := app.Start(b.Context(), cfg, app.Deps{Log: slog.New(slog.DiscardHandler), Version: "1.2.3"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = a.Stop(context.WithoutCancel(b.Context())) })
	for _, address := range []string{
		"/admin/stats",
		"/admin/overview?range=1h", "/admin/overview?range=24h", "/admin/overview?range=7d", "/admin/overview?range=30d", "/admin/overview?range=30d&tz=Asia/Kolkata",
		"/admin/analytics", "/admin/analytics?range=7d", "/admin/analytics?range=30d", "/admin/analytics?range=30d&tz=Asia/Shanghai",
		"/admin/analytics/models", "/admin/analytics/models?range=30d&sort=-duration.p95&tz=Asia/Shanghai",
		"/admin/analytics/tokens", "/admin/analytics/tokens?range=7d&sort=-firstByte.p95",
		"/admin/analytics/keys", "/admin/analytics/keys?sort=-failure&page=100&pageSize=200", "/admin/analytics/keys?page=450&pageSize=200",
		"/admin/public-stats",
		"/admin/requests", "/admin/requests?status=retried&limit=200", "/admin/requests?key=" + string(manyID(77)), "/admin/requests/req-20000",
		"/metrics",
	} {
		b.Run(address, func(b *testing.B) {
			for b.Loop() {
				fetch(b, a.URL()+address)
			}
		})
	}
}

func fetch(b *testing.B, address string) {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+adminToken)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK {
		b.Fatal(res.StatusCode, err, string(body))
	}
}
