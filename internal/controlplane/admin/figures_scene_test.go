package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/controlplane/metrics"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
	"ollama-api-pool/internal/storage/sqlstore"
	"ollama-api-pool/internal/testkit"
)

const figuresToken = "admin-fake-of-the-figures"

// wednesday is when the figures are looked at, unless a test says otherwise.
var wednesday = time.Date(2030, time.January, 9, 14, 32, 10, 0, time.UTC)

// figuresScene is the API on a real store, at a time that stands still. What is
// live is set by the test.
type figuresScene struct {
	testing.TB
	store *sqlstore.Store
	api   *API
	clock *testClock
	live  *liveOf
}

type testClock struct{ at time.Time }

func (c *testClock) now() time.Time { return c.at }

// liveOf is how things stand, as a test says.
type liveOf struct {
	standing map[gateway.ProviderName]Standing
	peak     int
	peakAt   time.Time
	jobs     func() []gateway.Job
	keys     map[gateway.KeyID]gateway.Secret
}

func (l *liveOf) Standing(p gateway.ProviderName) Standing {
	s, ok := l.standing[p]
	if !ok {
		s.Enabled = true
	}
	return s
}

func (l *liveOf) Peak(gateway.ProviderName, time.Time) (int, time.Time) { return l.peak, l.peakAt }

func (l *liveOf) Masked(_ gateway.ProviderName, id gateway.KeyID) (string, bool) {
	secret, ok := l.keys[id]
	return gateway.MaskKey(secret), ok
}

func (l *liveOf) RunningJobs() []gateway.Job {
	if l.jobs == nil {
		return nil
	}
	return l.jobs()
}

// What the figures do not ask for.
type (
	otherKeys   = Keys
	otherTokens = Tokens
)

// tokensOf are the store's tokens.
type tokensOf struct {
	otherTokens
	store *sqlstore.Store
}

func (t tokensOf) Tokens(ctx context.Context) ([]gateway.Token, error) { return t.store.Tokens(ctx) }

func newFiguresScene(t testing.TB, options ...func(*Options)) *figuresScene {
	t.Helper()
	s := &figuresScene{TB: t, clock: &testClock{wednesday}, live: &liveOf{
		standing: map[gateway.ProviderName]Standing{}, keys: map[gateway.KeyID]gateway.Secret{},
	}}
	var err error
	s.store, err = sqlstore.Open(t.Context(), sqlstore.Options{Path: filepath.Join(t.TempDir(), "pool.db"), Now: s.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.store.Close(); err != nil {
			t.Error(err)
		}
	})
	m := metrics.New(gateway.Providers(), "1.2.3-test", func() metrics.Snapshot { return metrics.Snapshot{} })
	o := Options{
		Token: figuresToken, Clients: httpkit.NewClients(nil), Storage: "sqlite", RequestLog: "failures", Encrypted: true,
		Log: slog.New(slog.DiscardHandler), Now: s.clock.now,
	}
	for _, change := range options {
		change(&o)
	}
	s.api = New(Parts{Keys: keysOf{live: s.live}, Tokens: tokensOf{store: s.store}, Stats: s.store, Figures: figuresOf{s.store}, Live: s.live, Metrics: m.Handler(), System: systemOf{}}, o)
	t.Cleanup(s.api.EndStreams)
	return s
}

// systemOf is a program of one instance.
type systemOf struct{ System }

func (systemOf) Storage() Storage {
	return Storage{Engine: "sqlite", Instances: []Instance{{ID: "one", Self: true}}}
}

// keysOf are the keys that a test names.
type keysOf struct {
	otherKeys
	live *liveOf
}

func (k keysOf) CountKeys(p gateway.ProviderName) map[gateway.KeyStatus]int {
	return k.live.Standing(p).Keys
}

func (k keysOf) HasKey(_ gateway.ProviderName, id gateway.KeyID) bool {
	_, ok := k.live.keys[id]
	return ok
}

// figuresOf is the store, in which everything is written down.
type figuresOf struct{ *sqlstore.Store }

func (figuresOf) Settle(context.Context) error { return nil }

// Groups has none: the keys of a scene are all well.
func (figuresOf) Groups(gateway.ProviderName) ([]gateway.RestGroup, []gateway.OutGroup) {
	return nil, nil
}

