package forward_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

const (
	tags = `{"models":[{"name":"gpt-oss:120b","model":"gpt-oss:120b","modified_at":"2025-08-05T00:00:00Z","size":65},` +
		`{"name":"org/kimi:1t","modified_at":null},{"name":""},{"model":"only-model","modified_at":"nonsense"}]}`
	models = `{"data":[{"id":"moonshotai/kimi-k2:free","created":1753357673,"owned_by":"moonshotai","context_length":131072},{"id":7},{"id":"a"}]}`
)

// tagsOr answers questions about models, and the rest otherwise.
func tagsOr(otherwise testkit.Answer) func(*testkit.Call) testkit.Answer {
	return func(c *testkit.Call) testkit.Answer {
		switch c.Path {
		case "/api/tags":
			return testkit.JSON(200, tags, "Set-Cookie", "a=1", "X-Request-Id", "theirs", "X-Cache", "theirs", "Etag", `"1"`)
		case "/api/v1/models":
			return testkit.JSON(200, models)
		case "/api/version":
			return testkit.JSON(200, `{"version":"9.9.9"}`)
		case "/api/ps":
			return testkit.JSON(404, `{"error":"path \"/api/ps\" not found"}`)
		}
		return otherwise
	}
}

func TestModelLists(t *testing.T) {
	const entry = `{"created":1754352000,"id":"gpt-oss:120b","object":"model","owned_by":"ollama","parent":null,"permission":[],"root":"gpt-oss:120b"}`
	s := newScene(t)
	s.up.Handle(tagsOr(nil))
	first := s.get("/v1/models")
	equal(t, "status", first.Status, 200)
	equal(t, "X-Cache", first.Header.Get("X-Cache"), "MISS")
	equal(t, "X-Pool-Attempts", first.Header.Get("X-Pool-Attempts"), "1")
	equal(t, "type", first.Header.Get("Content-Type"), "application/json")
	equal(t, "upstream id", first.Header.Get("X-Upstream-Request-Id"), "theirs")
	list := `{"data":[` + entry + `,` +
		`{"created":0,"id":"org/kimi:1t","object":"model","owned_by":"ollama","parent":null,"permission":[],"root":"org/kimi:1t"},` +
		`{"created":0,"id":"only-model","object":"model","owned_by":"ollama","parent":null,"permission":[],"root":"only-model"}],"object":"list"}`
	equal(t, "list", string(first.Body), list)
	for path, want := range map[string]string{
		"/v1/models": list, "/ollama/v1/models": list, "/v1/models?beta=true": list, "/v1/models/gpt-oss:120b": entry,
		"/v1/models/gpt-oss%3A120b": entry, "/v1/models/gpt-oss:120b?x=1": entry, "/api/tags": tags,
	} {
		got := s.get(path)
		equal(t, path, got.Status, 200)
		equal(t, path, string(got.Body), want)
		equalSlices(t, path+" X-Cache", got.Header["X-Cache"], []string{"HIT"})
		equalSlices(t, path+" X-Pool-Attempts", got.Header["X-Pool-Attempts"], []string{"0"})
		equalSlices(t, path+" cookies", got.Header["Set-Cookie"], nil)
		equal(t, path+" upstream id", got.Header.Get("X-Upstream-Request-Id"), "")
	}
	for _, path := range []string{"/v1/models/org/kimi:1t", "/v1/models/org%2Fkimi:1t", "/t/" + token + "/v1/models/org%2fkimi%3A1t"} {
		equal(t, path, s.get(path).Status, 200)
	}
	for _, path := range []string{"/v1/models/none", "/v1/models/org", "/v1/models/org%252Fkimi:1t", "/v1/models/"} {
		got := s.get(path)
		equal(t, path, got.Status, 404)
		equal(t, path, readError(t, got.Body).kind, "invalid_request_error")
	}
	calls := s.up.Calls()
	equal(t, "calls", len(calls), 1)
	equal(t, "call", calls[0].Method+" "+calls[0].Path+" "+calls[0].Key, "GET /api/tags "+key(0))
	equal(t, "Accept", calls[0].Header.Get("Accept"), "application/json")

	head := testkit.RawRequest(t, s.addr, testkit.HTTP11("HEAD", "/v1/models", ""))
	equal(t, "HEAD", fmt.Sprintln(head.Status, head.Header.Get("Content-Length"), head.Header.Get("X-Cache"), len(head.Body)), fmt.Sprintln(200, len(list), "HIT", 0))
	equal(t, "a bad escape", s.get("/v1/models/%zz").Status, 400)
}

