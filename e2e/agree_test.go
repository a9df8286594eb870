package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit/servers"
)

// ways are the ways in which three instances hear of each other.
var ways = map[string]func(t *testing.T) (databases, settings []string){
	"LISTEN": func(t *testing.T) ([]string, []string) {
		url := have(t, lockedPostgres).Database(t)
		return []string{url, url, url}, nil
	},
	"pooler": func(t *testing.T) ([]string, []string) {
		url := have(t, lockedPooler).Database(t)
		return []string{url, url, url}, nil
	},
	"Redis": func(t *testing.T) ([]string, []string) {
		url := have(t, lockedPooler).Database(t)
		return []string{url, url, url}, []string{"REDIS_URL=" + servers.SharedRedis(t).URL()}
	},
}

// TestThreeInstancesAgree changes keys, tokens and caches at one instance, and
// asks the others for what a client would notice of it. It runs beside nothing
// else, for it measures time.
func TestThreeInstancesAgree(t *testing.T) { //nolint:paralleltest // see above
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			databases, settings := way(t)
			key := fakeKey(gateway.Ollama, 0)
			up := newUpstream(t, map[string]fate{key: fateOK})
			c := newCluster(t, up.settings(), databases, append(settings, "RESPONSE_CACHE_TTL=60")...)
			a := &agreeing{cluster: c, up: up, key: key, delays: map[string][]time.Duration{}}
			for _, i := range c.All {
				i.secrets.plant(key)
			}
			for round := range 3 {
				a.keys(round)
				a.tokens(round)
				a.states(round)
				a.caches(round)
				a.away(round)
			}
			a.jobs(t)
			inTime(t, a.delays)
			c.stop()
		})
	}
}

// agreeing is a cluster with one key, a token, and how long everything took.
type agreeing struct {
	*cluster
	up         *upstream
	key, token string
	delays     map[string][]time.Duration
}

// at gives an instance, another one each time.
func (a *agreeing) at(n int) *Instance { return a.All[n%len(a.All)] }

// notes measures one kind of change.
func (a *agreeing) notes(what string, act func(), shows func(i *Instance) bool) {
	a.tb.Helper()
	a.delays[what] = append(a.delays[what], a.spreads(what, act, a.All, shows))
}

// answers tells what every instance answers a client.
func (a *agreeing) answers(status int) func(i *Instance) bool {
	return func(i *Instance) bool { return a.ask(i, a.token) == status }
}

func (a *agreeing) must(i *Instance, method, path string, body any) {
	a.tb.Helper()
	Admin[any](a.tb, i, method, path, body)
}

// keys adds the key and a token.
func (a *agreeing) keys(round int) {
	a.tb.Helper()
	a.notes("a token is made", func() {
		a.token = a.at(round).CreateToken("agree", "all")
		for _, i := range a.All {
			i.secrets.plant(a.token)
		}
	}, a.answers(http.StatusServiceUnavailable)) // not 401: the pool is empty
	a.notes("a key is added", func() {
		a.must(a.at(round+1), "POST", "/admin/api-keys", map[string]any{"apiKey": a.key})
	}, a.answers(http.StatusOK))
	a.notes("a key is disabled", func() {
		a.must(a.at(round+2), "POST", "/admin/keys/disable", map[string]any{"apiKey": idOf(a.key), "duration": 0})
	}, a.answers(http.StatusServiceUnavailable))
	a.notes("a key is enabled", func() {
		a.must(a.at(round), "POST", "/admin/keys/enable", map[string]any{"apiKey": idOf(a.key)})
	}, a.answers(http.StatusOK))
}