// apply writes down what happened.
func (s *figuresScene) apply(deltas ...gateway.Delta) {
	s.Helper()
	if err := s.store.Apply(s.Context(), deltas); err != nil {
		s.Fatal(err)
	}
}

// tallied is what n requests of which some failed add up to: 1.1 attempts, 100
// tokens in and 20 out each, a duration and a time to the first byte.
func tallied(n, failed int64, duration, first time.Duration) gateway.Tally {
	t := gateway.Tally{Attempts: n + n/10, Counts: gateway.Counts{
		Requests: n, Success: n - failed, Failure: failed, Usage: gateway.Usage{Input: 100 * n, Output: 20 * n, Cost: gateway.Cost(n) * 1e6},
	}}
	t.Duration.Observe(duration, n)
	t.FirstByte.Observe(first, n-failed)
	return t
}

// requested is a delta with requests for a model at a time.
func requested(p gateway.ProviderName, model, token string, at time.Time, t gateway.Tally) gateway.Delta {
	minute := at.Truncate(time.Minute)
	d := gateway.Delta{Provider: p, Global: t.Counts, Tallies: []gateway.TallyDelta{
		{Of: gateway.OfProvider, Minute: minute, Tally: t},
		{Of: gateway.OfModel, Name: model, Minute: minute, Tally: t},
	}}
	if token != "" {
		d.Tallies = append(d.Tallies, gateway.TallyDelta{Of: gateway.OfToken, Name: gateway.HashToken(gateway.Secret(token)), Minute: minute, Tally: t})
		d.Tokens = []gateway.TokenDelta{{Hash: gateway.HashToken(gateway.Secret(token)), LastUsed: at, Counts: t.Counts}}
	}
	return d
}

// get makes a call with the admin token, unless headers say otherwise, and
// compares it with the OpenAPI document.
func (s *figuresScene) get(address string, headers ...string) *httptest.ResponseRecorder {
	s.Helper()
	r := httptest.NewRequestWithContext(s.Context(), http.MethodGet, address, http.NoBody)
	r.Header.Set("Authorization", "Bearer "+figuresToken)
	for i := 0; i < len(headers); i += 2 {
		if r.Header.Del(headers[i]); headers[i+1] != "" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	w := httptest.NewRecorder()
	s.api.ServeHTTP(w, r)
	testkit.MustNotContain(s, w.Body.String(), s.secrets()...)
	return w
}

// secrets are what no answer may have.
func (s *figuresScene) secrets() []string {
	out := []string{figuresToken}
	for _, secret := range s.live.keys {
		out = append(out, secret.Reveal())
	}
	return out
}

// read decodes an answer that must be a success.
func (s *figuresScene) read(address string, into any) {
	s.Helper()
	w := s.get(address)
	if w.Code != http.StatusOK {
		s.Fatalf("%s: %d %s", address, w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
		s.Fatal(err)
	}
}

// wantRefused makes a call that must be refused with 400 and these words.
func (s *figuresScene) wantRefused(address string, words ...string) {
	s.Helper()
	w := s.get(address)
	if w.Code != http.StatusBadRequest {
		s.Errorf("%s: %d, want 400: %s", address, w.Code, gateway.Clip(w.Body.String(), 300))
	}
	for _, word := range words {
		if !strings.Contains(w.Body.String(), word) {
			s.Errorf("%s: lacks %q: %s", address, word, w.Body)
		}
	}
}

// addKeys adds keys and tells live about them.
func (s *figuresScene) addKeys(p gateway.ProviderName, secrets ...gateway.Secret) {
	s.Helper()
	_, _, err := s.store.AddKeys(s.Context(), p, func(yield func(gateway.Key, error) bool) {
		for i, secret := range secrets {
			s.live.keys[gateway.IDOfKey(secret)] = secret
			if !yield(gateway.Key{Secret: secret, Username: fmt.Sprintf("user-%d@fake.example", i), CreatedAt: s.clock.at}, nil) {
				return
			}
		}
	}, nil)
	if err != nil {
		s.Fatal(err)
	}
}

// listen serves the API on a real socket.
func (s *figuresScene) listen() *httptest.Server {
	srv := httptest.NewServer(s.api)
	s.Cleanup(srv.Close)
	return srv
}
