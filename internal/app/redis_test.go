package app_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/dataplane/limit"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
	"ollama-api-pool/internal/storage/shared"
	"ollama-api-pool/internal/testkit"
	"ollama-api-pool/internal/testkit/servers"
)

// together connects to the Redis of this package's tests, as so many instances of
// a store of their own.
func together(tb testing.TB, n int) []*shared.Redis {
	tb.Helper()
	store := rand.Text()
	all := make([]*shared.Redis, n)
	for i := range all {
		r, err := shared.New(gateway.Secret(servers.SharedRedis(tb).URL()), shared.Options{Deadline: soon, Pause: 20 * time.Millisecond})
		if err != nil {
			tb.Fatal(err)
		}
		r.SetPrefix(store)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		tb.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				tb.Error(err)
			}
		})
		becomes(tb, "Redis is there", soon, r.Up)
		all[i] = r
	}
	return all
}

// asked is what became of one request at the limits of a token.
type asked struct {
	status  int
	headers string
	finish  chan error // nil: refused
	ended   chan struct{}
}

// ask begins a request; it goes on until it is finished.
func ask(t testing.TB, tokens *limit.Tokens, l *gateway.Limits) *asked {
	x := &gateway.Exchange{Principal: &gateway.Principal{TokenHash: "sha256:fake", Limits: l}}
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(gateway.WithExchange(t.Context(), x), http.MethodPost, "/", http.NoBody)
	a := &asked{finish: make(chan error), ended: make(chan struct{})}
	in, out := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(a.ended)
		out <- tokens.Limit(func(http.ResponseWriter, *http.Request) error {
			close(in)
			err := <-a.finish
			if err == nil {
				x.Record.Usage = gateway.Usage{Input: 10, Output: 5}
			}
			return err
		})(w, r)
	}()
	select {
	case <-in:
		a.status = http.StatusOK
	case err := <-out:
		a.status, a.finish = http.StatusTooManyRequests, nil
		a.headers = fmt.Sprint(gateway.AsError(err).Message, " ")
	}
	h := w.Header()
	for _, name := range []string{"Limit-Requests", "Remaining-Requests", "Limit-Tokens", "Remaining-Tokens"} {
		a.headers += h.Get("X-Ratelimit-"+name) + " "
	}
	return a
}

func (a *asked) end(err error) {
	if a.finish != nil {
		a.finish <- err
		a.finish = nil
	}
	<-a.ended
}