// tokens changes a token and revokes another.
func (a *agreeing) tokens(round int) {
	a.tb.Helper()
	a.notes("a token is bounded", func() {
		a.must(a.at(round), "PATCH", "/admin/tokens/"+idOfToken(a.token), map[string]any{"limits": map[string]any{"models": []string{"none*"}}})
	}, a.answers(http.StatusForbidden))
	a.notes("a token is unbound", func() {
		a.must(a.at(round+1), "PATCH", "/admin/tokens/"+idOfToken(a.token), map[string]any{"limits": map[string]any{"models": []string{}}})
	}, a.answers(http.StatusOK))
	second := a.at(round+2).CreateToken("second", "all")
	seen := func(status int) func(i *Instance) bool {
		return func(i *Instance) bool { return a.ask(i, second) == status }
	}
	a.spreads("a second token is made", func() {}, a.All, seen(http.StatusOK))
	a.notes("a token is revoked", func() {
		a.must(a.at(round), "DELETE", "/admin/tokens", map[string]any{"token": idOfToken(second)})
	}, seen(http.StatusUnauthorized))
}

// states lets the upstream refuse the key at one instance.
func (a *agreeing) states(round int) {
	a.tb.Helper()
	refused := func(i *Instance, status int, header, text string) {
		a.tb.Helper()
		a.up.nextAnswer(func(w http.ResponseWriter, _ *http.Request) {
			if header != "" {
				w.Header().Set("Retry-After", header)
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(text))
		})
		if got := a.ask(i, a.token); got != http.StatusTooManyRequests && got != http.StatusServiceUnavailable {
			a.tb.Fatalf("with its only key refused an instance answers %d", got)
		}
	}
	a.notes("a key rests", func() {
		refused(a.at(round), http.StatusTooManyRequests, "300", `{"error":"too many requests"}`)
	}, a.answers(http.StatusTooManyRequests))
	a.notes("a rest is cleared", func() {
		a.must(a.at(round+1), "POST", "/admin/keys/clear-rest", map[string]any{"apiKey": idOf(a.key)})
	}, a.answers(http.StatusOK))
	a.notes("a key fails", func() {
		refused(a.at(round+2), http.StatusUnauthorized, "", `{"error":"unauthorized"}`)
	}, a.answers(http.StatusServiceUnavailable))
	a.notes("a failure is cleared", func() {
		a.must(a.at(round), "POST", "/admin/keys/enable", map[string]any{"apiKey": idOf(a.key)})
	}, a.answers(http.StatusOK))
}

// caches fills an instance's cache and clears it from another one.
func (a *agreeing) caches(round int) {
	a.tb.Helper()
	body := fmt.Sprintf(`{"model":%q,"input":"the same %d","dimensions":8}`, ollamaFace.embed, round)
	ask := func(i *Instance) string {
		got, err := i.Ask(a.tb.Context(), call{
			method: "POST", path: "/v1/embeddings", kind: "application/json", body: strings.NewReader(body),
			header: map[string]string{"Authorization": "Bearer " + a.token},
		})
		if err != nil || got.Status != http.StatusOK {
			a.tb.Fatalf("%d %s %v", got.Status, got.Body, err)
		}
		return got.Header.Get("X-Cache")
	}
	far := a.at(round + 1)
	ask(far)
	if got := ask(far); got != "HIT" {
		a.tb.Errorf("the same again: X-Cache %s", got)
	}
	a.delays["the caches are cleared"] = append(a.delays["the caches are cleared"], a.spreads("the caches are cleared", func() {
		a.must(a.at(round), "POST", "/admin/cache/clear", map[string]any{"scope": "all"})
	}, []*Instance{far}, func(i *Instance) bool { return ask(i) == "MISS" }))
}

// away takes key and token away.
func (a *agreeing) away(round int) {
	a.tb.Helper()
	a.notes("a key is deleted", func() {
		a.must(a.at(round), "DELETE", "/admin/api-keys", map[string]any{"apiKey": idOf(a.key)})
	}, a.answers(http.StatusServiceUnavailable))
	a.notes("the last token is revoked", func() {
		a.must(a.at(round+1), "DELETE", "/admin/tokens", map[string]any{"token": idOfToken(a.token)})
	}, a.answers(http.StatusUnauthorized))
}