func TestModelListsOfOpenRouter(t *testing.T) {
	s := newScene(t, openRouter)
	s.up.Handle(tagsOr(nil))
	var list struct {
		Object string
		Data   []map[string]any
	}
	got := s.get("/v1/models")
	if err := json.Unmarshal(got.Body, &list); err != nil {
		t.Fatal(err)
	}
	equal(t, "list", fmt.Sprint(list.Object, len(list.Data)), "list2")
	want := map[string]any{
		"id": "moonshotai/kimi-k2:free", "object": "model", "created": 1753357673.0, "owned_by": "moonshotai",
		"permission": []any{}, "root": "moonshotai/kimi-k2:free", "parent": nil, "context_length": 131072.0,
	}
	equal(t, "entry", fmt.Sprint(list.Data[0]), fmt.Sprint(want))
	equal(t, "defaults", fmt.Sprint(list.Data[1]["owned_by"], list.Data[1]["created"]), "openrouter0")
	for _, path := range []string{"/v1/models/moonshotai/kimi-k2:free", "/v1/models/moonshotai%2Fkimi-k2%3Afree"} {
		got := s.get(path)
		equal(t, path, got.Status, 200)
		equal(t, path, got.Header.Get("X-Cache"), "HIT")
	}
	asked := s.get("/v1/models?category=programming")
	equal(t, "X-Cache of a question", asked.Header.Get("X-Cache"), "BYPASS")
	equal(t, "query", s.up.Calls()[1].RawQuery, "category=programming")
	equal(t, "calls", len(s.up.Calls()), 2)
}

// However many ask for a list that is not at hand, the upstream is asked once.
func TestListAskedOnce(t *testing.T) {
	const clients = 50
	s := newScene(t)
	gate := testkit.NewGate()
	s.up.Always(testkit.After(gate, testkit.JSON(200, tags)))
	conns := make([]*testkit.RawConn, clients)
	for i := range conns {
		conns[i] = testkit.DialRaw(t, s.addr)
		path := []string{"/v1/models", "/api/tags", "/v1/models/org/kimi:1t"}[i%3]
		conns[i].Send(testkit.HTTP11("GET", path, "", "Authorization", "Bearer "+token))
		if i == 0 {
			gate.AwaitReached(t)
		}
	}
	s.awaitRunning(clients)
	gate.Open()
	for _, c := range conns {
		got := c.Response()
		equal(t, "status", got.Status, 200)
		if x := got.Header.Get("X-Cache"); x != "MISS" && x != "HIT" {
			t.Errorf("X-Cache: %q", x)
		}
	}
	equal(t, "calls", len(s.up.Calls()), 1)
	for range clients {
		equal(t, "outcome", outcome(s.record()), "success")
	}
	equal(t, "attempts", s.counts().Total, int64(1))
}

// awaitRunning waits until n requests are in the gateway.
func (s *scene) awaitRunning(n int) {
	s.tb.Helper()
	for began := time.Now(); int(s.running.Load()) < n; time.Sleep(time.Millisecond) { // nothing announces it
		if time.Since(began) > soon {
			s.tb.Fatalf("%d requests run, want %d", s.running.Load(), n)
		}
	}
}

// If the client on whose behalf the upstream was asked leaves, another takes
// its place.
func TestAskingClientLeaves(t *testing.T) {
	s := newScene(t)
	gate := testkit.NewGate()
	s.up.Handle(func(c *testkit.Call) testkit.Answer {
		if c.N == 1 {
			return testkit.After(gate, nil)
		}
		return testkit.JSON(200, tags)
	})
	asking := testkit.DialRaw(t, s.addr)
	asking.Send(testkit.HTTP11("GET", "/v1/models", "", "Authorization", "Bearer "+token))
	gate.AwaitReached(t)
	waiting := make([]*testkit.RawConn, 10)
	for i := range waiting {
		waiting[i] = testkit.DialRaw(t, s.addr)
		waiting[i].Send(testkit.HTTP11("GET", "/v1/models", "", "Authorization", "Bearer "+token))
	}
	s.awaitRunning(11)
	waiting[9].Close() // one that waits may leave as well
	equal(t, "end of one that waited", s.record().End, gateway.EndClientClosed)
	asking.Close()
	s.up.AwaitCanceled(1, within)
	for _, c := range waiting[:9] {
		equal(t, "status", c.Response().Status, 200)
	}
	equal(t, "calls", len(s.up.Calls()), 2)
	ends := map[string]int{}
	for range 10 {
		ends[outcome(s.record())]++
	}
	equal(t, "outcomes", fmt.Sprint(ends), "map[neither:1 success:9]")
	if strings.Contains(s.log.String(), `"level":"WARN"`) {
		t.Errorf("logged as if something were wrong: %s", s.log.String())
	}
}

