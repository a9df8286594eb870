package forward_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ollama-api-pool/internal/dataplane"
	"ollama-api-pool/internal/dataplane/auth"
	"ollama-api-pool/internal/dataplane/cache"
	"ollama-api-pool/internal/dataplane/forward"
	"ollama-api-pool/internal/dataplane/pool"
	"ollama-api-pool/internal/dataplane/provider"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
	"ollama-api-pool/internal/testkit"
	"ollama-api-pool/internal/upstream"
)

const (
	soon  = 5 * time.Second // for what should happen within milliseconds
	token = "sk-fakefakefakefakefakefakefakefakefakefakefakefake00"
	chat  = `{"model":"gpt-oss:120b","messages":[{"role":"user","content":"hi"}]}`
	done  = `{"id":"1","object":"chat.completion","choices":[{"message":{"content":"hello"}}],"usage":{"prompt_tokens":7,"completion_tokens":3}}`
)

// key is the n-th key of a scene.
func key(n int) string { return fmt.Sprintf("fake-upstream-key-%02d", n) }

func idOf(n int) gateway.KeyID { return gateway.IDOfKey(gateway.Secret(key(n))) }

// setting is what a scene is built from.
type setting struct {
	provider  gateway.ProviderName
	keys      []gateway.Key
	opts      forward.Options
	upstream  []testkit.Option
	transport http.RoundTripper // nil: the network
	tune      func(*http.Transport)
	disabled  bool
	noPath    bool // tokens in the path are switched off
	ttl       time.Duration
	quiet     bool // nothing is logged
}

// keys makes the first n keys; change may alter each.
func keys(n int, change ...func(i int, k *gateway.Key)) func(*setting) {
	return func(s *setting) {
		s.keys = nil
		for i := range n {
			k := gateway.Key{Secret: gateway.Secret(key(i))}
			for _, c := range change {
				c(i, &k)
			}
			s.keys = append(s.keys, k)
		}
	}
}

func openRouter(s *setting) { s.provider = gateway.OpenRouter }

// impatient makes the head of an answer go out at once.
func impatient(set *setting) { set.opts.HeadGrace = time.Millisecond }

func retries(n int) func(*setting) { return func(s *setting) { s.opts.MaxRetries = n } }

// scene is a gateway between a client and a fake upstream, all over real
// sockets, put together as the program does it.
type scene struct {
	tb        testing.TB
	up        *testkit.Upstream
	pool      *pool.Pool
	forwarder *forward.Forwarder
	handler   http.Handler
	addr      string
	prefix    string // of the provider's addresses
	log       testkit.SafeBuffer
	transport *http.Transport
	server    *http.Server
	records   chan gateway.Record
	ended     func(*gateway.Exchange) // gets each exchange too; nil: nobody
	running   atomic.Int32

	mu       sync.Mutex // guards what follows
	attempts int
	pauses   []time.Duration
}

// newScene starts a gateway with three keys of Ollama, three retries, pauses
// that take no time, short limits, and a long grace: no test depends on how busy
// the machine is.
func newScene(tb testing.TB, change ...func(*setting)) *scene {
	tb.Helper()
	s := &scene{tb: tb, records: make(chan gateway.Record, 1<<12)}
	set := &setting{provider: gateway.Ollama, ttl: time.Minute, opts: forward.Options{
		MaxRetries: 3, HeaderTimeout: soon, StreamIdleTimeout: soon, HeadGrace: soon, MaxBodyBytes: 32 << 20, Now: time.Now,
		Pause: func(ctx context.Context, d time.Duration) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.pauses = append(s.pauses, d)
			return ctx.Err()
		},
	}}
	keys(3)(set)
	for _, c := range change {
		c(set)
	}
	s.up = testkit.NewUpstream(tb, set.upstream...)
	s.build(set)
	s.listen()
	tb.Cleanup(s.close)
	return s
}