// jobs begins a job at one instance, which keeps the others from beginning one,
// and cancels it from another.
func (a *agreeing) jobs(t *testing.T) {
	t.Helper()
	first, second, third := a.All[0], a.All[1], a.All[2]
	a.must(first, "POST", "/admin/api-keys", map[string]any{"apiKey": a.key})
	h := a.up.hold(0)
	begun := want[started](t, first, http.StatusAccepted, withJSON("POST", healthCheck+"?async=true", nil)).Job
	awaitClosed(t, h.reached, patience, "the upstream is asked about the key")
	for _, i := range []*Instance{second, third} {
		want[any](t, i, http.StatusConflict, withJSON("POST", healthCheck, nil))
		if j := get[job](t, i, "/admin/jobs/"+begun.ID); j.State != "running" {
			t.Errorf("elsewhere the job is %+v", j)
		}
	}
	a.notes("a job is cancelled", func() { a.must(second, "POST", "/admin/jobs/"+begun.ID+"/cancel", nil) }, func(i *Instance) bool {
		return get[job](t, i, "/admin/jobs/"+begun.ID).State == "cancelled"
	})
	awaitClosed(t, h.gone, patience, "the question about the key is broken off")
	post[checkResult](t, third, healthCheck, map[string]any{"filter": map[string]any{"status": "all"}})
}

// TestLimitsOfThreeInstances sends requests to each instance in turn, more than
// a limit allows. With Redis they are counted together, without each instance
// counts its own.
func TestLimitsOfThreeInstances(t *testing.T) {
	t.Parallel()
	const limit = 5
	for way, allowed := range map[string]int{"Redis": limit, "pooler": 3 * limit} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			databases, settings := ways[way](t)
			key := fakeKey(gateway.Ollama, 0)
			up := newUpstream(t, map[string]fate{key: fateOK})
			c := newCluster(t, up.settings(), databases, append(settings,
				"ENABLE_RATE_LIMIT=true", fmt.Sprint("RATE_LIMIT_REQUESTS=", 2*limit), "RATE_LIMIT_WINDOW=600", "TRUSTED_PROXIES=127.0.0.1")...)
			c.All[0].AddKeys(gateway.Ollama, key)
			made := post[tokenEntry](t, c.All[0], "/admin/tokens", map[string]any{"name": "bounded", "limits": map[string]any{"requestsPerMinute": limit}})
			free := c.All[0].CreateToken("free", "all")
			for _, i := range c.All {
				i.secrets.plant(made.Token, free)
			}
			ask := func(n int, token, from string) int {
				got, err := c.All[n%len(c.All)].Ask(t.Context(), call{
					method: "POST", path: "/v1/embeddings", kind: "application/json",
					body:   strings.NewReader(fmt.Sprintf(`{"model":%q,"input":"x","dimensions":8}`, ollamaFace.embed)),
					header: map[string]string{"Authorization": "Bearer " + token, "X-Forwarded-For": from},
				})
				if err != nil || got.Status == http.StatusTooManyRequests && got.Header.Get("Retry-After") == "" {
					t.Fatalf("%d %s %v", got.Status, got.Body, err)
				}
				return got.Status
			}
			address := 0 // a new one each time, that no limit shows
			for n := range c.All {
				await(t, "the token and the key", func() bool {
					address++
					return ask(n, free, fmt.Sprintf("2001:db8:0:%x::1", address)) == http.StatusOK
				})
			}
			served := func(token string, from func(n int) string) (ok int) {
				for n := range 3 * (2*limit + 2) {
					switch status := ask(n, token, from(n)); status {
					case http.StatusOK:
						ok++
					case http.StatusTooManyRequests:
					default:
						t.Errorf("it answers %d", status)
					}
				}
				return ok
			}
			if got := served(free, func(int) string { return "192.0.2.1" }); got != 2*allowed {
				t.Errorf("from one address %d requests were served, want %d", got, 2*allowed)
			}
			if got := served(made.Token, func(n int) string { return fmt.Sprint("198.51.100.", n+1) }); got != allowed {
				t.Errorf("of one token %d requests were served, want %d", got, allowed)
			}
			c.stop()
		})
	}
}
