package simulator

import (
	"fmt"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const (
	askOllama = `{"model":"gpt-oss:20b","prompt":"x"}`
	askRouter = `{"model":"qwen/qwen3-coder:free","prompt":"x"}`
)

// asking asks with keys, one after the other, and gives the last answer.
func asking(t *testing.T, s *Simulator, path string, want map[int]int, keys ...string) *httptest.ResponseRecorder {
	t.Helper()
	body := askOllama
	if strings.HasPrefix(path, OpenRouterPath) {
		body = askRouter
	}
	var last *httptest.ResponseRecorder
	got := map[int]int{}
	for _, key := range keys {
		last = do(s, "POST", path, key, body)
		got[last.Code]++
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("answers by status: %v, want %v", got, want)
	}
	return last
}

func TestAccountsRestAndComeBack(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	s := New(Options{
		Keys: map[string]Fate{
			"fake-one-a": FateHourly, "fake-one-b": FateHourly, "fake-two": FateHourly, "fake-long": FateSession,
		},
		Accounts: map[string]string{"fake-one-a": "one", "fake-one-b": "one"},
		Window:   time.Minute, Now: func() time.Time { return now },
	})
	const path = "/api/generate"
	refused := asking(t, s, path, map[int]int{200: 3, 429: 1}, "fake-one-a", "fake-one-b", "fake-one-a", "fake-one-b")
	if refused.Header().Get("Retry-After") != "60" || !strings.Contains(refused.Body.String(), "hourly usage limit") {
		t.Errorf("refused with %v %s", refused.Header(), refused.Body)
	}
	now = now.Add(59 * time.Second)
	asking(t, s, path, map[int]int{429: 1}, "fake-one-a")
	asking(t, s, path, map[int]int{200: 1}, "fake-two")
	now = now.Add(time.Second)
	asking(t, s, path, map[int]int{200: 3, 429: 1}, "fake-one-a", "fake-one-a", "fake-one-a", "fake-one-b")

	long := asking(t, s, path, map[int]int{200: 5, 429: 1}, "fake-long", "fake-long", "fake-long", "fake-long", "fake-long", "fake-long")
	if long.Header().Get("Retry-After") != "180" || !strings.Contains(long.Body.String(), "session usage limit") {
		t.Errorf("refused with %v %s", long.Header(), long.Body)
	}
}

func TestQuotasOfOpenRouter(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	s := New(Options{Keys: map[string]Fate{"fake-hour": FateHourly, "fake-long": FateSession}, Window: time.Minute, Now: func() time.Time { return now }})
	const path = OpenRouterPath + "/v1/completions"
	hour := asking(t, s, path, map[int]int{200: 3, 429: 1}, "fake-hour", "fake-hour", "fake-hour", "fake-hour")
	if want := strconv.FormatInt(now.Add(time.Minute).UnixMilli(), 10); hour.Header().Get("X-RateLimit-Reset") != want || !strings.Contains(hour.Body.String(), want) {
		t.Errorf("refused with %v %s", hour.Header(), hour.Body)
	}
	long := asking(t, s, path, map[int]int{200: 5, 402: 1}, "fake-long", "fake-long", "fake-long", "fake-long", "fake-long", "fake-long")
	if !strings.Contains(long.Body.String(), `"limit_source":"openrouter_key_limit","resets_at":"2026-03-04T05:09:07Z"`) {
		t.Errorf("refused with %s", long.Body)
	}
}

func TestKeysLeave(t *testing.T) {
	const key = "fake-leaving-key"
	s := New(Options{Keys: map[string]Fate{key: FateLeaving}})
	served := 0
	for do(s, "POST", "/api/generate", key, askOllama).Code == 200 {
		if served++; served > 100 {
			t.Fatal("it never leaves")
		}
		if got := do(s, "POST", "/v1/chat/completions", key, "{}").Code; got != 400 && served < leavesAfter(key) {
			t.Errorf("after %d requests a check gives %d", served, got)
		}
	}
	if served != leavesAfter(key) {
		t.Errorf("it served %d requests, want %d", served, leavesAfter(key))
	}
	if got := do(s, "POST", "/v1/chat/completions", key, "{}").Code; got != 401 {
		t.Errorf("then a check gives %d", got)
	}
	soon, late := 100, 0
	for i := range 200 {
		n := leavesAfter(fmt.Sprint("fake-leaving-", i))
		soon, late = min(soon, n), max(late, n)
	}
	if soon != 1 || late != 12 {
		t.Errorf("keys leave after %d to %d requests", soon, late)
	}
}

func TestSlowAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Keys: testKeys, Pace: time.Second, SlowEvery: 3})
		var took []time.Duration
		for range 4 {
			began := time.Now()
			do(s, "POST", "/api/generate", good, `{"model":"gpt-oss:20b","prompt":"x","options":{"num_predict":5},"stream":false}`)
			took = append(took, time.Since(began)/time.Second)
		}
		began := time.Now()
		do(s, "POST", "/api/generate", good, `{"model":"kimi-k2:1t","prompt":"x","options":{"num_predict":5},"stream":false}`)
		took = append(took, time.Since(began)/time.Second)
		if got := fmt.Sprint(took); got != "[5ns 5ns 30ns 5ns 10ns]" {
			t.Errorf("the answers took %s", got)
		}
	})
}
