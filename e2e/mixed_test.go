package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/simulator"
)

// TestTenThousandRequestsAreCounted sends ten thousand requests of all kinds,
// among them some that are tried again with other keys and some that the client
// breaks off: before the head of the answer, in the middle of a second attempt,
// in a stream that waits, in a stream that runs. After an orderly restart every
// total must equal what the clients and the upstream have put down themselves.
func TestTenThousandRequestsAreCounted(t *testing.T) {
	t.Parallel()
	fates := []fate{
		simulator.FateFlaky, fateOK, simulator.FateRevoked, fateOK, simulator.FatePlan, simulator.FateFlaky,
		simulator.FateOverQuota, fateOK, simulator.FateNoCredit, fateOK,
	}
	up, left := newLeavable(t, fates)
	i := start(t, up, "KEY_FAILED_SECONDS=1", "KEY_DISABLED_SECONDS=1", "MAX_RETRIES=5", "REQUEST_LOG=all", "LOG_LEVEL=info")
	for _, p := range gateway.Providers() {
		var keys []string
		for n := range fates {
			keys = append(keys, fakeKey(p, n))
		}
		i.AddKeys(p, keys...)
	}
	tokens := []string{i.CreateToken("first", "all"), i.CreateToken("second", "all")}
	const workers, each = 20, 500
	books := map[gateway.ProviderName]*mixedBook{}
	for _, p := range gateway.Providers() {
		books[p] = &mixedBook{models: map[string]int{}, tokens: map[string]int{}}
	}
	var clients sync.WaitGroup
	for n := range workers {
		clients.Go(func() {
			c := &mixedClient{i: i, left: left, token: tokens[n%2], rnd: rand.New(rand.NewPCG(uint64(n), 7))}
			for m := range each {
				c.id = fmt.Sprintf("%d-%d", n, m)
				p := gateway.Providers()[c.rnd.IntN(2)]
				if err := c.one(t.Context(), mixedFaces[p], books[p]); err != nil {
					t.Errorf("request %s at %s: %v", c.id, p, err)
					return
				}
			}
		})
	}
	clients.Wait()
	if t.Failed() {
		return
	}
	await(t, "/metrics that counts every request", func() bool {
		for p, b := range books {
			if metricSum(t, i, "requests_total", p) != b.requests || metricSum(t, i, "attempts_total", p) != b.attempts {
				return false
			}
		}
		return true
	})
	i.Restart() // an orderly stop loses nothing
	for p, b := range books {
		compareTotals(t, i, p, b)
		compareModels(t, i, p, b)
		compareAttempts(t, i, up, left, p, b)
	}
	compareTokens(t, i, tokens, books)
	i.Stop()
}

var mixedFaces = map[gateway.ProviderName]face{gateway.Ollama: ollamaFace, gateway.OpenRouter: openRouterFace}

// mixedBook is what clients know of how their requests to a provider ended.
type mixedBook struct {
	mu                         sync.Mutex // guards what follows
	requests, success, failure int
	neither                    int            // broken off while the upstream was silent
	either                     int            // broken off in the middle: may have been through already
	attempts                   int            // as the answers tell, or the upstream saw them
	models                     map[string]int // requests that were not answered with 404
	tokens                     map[string]int // requests by token
	embedIn                    int            // tokens of the embedding model, as the answers tell
}

// note puts down one request and calls more for the rest.
func (b *mixedBook) note(c *mixedClient, model string, status, attempts int, more func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requests++
	b.attempts += attempts
	b.tokens[c.token]++
	if status != http.StatusNotFound {
		b.models[model]++
	}
	more()
}

// answered puts down a request that was answered in full.
func (b *mixedBook) answered(c *mixedClient, model string, status, attempts, embedIn int) error {
	if !slices.Contains([]int{200, 400, 403, 404, 429, 503}, status) {
		return fmt.Errorf("answered with %d", status)
	}
	b.note(c, model, status, attempts, func() {
		b.embedIn += embedIn
		if status == http.StatusOK {
			b.success++
		} else {
			b.failure++
		}
	})
	return nil
}

// mixedClient sends one request after the other.
type mixedClient struct {
	i     *Instance
	left  *leavable
	token string
	rnd   *rand.Rand
	id    string // of the request
}

// one sends one request of a kind that chance picks.
func (c *mixedClient) one(ctx context.Context, f face, b *mixedBook) error {
	chat := map[string]any{"model": f.chat, "messages": chatBody["messages"], "max_tokens": 4}
	url := c.i.URL() + f.base + "/v1/chat/completions"
	switch c.rnd.IntN(20) {
	case 0:
		return c.leave(ctx, url, chat, leaveBefore, b)
	case 1:
		return c.leave(ctx, url, chat, leaveAgain, b)
	case 2:
		return c.leave(ctx, url, chat, leaveAmid, b)
	case 3:
		return c.leave(ctx, url, chat, leaveRunning, b)
	case 4, 5, 6:
		chat["stream"] = true
	case 7:
		chat["model"] = "no-such-model"
	case 8:
		chat["messages"] = "not a list"
	case 9, 10, 11:
	default:
		url, chat = c.i.URL()+f.base+"/v1/embeddings", map[string]any{"model": f.embed, "input": "x", "dimensions": 8}
	}
	resp, err := c.send(ctx, url, chat)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	var embedded struct {
		Usage struct {
			In int `json:"prompt_tokens"`
		}
	}
	if resp.StatusCode == http.StatusOK && chat["input"] != nil {
		if err := json.Unmarshal(text, &embedded); err != nil {
			return err
		}
	}
	return b.answered(c, chat["model"].(string), resp.StatusCode, attemptsOf(resp), embedded.Usage.In)
}

