package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/simulator"
)

// ledger is an upstream with moods of its own, which puts down what it answered
// to whom, and a client that puts down what it was answered. In the end the
// program's counters have to say the same.
type ledger struct {
	sim *simulator.Simulator
	url string

	mu       sync.Mutex // guards what follows
	calm     bool       // has no moods
	rnd      *rand.Rand
	answers  map[string][]int    // of the upstream, by the request's name
	keys     map[string]*counted // attempts by the key's id
	total    counted             // requests of clients
	models   map[string]int      // likewise
	tokens   map[string]int      // likewise
	n        int                 // requests that were begun
	refused  int                 // requests that the upstream let fail
	failures []string            // requests that failed by nobody's fault but the program's
	slowest  time.Duration       // request since it was last looked at
}

// newLedger starts an upstream that knows these keys, and takes every other.
func newLedger(tb testing.TB, seed uint64, fates map[string]fate) *ledger {
	l := &ledger{
		sim: simulator.New(simulator.Options{Keys: fates}), rnd: rand.New(rand.NewPCG(seed, 11)),
		answers: map[string][]int{}, keys: map[string]*counted{}, models: map[string]int{}, tokens: map[string]int{},
	}
	server := httptest.NewServer(l)
	tb.Cleanup(server.Close)
	l.url = server.URL
	return l
}

func (l *ledger) settings() []string {
	return []string{"OLLAMA_BASE_URL=" + l.url, "OPENROUTER_BASE_URL=" + l.url + simulator.OpenRouterPath}
}

// mood is an answer that the upstream gives out of the ordinary, or 0.
func (l *ledger) mood() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch n := l.rnd.IntN(1000); {
	case l.calm:
		return 0
	case n < 4:
		return http.StatusTooManyRequests
	case n < 6:
		return http.StatusUnauthorized
	case n < 20:
		return http.StatusServiceUnavailable
	default:
		return 0
	}
}

// answering puts an answer down before its first byte goes out.
type answering struct {
	http.ResponseWriter
	note func(status int)
}

func (a *answering) WriteHeader(status int) {
	a.note(status)
	a.ResponseWriter.WriteHeader(status)
}

func (a *answering) Write(b []byte) (int, error) {
	a.note(http.StatusOK)
	return a.ResponseWriter.Write(b)
}

func (a *answering) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (l *ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key, name := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), r.UserAgent()
	var noted sync.Once
	a := &answering{ResponseWriter: w, note: func(status int) { noted.Do(func() { l.answered(name, key, status) }) }}
	switch status := l.mood(); status {
	case 0:
		l.sim.ServeHTTP(a, r)
	case http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "1")
		http.Error(a, `{"error":"too many requests"}`, status)
	case http.StatusUnauthorized:
		http.Error(a, `{"error":"unauthorized"}`, status)
	default:
		http.Error(a, `{"error":"overloaded"}`, status)
	}
}

// answered puts down an answer of the upstream. What no client has named, such
// as a question for the models, is no attempt.
func (l *ledger) answered(name, key string, status int) {
	if !strings.HasPrefix(name, clientName) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers[name] = append(l.answers[name], status)
	of := l.keys[idOf(key)]
	if of == nil {
		of = &counted{}
		l.keys[idOf(key)] = of
	}
	of.Requests++
	if status == http.StatusOK {
		of.Success++
	}
}

// clientName is how the name of every request begins.
const clientName = "fake-client/"

// begin names a request and picks what it asks for.
func (l *ledger) begin() (name string, kind int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	return fmt.Sprint(clientName, l.n), l.rnd.IntN(20)
}

// begun is how many requests were begun.
func (l *ledger) begun() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// request sends one request and puts down how it ended.
func (l *ledger) request(ctx context.Context, url, token string) {
	name, kind := l.begin()
	model, path, end := ollamaFace.embed, "/v1/embeddings", "}"
	body := map[string]any{"model": model, "input": name, "dimensions": 8}
	if kind < 6 {
		model, path = ollamaFace.chat, "/v1/chat/completions"
		body = map[string]any{"model": model, "messages": chatBody["messages"], "max_tokens": 4}
	}
	if kind < 3 {
		body["stream"], end = true, "[DONE]"
	}
	began := time.Now()
	status, text, err := l.send(ctx, url+path, token, name, body)
	took := time.Since(began)
	good := err == nil && status == http.StatusOK && strings.HasSuffix(strings.TrimSpace(string(text)), end)

	l.mu.Lock()
	defer l.mu.Unlock()
	l.slowest = max(l.slowest, took)
	l.total.Requests++
	l.models[model]++
	l.tokens[token]++
	if good {
		l.total.Success++
		return
	}
	l.total.Failure++
	// Only what no attempt got through is the upstream's fault.
	if all := l.answers[name]; err == nil && len(all) > 0 && !slices.Contains(all, http.StatusOK) {
		l.refused++
		return
	}
	l.failures = append(l.failures, fmt.Sprintf("%s after %v: %d %.300s %v; the upstream said %v", name, took, status, text, err, l.answers[name]))
}

