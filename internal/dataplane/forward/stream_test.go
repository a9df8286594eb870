package forward_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

// Each piece reaches the client before the upstream sends the next one.
func TestPiecesAsTheyCome(t *testing.T) {
	for _, tt := range []struct {
		path, contentType, unbuffered string
		pieces                        []string
	}{
		{"/v1/chat/completions", "text/event-stream", "no", []string{"data: {\"a\":1}\n\n", "data: {\"a\":2}\n\n", "data: [DONE]\n\n"}},
		{"/v1/chat/completions", "text/event-stream; charset=utf-8", "no", []string{": OPENROUTER PROCESSING\n\n", "da", "ta: {\"a\"", ":1}\r\n", "\r\n", "data: [DONE]\n\n"}},
		{"/v1/messages", "text/event-stream", "no", []string{"event: message_start\ndata: {\"type\":\"message_start\"}\n\n", "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"}},
		{"/v1/responses", "Text/Event-Stream", "no", []string{"data: {\"type\":\"x\"}\n\n", "data: {\"type\":\"response.completed\"}\n\n"}},
		{"/api/chat", "application/x-ndjson", "no", []string{"{\"done\":false}\n", "{\"done\"", ":true}\n"}},
		{"/v1/embeddings", "application/json", "", []string{"{\"a\"", ":", "1}"}},
		{"/v1/chat/completions", "text/plain", "", []string{"any", " ", "thing"}},
	} {
		t.Run(tt.path+" "+tt.contentType, func(t *testing.T) {
			s := newScene(t)
			var script []testkit.Piece
			var gates []*testkit.Gate
			for _, p := range tt.pieces {
				g := testkit.NewGate()
				gates = append(gates, g)
				script = append(script, testkit.Text(p), testkit.Wait(g))
			}
			s.up.Always(testkit.Stream(tt.contentType, script...))
			c := testkit.DialRaw(t, s.addr)
			c.Send(s.request(tt.path, chat))
			head := c.Head()
			equal(t, "status", head.Status, 200)
			equal(t, "type", head.Header.Get("Content-Type"), tt.contentType)
			equal(t, "what a proxy in front is told", head.Header.Get("X-Accel-Buffering"), tt.unbuffered)
			for i, p := range tt.pieces {
				b, err := c.Next()
				if string(b) != p || err != nil {
					t.Fatalf("piece %d: %q, %v, want %q", i, b, err, p)
				}
				gates[i].Open() // not before the client has it
			}
			_, err := c.Next()
			equal(t, "end", err, io.EOF)
			equal(t, "outcome", outcome(s.record()), "success")
		})
	}
}

// A short answer of known length is held for a moment, in case it breaks, and
// then goes on as it comes.
func TestDrippingAnswer(t *testing.T) {
	first, second := testkit.NewGate(), testkit.NewGate()
	s := newScene(t, impatient)
	s.up.Always(testkit.WithHeader(testkit.Stream("application/json",
		testkit.Text(`{"a":`), testkit.Wait(first), testkit.Text(`[1,`), testkit.Wait(second), testkit.Text(`2]}`)), "Content-Length", "11"))
	c := testkit.DialRaw(t, s.addr)
	c.Send(s.request("/v1/chat/completions", chat))
	head := c.Head()
	equal(t, "status", head.Status, 200)
	equal(t, "length", head.Header.Get("Content-Length"), "11")
	for _, step := range []struct {
		want string
		then *testkit.Gate
	}{{`{"a":`, first}, {`[1,`, second}, {`2]}`, testkit.NewGate()}} {
		b, err := c.Next()
		if string(b) != step.want || err != nil {
			t.Fatalf("%q, %v, want %q", b, err, step.want)
		}
		step.then.Open()
	}
	equal(t, "outcome", outcome(s.record()), "success")
}

