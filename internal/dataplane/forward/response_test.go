package forward_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

// Answers come back byte for byte, with their status and type, whether their
// length is known or not.
func TestAnswers(t *testing.T) {
	for _, size := range []int{0, 1, 2047, 2048, 4095, 4096, 4097, 32 << 10, 32<<10 + 1, 1 << 20} {
		for _, length := range []bool{true, false} {
			t.Run(fmt.Sprint(size, length), func(t *testing.T) {
				body := noise(size)
				s := newScene(t)
				s.up.Always(testkit.Stream("application/octet-stream", testkit.Text(body)))
				if length {
					s.up.Always(testkit.Reply(200, "application/octet-stream", body))
				}
				got := s.chat()
				equal(t, "status", got.Status, 200)
				equal(t, "body is the same", string(got.Body) == body, true)
				equal(t, "clean end", got.CleanEnd, true)
				equal(t, "type", got.Header.Get("Content-Type"), "application/octet-stream")
				if length {
					equal(t, "length", got.Header.Get("Content-Length"), fmt.Sprint(size))
				}
				rec := s.record()
				equal(t, "outcome", outcome(rec), "success")
				if rec.FirstByte <= 0 || rec.Duration < rec.FirstByte {
					t.Errorf("first byte after %v of %v", rec.FirstByte, rec.Duration)
				}
			})
		}
	}
}

func TestResponseHeaders(t *testing.T) {
	s := newScene(t)
	s.up.Always(testkit.JSON(
		200, done,
		"X-Ratelimit-Remaining", "7", "Openai-Processing-Ms", "12", "Etag", `"1"`, "Cache-Control", "private",
		"Set-Cookie", "a=1", "Set-Cookie", "b=2", "Vary", "Accept", "Server", "upstream", "Date", "Tue, 14 Oct 2025 09:20:30 GMT",
		"X-Request-Id", "theirs", "Access-Control-Allow-Origin", "https://elsewhere.example", "Access-Control-Allow-Credentials", "true",
		"Connection", "X-Hop", "X-Hop", "1", "Keep-Alive", "timeout=5", "Proxy-Authenticate", "Basic", "Upgrade", "h2c",
	))
	got := s.post("/v1/chat/completions", chat, "X-Request-Id", "mine.1_2-3")
	for name, want := range map[string][]string{
		"X-Ratelimit-Remaining":            {"7"},
		"Openai-Processing-Ms":             {"12"},
		"Etag":                             {`"1"`},
		"Cache-Control":                    {"private"},
		"Set-Cookie":                       {"a=1", "b=2"},
		"Vary":                             {"Accept"},
		"Server":                           {"upstream"},
		"Date":                             {"Tue, 14 Oct 2025 09:20:30 GMT"},
		"X-Request-Id":                     {"mine.1_2-3"},
		"X-Upstream-Request-Id":            {"theirs"},
		"Access-Control-Allow-Origin":      {"*"},
		"Access-Control-Allow-Credentials": nil,
		"X-Hop":                            nil,
		"Keep-Alive":                       nil,
		"Proxy-Authenticate":               nil,
		"Upgrade":                          nil,
		"X-Cache":                          nil,
	} {
		equalSlices(t, name, got.Header[name], want)
	}
	for _, id := range []string{"", "has blank", "ü", strings.Repeat("x", 129), "a/b"} {
		got := s.post("/v1/chat/completions", chat, "X-Request-Id", id)
		if own := got.Header.Get("X-Request-Id"); own == id || len(own) < 16 {
			t.Errorf("of %q became %q", id, own)
		}
	}
	long := strings.Repeat("x", 128)
	equal(t, "longest id", s.post("/v1/chat/completions", chat, "X-Request-Id", long).Header.Get("X-Request-Id"), long)
}

// A redirect is the client's to follow or not.
func TestRedirects(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := newScene(t)
		s.up.Always(testkit.Redirect(status, s.up.URL+"/elsewhere"))
		got := s.chat()
		equal(t, "status", got.Status, status)
		equal(t, "Location", got.Header.Get("Location"), s.up.URL+"/elsewhere")
		equal(t, "body", string(got.Body), "moved")
		equal(t, "calls", len(s.up.Calls()), 1)
		// Whatever it says.
		s.up.Always(testkit.JSON(status, `{"error":{"code":401,"message":"unauthorized"}}`, "Location", "/x"))
		equal(t, "status", s.chat().Status, status)
		s.untouched(0, 1, 2)
	}
}

