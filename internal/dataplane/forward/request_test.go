package forward_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

// noise is n bytes of which none is expected.
func noise(n int) string {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return string(b)
}

// Bodies reach the upstream byte for byte, with a length and in chunks, and at
// every attempt.
func TestBodies(t *testing.T) {
	const limit = 1 << 20
	for _, size := range []int{0, 1, 4 << 10, 4<<10 + 1, 64 << 10, limit - 1, limit} {
		body := noise(size)
		for _, way := range []string{"length", "chunks", "continue"} {
			t.Run(fmt.Sprint(size, " ", way), func(t *testing.T) {
				s := newScene(t, func(set *setting) { set.opts.MaxBodyBytes = limit })
				s.up.Handle(testkit.InTurn(testkit.Reset(), fails(401, "no"), testkit.JSON(200, done)))
				equal(t, "status", s.send(way, body).Status, 200)
				calls := s.up.Calls()
				equal(t, "calls", len(calls), 3)
				for _, c := range calls {
					equal(t, "body is the same", string(c.Body) == body, true)
					equal(t, "length", c.Header.Get("Content-Length"), fmt.Sprint(size))
				}
			})
		}
	}
}

// A body in a coding would reach the upstream without the header that says so.
func TestCodedBodies(t *testing.T) {
	s := newScene(t)
	s.up.Always(testkit.JSON(200, done))
	equal(t, "coded", s.post("/v1/chat/completions", "x", "Content-Encoding", "gzip").Status, 415)
	equal(t, "calls", len(s.up.Calls()), 0)
	equal(t, "identity", s.post("/v1/chat/completions", chat, "Content-Encoding", "identity").Status, 200)
}