// A stream's head reaches the client although no event comes, and after it
// there is no way back to another key.
func TestHeadOfASilentStream(t *testing.T) {
	for name, end := range map[string]testkit.Piece{
		"breaks off":           testkit.Break(testkit.FIN),
		"is reset":             testkit.Break(testkit.RST),
		"ends with nothing":    testkit.Text(""),
		"ends with half":       testkit.Text("data: {\"a\""),
		"begins with an error": testkit.Event(`{"error":{"code":401,"message":"unauthorized"}}`),
	} {
		t.Run(name, func(t *testing.T) {
			gate := testkit.NewGate()
			s := newScene(t, impatient)
			s.up.Always(testkit.Stream("text/event-stream", testkit.Wait(gate), end))
			c := testkit.DialRaw(t, s.addr)
			c.Send(s.request("/v1/chat/completions", chat))
			equal(t, "status", c.Head().Status, 200)
			gate.Open()
			var body []byte
			var err error
			for err == nil {
				var b []byte
				b, err = c.Next()
				body = append(body, b...)
			}
			rec := s.record()
			equal(t, "calls", len(s.up.Calls()), 1)
			equal(t, "end", rec.End, gateway.EndCut)
			equal(t, "outcome", outcome(rec), "failure")
			equal(t, "attempts", len(rec.Attempts), 1)
			if name == "begins with an error" {
				equal(t, "clean end", errors.Is(err, io.EOF), true)
				equal(t, "body", string(body), "data: {\"error\":{\"code\":401,\"message\":\"unauthorized\"}}\n\n")
				equal(t, "key", s.state(0), "failed 1: 401 unauthorized")
				equal(t, "counts", s.counts(), gateway.KeyCounts{Total: 1, Failure: 1})
				return
			}
			equal(t, "clean end", errors.Is(err, io.EOF), false)
			checkBreak(t, gateway.DialectOpenAI, strings.TrimPrefix(string(body), "data: {\"a\""))
			s.untouched(0)
		})
	}
}

// checkBreak proves that what follows a broken stream is one error event in the
// protocol's form, and nothing else.
func checkBreak(tb testing.TB, d gateway.Dialect, rest string) {
	tb.Helper()
	rest = strings.TrimLeft(rest, "\n")
	if strings.Contains(rest, "[DONE]") || !strings.HasSuffix(rest, "}\n") && !strings.HasSuffix(rest, "}\n\n") {
		tb.Errorf("the stream ends with %q", rest)
		return
	}
	switch d {
	case gateway.DialectOllama:
		equal(tb, "lines", strings.Count(rest, "\n"), 1)
	case gateway.DialectAnthropic, gateway.DialectResponses:
		var ok bool
		if rest, ok = strings.CutPrefix(rest, "event: error\n"); !ok {
			tb.Errorf("the event has no name: %q", rest)
		}
		fallthrough
	default:
		var ok bool
		if rest, ok = strings.CutPrefix(rest, "data: "); !ok || !strings.HasSuffix(rest, "}\n\n") || strings.Count(rest, "\n") != 2 {
			tb.Errorf("no event: %q", rest)
		}
	}
	e := readError(tb, []byte(strings.TrimSpace(rest)))
	if !strings.Contains(e.message, "ended too early") {
		tb.Errorf("message: %q", e.message)
	}
	want := map[gateway.Dialect]string{
		gateway.DialectOpenAI: "upstream_error", gateway.DialectResponses: "upstream_error", gateway.DialectAnthropic: "api_error",
	}[d]
	equal(tb, "kind", e.kind, want)
	if d != gateway.DialectOllama && !strings.Contains(rest, `"error":{`) {
		tb.Errorf("no error object: %q", rest)
	}
}

// Lines may be of any length.
func TestLongLines(t *testing.T) {
	const size = 8 << 20
	for _, tt := range []struct{ path, contentType, head, tail string }{
		{"/v1/chat/completions", "text/event-stream", `data: {"choices":[{"delta":{"content":"`, "\"}}]}\n\ndata: {\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":6}}\n\ndata: [DONE]\n\n"},
		{"/api/generate", "application/x-ndjson", `{"response":"`, "\"}\n{\"done\":true,\"prompt_eval_count\":5,\"eval_count\":6}\n"},
	} {
		s := newScene(t)
		s.up.Always(testkit.HugeLine(tt.contentType, tt.head, size, tt.tail))
		got := s.post(tt.path, chat)
		equal(t, "status", got.Status, 200)
		equal(t, "body is the same", string(got.Body) == tt.head+strings.Repeat("x", size)+tt.tail, true)
		equal(t, "clean end", got.CleanEnd, true)
		rec := s.record()
		equal(t, "outcome", outcome(rec), "success")
		equal(t, "usage", rec.Usage, gateway.Usage{Input: 5, Output: 6})
	}
}

