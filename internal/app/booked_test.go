package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/gateway"
)

// upstreamFunc answers in the place of every upstream.
type upstreamFunc func(*http.Request) *http.Response

func (f upstreamFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

// What passes through the running program is in the store after it has stopped:
// every counted request in every period, in the log what REQUEST_LOG asks for,
// and nothing of strangers.
func TestRequestsAreBooked(t *testing.T) {
	for mode, logged := range map[string]int{"failures": 2, "all": 6, "off": 0} {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			cfg, _, err := config.Load([]string{"LISTEN_ADDR=127.0.0.1:0", "DATA_DIR=" + dir, "REQUEST_LOG=" + mode}, "")
			if err != nil {
				t.Fatal(err)
			}
			running, release := make(chan struct{}), make(chan struct{})
			a, err := Start(t.Context(), cfg, Deps{Log: slog.New(slog.DiscardHandler), Transport: upstreamFunc(func(r *http.Request) *http.Response {
				body, _ := io.ReadAll(r.Body)
				status, answer := 200, `{"usage":{"prompt_tokens":7,"completion_tokens":3,"cost":0.5}}`
				switch {
				case strings.Contains(string(body), "bad"):
					status, answer = 400, `{"error":"bad"}`
				case strings.Contains(string(body), "slow"):
					running <- struct{}{}
					<-release
				}
				return &http.Response{
					StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}},
					Body: io.NopCloser(strings.NewReader(answer)), ContentLength: int64(len(answer)), Request: r,
				}
			})})
			if err != nil {
				t.Fatal(err)
			}
			stopped := false
			stop := func() {
				if !stopped {
					stopped = true
					if err := a.Stop(context.WithoutCancel(t.Context())); err != nil {
						t.Error(err)
					}
				}
			}
			defer stop()
			const p = gateway.OpenRouter
			_, _, err = a.Roster().AddKeys(t.Context(), p, func(yield func(gateway.Key, error) bool) {
				yield(gateway.Key{Secret: "fake-upstream-key-00", CreatedAt: time.Now()}, nil)
			})
			if err != nil {
				t.Fatal(err)
			}
			_, token, err := a.Roster().CreateToken(t.Context(), "test", gateway.Providers(), 0)
			if err != nil {
				t.Fatal(err)
			}
			ask := func(token, model string) int {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.URL()+"/openrouter/v1/chat/completions", strings.NewReader(`{"model":"`+model+`"}`))
				if err != nil {
					t.Error(err)
					return 0
				}
				req.Header.Set("Authorization", "Bearer "+token)
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Error(err)
					return 0
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				return resp.StatusCode
			}
			statuses := ""
			for _, model := range []string{"good", "bad", "good", "bad", "good"} {
				statuses += fmt.Sprint(ask(token.Reveal(), model), " ")
			}
			for range 3 {
				statuses += fmt.Sprint(ask("sk-wrong", "good"), " ")
			}
			if want := "200 400 200 400 200 401 401 401 "; statuses != want {
				t.Errorf("%s, want %s", statuses, want)
			}

			done := make(chan int)
			go func() { done <- ask(token.Reveal(), "slow") }()
			<-running
			if n := a.flight.Now(p); n != 1 {
				t.Errorf("%d requests in flight, want 1", n)
			}
			close(release)
			if status := <-done; status != 200 {
				t.Errorf("the slow one got %d", status)
			}
			stop()
			if n, _ := a.flight.Peak(p, a.started); n != 1 || a.flight.Now(p) != 0 {
				t.Errorf("%d requests in flight, peak %d", a.flight.Now(p), n)
			}

			o, closeStore := openRoster(t, dir)
			defer closeStore()
			want := gateway.Counts{Requests: 6, Success: 4, Failure: 2, Usage: gateway.Usage{Input: 28, Output: 12, Cost: 2 * gateway.CostUnit}}
			for _, per := range []gateway.Period{gateway.PerMinute, gateway.PerHour, gateway.PerDay, gateway.Ever} {
				var sum gateway.Tally
				got, err := o.app.store.Tallies(t.Context(), p, gateway.TallyQuery{Of: gateway.OfProvider, Per: per, Since: time.Now().Add(-48 * time.Hour)})
				for i := range got {
					sum.Add(&got[i].Tally)
				}
				if err != nil || sum.Counts != want || sum.Attempts != 6 || sum.Duration.Count() != 6 || sum.FirstByte.Count() != 4 {
					t.Errorf("period %d: %+v, %v", per, sum, err)
				}
			}
			page, err := o.app.store.Requests(t.Context(), gateway.LogQuery{Limit: 100})
			if err != nil || len(page.Entries) != logged {
				t.Errorf("%d requests in the log, want %d (%v)", len(page.Entries), logged, err)
			}
			for _, e := range page.Entries {
				if e.TokenName != "test" || len(e.Trail) != 1 || e.Sent == 0 || !strings.HasPrefix(e.Agent, "Go-http-client") {
					t.Errorf("logged %+v", e)
				}
			}
		})
	}
}
