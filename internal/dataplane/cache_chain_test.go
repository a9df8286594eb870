package dataplane_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"ollama-api-pool/internal/dataplane/cache"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

// A thousand clients ask the same at the same time; the upstream is asked once.
func TestThousandClientsOneCall(t *testing.T) {
	p := newPlane(t)
	p.limit(token, gateway.Limits{Concurrent: 1 << 20})
	gate := testkit.NewGate()
	p.up.Always(testkit.After(gate, testkit.JSON(200, done, "X-Request-Id", "upstream", "Set-Cookie", "a=b")))
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}
	defer client.CloseIdleConnections()
	var hits, misses atomic.Int64
	ask := func(n int) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+p.addr+chatPath, strings.NewReader(chat))
		if err != nil {
			t.Error(err)
			return
		}
		id := fmt.Sprint("own-", n)
		r.Header = http.Header{"Authorization": {"Bearer " + token}, "X-Request-Id": {id}}
		resp, err := client.Do(r)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != done || resp.Header.Get("X-Request-Id") != id {
			t.Errorf("%v: %d %s %v", err, resp.StatusCode, body, resp.Header)
		}
		switch resp.Header.Get("X-Cache") + resp.Header.Get("X-Pool-Attempts") + resp.Header.Get("X-Upstream-Request-Id") + resp.Header.Get("Set-Cookie") {
		case "HIT0":
			hits.Add(1)
		case "MISS1upstreama=b":
			misses.Add(1)
		default:
			t.Errorf("%v", resp.Header)
		}
	}
	var wg sync.WaitGroup
	for n := range 1000 {
		wg.Go(func() { ask(n) })
	}
	p.await("all ask", func() bool {
		used, _ := p.limits.Usage(gateway.HashToken(token))
		return used.Running == 1000
	})
	gate.Open()
	wg.Wait()
	equal(t, "calls", len(p.up.Calls()), 1)
	equal(t, "hits", hits.Load(), 999)
	equal(t, "misses", misses.Load(), 1)
	var usage gateway.Usage
	for _, rec := range p.taken(1000) {
		usage.Add(rec.Usage)
		if success, _ := rec.Outcome(); !success || !rec.Counted || rec.Model != "gpt-oss:120b" || (rec.Cache == "HIT") != (len(rec.Attempts) == 0) || rec.Sent != int64(len(chat)) {
			t.Fatalf("%+v", rec)
		}
	}
	equal(t, "usage", usage, gateway.Usage{Input: 7, Output: 3})
}

// Whoever asked may leave at any point: who waits gets an answer.
func TestAskerLeaves(t *testing.T) {
	large := `{"a":"` + strings.Repeat("x", 40_000) + `"}`
	half := testkit.NewGate()
	for name, first := range map[string]testkit.Answer{
		"before the head":   testkit.Silent(),
		"inside the answer": testkit.WithHeader(testkit.Stream("application/json", testkit.Text(large[:9000]), testkit.Wait(half)), "Content-Length", fmt.Sprint(len(large))),
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlane(t)
			p.limit(token, gateway.Limits{Concurrent: 100})
			p.up.Handle(testkit.InTurn(first, testkit.JSON(200, large)))
			leaves := testkit.DialRaw(t, p.addr)
			leaves.Send(request(http.MethodPost, chatPath, chat, token))
			p.up.AwaitCalls(1, soon)
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					if got := p.post(chatPath, chat); got.Status != 200 || string(got.Body) != large || !got.CleanEnd {
						t.Errorf("%d, %d bytes, %v", got.Status, len(got.Body), got.End)
					}
				})
			}
			p.await("all ask", func() bool {
				used, _ := p.limits.Usage(gateway.HashToken(token))
				return used.Running == 11
			})
			leaves.Close()
			wg.Wait()
			equal(t, "calls", len(p.up.Calls()), 2)
			p.up.AwaitCanceled(1, soon)
		})
	}
}

