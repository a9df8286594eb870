package testkit

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestAnswersOverTheWire(t *testing.T) {
	const sse = "text/event-stream"
	tests := []struct {
		name     string
		answer   Answer
		status   int // 0: no answer at all
		body     string
		clean    bool
		end      error // where it matters which
		endsLike string
	}{
		{name: "reply", answer: Reply(404, "text/plain", "no"), status: 404, body: "no", clean: true},
		{name: "stream", answer: SSE("a", "b"), status: 200, body: "data: a\n\ndata: b\n\n", clean: true},
		{name: "lines", answer: Stream("application/x-ndjson", Line(`{"a":1}`), Line(`{"done":true}`)), status: 200, body: "{\"a\":1}\n{\"done\":true}\n", clean: true},
		{name: "slow body", answer: SlowBody("text/plain", "abcdef", 4, time.Millisecond), status: 200, body: "abcdef", clean: true},
		{name: "huge line", answer: HugeLine(sse, "data: ", 100_000, "\n\n"), status: 200, body: "data: " + strings.Repeat("x", 100_000) + "\n\n", clean: true},
		{name: "cut by FIN", answer: CutAfter(sse, "0123456789", 4, FIN), status: 200, body: "0123", end: io.ErrUnexpectedEOF},
		{name: "cut inside a chunk", answer: CutAfter(sse, "0123456789", 4, FINMidChunk), status: 200, body: "0123", end: io.ErrUnexpectedEOF},
		{name: "cut by RST", answer: Stream(sse, Break(RST)), status: 200, end: syscall.ECONNRESET},
		{name: "cut before the first byte", answer: CutAfter(sse, "0123", 0, FIN), status: 200, end: io.ErrUnexpectedEOF},
		{name: "reset", answer: Reset(), end: syscall.ECONNRESET},
		{name: "close", answer: Close(), end: io.ErrUnexpectedEOF},
		{name: "garbage", answer: Garbage(), endsLike: "not a status line"},
		{name: "bad chunk", answer: BadChunk(sse, "good"), status: 200, body: "good", endsLike: "bad length of a chunk"},
		{name: "truncated", answer: TruncatedContentLength("text/plain", "short", 100), status: 200, body: "short", end: io.ErrUnexpectedEOF},
		{name: "truncated to nothing", answer: TruncatedContentLength("text/plain", "", 100), status: 200, end: io.ErrUnexpectedEOF},
		{name: "redirect", answer: Redirect(307, "http://elsewhere.invalid/"), status: 307, body: "moved", clean: true},
		{name: "wrong content type", answer: WrongContentType(`{"a":1}`), status: 200, body: `{"a":1}`, clean: true},
		{name: "early answer", answer: EarlyAnswer(413, "text/plain", "too large"), status: 413, body: "too large", clean: true},
		{name: "no body", answer: Reply(304, "", ""), status: 304, clean: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := NewUpstream(t)
			u.Always(tt.answer)
			got := RawRequest(t, u.Addr, HTTP11("POST", "/", "{}"))
			if got.Status != tt.status || string(got.Body) != tt.body || got.CleanEnd != tt.clean {
				t.Errorf("got status %d, %d bytes %.40q, clean end %v, ended with %v", got.Status, len(got.Body), got.Body, got.CleanEnd, got.End)
			}
			if tt.clean != (got.End == nil) {
				t.Errorf("clean end %v with error %v", got.CleanEnd, got.End)
			}
			if tt.end != nil && !errors.Is(got.End, tt.end) {
				t.Errorf("ended with %v, want %v", got.End, tt.end)
			}
			if tt.endsLike != "" && (got.End == nil || !strings.Contains(got.End.Error(), tt.endsLike)) {
				t.Errorf("ended with %v, want %q", got.End, tt.endsLike)
			}
			u.AwaitIdle(soon)
			if u.Canceled() != 0 {
				t.Error("a fault of the upstream counts as a client that left")
			}
		})
	}
}

