package e2e

import (
	"context"
	"sync"
	"syscall"
	"testing"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/simulator"
)

// TestCountersAreExact compares the counters after an orderly stop with those
// of the upstream and of the clients.
func TestCountersAreExact(t *testing.T) {
	t.Parallel()
	up, i, token := serving(t, append([]fate{simulator.FatePlan}, mixed...))
	want := map[gateway.ProviderName]totals{}
	for p, f := range map[gateway.ProviderName]face{gateway.Ollama: ollamaFace, gateway.OpenRouter: openRouterFace} {
		want[p] = manyRequests(t, i, f, token)
	}
	// One that the client breaks off, and one that runs while the program stops.
	leave(t, up, 3, func(ctx context.Context) (next func() bool) {
		c := openAI(i, ollamaFace, token)
		return c.Chat.Completions.NewStreaming(ctx, chatParams(ollamaFace.chat)).Next
	})
	h, s := beginStream(t, up, i, token)
	i.Signal(syscall.SIGTERM)
	closedToNew(t, i)
	close(h.release)
	if text, err := s.wait(t); err != nil {
		t.Errorf("the last stream: %v\n%s", err, text)
	}
	if code := i.Wait(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, i.Log())
	}
	w := want[gateway.Ollama]
	w.TotalRequests += 2
	w.SuccessCount++
	want[gateway.Ollama] = w

	i.Start()
	all := 0
	for p, w := range want {
		got := i.Totals(p)
		if got.TotalRequests != w.TotalRequests || got.SuccessCount != w.SuccessCount || got.FailureCount != w.FailureCount {
			t.Errorf("%s: counted %d, %d, %d; made %d, %d, %d", p, got.TotalRequests, got.SuccessCount, got.FailureCount,
				w.TotalRequests, w.SuccessCount, w.FailureCount)
		}
		all += w.TotalRequests
		compareKeys(t, i, up, p)
	}
	for _, k := range i.Tokens() {
		if k.RequestCount != all {
			t.Errorf("the token's requests: counted %d, made %d", k.RequestCount, all)
		}
	}
	i.Stop()
}

// manyRequests makes requests of several kinds side by side, and returns how
// many there were and how they ended.
func manyRequests(t *testing.T, i *Instance, f face, token string) (made totals) {
	t.Helper()
	bodies := []map[string]any{
		{"model": f.chat, "messages": chatBody["messages"]},
		{"model": f.chat, "messages": chatBody["messages"], "stream": true},
		{"model": f.chat, "messages": chatBody["messages"], "max_tokens": 3},
		{"model": "no-such-model", "messages": chatBody["messages"]},
	}
	var mu sync.Mutex // guards made
	var clients sync.WaitGroup
	for n := range 4 {
		clients.Go(func() {
			for m := range 30 {
				status, answer, err := do(t.Context(), "POST", i.URL()+f.base+"/v1/chat/completions", token, bodies[(n+m)%len(bodies)])
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				made.TotalRequests++
				switch status {
				case 200:
					made.SuccessCount++
				case 400, 404, 429, 503:
					made.FailureCount++
				default:
					t.Errorf("%d %s", status, answer)
				}
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	// Not authenticated, or not a request at all: counted nowhere.
	for _, body := range []any{map[string]any{"messages": 7}, "{"} {
		if status, _, err := do(t.Context(), "POST", i.URL()+f.base+"/v1/chat/completions", "sk-wrong", body); err != nil || status != 401 {
			t.Errorf("%d %v", status, err)
		}
	}
	return made
}

// compareKeys compares a provider's keys with what the upstream has counted.
func compareKeys(t *testing.T, i *Instance, up *upstream, p gateway.ProviderName) {
	t.Helper()
	numbers := i.KeyNumbers(p)
	total, success := map[string]int{}, map[string]int{}
	for call, n := range up.Calls() {
		id := string(gateway.IDOfKey(gateway.Secret(call.Key)))
		total[id] += n
		if call.Status == 200 {
			success[id] += n
		}
	}
	left := 0 // what clients broke off counts as nothing but an attempt
	for id, got := range numbers {
		if got.TotalRequests != total[id] {
			t.Errorf("%s key %s: counted %d attempts, the upstream %d", p, id, got.TotalRequests, total[id])
		}
		broken := got.TotalRequests - got.SuccessCount - got.FailureCount
		if got.SuccessCount+broken != success[id] || broken < 0 {
			t.Errorf("%s key %s: counted %d successes and %d broken off, the upstream %d", p, id, got.SuccessCount, broken, success[id])
		}
		left += broken
	}
	if want := map[gateway.ProviderName]int{gateway.Ollama: 1}[p]; left != want {
		t.Errorf("%s: %d attempts were broken off, want %d", p, left, want)
	}
}