// An error that comes inside a stream is passed on, and its key judged.
func TestErrorInsideAStream(t *testing.T) {
	const text = `{"choices":[{"delta":{"content":"a"}}]}`
	for _, tt := range []struct {
		event, key string
	}{
		{`{"error":{"code":401,"message":"unauthorized"}}`, "failed 1: 401 unauthorized"},
		{`{"error":{"code":429,"message":"slow down"}}`, "resting 0: quota"},
		{`{"error":{"code":502,"message":"no"}}`, "active 0"},
		{`{"error":{"code":400,"message":"bad"}}`, "active 0"},
		{`{"error":"something else"}`, "active 0"},
	} {
		for _, last := range []string{"", "[DONE]"} {
			s := newScene(t)
			events := []string{text, tt.event}
			want := "data: " + text + "\n\ndata: " + tt.event + "\n\n"
			if last != "" {
				events = append(events, last)
				want += "data: [DONE]\n\n"
			}
			s.up.Always(testkit.SSE(events...))
			got := s.chat()
			equal(t, "status", got.Status, 200)
			equal(t, "body", string(got.Body), want)
			equal(t, "clean end", got.CleanEnd, true)
			equal(t, "key", s.state(0), tt.key)
			s.untouched(1, 2)
			rec := s.record()
			equal(t, "outcome", outcome(rec), "failure")
			equal(t, "end", rec.End, gateway.EndCut)
			equal(t, "calls", len(s.up.Calls()), 1)
			if v := rec.Attempts[0].Verdict; v.OK || v.Reason == "" {
				t.Errorf("verdict: %+v", v)
			}
			equal(t, "counts", s.counts(), gateway.KeyCounts{Total: 1, Failure: 1})
			equal(t, "usage", rec.Usage, gateway.Usage{Output: 1})
		}
	}
}

// A stream that says of itself how long it is shows a break all the same.
func TestStreamOfKnownLength(t *testing.T) {
	event := "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"
	for name, answer := range map[string]testkit.Answer{
		"no last word": testkit.Reply(200, "text/event-stream", event),
		"cut":          testkit.TruncatedContentLength("text/event-stream", event, 200),
		"NDJSON":       testkit.Reply(200, "application/x-ndjson", "{\"done\":false}\n"),
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.up.Always(answer)
			path, d, prefix := "/v1/completions", gateway.DialectOpenAI, event
			if name == "NDJSON" {
				path, d, prefix = "/api/chat", gateway.DialectOllama, "{\"done\":false}\n"
			}
			got := s.post(path, chat)
			equal(t, "clean end", got.CleanEnd, false)
			rest, ok := strings.CutPrefix(string(got.Body), prefix)
			equal(t, "beginning is the same", ok, true)
			checkBreak(t, d, rest)
			equal(t, "outcome", outcome(s.record()), "failure")
			equal(t, "calls", len(s.up.Calls()), 1)
		})
	}
	s := newScene(t)
	s.up.Always(testkit.Reply(200, "text/event-stream", event+"data: [DONE]\n\n"))
	got := s.chat()
	equal(t, "whole", string(got.Body), event+"data: [DONE]\n\n")
	equal(t, "clean end", got.CleanEnd, true)
	equal(t, "outcome", outcome(s.record()), "success")
}

// What an upstream says to proxies itself is passed on as it is.
func TestBufferingAsTheUpstreamSays(t *testing.T) {
	s := newScene(t)
	s.up.Always(testkit.WithHeader(testkit.Reply(200, "text/event-stream", "data: [DONE]\n\n"), "X-Accel-Buffering", "yes"))
	equalSlices(t, "X-Accel-Buffering", s.chat().Header["X-Accel-Buffering"], []string{"yes"})
}

// An empty stream is replaced like a broken connection.
func TestEmptyStream(t *testing.T) {
	for name, empty := range map[string]testkit.Answer{
		"of known length":   testkit.Reply(200, "text/event-stream", ""),
		"of unknown length": testkit.Stream("text/event-stream"),
		"cut":               testkit.CutAfter("text/event-stream", "", 0, testkit.FIN),
		"reset":             testkit.CutAfter("text/event-stream", "", 0, testkit.RST),
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.up.Handle(testkit.ByKey(map[string]testkit.Answer{key(0): empty}, testkit.SSE("{}", "[DONE]")))
			got := s.chat()
			equal(t, "status", got.Status, 200)
			equal(t, "body", string(got.Body), "data: {}\n\ndata: [DONE]\n\n")
			equal(t, "keys tried", s.tried(), "0 1")
			s.untouched(0, 1)
			s.up.Always(empty)
			got = s.chat()
			equal(t, "status when all are empty", got.Status, 502)
			equal(t, "clean end", got.CleanEnd, true)
		})
	}
	// Where the protocol has no last word nothing is missing.
	s := newScene(t)
	s.up.Always(testkit.Reply(200, "text/event-stream", ""))
	equal(t, "no last word", s.post("/v1/embeddings", chat).Status, 200)
	equal(t, "calls", len(s.up.Calls()), 1)
}

