package admin

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// The size at which the figures are measured: a million requests of a month.
const (
	benchKeys   = 100_000
	benchModels = 60
	benchTokens = 60
	benchDays   = 60
)

// busyFigures is a scene with 100,000 keys, half of them used and a third out,
// and the rollups of a million requests a month.
func busyFigures(b *testing.B) *figuresScene {
	b.Helper()
	s := newFiguresScene(b)
	s.manyKeys(b)
	for h := range benchDays * 24 {
		s.apply(busyHour(s.clock.at.Add(-time.Duration(h) * time.Hour)))
	}
	for m := range 120 {
		s.apply(busyHour(s.clock.at.Add(-time.Duration(m) * time.Minute)))
	}
	var d gateway.Delta
	d.Provider = gateway.Ollama
	for i := range 40_000 {
		d.Log = append(d.Log, failedEntry(i, s.clock.at.Add(-time.Duration(40_000-i)*time.Second)))
		if len(d.Log) == 1000 {
			s.apply(d)
			d.Log = nil
		}
	}
	return s
}

func busyHour(at time.Time) gateway.Delta {
	minute := at.Truncate(time.Minute)
	t := tallied(24, 1, 1700*time.Millisecond, 400*time.Millisecond)
	all := gateway.Tally{}
	d := gateway.Delta{Provider: gateway.Ollama}
	for i := range benchModels {
		all.Add(&t)
		d.Tallies = append(d.Tallies, gateway.TallyDelta{Of: gateway.OfModel, Name: fmt.Sprintf("fake-model-%d:120b", i), Minute: minute, Tally: t})
	}
	for i := range benchTokens {
		d.Tallies = append(d.Tallies, gateway.TallyDelta{Of: gateway.OfToken, Name: gateway.HashToken(gateway.Secret(fmt.Sprint(i))), Minute: minute, Tally: t})
	}
	d.Tallies = append(d.Tallies, gateway.TallyDelta{Of: gateway.OfProvider, Minute: minute, Tally: all})
	return d
}

func failedEntry(i int, at time.Time) gateway.LogEntry {
	return gateway.LogEntry{
		ID: fmt.Sprintf("req-%d", i), Provider: gateway.Ollama, Model: fmt.Sprintf("fake-model-%d:120b", i%60), Path: "/v1/chat/completions",
		TokenHash: gateway.HashToken("fake"), TokenName: "team", Agent: "openai-python 2.6", Status: 200 + i%2*302, StartedAt: at,
		Duration: time.Duration(i%20) * time.Second, Error: "upstream fault",
		Trail: []gateway.TrailStep{
			{Key: benchKey(i), Status: 502, Scope: gateway.ScopeProvider, Action: gateway.ActionStrike, Next: gateway.NextAfterPause, Reason: "upstream fault"},
			{Key: benchKey(i + 1), Status: 502, Scope: gateway.ScopeProvider, Action: gateway.ActionStrike, Reason: "upstream fault"},
		},
	}
}

func benchSecret(i int) gateway.Secret {
	return gateway.Secret(fmt.Sprintf("fake-key-of-the-bench-%06d", i))
}

func benchKey(i int) gateway.KeyID { return gateway.IDOfKey(benchSecret(i % benchKeys)) }

// manyKeys adds the keys.
func (s *figuresScene) manyKeys(b *testing.B) {
	b.Helper()
	_, _, err := s.store.AddKeys(s.Context(), gateway.Ollama, func(yield func(gateway.Key, error) bool) {
		for i := range benchKeys {
			k := gateway.Key{Secret: benchSecret(i), Username: fmt.Sprintf("user-%d@fake.example", i/4), CreatedAt: s.clock.at}
			if i%50 == 0 {
				k.ExpiresAt = s.clock.at.Add(time.Duration(i%1000-500) * time.Hour)
			}
			if !yield(k, nil) {
				return
			}
		}
	}, nil)
	if err != nil {
		b.Fatal(err)
	}
	d := gateway.Delta{Provider: gateway.Ollama}
	reasons := []string{"quota: hourly", "quota: session", "quota: weekly", "quota"}
	for i := range benchKeys {
		id := benchKey(i)
		if i%2 == 0 {
			n := int64(i * 7919 % 1000)
			d.Keys = append(d.Keys, gateway.KeyDelta{Key: id, Counts: gateway.KeyCounts{Total: n + 1, Success: n, Failure: 1, LastUsed: s.clock.at}})
			t := tallied(n+1, 1, time.Second, time.Second/5)
			d.Tallies = append(d.Tallies, gateway.TallyDelta{Of: gateway.OfKey, Name: string(id), Tally: t})
		}
		switch {
		case i%5 == 0:
			d.States = append(d.States, gateway.StateChange{Key: id, State: gateway.KeyState{
				RestsUntil: s.clock.at.Add(time.Duration(i%3000+1) * time.Minute), LastError: reasons[i%4],
			}})
		case i%13 == 0:
			d.States = append(d.States, gateway.StateChange{Key: id, State: gateway.KeyState{FailedUntil: s.clock.at.Add(time.Hour), LastError: "401 unauthorized"}})
		}
	}
	s.apply(d)
	s.live.standing[gateway.Ollama] = Standing{Enabled: true, Keys: map[gateway.KeyStatus]int{gateway.KeyActive: benchKeys}}
}

// BenchmarkFigures measures every call.
func BenchmarkFigures(b *testing.B) {
	s := busyFigures(b)
	for _, address := range []string{
		"/admin/stats",
		"/admin/overview?range=1h", "/admin/overview", "/admin/overview?range=7d", "/admin/overview?range=30d",
		"/admin/overview?range=30d&tz=Asia/Kolkata",
		"/admin/analytics", "/admin/analytics?range=7d", "/admin/analytics?range=30d", "/admin/analytics?range=30d&tz=Asia/Shanghai",
		"/admin/analytics/models", "/admin/analytics/models?range=30d", "/admin/analytics/models?range=30d&sort=-duration.p95&tz=Asia/Shanghai",
		"/admin/analytics/tokens", "/admin/analytics/tokens?range=7d&sort=-firstByte.p95",
		"/admin/analytics/keys", "/admin/analytics/keys?sort=-failure&page=100&pageSize=200", "/admin/analytics/keys?page=450&pageSize=200",
		"/admin/public-stats",
		"/admin/requests", "/admin/requests?status=retried&limit=200", "/admin/requests?key=" + string(benchKey(77)), "/admin/requests/req-20000",
	} {
		b.Run(address, func(b *testing.B) {
			for b.Loop() {
				s.clock.at = s.clock.at.Add(publicFor) // the public figures are read anew
				r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, address, http.NoBody)
				r.Header.Set("Authorization", "Bearer "+figuresToken)
				w := httptest.NewRecorder()
				if s.api.ServeHTTP(w, r); w.Code != http.StatusOK {
					b.Fatal(w.Code, w.Body)
				}
			}
		})
		s.clock.at = wednesday
	}
}