func (s *scene) build(set *setting) {
	s.transport = &http.Transport{
		TLSClientConfig: s.up.ClientTLS(), ForceAttemptHTTP2: true, DisableCompression: true,
		ResponseHeaderTimeout: set.opts.HeaderTimeout, MaxIdleConnsPerHost: 100,
	}
	switch {
	case set.transport != nil:
	case set.tune != nil: // asks for what only net/http's client has
		set.tune(s.transport)
		set.transport = s.transport
	default:
		client := upstream.New(upstream.Options{
			HeaderTimeout: set.opts.HeaderTimeout, DialTimeout: 10 * time.Second, TLSTimeout: 10 * time.Second,
			IdleTimeout: 90 * time.Second, MaxIdle: 100, TLS: s.up.ClientTLS(),
		})
		s.tb.Cleanup(client.CloseIdleConnections)
		set.transport = client
	}
	s.pool = pool.New(set.provider, pool.Settings{FailedFor: time.Hour, DisableThreshold: 3, DisabledFor: time.Hour})
	for _, k := range set.keys {
		s.pool.Put(k, time.Now())
	}
	base := s.up.URL
	if set.provider == gateway.OpenRouter {
		base, s.prefix = s.up.URL+"/api", "/openrouter"
	}
	adapter, err := provider.New(set.provider, provider.Options{
		BaseURL: base, AppURL: "https://pool.example", AppTitle: "Pool", Version: "1.2.3",
	})
	if err != nil {
		s.tb.Fatal(err)
	}
	s.forwarder = forward.New(map[gateway.ProviderName]*forward.Upstream{
		set.provider: {Adapter: adapter, Pool: s.pool, Transport: set.transport, Disabled: set.disabled},
	}, set.opts)
	registry := &auth.Registry{}
	registry.Put(gateway.Token{Hash: gateway.HashToken(token), Name: "test", Providers: []gateway.ProviderName{set.provider}})
	log := slog.New(slog.NewJSONHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if set.quiet {
		log = slog.New(slog.DiscardHandler)
	}
	models := cache.NewModels(set.ttl, set.opts.Now)
	steps := httpkit.Chain(s.forwarder.Serve,
		httpkit.Identify, httpkit.AccessLog(log), httpkit.Recover(log), dataplane.Count, dataplane.Admit,
		auth.Require(registry, set.opts.Now, false), dataplane.Attempts, dataplane.Local, models.Serve,
	)
	entry := httpkit.Entry(steps, httpkit.WriteDataError)
	s.handler = &dataplane.Surface{
		Routes: dataplane.NewRoutes(), Clients: httpkit.NewClients(nil), TokenInPath: !set.noPath,
		Now: set.opts.Now, Done: s.note, Steps: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.running.Add(1)
			defer s.running.Add(-1)
			entry.ServeHTTP(w, r)
		}),
	}
}

func (s *scene) note(x *gateway.Exchange) {
	s.mu.Lock()
	s.attempts += len(x.Record.Attempts)
	s.mu.Unlock()
	if s.ended != nil {
		s.ended(x)
	}
	s.records <- x.Record
}