// send makes a request whose body comes in one of several ways.
func (s *scene) send(way, body string) testkit.RawResponse {
	s.tb.Helper()
	c := testkit.DialRaw(s.tb, s.addr)
	defer c.Close()
	head := "POST " + s.prefix + "/v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + token + "\r\n"
	switch way {
	case "length":
		c.Send(head + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body))
	case "chunks":
		var b strings.Builder
		for rest := body; len(rest) > 0; {
			n := min(len(rest), 1+len(body)/3)
			fmt.Fprintf(&b, "%x\r\n%s\r\n", n, rest[:n])
			rest = rest[n:]
		}
		c.Send(head + "Transfer-Encoding: chunked\r\n\r\n" + b.String() + "0\r\n\r\n")
	case "continue":
		c.Send(head + fmt.Sprintf("Expect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(body)))
		if len(body) > 0 { // nothing to wait for without a body
			c.SendMore(body)
		}
	}
	return c.Response()
}

func TestLargestBody(t *testing.T) {
	s := newScene(t)
	body := `{"model":"big","x":"` + strings.Repeat("x", 32<<20-23) + `"}`
	equal(t, "length", len(body), 32<<20-1)
	body += " "
	equal(t, "status", s.post("/v1/chat/completions", body).Status, 200)
	equal(t, "sum", sha256.Sum256(s.up.Calls()[0].Body), sha256.Sum256([]byte(body)))
	equal(t, "model", s.record().Model, "big")
}

// What is too large is refused, whatever it says of its length, and nothing
// of it goes upstream.
func TestTooLarge(t *testing.T) {
	const limit = 100 << 10
	for _, size := range []int{limit + 1, 3 * limit} {
		for _, way := range []string{"length", "chunks", "continue"} {
			t.Run(fmt.Sprint(size, " ", way), func(t *testing.T) {
				s := newScene(t, func(set *setting) { set.opts.MaxBodyBytes = limit })
				var got testkit.RawResponse
				if way == "continue" {
					// The client must not be asked for a body that is refused.
					c := testkit.DialRaw(t, s.addr)
					c.Send("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + token +
						fmt.Sprintf("\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", size))
					got = c.Response()
					equal(t, "informational answers", len(got.Informational), 0)
				} else {
					got = s.send(way, noise(size))
				}
				equal(t, "status", got.Status, 413)
				equal(t, "error", readError(t, got.Body).kind, "invalid_request_error")
				equal(t, "calls", len(s.up.Calls()), 0)
				equal(t, "outcome", outcome(s.record()), "not counted")
			})
		}
	}
}

// A body that ends too early is nobody's request.
func TestHalfABody(t *testing.T) {
	for _, raw := range []string{
		"Content-Length: 5000\r\n\r\n" + strings.Repeat("x", 4999),
		"Content-Length: 50\r\n\r\n" + strings.Repeat("x", 49),
		"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
		"Transfer-Encoding: chunked\r\n\r\nzz\r\nabcde\r\n0\r\n\r\n",
	} {
		s := newScene(t)
		c := testkit.DialRaw(t, s.addr)
		c.Send("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + token + "\r\n" + raw)
		c.CloseWrite()
		equal(t, "status", c.Response().Status, 400)
		equal(t, "outcome", outcome(s.record()), "not counted")
		equal(t, "calls", len(s.up.Calls()), 0)
	}
}

// What reaches the upstream is on the list; everything else stays here.
func TestRequestHeaders(t *testing.T) {
	sent := http.Header{
		"Content-Type":        {"application/json; charset=utf-8"},
		"Accept":              {"text/event-stream"},
		"User-Agent":          {"some-sdk/1.2"},
		"Accept-Language":     {"de, en"},
		"Anthropic-Version":   {"2023-06-01"},
		"Anthropic-Beta":      {"a,b", "c"},
		"Openai-Beta":         {"assistants=v2"},
		"Http-Referer":        {"https://client.example"},
		"X-Title":             {"Client"},
		"X-Api-Key":           {token},
		"Cookie":              {"session=fake"},
		"X-Forwarded-For":     {"203.0.113.9"},
		"X-Forwarded-Host":    {"h"},
		"X-Forwarded-Proto":   {"https"},
		"Forwarded":           {"for=203.0.113.9"},
		"Cf-Connecting-Ip":    {"203.0.113.9"},
		"Cf-Ray":              {"1"},
		"X-Real-Ip":           {"203.0.113.9"},
		"Keep-Alive":          {"timeout=5"},
		"Te":                  {"trailers"},
		"Trailer":             {"X-Sum"},
		"Proxy-Authorization": {"Basic fake"},
		"Proxy-Connection":    {"keep-alive"},
		"Accept-Encoding":     {"gzip, br"},
		"Origin":              {"https://page.example"},
		"Referer":             {"https://page.example/x"},
		"X-Request-Id":        {"mine-1"},
		"X-Hop":               {"1"},
		"Connection":          {"keep-alive, X-Hop, Accept-Language"},
		"Range":               {"bytes=0-1"},
		"If-None-Match":       {`"x"`},
		"Idempotency-Key":     {"i"},
	}
	want := http.Header{
		"Content-Type":      {"application/json; charset=utf-8"},
		"Accept":            {"text/event-stream"},
		"User-Agent":        {"some-sdk/1.2"},
		"Anthropic-Version": {"2023-06-01"},
		"Anthropic-Beta":    {"a,b", "c"},
		"Openai-Beta":       {"assistants=v2"},
		"Http-Referer":      {"https://client.example"},
		"X-Title":           {"Client"},
		"Authorization":     {"Bearer " + key(0)},
		"Accept-Encoding":   {"identity"},
	}
	var headers []string
	for name, values := range sent {
		for _, v := range values {
			headers = append(headers, name, v)
		}
	}
	for _, set := range []func(*setting){func(*setting) {}, openRouter} {
		s := newScene(t, set)
		got := s.post("/v1/chat/completions?beta=true&x=%2F+%20", chat, headers...)
		equal(t, "status", got.Status, 200)
		c := s.up.Calls()[0]
		delete(c.Header, "Content-Length")
		// s.post sends a type of its own in front.
		c.Header["Content-Type"] = c.Header["Content-Type"][len(c.Header["Content-Type"])-1:]
		if !maps.EqualFunc(c.Header, want, slices.Equal) {
			t.Errorf("the upstream got\n%v, want\n%v", c.Header, want)
		}
		path := "/v1/chat/completions"
		if s.prefix != "" {
			path = "/api" + path
		}
		equal(t, "path", c.Path, path)
		equal(t, "query", c.RawQuery, "beta=true&x=%2F+%20")
		equal(t, "host", c.Host, s.up.Addr)
		equal(t, "request id", got.Header.Get("X-Request-Id"), "mine-1")
	}
}

// Where the client says nothing of itself, this program does.
func TestHeadersOfOurOwn(t *testing.T) {
	for name, want := range map[string]http.Header{
		"ollama":     {"User-Agent": {"ollama-api-pool/1.2.3"}},
		"openrouter": {"User-Agent": {"ollama-api-pool/1.2.3"}, "Http-Referer": {"https://pool.example"}, "X-Title": {"Pool"}},
	} {
		s := newScene(t, func(set *setting) { set.provider = gateway.ProviderName(name) })
		raw := testkit.HTTP11("POST", s.prefix+"/v1/completions", "", "x-api-key", token, "Content-Length", "0")
		equal(t, "status", testkit.RawRequest(t, s.addr, raw).Status, 200)
		h := s.up.Calls()[0].Header
		want["Authorization"] = []string{"Bearer " + key(0)}
		want["Accept-Encoding"] = []string{"identity"}
		delete(h, "Content-Length")
		if !maps.EqualFunc(h, want, slices.Equal) {
			t.Errorf("%s got %v, want %v", name, h, want)
		}
	}
}

// Every address reaches the same path upstream, with a prefix and without.
func TestAddresses(t *testing.T) {
	for _, path := range []string{
		"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages",
		"/api/chat", "/api/generate", "/api/embed", "/api/embeddings", "/api/show", "/api/web_search", "/api/web_fetch",
	} {
		for _, before := range []string{"", "/ollama", "/t/" + token, "/t/" + token + "/ollama"} {
			s := newScene(t)
			raw := testkit.HTTP11("POST", before+path, chat, "Authorization", "Bearer "+token)
			if strings.HasPrefix(before, "/t/") {
				raw = testkit.HTTP11("POST", before+path, chat)
			}
			equal(t, before+path, testkit.RawRequest(t, s.addr, raw).Status, 200)
			equal(t, "path upstream", s.up.Calls()[0].EscapedPath, path)
		}
		s := newScene(t, openRouter)
		status, upstream := 404, 0
		if strings.HasPrefix(path, "/v1/") {
			status, upstream = 200, 1
		}
		equal(t, "openrouter "+path, s.post(path, chat).Status, status)
		equal(t, "calls", len(s.up.Calls()), upstream)
		equal(t, "through a token "+path, testkit.RawRequest(t, s.addr, testkit.HTTP11("POST", "/t/"+token+"/openrouter"+path, chat)).Status, status)
	}
}

// The token that stands in an address is nobody's business.
func TestTokenInPath(t *testing.T) {
	wrong := "sk-wrongwrongwrongwrongwrongwrongwrongwrongwrongwro"
	for _, tt := range []struct {
		method, path string
		status       int
		noPath       bool
	}{
		{"GET", "/t/" + token + "/", 200, false},
		{"HEAD", "/t/" + token + "/", 200, false},
		{"GET", "/t/" + token, 200, false},
		{"POST", "/t/" + token + "/", 405, false},
		{"GET", "/t/" + wrong + "/", 401, false},
		{"POST", "/t/" + wrong + "/api/chat", 401, false},
		{"POST", "/t/" + token + "/api/nothing", 404, false},
		{"GET", "/t/" + token + "/api/chat", 405, false},
		{"POST", "/t/" + token + "/api/pull", 403, false},
		{"DELETE", "/t/" + token + "/api/delete", 403, false},
		{"HEAD", "/t/" + token + "/api/blobs/sha256:0", 403, false},
		{"POST", "/t/" + token + "/openrouter/v1/messages", 403, false}, // not this token's provider
		{"POST", "/openrouter/t/" + token + "/v1/messages", 404, false},
		{"POST", "/ollama/t/" + token + "/v1/messages", 404, false},
		{"POST", "/v1/" + token + "/chat/completions", 404, false},
		{"POST", "/v1/%73k-" + token[3:], 404, false},
		{"POST", "/t/" + token + "/t/" + token + "/api/chat", 404, false},
		{"POST", "/t/" + token + "/api/chat", 404, true},
		{"GET", "/t/" + token + "/", 404, true},
	} {
		s := newScene(t, func(set *setting) { set.noPath = tt.noPath })
		body := ""
		if tt.method == "POST" {
			body = chat
		}
		got := testkit.RawRequest(t, s.addr, testkit.HTTP11(tt.method, tt.path, body))
		equal(t, tt.method+" "+tt.path, got.Status, tt.status)
		if tt.status == 200 && tt.method == "GET" {
			equal(t, "greeting", string(got.Body), "Ollama is running")
		}
		if tt.status == 200 {
			equal(t, "type", got.Header.Get("Content-Type"), "text/plain; charset=utf-8")
		}
		s.record()
		for _, text := range []string{string(got.Body), fmt.Sprint(got.Header), s.log.String()} {
			testkit.MustNotContain(t, text, token, wrong, token[3:])
		}
		equal(t, "calls", len(s.up.Calls()), 0)
	}
}

// Bodies come from a store of buffers; nothing of one may show in another,
// whatever the upstream does with it.
func TestBodiesDoNotMix(t *testing.T) {
	s := newScene(t, keys(20), retries(10))
	early := testkit.EarlyAnswer(200, "application/json", done) // reads nothing of the body
	s.up.HandleEarly(func(c *testkit.Call) testkit.Answer {
		switch c.N % 7 {
		case 0:
			return early
		case 1:
			return testkit.Reset()
		case 2:
			return fails(500, "oops")
		}
		return nil
	})
	s.up.Handle(func(c *testkit.Call) testkit.Answer {
		if len(c.Body) == 0 || bytes.Count(c.Body, c.Body[:1]) != len(c.Body) {
			return fails(400, "a body of several clients")
		}
		return testkit.Reply(200, "text/plain", fmt.Sprint(len(c.Body), c.Body[0]))
	})
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	defer client.CloseIdleConnections()
	const workers, rounds = 8, 25
	errs := make(chan error, workers)
	for w := range workers {
		go func() { errs <- s.sendUniform(client, w, rounds) }()
	}
	for range workers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// sendUniform sends bodies of one letter each and expects to hear of nothing
// else.
func (s *scene) sendUniform(client *http.Client, worker, rounds int) error {
	r := rand.New(rand.NewPCG(1, uint64(worker)))
	for i := range rounds {
		letter := byte('a' + (worker*rounds+i)%26)
		size := 1 + r.IntN(200<<10)
		req, err := http.NewRequestWithContext(s.tb.Context(), http.MethodPost, "http://"+s.addr+"/v1/completions", bytes.NewReader(bytes.Repeat([]byte{letter}, size)))
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		switch got := string(b); {
		case err != nil:
			return err
		case resp.StatusCode == 503, resp.StatusCode == 500, resp.StatusCode == 502, got == done: // of what the upstream did on purpose
		case got != fmt.Sprint(size, letter):
			return fmt.Errorf("%d × %c: %d %s", size, letter, resp.StatusCode, got)
		}
	}
	return nil
}