func TestFaultsOverHTTP2AreErrors(t *testing.T) {
	for name, answer := range map[string]Answer{
		"cut": CutAfter("text/plain", "0123", 2, FIN), "reset": Reset(), "close": Close(), "garbage": Garbage(),
		"bad chunk": BadChunk("text/plain", "good"), "truncated": TruncatedContentLength("text/plain", "short", 100),
	} {
		t.Run(name, func(t *testing.T) {
			u := NewUpstream(t, WithTLS())
			u.Always(answer)
			if resp, body, err := post(t.Context(), t, client(t, u), u.URL, "fake-key", "{}"); err == nil {
				t.Errorf("got %v and %q without an error", resp, body)
			}
			u.AwaitIdle(soon)
		})
	}
}

func TestChunksFollowThePieces(t *testing.T) {
	u := NewUpstream(t)
	u.Always(Stream("text/plain", Text("one"), Text(""), Text("two"), Text("three")))
	got := RawRequest(t, u.Addr, HTTP11("GET", "/", ""))
	if strings.Join(got.Chunks, "|") != "one|two|three" {
		t.Errorf("chunks: %q", got.Chunks)
	}
}

func TestHeadersOfAnswers(t *testing.T) {
	u := NewUpstream(t)
	get := func(a Answer) RawResponse {
		t.Helper()
		u.Always(a)
		got := RawRequest(t, u.Addr, HTTP11("GET", "/", ""))
		if !got.CleanEnd {
			t.Fatalf("ended with %v", got.End)
		}
		return got
	}
	got := get(JSON(200, "{}", "X-RateLimit-Reset", "1", "Set-Cookie", "a=1", "Set-Cookie", "b=2"))
	if got.Header.Get("X-RateLimit-Reset") != "1" || len(got.Header.Values("Set-Cookie")) != 2 || got.Header.Get("Content-Length") != "2" {
		t.Errorf("headers: %v", got.Header)
	}
	if got := get(WithHeader(SSE("x"), "X-A", "b")); got.Header.Get("X-A") != "b" {
		t.Errorf("headers of a stream: %v", got.Header)
	}
	if got := get(LongHeader(70_000, JSON(200, "{}"))); len(got.Header.Get("X-Long")) != 70_000 {
		t.Errorf("long header of %d bytes", len(got.Header.Get("X-Long")))
	}
	if got := get(Reply(200, "", "?")); got.Header["Content-Type"] != nil {
		t.Errorf("content type: %v", got.Header)
	}
	if got := get(Informational(JSON(200, "{}"))); len(got.Informational) != 1 || got.Informational[0] != 103 || got.Status != 200 || got.Header.Get("Link") != "" {
		t.Errorf("informational: %+v", got)
	}
	got = get(Compressed(200, "application/json", `{"a":1}`))
	z, err := gzip.NewReader(strings.NewReader(string(got.Body)))
	if err != nil || got.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("compressed: %v, %v", err, got.Header)
	}
	if b, err := io.ReadAll(z); err != nil || string(b) != `{"a":1}` {
		t.Errorf("compressed: %q, %v", b, err)
	}
}

func TestHandleEarlyLeavesTheBody(t *testing.T) {
	u := NewUpstream(t)
	u.HandleEarly(func(c *Call) Answer {
		if c.Body != nil {
			t.Error("the body was read")
		}
		if c.Path == "/early" {
			return EarlyAnswer(413, "application/json", `{"error":"too large"}`)
		}
		return nil
	})
	c := DialRaw(t, u.Addr)
	c.Send("POST /early HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nonly the beginning")
	if got := c.Response(); got.Status != 413 || !got.CleanEnd {
		t.Errorf("got %+v", got)
	}
	c.Close()
	if got := RawRequest(t, u.Addr, HTTP11("POST", "/late", "all of it")); got.Status != 200 {
		t.Errorf("got %+v", got)
	}
	if calls := u.Calls(); len(calls) != 2 || calls[0].Body != nil || string(calls[1].Body) != "all of it" {
		t.Errorf("calls: %+v", calls)
	}
}