// Half an answer is never kept, whoever broke it off.
func TestBrokenAnswersAreNotKept(t *testing.T) {
	whole := `{"a":"` + strings.Repeat("x", 20_000) + `"}`
	for name, broken := range map[string]testkit.Answer{
		"too short":    testkit.TruncatedContentLength("application/json", whole[:15_000], len(whole)),
		"cut":          testkit.CutAfter("application/json", whole, 15_000, testkit.RST),
		"bad chunks":   testkit.BadChunk("application/json", whole[:15_000]),
		"error":        testkit.JSON(400, `{"error":"bad"}`),
		"compressed":   testkit.Compressed(404, "application/json", whole),
		"silent error": testkit.JSON(200, `{"error":{"message":"no credit","code":402}}`),
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlane(t)
			p.up.Handle(testkit.InTurn(broken, testkit.JSON(200, whole)))
			p.post(chatPath, chat)
			got := p.post(chatPath, chat)
			if string(got.Body) != whole || got.Header.Get("X-Cache") != "MISS" {
				t.Errorf("%v, %d bytes", got.Header, len(got.Body))
			}
			equal(t, "afterwards", p.post(chatPath, chat).Header.Get("X-Cache"), "HIT")
		})
	}
}

// A stream passes by, asked for or not, as it comes.
func TestStreamsPassBy(t *testing.T) {
	for _, tt := range []struct{ path, body, kind, event, how string }{
		{chatPath, `{"stream":true}`, "text/event-stream", "data: [DONE]\n\n", ""},
		{chatPath, `{}`, "text/event-stream", "data: [DONE]\n\n", "MISS"},
		{"/api/chat", `{}`, "application/x-ndjson", `{"done":true}` + "\n", ""},
		{"/api/chat", `{"stream":false}`, "application/x-ndjson", `{"done":true}` + "\n", "MISS"},
	} {
		p := newPlane(t)
		gate := testkit.NewGate()
		first := map[bool]string{true: "data: {}\n\n", false: "{}\n"}[tt.path == chatPath]
		p.up.Always(testkit.Stream(tt.kind, testkit.Text(first), testkit.Wait(gate), testkit.Text(tt.event)))
		c := testkit.DialRaw(t, p.addr)
		c.Send(request(http.MethodPost, tt.path, tt.body, token))
		head := c.Head()
		equal(t, tt.path+tt.body, head.Header.Get("X-Cache"), tt.how)
		if piece, err := c.Next(); err != nil || string(piece) != first {
			t.Errorf("%s: the first piece is %q, %v", tt.path, piece, err)
		}
		if tt.how != "" { // the same question does not wait for its end
			again := testkit.DialRaw(t, p.addr)
			again.Send(request(http.MethodPost, tt.path, tt.body, token))
			equal(t, "again", again.Head().Status, 200)
			equal(t, "calls", len(p.up.Calls()), 2)
			gate.Open()
			if _, err := again.Next(); err != nil {
				t.Error(err)
			}
			again.Close()
		}
		gate.Open()
		c.Close()
		equal(t, "kept", p.answers.Figures().Entries, 0)
	}
}

// What stands before the cache stands before its hits, too.
func TestHitsAreNoWayAround(t *testing.T) {
	p := newPlane(t, func(o *cache.AnswersOptions) { o.Shared = true })
	p.up.Always(testkit.JSON(200, done))
	how := func(what string, got testkit.RawResponse, status int, cached string) {
		t.Helper()
		if got.Status != status || got.Header.Get("X-Cache") != cached {
			t.Errorf("%s: %d, %q, want %d, %q", what, got.Status, got.Header.Get("X-Cache"), status, cached)
		}
	}
	how("first", p.post(chatPath, chat), 200, "MISS")
	how("again", p.post(chatPath, chat), 200, "HIT")
	how("another token", testkit.RawRequest(t, p.addr, request(http.MethodPost, chatPath, chat, other)), 200, "HIT")
	p.limit(token, gateway.Limits{RequestsPerDay: 1})
	how("the last one today", p.post(chatPath, chat), 200, "HIT")
	how("one more", p.post(chatPath, chat), 429, "")
	p.limit(token, gateway.Limits{Models: []string{"llama3"}})
	how("another model", p.post(chatPath, chat), 403, "")
	p.limit(token, gateway.Limits{})
	how("too large", p.post(chatPath, `{"model":"`+strings.Repeat("x", 1<<20)+`"}`), 413, "")
	how("coded", p.post(chatPath, chat, "Content-Encoding", "gzip"), 415, "")
	how("no-store", p.post(chatPath, chat, "Cache-Control", "no-store"), 200, "BYPASS")
	p.registry.Remove(gateway.HashToken(token))
	how("a token that was revoked", p.post(chatPath, chat), 401, "")
	equal(t, "calls", len(p.up.Calls()), 2)
	if n := p.answers.Clear("gpt-oss"); n != 1 {
		t.Errorf("cleared %d", n)
	}
	how("cleared", testkit.RawRequest(t, p.addr, request(http.MethodPost, chatPath, chat, other)), 200, "MISS")
}