func (l *ledger) send(ctx context.Context, url, token, name string, body any) (status int, text []byte, err error) {
	content, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(content))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("User-Agent", name)
	req.Header.Set("X-Request-Id", strings.ReplaceAll(name, "/", "-"))
	resp, err := plain.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err = io.ReadAll(resp.Body)
	return resp.StatusCode, text, err
}

// keepOn sends requests side by side until it is told that it is enough.
func (l *ledger) keepOn(ctx context.Context, url string, tokens []string, workers int, enough func() bool) {
	var clients sync.WaitGroup
	for n := range workers {
		clients.Go(func() {
			for !enough() {
				l.request(ctx, url, tokens[n%len(tokens)])
			}
		})
	}
	clients.Wait()
}

// differences compares an instance's counters with the ledger, and sums up by
// how much they differ. A call that fails is an error.
func (l *ledger) differences(ctx context.Context, i *Instance) (n int, what []string, err error) {
	compare := func(name string, got, want int) {
		if got != want {
			n += max(got-want, want-got)
			what = append(what, fmt.Sprintf("%s: counted %d, were %d", name, got, want))
		}
	}
	const of = "provider=" + string(gateway.Ollama)
	sum, err := tryAdmin[totals](ctx, i, "GET", "/admin/stats?"+of, nil)
	if err != nil {
		return 0, nil, err
	}
	models, err := tryAdmin[struct {
		Models []struct {
			Model    string
			Requests int
		}
	}](ctx, i, "GET", "/admin/analytics/models?range=24h&pageSize=200&"+of, nil)
	if err != nil {
		return 0, nil, err
	}
	keys, err := tryAdmin[struct{ Stats []keyNumbers }](ctx, i, "GET", "/admin/keys/stats?fetch=all&"+of, nil)
	if err != nil {
		return 0, nil, err
	}
	tokens, err := tryAdmin[struct{ Tokens []tokenEntry }](ctx, i, "GET", "/admin/tokens", nil)
	if err != nil {
		return 0, nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	compare("requests", sum.TotalRequests, l.total.Requests)
	compare("successes", sum.SuccessCount, l.total.Success)
	compare("failures", sum.FailureCount, l.total.Failure)
	byModel := map[string]int{}
	for _, m := range models.Models {
		byModel[m.Model] = m.Requests
	}
	for model, want := range l.models {
		compare(model, byModel[model], want)
	}
	byKey := map[string]keyNumbers{}
	for _, k := range keys.Stats {
		byKey[k.ID] = k
	}
	for id, want := range l.keys {
		compare("attempts of key "+id, byKey[id].TotalRequests, want.Requests)
		compare("successes of key "+id, byKey[id].SuccessCount, want.Success)
	}
	byToken := map[string]int{}
	for _, t := range tokens.Tokens {
		byToken[t.ID] = t.RequestCount
	}
	for token, want := range l.tokens {
		compare("token "+idOfToken(token), byToken[idOfToken(token)], want)
	}
	return n, what, nil
}

// awaitEven waits until instances count what the ledger says, and returns what
// still differs after a while, and how long it took.
func (l *ledger) awaitEven(t *testing.T, within time.Duration, all []*Instance) (n int, what []string, took time.Duration) {
	t.Helper()
	began := time.Now()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for _, i := range all {
		for {
			var err error
			n, what, err = l.differences(t.Context(), i)
			if err == nil && n == 0 {
				break
			}
			if time.Since(began) > within {
				if err != nil {
					t.Errorf("%v after all is well again: %v", within, err)
				}
				return n, what, time.Since(began)
			}
			<-again.C
		}
	}
	return 0, nil, time.Since(began)
}