// TestThreeInstancesLimitLikeOne sends the same requests to one instance and, in
// turns, to three: they must say the same.
func TestThreeInstancesLimitLikeOne(t *testing.T) {
	errForbidden := gateway.Errorf(gateway.KindForbidden, "not this model")
	for name, l := range map[string]gateway.Limits{
		"minute":         {RequestsPerMinute: 9},
		"minute, grains": {RequestsPerMinute: 70},
		"day":            {RequestsPerDay: 20},
		"tokens":         {TokensPerDay: 200},
		"concurrent":     {Concurrent: 3},
		"all":            {RequestsPerMinute: 30, RequestsPerDay: 25, TokensPerDay: 400, Concurrent: 4},
	} {
		t.Run(name, func(t *testing.T) {
			alone := limit.NewTokens(time.Now)
			alone.Seed("sha256:fake", 2, 30, time.Now())
			redis := together(t, 3)
			three := make([]*limit.Tokens, len(redis))
			for i := range three {
				three[i] = limit.NewTokens(time.Now)
				three[i].Share(redis[i])
				three[i].Seed("sha256:fake", 2, 30, time.Now())
			}
			random := mathrand.New(mathrand.NewPCG(7, 7))
			type pair struct{ one, other *asked }
			var running []pair
			end := func(i int, err error) {
				running[i].one.end(err)
				running[i].other.end(err)
				running = append(running[:i], running[i+1:]...)
				for _, r := range redis {
					if err := r.Flush(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
			}
			admitted := 0
			for step := range 120 {
				if n := len(running); n > 0 && random.IntN(3) > 0 {
					var err error
					switch random.IntN(6) {
					case 0:
						err = errForbidden
					case 1:
						err = errors.New("a fault")
					}
					end(random.IntN(n), err)
					continue
				}
				p := pair{ask(t, alone, &l), ask(t, three[step%3], &l)}
				if p.one.status != p.other.status || p.one.headers != p.other.headers {
					t.Fatalf("step %d: one says %d %s, three say %d %s", step, p.one.status, p.one.headers, p.other.status, p.other.headers)
				}
				if p.one.status == http.StatusOK {
					admitted++
					running = append(running, p)
				}
			}
			for len(running) > 0 {
				end(0, nil)
			}
			if admitted < 5 {
				t.Errorf("%d were let in: nothing was compared", admitted)
			}
			for i, r := range redis {
				if !r.Up() || r.Status().Calls == 0 {
					t.Errorf("instance %d asked nobody: %+v", i, r.Status())
				}
			}
		})
	}
}

// TestOnlyWhatIsLimitedAsksRedis runs two whole programs on one database and one
// Redis.
func TestOnlyWhatIsLimitedAsksRedis(t *testing.T) {
	redis, err := servers.StartRedis("", servers.RedisOptions{Password: "fake-canary"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = redis.Stop() })
	a := start(t, "DATABASE_URL="+servers.SharedPostgres(t).Database(t), "REDIS_URL="+redis.URL(), "MODELS_CACHE_TTL=0")
	b := a.another("RESPONSE_CACHE_TTL=60")
	c := a.another("RESPONSE_CACHE_TTL=60")
	a.addKeys(gateway.Ollama, 2)
	becomes(t, "keys are there", soon, func() bool { return b.app.Keys() == 2 && c.app.Keys() == 2 })
	calls := func() string {
		info, err := redis.Do(t.Context(), "INFO", "commandstats")
		if err != nil {
			t.Fatal(err)
		}
		n := ""
		for _, command := range []string{"cmdstat_get:calls=", "cmdstat_set:calls=", "cmdstat_hset:calls=", "cmdstat_rpush:calls="} {
			_, rest, _ := strings.Cut(info, command)
			count, _, _ := strings.Cut(rest, ",")
			n += count + " "
		}
		return n
	}
	for _, p := range []*program{a, b, c} {
		becomes(t, "Redis is there", soon, func() bool {
			status, _ := p.ready()
			return status == "ok" && strings.Contains(string(p.admin(http.MethodGet, "/metrics", "").Body), "redis")
		})
	}
	a.up.Always(testkit.JSON(200, done))
	before := calls()
	a.serves(20)
	if after := calls(); after != before {
		t.Errorf("an unlimited token without caches asked Redis: %q before, %q after", before, after)
	}
	// What one keeps the other gives, until somebody clears it.
	shared := func() bool {
		keys, err := redis.Do(t.Context(), "KEYS", "*:c.answers1:*")
		return err == nil && keys != ""
	}
	equal(t, "the first", b.post("/v1/chat/completions", chat).Header.Get("X-Cache"), "MISS")
	becomes(t, "it is shared", soon, shared)
	got := c.post("/v1/chat/completions", chat)
	equal(t, "the other one", got.Header.Get("X-Cache")+" "+string(got.Body), "HIT "+done)
	if got := c.admin(http.MethodPost, "/admin/cache/clear", `{}`); got.Status != http.StatusOK || !strings.Contains(string(got.Body), `"cleared":`) {
		t.Errorf("clear: %d %s", got.Status, got.Body)
	}
	if shared() {
		t.Error("what was cleared is still shared")
	}
	becomes(t, "the first one has cleared its own", soon, func() bool {
		return b.post("/v1/chat/completions", chat).Header.Get("X-Cache") == "MISS"
	})
}

func BenchmarkLimitedRequest(b *testing.B) {
	l := gateway.Limits{RequestsPerMinute: 1 << 30, RequestsPerDay: 1 << 30, TokensPerDay: 1 << 50, Concurrent: 1 << 20}
	serve := func(b *testing.B, tokens *limit.Tokens) {
		step := tokens.Limit(httpkit.Handler(func(http.ResponseWriter, *http.Request) error { return nil }))
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			x := &gateway.Exchange{Principal: &gateway.Principal{TokenHash: "sha256:fake", Limits: &l}}
			r := httptest.NewRequestWithContext(gateway.WithExchange(context.Background(), x), http.MethodPost, "/", http.NoBody)
			w := httptest.NewRecorder()
			for pb.Next() {
				if err := step(w, r); err != nil {
					b.Error(err)
				}
			}
		})
	}
	b.Run("alone", func(b *testing.B) { serve(b, limit.NewTokens(time.Now)) })
	b.Run("redis", func(b *testing.B) {
		tokens := limit.NewTokens(time.Now)
		tokens.Share(together(b, 1)[0])
		serve(b, tokens)
	})
	b.Run("redis down", func(b *testing.B) {
		tokens := limit.NewTokens(time.Now)
		r, err := shared.New("redis://127.0.0.1:1", shared.Options{})
		if err != nil {
			b.Fatal(err)
		}
		tokens.Share(r)
		serve(b, tokens)
	})
}
