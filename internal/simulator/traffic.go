package simulator

import (
	"cmp"
	"context"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"ollama-api-pool/internal/gateway"
)

// The traffic of the clients, all together.
const (
	leastTraffic = 2.0 // requests a second
	mostTraffic  = 4.0
	tide         = 7 * time.Minute // in which it rises and falls
	mostAtOnce   = 64              // beyond it clients wait
)

// errand is a kind of request that clients make.
type errand struct {
	share    int // of a thousand
	provider gateway.ProviderName
	path     string
	body     string
	model    string        // "": one of those that the client may use, as the provider's habits are
	leaves   time.Duration // the client has gone by then; 0: it stays to the end
}

// Bodies of requests, in which what begins with a $ is filled in.
const (
	chatAsk     = `{"model":$model,"max_tokens":$most,"messages":[{"role":"user","content":$said}]}`
	chatStream  = `{"model":$model,"max_tokens":$most,"stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":$said}]}`
	nativeAsk   = `{"model":$model,"options":{"num_predict":$most},"messages":[{"role":"user","content":$said}]}`
	messagesAsk = `{"model":$model,"max_tokens":$most,"stream":true,"messages":[{"role":"user","content":$said}]}`
	embedAsk    = `{"model":$model,"input":[$said]}`
	brokenAsk   = `{"model":$model,"messages":[]}`

	notThere = "gpt-4o-latest"
	embedder = "embeddinggemma:300m"
)

// errands are what clients do; the shares add up to a thousand.
var errands = []errand{
	{390, gateway.Ollama, "/v1/chat/completions", chatStream, "", 0},
	{180, gateway.Ollama, "/v1/chat/completions", chatAsk, "", 0},
	{90, gateway.Ollama, "/api/chat", nativeAsk, "", 0},
	{60, gateway.Ollama, "/v1/messages", messagesAsk, "", 0},
	{50, gateway.Ollama, "/v1/embeddings", embedAsk, embedder, 0},
	{30, gateway.Ollama, "/v1/chat/completions", chatStream, "", 900 * time.Millisecond},
	{14, gateway.Ollama, "/v1/chat/completions", chatAsk, notThere, 0},
	{12, gateway.Ollama, "/v1/chat/completions", brokenAsk, "gpt-oss:20b", 0},
	{6, gateway.Ollama, "/api/chat", nativeAsk, notThere, 0},
	{100, gateway.OpenRouter, "/openrouter/v1/chat/completions", chatStream, "", 0},
	{46, gateway.OpenRouter, "/openrouter/v1/chat/completions", chatAsk, "", 0},
	{10, gateway.OpenRouter, "/openrouter/v1/embeddings", embedAsk, "openai/text-embedding-3-small", 0},
	{6, gateway.OpenRouter, "/openrouter/v1/chat/completions", chatStream, "", 700 * time.Millisecond},
	{6, gateway.OpenRouter, "/openrouter/v1/chat/completions", chatAsk, "nobody/knows-this", 0},
}

// Traffic are the scene's clients at work, over HTTP, with the tokens that they
// were issued.
type Traffic struct {
	URL     string // of the program
	Version string // of the program, for their User-Agent
	Clients []*Client
	Now     func() time.Time // nil: time.Now
	Faster  float64          // times as many requests; 0: once
}

// Run makes requests until ctx ends, and returns when all of them have. What
// becomes of them is for the program to tell.
func (t *Traffic) Run(ctx context.Context) {
	transport := &http.Transport{MaxIdleConnsPerHost: mostAtOnce}
	defer transport.CloseIdleConnections()
	web := &http.Client{Transport: transport}
	var running sync.WaitGroup
	defer running.Wait()
	places := make(chan struct{}, mostAtOnce)
	for {
		pause := time.NewTimer(t.pause())
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return
		case places <- struct{}{}:
		}
		running.Go(func() {
			defer func() { <-places }()
			e := &errands[draw(errands, func(e *errand) float64 { return float64(e.share) })]
			if c := t.who(e); c != nil {
				_ = c.do(ctx, web, t, e) // the program has noted it
			}
		})
	}
}

// pause is the time until the next request: by chance, as clients know nothing
// of each other, but not long.
func (t *Traffic) pause() time.Duration {
	now := time.Now
	if t.Now != nil {
		now = t.Now
	}
	at := now()
	wave := 1 + .25*math.Sin(2*math.Pi*float64(at.UnixNano()%int64(tide))/float64(tide))
	rate := min(max(Load(at)*wave, leastTraffic), mostTraffic)
	if t.Faster > 0 {
		rate *= t.Faster
	}
	wait := min(rand.ExpFloat64(), 3) / rate //nolint:gosec // it is for show
	return time.Duration(wait * float64(time.Second))
}

// draw chooses one of a list by weight.
func draw[T any](list []T, weight func(*T) float64) int {
	sum := 0.0
	for i := range list {
		sum += weight(&list[i])
	}
	card := rand.Float64() * sum //nolint:gosec // it is for show
	for i := range list {
		if card -= weight(&list[i]); card < 0 {
			return i
		}
	}
	return 0
}

// who goes on an errand: a client that uses the provider still, nil if there is
// none.
func (t *Traffic) who(e *errand) *Client {
	var able []*Client
	for _, c := range t.Clients {
		if c.share[e.provider] > 0 && c.silent == 0 && (e.model == "" || c.Token.Limits.AllowsModel(e.model)) {
			able = append(able, c)
		}
	}
	if len(able) == 0 {
		return nil
	}
	return able[draw(able, func(c **Client) float64 { return (*c).share[e.provider] })]
}

// do makes one request and reads its answer.
func (c *Client) do(ctx context.Context, web *http.Client, t *Traffic, e *errand) error {
	if e.leaves > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, e.leaves)
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.URL+e.path, strings.NewReader(c.ask(e)))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.Secret.Reveal())
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", c.agent(t.Version))
	answer, err := web.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

// ask is the body of a request.
func (c *Client) ask(e *errand) string {
	return os.Expand(e.body, func(name string) string {
		switch name {
		case "model":
			return strconv.Quote(cmp.Or(e.model, c.model(e.provider)))
		case "said":
			return strconv.Quote(question())
		}
		return strconv.Itoa(8 + rand.IntN(72)) //nolint:gosec // it is for show
	})
}

// model is one that the client may use and that can chat.
func (c *Client) model(p gateway.ProviderName) string {
	habits := habitsOf[p]
	return habits[draw(habits, func(h *habit) float64 {
		if h.out == 0 || !c.Token.Limits.AllowsModel(h.model) {
			return 0
		}
		return float64(h.share)
	})].model
}

// questions are what clients ask about.
var questions = []string{
	"Why is the sky blue?", "Summarise these minutes in three sentences.", "Write a haiku about a queue that is never empty.",
	"What is the difference between a mutex and a semaphore?", "Translate the following paragraph.", "Review this change and name its risks.",
	"Give me five names for a small cat.", "Explain how a bloom filter works.", "Which of these two designs is simpler, and why?",
}

// question is one of them, with more or less to read besides.
func question() string {
	more := strings.Repeat(" Lorem ipsum dolor sit amet, consectetur adipiscing elit.", rand.IntN(1+rand.IntN(120))) //nolint:gosec // it is for show
	return questions[rand.IntN(len(questions))] + more                                                               //nolint:gosec // likewise
}