// What comes compressed against our wish goes on as it is.
func TestCompressed(t *testing.T) {
	for _, contentType := range []string{"application/json", "text/event-stream"} {
		s := newScene(t)
		s.up.Always(testkit.Compressed(200, contentType, done))
		got := s.post("/v1/chat/completions", chat, "Accept-Encoding", "br")
		equal(t, "encoding", got.Header.Get("Content-Encoding"), "gzip")
		z, err := gzip.NewReader(bytes.NewReader(got.Body))
		if err != nil {
			t.Fatal(err)
		}
		plain, err := io.ReadAll(z)
		equal(t, "error", err, nil)
		equal(t, "plain", string(plain), done)
		equal(t, "clean end", got.CleanEnd, true)
		equal(t, "outcome", outcome(s.record()), "success")
	}
}

// What calls itself by a wrong name is passed on under it.
func TestWrongContentType(t *testing.T) {
	s := newScene(t)
	s.up.Always(testkit.WrongContentType(done))
	got := s.chat()
	equal(t, "type", got.Header.Get("Content-Type"), "text/html; charset=utf-8")
	equal(t, "body", string(got.Body), done)
	equal(t, "it is no page of ours", got.Header.Get("Content-Security-Policy"), "sandbox")
	s.up.Always(testkit.Reply(200, "", done))
	got = s.chat()
	equal(t, "what is no page has no policy", got.Header.Get("Content-Security-Policy"), "")
	equal(t, "no type is kept so", len(got.Header["Content-Type"]), 0)
}

func TestMethods(t *testing.T) {
	for _, tt := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/v1/chat/completions", 405, "POST, OPTIONS"},
		{"HEAD", "/v1/chat/completions", 405, "POST, OPTIONS"},
		{"PUT", "/v1/messages", 405, "POST, OPTIONS"},
		{"DELETE", "/api/chat", 405, "POST, OPTIONS"},
		{"POST", "/v1/models", 405, "GET, HEAD, OPTIONS"},
		{"POST", "/v1/models/x", 405, "GET, HEAD, OPTIONS"},
		{"DELETE", "/v1/models/x", 405, "GET, HEAD, OPTIONS"},
		{"POST", "/api/tags", 405, "GET, HEAD, OPTIONS"},
		{"GET", "/v1/nothing", 404, ""},
		{"POST", "/v1/chat/completions/", 404, ""},
		{"POST", "/v1", 404, ""},
		{"POST", "/api", 404, ""},
		{"POST", "/openrouter/api/chat", 404, ""},
		{"POST", "/ollama/openrouter/v1/messages", 404, ""},
	} {
		s := newScene(t)
		got := testkit.RawRequest(t, s.addr, testkit.HTTP11(tt.method, tt.path, "", "Authorization", "Bearer "+token, "Content-Length", "0"))
		equal(t, tt.method+" "+tt.path, got.Status, tt.status)
		equal(t, "Allow", got.Header.Get("Allow"), tt.allow)
		equal(t, "clean end", got.CleanEnd, true)
		equal(t, "calls", len(s.up.Calls()), 0)
		equal(t, "outcome", outcome(s.record()), "not counted")
	}
}

func TestCORS(t *testing.T) {
	s := newScene(t)
	for _, path := range []string{"/v1/chat/completions", "/openrouter/v1/messages", "/t/" + token + "/api/chat", "/v1/nothing"} {
		got := testkit.RawRequest(t, s.addr, testkit.HTTP11("OPTIONS", path, "", "Origin", "https://page.example",
			"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,x-stainless-os"))
		equal(t, "status", got.Status, 204)
		equal(t, "origin", got.Header.Get("Access-Control-Allow-Origin"), "*")
		equal(t, "headers", got.Header.Get("Access-Control-Allow-Headers"), "authorization,x-stainless-os")
		if !strings.Contains(got.Header.Get("Access-Control-Allow-Methods"), "POST") {
			t.Errorf("methods: %v", got.Header)
		}
	}
	got := testkit.RawRequest(t, s.addr, testkit.HTTP11("POST", "/v1/messages", chat, "Origin", "https://page.example"))
	equal(t, "status without a token", got.Status, 401)
	equal(t, "origin of an error", got.Header.Get("Access-Control-Allow-Origin"), "*")
	equal(t, "calls", len(s.up.Calls()), 0)
}