// What is no list is not kept.
func TestListErrors(t *testing.T) {
	for _, tt := range []struct {
		name          string
		answer        testkit.Answer
		list, tagsRaw int
	}{
		{"500", testkit.JSON(500, `{"error":"oops"}`), 500, 500},
		{"404", testkit.JSON(404, `{"error":"path not found"}`), 404, 404},
		{"refused", fails(401, "no"), 503, 503},
		{"quota", fails(429, "no"), 429, 429},
		{"reset", testkit.Reset(), 502, 502},
		{"cut", testkit.Stream("application/json", testkit.Text(tags[:40]), testkit.Break(testkit.FIN)), 502, 502},
		{"truncated", testkit.TruncatedContentLength("application/json", tags, 9999), 502, 502},
		{"a page", testkit.Reply(200, "text/html", "<html>hello</html>"), 502, 200},
		{"another object", testkit.JSON(200, `{"message":"hello"}`), 502, 200},
		{"an error under a good status", testkit.JSON(200, `{"error":{"code":500,"message":"oops"}}`), 502, 200},
		{"a list of another kind", testkit.JSON(200, `{"models":{"a":1}}`), 502, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for path, want := range map[string]int{"/v1/models": tt.list, "/v1/models/gpt-oss:120b": tt.list, "/api/tags": tt.tagsRaw} {
				s := newScene(t)
				s.up.Always(tt.answer)
				got := s.get(path)
				equal(t, path, got.Status, want)
				equal(t, path+" clean end", got.CleanEnd, true)
				rec := s.record()
				equal(t, path+" status of the record", rec.Status, want)
				equal(t, path+" outcome", outcome(rec) == "failure", want != 200)
				calls := len(s.up.Calls())
				s.get(path)
				if s.state(0) == "active 0" && len(s.up.Calls()) == calls {
					t.Errorf("%s: it was kept", path)
				}
			}
		})
	}
	for _, path := range []string{"/v1/models", "/v1/models/x", "/api/tags"} {
		s := newScene(t, keys(0))
		got := s.get(path)
		equal(t, path+" of an empty pool", got.Status, 503)
		if path != "/api/tags" {
			equal(t, path+" of an empty pool", readError(t, got.Body).code, "no_available_keys")
		}
		equal(t, path+" outcome", outcome(s.record()), "failure")
		s = newScene(t, func(set *setting) { set.disabled = true })
		equal(t, path+" switched off", s.get(path).Status, 503)
		equal(t, path+" outcome", outcome(s.record()), "failure")
	}
}

// Lists are good for a while.
func TestListsExpire(t *testing.T) {
	clock := newClock()
	s := newScene(t, func(set *setting) { set.ttl, set.opts.Now = 300*time.Second, clock.now })
	s.up.Handle(tagsOr(nil))
	for _, step := range []struct {
		later time.Duration
		want  string
	}{{0, "MISS"}, {299 * time.Second, "HIT"}, {time.Second, "MISS"}, {time.Second, "HIT"}} {
		clock.pass(step.later)
		equal(t, fmt.Sprint("after another ", step.later), s.get("/v1/models").Header.Get("X-Cache"), step.want)
	}
	s = newScene(t, func(set *setting) { set.ttl = 0 })
	s.up.Handle(tagsOr(nil))
	for range 3 {
		equal(t, "switched off", s.get("/v1/models").Header.Get("X-Cache"), "MISS")
	}
	equal(t, "calls", len(s.up.Calls()), 3)
}

// Clients ask for the version and what runs before anything else.
func TestVersionAndRunning(t *testing.T) {
	s := newScene(t)
	s.up.Handle(tagsOr(nil))
	for range 3 {
		equal(t, "version", string(s.get("/api/version").Body), `{"version":"9.9.9"}`)
		got := s.get("/api/ps")
		equal(t, "running", string(got.Body), `{"models":[]}`)
		equal(t, "type", got.Header.Get("Content-Type"), "application/json")
	}
	equal(t, "calls", len(s.up.Calls()), 2)
	equal(t, "without a token", testkit.RawRequest(t, s.addr, testkit.HTTP11("GET", "/api/version", "")).Status, 401)
	for name, answer := range map[string]testkit.Answer{
		"404": testkit.JSON(404, `{"error":"not found"}`), "page": testkit.Reply(200, "text/html", "<html>"),
		"reset": testkit.Reset(), "401": fails(401, "no"), "500": fails(500, "no"),
	} {
		s := newScene(t)
		s.up.Always(answer)
		got := s.get("/api/version")
		equal(t, name, got.Status, 200)
		var v struct{ Version string }
		if err := json.Unmarshal(got.Body, &v); err != nil || strings.Count(v.Version, ".") != 2 {
			t.Errorf("%s: %s", name, got.Body)
		}
		equal(t, name, outcome(s.record()), "success")
	}
	s = newScene(t, keys(0))
	equal(t, "empty pool", s.get("/api/ps").Status, 200)
	s = newScene(t, func(set *setting) { set.disabled = true })
	equal(t, "switched off", s.get("/api/version").Status, 503)
}