// Once all has been said it does not matter how the connection ends.
func TestBreakAfterTheLastWord(t *testing.T) {
	for _, how := range []testkit.Cut{testkit.FIN, testkit.FINMidChunk, testkit.RST} {
		for path, whole := range map[string]string{
			"/v1/chat/completions": "data: {}\n\ndata: [DONE]\n\n",
			"/v1/messages":         "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
			"/v1/responses":        "data: {\"type\":\"response.completed\"}\n\n",
			"/api/chat":            "{\"done\":true}\n",
		} {
			t.Run(fmt.Sprint(how, path), func(t *testing.T) {
				gate := testkit.NewGate() // a reset must not overtake the bytes
				contentType := "text/event-stream"
				if path == "/api/chat" {
					contentType = "application/x-ndjson"
				}
				s := newScene(t)
				s.up.Always(testkit.Stream(contentType, testkit.Text(whole), testkit.Wait(gate), testkit.Break(how)))
				c := testkit.DialRaw(t, s.addr)
				c.Send(s.request(path, chat))
				equal(t, "status", c.Head().Status, 200)
				b, _ := c.Next()
				equal(t, "body", string(b), whole)
				gate.Open()
				b, err := c.Next()
				equal(t, "end", err, io.EOF)
				equal(t, "nothing more", len(b), 0)
				equal(t, "outcome", outcome(s.record()), "success")
				equal(t, "counts", s.counts(), gateway.KeyCounts{Total: 1, Success: 1})
			})
		}
	}
}

// What was said counts although the stream broke off later.
func TestUsageOfABrokenStream(t *testing.T) {
	s := newScene(t)
	s.up.Always(testkit.Stream("text/event-stream",
		testkit.Text("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\n"),
		testkit.Text("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\n"),
		testkit.Text("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"b\"}}\n\n"),
		testkit.Break(testkit.FIN)))
	got := s.post("/v1/messages", chat)
	equal(t, "clean end", got.CleanEnd, false)
	rec := s.record()
	equal(t, "usage", rec.Usage, gateway.Usage{Input: 25, Output: 2})
	equal(t, "outcome", outcome(rec), "failure")
}

// A stream may go on for longer than any limit, as long as it is never silent
// for long.
func TestLongStream(t *testing.T) {
	s := newScene(t, func(set *setting) {
		set.opts.StreamIdleTimeout, set.opts.HeaderTimeout = 500*time.Millisecond, 500*time.Millisecond
	})
	var pieces []testkit.Piece
	for range 20 {
		pieces = append(pieces, testkit.Event("{}"), testkit.Pause(40*time.Millisecond))
	}
	s.up.Always(testkit.Stream("text/event-stream", append(pieces, testkit.Event("[DONE]"))...))
	got := s.chat()
	equal(t, "clean end", got.CleanEnd, true)
	equal(t, "body", string(got.Body), strings.Repeat("data: {}\n\n", 20)+"data: [DONE]\n\n")
}

// Whether the first event comes just before, with or just after the end of the
// grace, every byte is sent once.
func TestEndOfTheGrace(t *testing.T) {
	s := newScene(t, impatient)
	s.up.Handle(func(c *testkit.Call) testkit.Answer {
		pause := time.Duration(c.N%40) * 50 * time.Microsecond
		if c.N%2 == 0 {
			return testkit.WithHeader(testkit.Stream("application/json", testkit.Text("[1,"), testkit.Pause(pause), testkit.Text("2]")), "Content-Length", "5")
		}
		return testkit.Stream("text/event-stream", testkit.Pause(pause), testkit.Event("{}"), testkit.Event("[DONE]"))
	})
	c := testkit.DialRaw(t, s.addr)
	for i := range 200 {
		c.Send(s.request("/v1/chat/completions", chat))
		want := []string{"data: {}\n\ndata: [DONE]\n\n", "[1,2]"}[i%2]
		if got := c.Response(); string(got.Body) != want || !got.CleanEnd {
			t.Fatalf("%q", got.Body)
		}
	}
}