// 103 and the like are for the upstream's own connection.
func TestInformational(t *testing.T) {
	s := newScene(t)
	s.up.Always(testkit.Informational(testkit.JSON(200, done)))
	got := s.chat()
	equal(t, "status", got.Status, 200)
	equal(t, "body", string(got.Body), done)
	equal(t, "informational answers", len(got.Informational), 0)
}

// An upstream that speaks no proper HTTP is at fault, and does not take this
// program down.
func TestImpossibleStatus(t *testing.T) {
	for _, status := range []int{0, 99, 101, 199} {
		stream := roundTripper(func(r *http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: status, Request: r, ContentLength: -1,
				Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: io.NopCloser(blocked{r.Context().Done()}),
			}, nil
		})
		s := newScene(t, retries(1), func(set *setting) { set.transport = stream })
		got := s.chat()
		equal(t, "status", got.Status, 502)
		rec := s.record()
		equal(t, "attempts", len(rec.Attempts), 2)
		equal(t, "status of the attempt", rec.Attempts[0].Status, status)
		s.untouched(0, 1)
	}
	s := newScene(t)
	s.up.Always(testkit.Reply(999, "application/json", "{}"))
	equal(t, "beyond all", s.chat().Status, 503)
	s.untouched(0, 1, 2)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// blocked is a body that never comes.
type blocked struct{ done <-chan struct{} }

func (b blocked) Read([]byte) (int, error) {
	<-b.done
	return 0, io.ErrUnexpectedEOF
}

// A header may be long, up to the transport's limit.
func TestLongHeaders(t *testing.T) {
	s := newScene(t)
	s.up.Always(testkit.LongHeader(100<<10, testkit.JSON(200, done)))
	got := s.chat()
	equal(t, "status", got.Status, 200)
	equal(t, "length", len(got.Header.Get("X-Long")), 100<<10)
	s = newScene(t, func(set *setting) { set.tune = func(tr *http.Transport) { tr.MaxResponseHeaderBytes = 10 << 10 } })
	s.up.Always(testkit.LongHeader(100<<10, testkit.JSON(200, done)))
	equal(t, "beyond the limit", s.chat().Status, 502)
	s.untouched(0, 1, 2)
}

// Trailers come through, whether they were announced or not.
func TestTrailers(t *testing.T) {
	s := newScene(t, func(set *setting) {
		set.transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: 200, Request: r, ContentLength: -1, Header: http.Header{"Trailer": {"X-Sum"}},
				Body: &canned{piece: "data: {}\n\n", n: 2, last: "data: [DONE]\n\n"}, Trailer: http.Header{"X-Sum": {"7"}},
			}, nil
		})
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.addr+"/v1/completions", strings.NewReader(chat))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	equal(t, "trailer", resp.Trailer.Get("X-Sum"), "7")
	equal(t, "header", resp.Header.Get("X-Sum"), "")
}

// A short answer of which the client has nothing yet is replaced when it breaks
// off; of a long one, or one that was begun, the break shows.
func TestBrokenAnswers(t *testing.T) {
	long := strings.Repeat("x", 10<<10)
	for _, tt := range []struct {
		name   string
		answer testkit.Answer
		status int
		body   string
		tried  string
		clean  bool
	}{
		{"nothing of a known length", testkit.TruncatedContentLength("application/json", "", 100), 200, done, "0 1", true},
		{"half of a known length", testkit.TruncatedContentLength("application/json", `{"a":`, 100), 200, done, "0 1", true},
		{"nothing of a long one", testkit.TruncatedContentLength("application/json", "", 10<<10), 200, done, "0 1", true},
		{"half of a long one", testkit.TruncatedContentLength("application/json", long, 20<<10), 200, long, "0", false},
		{"nothing of an unknown length", testkit.CutAfter("application/json", "", 0, testkit.FIN), 200, done, "0 1", true},
		{"reset", testkit.CutAfter("application/json", "", 0, testkit.RST), 200, done, "0 1", true},
		{"in the middle of a chunk's length", testkit.CutAfter("application/json", "", 0, testkit.FINMidChunk), 200, done, "0 1", true},
		{"half of an unknown length", testkit.Stream("application/json", testkit.Text(long), testkit.Break(testkit.FIN)), 200, long, "0", false},
		{"a bad chunk at once", testkit.BadChunk("application/json", ""), 200, done, "0 1", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t)
			s.up.Handle(testkit.ByKey(map[string]testkit.Answer{key(0): tt.answer}, testkit.JSON(200, done)))
			got := s.chat()
			equal(t, "status", got.Status, tt.status)
			equal(t, "keys tried", s.tried(), tt.tried)
			equal(t, "clean end", got.CleanEnd, tt.clean)
			if tt.clean {
				equal(t, "body", string(got.Body), tt.body)
			} else if !strings.HasPrefix(tt.body, string(got.Body)) {
				t.Errorf("%d bytes, and others than the upstream's", len(got.Body))
			}
			rec := s.record()
			s.untouched(0, 1, 2)
			if tt.clean {
				equal(t, "outcome", outcome(rec), "success")
				equal(t, "status of the attempt", rec.Attempts[0].Status, 200)
				return
			}
			equal(t, "outcome", outcome(rec), "failure")
			equal(t, "end", rec.End, gateway.EndCut)
			equal(t, "reason", rec.Attempts[0].Verdict.Reason, "the answer broke off")
			equal(t, "failures of the key", s.keyCounts()[idOf(0)], gateway.KeyCounts{Total: 1, Failure: 1})
		})
	}
	t.Run("everywhere", func(t *testing.T) {
		s := newScene(t)
		s.up.Always(testkit.TruncatedContentLength("application/json", `{"a":`, 100))
		got := s.chat()
		equal(t, "status", got.Status, 502)
		equal(t, "clean end", got.CleanEnd, true)
		equal(t, "calls", len(s.up.Calls()), 4)
	})
}

