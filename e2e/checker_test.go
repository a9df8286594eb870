package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/simulator"
)

// checker is an upstream that is only asked whether keys are good. A key tells
// by its own text what it is: a part -bad- makes it refused, -odd- makes the
// answer say nothing, -kimi- and -glm- are in the names of its first model. Every
// request that would have a model generate anything is counted.
type checker struct {
	URL string

	mu         sync.Mutex      // guards what follows
	asked      map[string]int  // questions by key
	generating int             // requests that would have cost tokens
	weather    func(n int) int // see setWeather
	number     int             // of questions under that weather
	waiting    int             // questions that wait
	gate       chan struct{}   // while it is there questions wait for its end
	gateAfter  int             // so many are answered before
}

func newChecker(tb testing.TB) *checker {
	c := &checker{asked: map[string]int{}}
	server := httptest.NewServer(c)
	tb.Cleanup(server.Close)
	c.URL = server.URL
	return c
}

func (c *checker) settings() []string {
	return []string{
		"OLLAMA_BASE_URL=" + c.URL, "OPENROUTER_BASE_URL=" + c.URL + simulator.OpenRouterPath,
		"CHECK_PER_SECOND=100000", "CHECK_CONCURRENCY=32",
	}
}

// clearUp ends the weather once there were so many questions and nobody has
// asked for a moment: whoever asks has noticed that something is wrong.
func (c *checker) clearUp(ctx context.Context, after int) {
	const moment, look = 300 * time.Millisecond, 10 * time.Millisecond
	again := time.NewTicker(look)
	defer again.Stop()
	last, still := 0, time.Duration(0)
	for still < moment {
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
		c.mu.Lock()
		n := c.number
		c.mu.Unlock()
		if still += look; n != last || n < after {
			last, still = n, 0
		}
	}
	c.setWeather(nil)
}

// spent is how many requests would have cost tokens.
func (c *checker) spent() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.generating
}

func (c *checker) questions() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, times := range c.asked {
		n += times
	}
	return n
}

// setWeather makes the upstream answer the n-th question, counted from now and
// from 1, with a status of its own, 0 for the right one; nil: always that.
func (c *checker) setWeather(of func(n int) int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.weather, c.number = of, 0
}

// block makes every question wait that comes after so many more.
func (c *checker) block(after int) (release func()) {
	gate := make(chan struct{})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gate, c.gateAfter, c.waiting = gate, after, 0
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.gate = nil
		close(gate)
	})
}

// held is how many questions wait.
func (c *checker) held() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting
}

func (c *checker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch r.URL.Path {
	case "/v1/chat/completions", simulator.OpenRouterPath + "/v1/key":
		c.answer(w, r, key, body)
	case "/api/tags":
		_, _ = fmt.Fprintf(w, `{"models":[{"name":%q},{"name":"gpt-oss:20b"}]}`, firstModelOf(key))
	case simulator.OpenRouterPath + "/v1/models":
		_, _ = fmt.Fprintf(w, `{"data":[{"id":%q}]}`, firstModelOf(key))
	default:
		c.mu.Lock()
		c.generating++ // whatever it was, nobody asked for it
		c.mu.Unlock()
		w.WriteHeader(http.StatusNotFound)
	}
}

func firstModelOf(key string) string {
	switch {
	case strings.Contains(key, "-kimi-"):
		return "kimi-k2:1t"
	case strings.Contains(key, "-glm-"):
		return "glm-4.6"
	}
	return "something-new"
}

// answer answers a question about a key.
func (c *checker) answer(w http.ResponseWriter, r *http.Request, key string, body []byte) {
	var ask struct{ Model, Messages any }
	_ = json.Unmarshal(body, &ask) // an empty body asks for nothing
	c.mu.Lock()
	if ask.Model != nil || ask.Messages != nil {
		c.generating++
	}
	c.asked[key]++
	status := 0
	if c.weather != nil {
		c.number++
		status = c.weather(c.number)
	}
	gate := c.gate
	if gate != nil && c.gateAfter > 0 {
		c.gateAfter--
		gate = nil
	}
	if gate != nil {
		c.waiting++
	}
	c.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-r.Context().Done():
			return
		}
	}
	switch {
	case status != 0:
	case strings.Contains(key, "-bad-"):
		status = http.StatusUnauthorized
	case strings.Contains(key, "-odd-"):
		status = http.StatusTooManyRequests
	case r.Method == http.MethodGet:
		status = http.StatusOK
	default:
		status = http.StatusBadRequest // of a question without a model
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	message := map[int]string{http.StatusUnauthorized: "unauthorized", http.StatusBadRequest: "model is required"}[status]
	_, _ = fmt.Fprintf(w, `{"error":{"message":%q},"data":{}}`, message)
}

// What stands beside a key in an import of the long form. The beginnings are
// the same in every line, and planted once.
const (
	linePassword = "fake-Passw0rd-of-line-"
	lineSession  = "fake-session-cookie-of-line-"
)

// longLine is a line as ollama.txt has it.
func longLine(n int, key string) string {
	return fmt.Sprintf("user%06d@g%02d.example.invalid----%s%d----%s%d;aid=aid%d----aid%d----%s\n",
		n, n%100, linePassword, n, lineSession, n, n, n, key)
}

// plantLines plants what must never be seen of such lines, and the beginning
// that all of their keys have: masked they do not show it.
func (i *Instance) plantLines(keys ...string) {
	i.secrets.plant(linePassword, lineSession)
	i.secrets.plant(keys...)
}

func idOf(key string) string { return string(gateway.IDOfKey(gateway.Secret(key))) }