func TestKeepAliveThenClose(t *testing.T) {
	u := NewUpstream(t)
	u.Always(KeepAliveThenClose(JSON(200, "{}")))
	c := DialRaw(t, u.Addr)
	c.Send(HTTP11("GET", "/", ""))
	if got := c.Response(); got.Status != 200 || !got.CleanEnd || got.Header.Get("Connection") != "" {
		t.Fatalf("answer: %+v", got)
	}
	if _, err := c.in.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the connection is still there: %v", err)
	}
}

func TestRawConnServesSeveralRequests(t *testing.T) {
	u := NewUpstream(t)
	u.Always(JSON(200, `{"a":1}`))
	c := DialRaw(t, u.Addr)
	c.Send(HTTP11("HEAD", "/", ""))
	c.Send(HTTP11("GET", "/", ""))
	if got := c.Response(); got.Status != 200 || len(got.Body) != 0 || !got.CleanEnd {
		t.Errorf("HEAD: %+v", got)
	}
	if got := c.Response(); got.Status != 200 || string(got.Body) != `{"a":1}` || !got.CleanEnd {
		t.Errorf("GET: %+v", got)
	}
	if _, err := new(RawConn).Next(); err == nil {
		t.Error("a body without an answer")
	}
}

func TestClientResetReachesTheUpstream(t *testing.T) {
	u := NewUpstream(t)
	u.Always(Silent())
	c := DialRaw(t, u.Addr)
	c.Send(HTTP11("GET", "/", ""))
	u.AwaitCalls(1, soon)
	c.Reset()
	u.AwaitCanceled(1, soon)
}

// unplugged is a connection that goes nowhere.
type unplugged struct{ wire }

func (unplugged) SetReadDeadline(time.Time) error { return nil }

// FuzzRawResponse feeds answers to the raw client: it must end, and a clean end
// must not come with an error.
func FuzzRawResponse(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\n",
		"HTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n",
		"HTTP/1.1 200 OK\r\n\r\nuntil close",
		"nonsense",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, wire string) {
		c := &RawConn{conn: unplugged{}, in: bufio.NewReader(strings.NewReader(wire)), methods: []string{http.MethodGet}}
		got := c.Response()
		if got.CleanEnd == (got.End != nil) {
			t.Errorf("clean end %v with %v", got.CleanEnd, got.End)
		}
		if len(got.Body) > len(wire) {
			t.Errorf("%d bytes out of %d", len(got.Body), len(wire))
		}
	})
}

func TestSafeBufferAndSecrets(t *testing.T) {
	var b SafeBuffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = b.Write([]byte("one"))
	}()
	_ = b.String()
	<-done
	if b.String() != "one" {
		t.Errorf("got %q", b.String())
	}
	b.Reset()
	if b.String() != "" {
		t.Errorf("after Reset: %q", b.String())
	}
	tests := []struct {
		text, secret string
		found        bool
	}{
		{"nothing here", "fake-secret-1", false},
		{"key=fake-secret-1;", "fake-secret-1", true},
		{"/t/a%2Fb%20c/", "a/b c", true},
		{"q=a%2Fb+c", "a/b c", true},
	}
	for _, tt := range tests {
		w := &witness{TB: t}
		MustNotContain(w, []byte(tt.text), tt.secret)
		if got := w.log.String() != ""; got != tt.found {
			t.Errorf("%q in %q: found %v", tt.secret, tt.text, got)
		}
		if strings.Contains(w.log.String(), tt.secret) {
			t.Errorf("the complaint shows the secret: %s", w.log.String())
		}
	}
}

func TestContextOfTheTestEndsACall(t *testing.T) {
	u := NewUpstream(t)
	u.Always(Silent())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := post(ctx, t, client(t, u), u.URL, "fake-key", ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	u.AwaitCanceled(1, soon)
}