func (s *scene) listen() {
	s.tb.Helper()
	l, err := new(net.ListenConfig).Listen(s.tb.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		s.tb.Fatal(err)
	}
	s.addr = l.Addr().String()
	s.server = &http.Server{Handler: s.handler, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	go func() { _ = s.server.Serve(l) }()
}

// close stops the gateway and proves what holds after any test: every attempt
// was counted once with its key, and no secret was logged.
func (s *scene) close() {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	if err := s.server.Shutdown(ctx); err != nil {
		s.tb.Errorf("requests still run: %v", err)
	}
	s.transport.CloseIdleConnections()
	if got := s.counts().Total; got != int64(s.attempts) {
		s.tb.Errorf("the keys count %d attempts, the records %d", got, s.attempts)
	}
	secrets := []string{token}
	for i := range 20 {
		secrets = append(secrets, key(i))
	}
	testkit.MustNotContain(s.tb, s.log.String(), secrets...)
	if strings.Contains(s.log.String(), `"level":"ERROR"`) {
		s.tb.Errorf("a fault of ours was logged: %s", s.log.String())
	}
}

// counts adds up what all keys have counted so far.
func (s *scene) counts() gateway.KeyCounts {
	var sum gateway.KeyCounts
	for _, c := range s.keyCounts() {
		sum.Total += c.Total
		sum.Success += c.Success
		sum.Failure += c.Failure
	}
	return sum
}

func (s *scene) keyCounts() map[gateway.KeyID]gateway.KeyCounts {
	d := s.pool.Drain()
	s.pool.Restore(d)
	out := map[gateway.KeyID]gateway.KeyCounts{}
	for _, k := range d.Keys {
		c := k.Counts
		c.LastUsed, c.LastSuccess, c.LastFailure = time.Time{}, time.Time{}, time.Time{}
		out[k.Key] = c
	}
	return out
}

// request writes a POST with the token.
func (s *scene) request(path, body string, headers ...string) string {
	headers = append([]string{"Authorization", "Bearer " + token, "Content-Type", "application/json"}, headers...)
	return testkit.HTTP11(http.MethodPost, s.prefix+path, body, headers...)
}

// post makes a request on a connection of its own and reads the whole answer.
func (s *scene) post(path, body string, headers ...string) testkit.RawResponse {
	s.tb.Helper()
	return testkit.RawRequest(s.tb, s.addr, s.request(path, body, headers...))
}

func (s *scene) get(path string, headers ...string) testkit.RawResponse {
	s.tb.Helper()
	return testkit.RawRequest(s.tb, s.addr, testkit.HTTP11(http.MethodGet, s.prefix+path, "", append(headers, "Authorization", "Bearer "+token)...))
}

// chat is an ordinary request.
func (s *scene) chat() testkit.RawResponse {
	s.tb.Helper()
	return s.post("/v1/chat/completions", chat)
}

// record waits for the end of the next request.
func (s *scene) record() gateway.Record {
	s.tb.Helper()
	select {
	case r := <-s.records:
		return r
	case <-time.After(soon):
		s.tb.Fatal("no request ended")
		return gateway.Record{}
	}
}

// tried names the keys of the calls that reached the upstream, by number.
func (s *scene) tried() string {
	var out []string
	for _, c := range s.up.Calls() {
		n := "?"
		for i := range 20 {
			if c.Key == key(i) {
				n = strconv.Itoa(i)
			}
		}
		out = append(out, n)
	}
	return strings.Join(out, " ")
}

// state tells a key's state in words: its status, failures in a row, why.
func (s *scene) state(n int) string {
	st, status, ok := s.pool.State(idOf(n))
	if !ok {
		return "gone"
	}
	out := fmt.Sprintf("%s %d", status, st.ConsecutiveFailures)
	if st.Disabled != "" {
		out += " " + string(st.Disabled)
	}
	if st.LastError != "" {
		out += ": " + st.LastError
	}
	return out
}

// untouched fails the test unless the keys are as good as new.
func (s *scene) untouched(numbers ...int) {
	s.tb.Helper()
	for _, n := range numbers {
		if got := s.state(n); got != "active 0" {
			s.tb.Errorf("key %d: %s, want it untouched", n, got)
		}
	}
}

// clock is a time that passes when a test says so.
type clock struct {
	mu sync.Mutex // guards at
	at time.Time
}

func newClock() *clock { return &clock{at: time.Now()} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// apiError is an error as one of the three dialects writes it.
type apiError struct{ kind, code, message string }

func readError(tb testing.TB, body []byte) apiError {
	tb.Helper()
	var object struct {
		Type  string
		Error json.RawMessage
	}
	if err := json.Unmarshal(body, &object); err != nil {
		tb.Fatalf("the error is no JSON: %s", body)
	}
	var words string
	if json.Unmarshal(object.Error, &words) == nil {
		return apiError{message: words}
	}
	var e struct {
		Message, Type, Code string
		Param               *string
	}
	if err := json.Unmarshal(object.Error, &e); err != nil {
		tb.Fatalf("the error has no known form: %s", body)
	}
	return apiError{kind: e.Type, code: e.Code, message: e.Message}
}

// retryable is what an error says of trying again, "" if it says nothing.
func retryable(tb testing.TB, body []byte) string {
	tb.Helper()
	var beside struct {
		Retryable json.RawMessage
		Error     json.RawMessage
	}
	if err := json.Unmarshal(body, &beside); err != nil {
		tb.Fatalf("the error is no JSON: %s", body)
	}
	if beside.Retryable != nil {
		return string(beside.Retryable)
	}
	var inside struct{ Retryable json.RawMessage }
	_ = json.Unmarshal(beside.Error, &inside) // a text has nothing inside
	return string(inside.Retryable)
}

// oneOf reports whether a record ended so.
func outcome(r gateway.Record) string {
	success, failure := r.Outcome()
	switch {
	case !r.Counted:
		return "not counted"
	case success:
		return "success"
	case failure:
		return "failure"
	}
	return "neither"
}

// reasons lists what the attempts of a request proved.
func reasons(r gateway.Record) []string {
	var out []string
	for _, a := range r.Attempts {
		out = append(out, a.Verdict.Reason)
	}
	return out
}

func equal[T comparable](tb testing.TB, what string, got, want T) {
	tb.Helper()
	if got != want {
		tb.Errorf("%s: %v, want %v", what, got, want)
	}
}

func equalSlices[T comparable](tb testing.TB, what string, got, want []T) {
	tb.Helper()
	if !slices.Equal(got, want) {
		tb.Errorf("%s: %v, want %v", what, got, want)
	}
}