// An answer that stops coming is broken off.
func TestSilentAnswers(t *testing.T) {
	short := func(set *setting) { set.opts.StreamIdleTimeout = 60 * time.Millisecond }
	for _, tt := range []struct{ contentType, shown string }{
		{"application/json", ""}, {"text/event-stream", "data: {\"error\":"},
	} {
		s := newScene(t, short)
		s.up.Always(testkit.Stream(tt.contentType, testkit.Text("data: {}\n\n"), testkit.Wait(testkit.NewGate())))
		got := s.chat()
		equal(t, "status", got.Status, 200)
		equal(t, "clean end", got.CleanEnd, false)
		if !strings.HasPrefix(string(got.Body), "data: {}\n\n"+tt.shown) {
			t.Errorf("got %q", got.Body)
		}
		rec := s.record()
		equal(t, "end", rec.End, gateway.EndCut)
		equal(t, "reason", rec.Attempts[0].Verdict.Reason, "the upstream fell silent")
		equal(t, "attempts", len(rec.Attempts), 1)
		s.up.AwaitCanceled(1, soon)
	}
}

// A client that stops reading is broken off too, and the upstream not blamed.
func TestClientStopsReading(t *testing.T) {
	s := newScene(t, func(set *setting) { set.opts.StreamIdleTimeout = 150 * time.Millisecond })
	block := testkit.Text(strings.Repeat("x", 1<<20))
	pieces := make([]testkit.Piece, 64)
	for i := range pieces {
		pieces[i] = block
	}
	s.up.Always(testkit.Stream("text/plain", pieces...))
	c := testkit.DialRaw(t, s.addr)
	c.Send(s.request("/v1/chat/completions", chat))
	equal(t, "status", c.Head().Status, 200)
	rec := s.record() // although nobody reads
	equal(t, "end", rec.End, gateway.EndClientClosed)
	equal(t, "outcome", outcome(rec), "neither")
	equal(t, "counts", s.counts(), gateway.KeyCounts{Total: 1})
	s.up.AwaitIdle(soon)
}

// A slow client that reads on is served to the end.
func TestSlowClient(t *testing.T) {
	s := newScene(t, func(set *setting) { set.opts.StreamIdleTimeout = time.Second })
	body := strings.Repeat("x", 24<<20)
	s.up.Always(testkit.Reply(200, "text/plain", body))
	c := testkit.DialRaw(t, s.addr)
	c.Send(s.request("/v1/chat/completions", chat))
	equal(t, "status", c.Head().Status, 200)
	got, began := 0, time.Now()
	for tick := time.NewTicker(10 * time.Millisecond); ; {
		b, err := c.Next()
		if got += len(b); err != nil {
			equal(t, "error", err, io.EOF)
			break
		}
		if time.Since(began) < 1200*time.Millisecond {
			<-tick.C // slower than the upstream, never silent for long
		}
	}
	equal(t, "bytes", got, len(body))
	equal(t, "outcome", outcome(s.record()), "success")
}