func (c *mixedClient) send(ctx context.Context, url string, body any) (*http.Response, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+c.token)
	return plain.Do(req)
}

func attemptsOf(resp *http.Response) int {
	n, err := strconv.Atoi(resp.Header.Get("X-Pool-Attempts"))
	if err != nil {
		return -1 << 20 // shows in every sum
	}
	return n
}

// When a client leaves.
const (
	leaveBefore  = "before"  // while the upstream says nothing to the first attempt
	leaveAgain   = "again"   // so to the second one, the first one having failed
	leaveAmid    = "amid"    // while the upstream holds a stream back
	leaveRunning = "running" // in a stream that goes on
)

// leave sends a request and leaves when the upstream has come to where it says.
func (c *mixedClient) leave(ctx context.Context, url string, chat map[string]any, when string, b *mixedBook) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	chat["stream"] = true
	model := chat["model"].(string)
	reached := c.left.expect(when, c.id)
	if when != leaveRunning {
		chat["user"] = when + ":" + c.id
	}
	if when == leaveBefore || when == leaveAgain {
		go func() {
			select {
			case <-reached:
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	resp, err := c.send(ctx, url, chat)
	if err != nil {
		n := map[string]int{leaveBefore: 1, leaveAgain: 2}[when]
		if n == 0 || !errors.Is(err, context.Canceled) {
			return err
		}
		b.note(c, model, 0, n, func() { b.neither++ })
		return nil
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK { // it was refused before
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return err
		}
		return b.answered(c, model, resp.StatusCode, attemptsOf(resp), 0)
	}
	switch when {
	case leaveAmid:
		<-reached
		b.note(c, model, resp.StatusCode, attemptsOf(resp), func() { b.neither++ })
	case leaveRunning:
		if _, err := resp.Body.Read(make([]byte, 16)); err != nil {
			return err
		}
		b.note(c, model, resp.StatusCode, attemptsOf(resp), func() { b.either++ })
	default:
		return fmt.Errorf("an answer of the upstream that did not answer: %d", resp.StatusCode)
	}
	return nil
}

// leavable is an upstream that waits for clients to leave where their request
// says so, in its field user. It puts down what the simulator does not see.
type leavable struct {
	*simulator.Simulator
	mu      sync.Mutex               // guards what follows
	reached map[string]chan struct{} // by when and id
	tried   map[string]bool          // whose first attempt has failed, by id
	silent  map[string]int           // attempts that got no answer, by key
	refused map[string]int           // attempts that failed here, by key
	held    map[string]int           // streams that were held back, by key
}

func newLeavable(t *testing.T, fates []fate) (*upstream, *leavable) {
	known := map[string]fate{}
	for n, fate := range fates {
		for _, p := range gateway.Providers() {
			known[fakeKey(p, n)] = fate
		}
	}
	l := &leavable{
		Simulator: simulator.New(simulator.Options{Keys: known}), reached: map[string]chan struct{}{}, tried: map[string]bool{},
		silent: map[string]int{}, refused: map[string]int{}, held: map[string]int{},
	}
	server := httptest.NewServer(l)
	t.Cleanup(server.Close)
	return &upstream{Simulator: l.Simulator, URL: server.URL}, l
}

// expect gives a channel that is closed when the upstream waits.
func (l *leavable) expect(when, id string) <-chan struct{} {
	c := make(chan struct{})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reached[when+":"+id] = c
	return c
}

func (l *leavable) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var ask struct{ User string }
	_ = json.Unmarshal(body, &ask) // what is none asks for nothing
	key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	l.mu.Lock()
	h := &hold{parts: 3, reached: l.reached[ask.User], release: nil, gone: make(chan struct{})}
	when, _, _ := strings.Cut(ask.User, ":")
	first := when == leaveAgain && !l.tried[ask.User]
	switch {
	case first:
		l.tried[ask.User] = true
		l.refused[key]++
	case when == leaveBefore || when == leaveAgain:
		l.silent[key]++
	}
	l.mu.Unlock()
	switch {
	case first:
		w.WriteHeader(http.StatusBadGateway)
	case when == leaveBefore || when == leaveAgain:
		h.wait(r)
	case when == leaveAmid:
		out := &holding{ResponseWriter: w, r: r, hold: h}
		l.Simulator.ServeHTTP(out, r)
		if out.n >= h.parts {
			l.mu.Lock()
			l.held[key]++
			l.mu.Unlock()
		}
	default:
		l.Simulator.ServeHTTP(w, r)
	}
}
