package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

// TestPublicStats holds the whole answer against the contract.
func TestPublicStats(t *testing.T) {
	s := newFiguresScene(t)
	s.live.standing[gateway.Ollama] = Standing{Enabled: true, Keys: states(8, 1, 1, 1, 1)}
	s.addKeys(gateway.Ollama, "fake-key-of-the-public-1")
	for i := range 12 {
		at := date(8, 1, 0) // more than a day ago
		if i < 4 {
			at = date(9, 13, i)
		}
		s.apply(requested(gateway.Ollama, fmt.Sprintf("m%02d", i), "sk-secret-fake-token", at, tallied(int64(100-i), int64(i%2), time.Second, time.Second)))
	}
	// A name that a client invented, and that the upstream refused each time.
	s.apply(requested(gateway.OpenRouter, "invented", "", date(9, 13, 0), tallied(5000, 5000, time.Second, time.Second)))
	s.apply(requested(gateway.OpenRouter, "m11", "", date(9, 13, 0), tallied(1000, 0, time.Second, time.Second)))

	w := s.get("/admin/public-stats", "Authorization", "")
	if w.Code != http.StatusOK || w.Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Fatal(w.Code, w.Header(), w.Body)
	}
	testkit.MustNotContain(t, w.Body.String(), "sk-", "sha256", "fake-k", "@", "user-")
	var names map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &names); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"global", "topModels", "recentTopModels", "hourlyTrend", "storage", "meta", "timestamp"} {
		if _, ok := names[name]; !ok {
			t.Errorf("lacks %s", name)
		}
	}
	var a publicStatsAnswer
	s.read("/admin/public-stats", &a)
	if want := (publicGlobal{
		TotalRequests: 1134, SuccessCount: 1128, FailureCount: 6, SuccessRate: "99.47", LastUpdated: wednesday,
		TotalAPIKeys: 12, ActiveKeys: 8, FailedKeys: 3, Storage: "sqlite",
	}); a.Global != want {
		t.Errorf("global %+v", a.Global)
	}
	if len(a.TopModels) != 10 || a.TopModels[1] != (publicModel{"m01", 99, 98, 1, "98.99"}) {
		t.Errorf("top models %+v", a.TopModels)
	}
	if len(a.RecentTopModels) != 3 || a.RecentTopModels[2].Model != "m02" {
		t.Errorf("recent models %+v", a.RecentTopModels)
	}
	if len(a.HourlyTrend) != 24 || a.HourlyTrend[0].Hour != "15:00" || a.HourlyTrend[23].Hour != "14:00" || a.HourlyTrend[22] != (publicHour{"13:00", 394, 392, 2}) {
		t.Errorf("trend %+v", a.HourlyTrend)
	}
	if a.Meta != (publicMeta{Provider: "ollama", TZ: "UTC", Hours: 24, Seconds: 2}) || !a.Timestamp.Equal(wednesday) || a.Storage != "sqlite" {
		t.Errorf("%+v", a)
	}
	s.read("/admin/public-stats?provider=all&tz=Asia/Kolkata", &a)
	if a.TopModels[0] != (publicModel{"m11", 1089, 1088, 1, "99.91"}) || a.RecentTopModels[0].Requests != 1000 || a.HourlyTrend[23].Hour != "19:30" || a.Global.TotalRequests != 7134 {
		t.Errorf("all providers: %+v", a)
	}
}

func TestPublicStatsOrigins(t *testing.T) {
	s := newFiguresScene(t, func(o *Options) { o.Origins = []string{"https://ops.example"} })
	for origin, want := range map[string]string{"https://ops.example": "https://ops.example", "https://other.example": "", "": ""} {
		if w := s.get("/admin/public-stats", "Authorization", "", "Origin", origin); w.Code != http.StatusOK || w.Header().Get("Access-Control-Allow-Origin") != want {
			t.Errorf("%q: %d %v", origin, w.Code, w.Header())
		}
	}
}

// TestPublicCache has many strangers ask at once: one reads for all.
func TestPublicCache(t *testing.T) {
	clock := &testClock{wednesday}
	c := newPublicCache(clock.now)
	var reads atomic.Int64
	start := make(chan struct{})
	read := func(context.Context) (*publicFigures, error) {
		<-start
		reads.Add(1)
		return &publicFigures{}, nil
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := c.get(t.Context(), "ollama", read); err != nil {
				t.Error(err)
			}
		})
	}
	close(start)
	wg.Wait()
	if n := reads.Load(); n != 1 {
		t.Errorf("%d reads, want 1", n)
	}
	_, _ = c.get(t.Context(), "all", read) // another name, another answer
	clock.at = clock.at.Add(publicFor - 1)
	_, _ = c.get(t.Context(), "ollama", read)
	if n := reads.Load(); n != 2 {
		t.Errorf("%d reads, want 2", n)
	}
	clock.at = clock.at.Add(1)
	_, _ = c.get(t.Context(), "ollama", read)
	if n := reads.Load(); n != 3 {
		t.Errorf("%d reads, want 3", n)
	}
	// What could not be read is not kept, and who has left does not wait.
	clock.at = clock.at.Add(publicFor)
	fault := errors.New("the store is gone")
	if _, err := c.get(t.Context(), "ollama", func(context.Context) (*publicFigures, error) { return nil, fault }); !errors.Is(err, fault) {
		t.Error(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, turn := c.look("ollama")
	turn <- struct{}{}
	if _, err := c.get(gone, "ollama", read); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-turn
	if _, err := c.get(t.Context(), "ollama", read); err != nil || reads.Load() != 4 {
		t.Error(err, reads.Load())
	}
}

func TestMetricsGuard(t *testing.T) {
	s := newFiguresScene(t)
	if w := s.get("/metrics"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "ollama_api_pool_build_info{") || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	public := newFiguresScene(t, func(o *Options) { o.MetricsPublic = true })
	if w := public.get("/metrics", "Authorization", ""); w.Code != http.StatusOK {
		t.Errorf("in public: %d", w.Code)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/metrics", http.NoBody)
	w := httptest.NewRecorder()
	if public.api.ServeHTTP(w, r); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}
