package forward_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

// recording is a stream as an upstream sent it, and where its last word and its
// error stand.
type recording struct {
	file, path string
	dialect    gateway.Dialect
	lastWord   string // is in its line
	failure    string // begins the error event; "": there is none
}

var streams = []recording{
	{"openai-chat-usage.sse", "/v1/chat/completions", gateway.DialectOpenAI, "[DONE]", ""},
	{"openai-chat-crlf.sse", "/v1/chat/completions", gateway.DialectOpenAI, "[DONE]", ""},
	{"openai-chat-nousage.sse", "/v1/chat/completions", gateway.DialectOpenAI, "[DONE]", ""},
	{"openai-chat-error.sse", "/v1/chat/completions", gateway.DialectOpenAI, "", "data: {\"error\": "},
	{"openai-completions.sse", "/v1/completions", gateway.DialectOpenAI, "[DONE]", ""},
	{"openrouter-chat.sse", "/v1/chat/completions", gateway.DialectOpenAI, "[DONE]", ""},
	{"openrouter-error-midstream.sse", "/v1/chat/completions", gateway.DialectOpenAI, "[DONE]", "data: {\"id\":\"gen-1753357673-example\",\"object\""},
	{"responses.sse", "/v1/responses", gateway.DialectResponses, `{"type":"response.completed"`, ""},
	{"responses-incomplete.sse", "/v1/responses", gateway.DialectResponses, `{"type":"response.incomplete"`, ""},
	{"responses-failed.sse", "/v1/responses", gateway.DialectResponses, `{"type":"response.failed"`, "event: response.failed"},
	{"responses-error.sse", "/v1/responses", gateway.DialectResponses, "", "event: error"},
	{"openrouter-responses.sse", "/v1/responses", gateway.DialectResponses, `{"type":"response.completed"`, ""},
	{"anthropic.sse", "/v1/messages", gateway.DialectAnthropic, `{"type":"message_stop"}`, ""},
	{"anthropic-error.sse", "/v1/messages", gateway.DialectAnthropic, "", "event: error"},
	{"ollama-chat.ndjson", "/api/chat", gateway.DialectOllama, `"done":true,`, ""},
	{"ollama-chat-tools.ndjson", "/api/chat", gateway.DialectOllama, `"done":true,"done_reason"`, ""},
	{"ollama-generate.ndjson", "/api/generate", gateway.DialectOllama, `"done":true,`, ""},
	{"ollama-error.ndjson", "/api/chat", gateway.DialectOllama, "", `{"error":`},
}

func (r *recording) body(tb testing.TB) string {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("../usage/testdata/streams", r.file))
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

func (r *recording) contentType() string {
	if strings.HasSuffix(r.file, ".sse") {
		return "text/event-stream"
	}
	return "application/x-ndjson"
}

// expectation is what becomes of a stream of which n bytes came.
type expectation struct{ failed, maybeFailed, whole bool }

// expect tells that from the text alone. broken says that the connection
// broke; else the upstream ended as if that were all.
func (r *recording) expect(tb testing.TB, body string, n int, broken bool) expectation {
	tb.Helper()
	var e expectation
	if r.failure != "" {
		begins := strings.Index(body, r.failure)
		ends := begins + strings.Index(body[begins:], "}\n") + 1
		if begins < 0 {
			tb.Fatalf("%s has no %s", r.file, r.failure)
		}
		e.failed = n > ends
		e.maybeFailed = n > begins && n <= ends
	}
	if r.lastWord != "" {
		said := strings.LastIndex(body, r.lastWord)
		said += strings.IndexAny(body[said:], "\r\n")
		between := "\n\n"
		if r.dialect == gateway.DialectOllama {
			between = "\n"
		}
		e.whole = n >= said && (!broken || strings.HasSuffix(body[:n], between))
	}
	return e
}

// errBroken is how a connection ends that breaks.
var errBroken = errors.New("connection reset by peer")

// cutBody gives a beginning in two pieces, and then an error.
type cutBody struct {
	pieces []string
	end    error
}

func (b *cutBody) Read(p []byte) (int, error) {
	for len(b.pieces) > 0 {
		n := copy(p, b.pieces[0])
		if b.pieces[0] = b.pieces[0][n:]; b.pieces[0] == "" {
			b.pieces = b.pieces[1:]
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, b.end
}

func (b *cutBody) Close() error { return nil }

// local asks the gateway without a socket, and tells whether it broke the
// connection off.
func (s *scene) local(path string) (w *httptest.ResponseRecorder, aborted bool) {
	r := (&http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: path}, Header: http.Header{"Authorization": {"Bearer " + token}},
		Body: io.NopCloser(strings.NewReader(chat)), ContentLength: int64(len(chat)), RemoteAddr: "127.0.0.1:1",
	}).WithContext(s.tb.Context())
	w = httptest.NewRecorder()
	defer func() {
		if v := recover(); v != nil {
			if err, ok := v.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				panic(v)
			}
			aborted = true
		}
	}()
	s.handler.ServeHTTP(w, r)
	return w, false
}

// A stream that ends anywhere, in a break or as if that were all, is passed on
// up to there; then its client learns that it is not whole.
func TestCutAnywhere(t *testing.T) {
	for _, r := range streams {
		t.Run(r.file, func(t *testing.T) {
			t.Parallel()
			body := r.body(t)
			var upstream cutBody
			s := newScene(t, keys(1), retries(0), func(set *setting) {
				set.quiet = true
				set.transport = roundTripper(func(req *http.Request) (*http.Response, error) {
					return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {r.contentType()}}, Body: &upstream, ContentLength: -1, Request: req}, nil
				})
			})
			for n := range len(body) + 1 {
				ends := []error{errBroken, io.EOF}
				if !strings.Contains(body[max(0, n-2):min(len(body), n+2)], "\n") && n > 9 {
					ends = ends[n%2:][:1] // in the middle of a line one of the two will do
				}
				for _, end := range ends {
					upstream = cutBody{[]string{body[:n/2], body[n/2 : n]}, end}
					w, aborted := s.local(r.path)
					rec := s.record()
					if !r.check(t, body, n, end, w, aborted, rec) {
						return
					}
				}
			}
		})
	}
}

func (r *recording) check(t *testing.T, body string, n int, end error, w *httptest.ResponseRecorder, aborted bool, rec gateway.Record) bool {
	t.Helper()
	broken := !errors.Is(end, io.EOF)
	e := r.expect(t, body, n, broken)
	rest, ok := bytes.CutPrefix(w.Body.Bytes(), []byte(body[:n]))
	switch wasFailed := e.failed || e.maybeFailed && len(rest) == 0; {
	case n == 0:
		ok = w.Code == 502 && !aborted // nothing came at all
		rest = nil
	case wasFailed:
		ok = ok && len(rest) == 0 && aborted == (broken && !e.whole) && rec.End == gateway.EndCut
	case e.whole:
		ok = ok && len(rest) == 0 && !aborted && rec.End == gateway.EndDone
	default:
		ok = ok && aborted && rec.End == gateway.EndCut
		if ok {
			checkBreak(t, r.dialect, string(rest))
		}
	}
	if !ok {
		t.Errorf("cut at %d of %d (%v), after …%q: %d, aborted %v, end %v, then %q", n, len(body), end, body[max(0, n-20):n], w.Code, aborted, rec.End, rest)
	}
	return !t.Failed()
}

// Over a real connection the same shows, and whole streams are the same byte
// for byte and end cleanly.
func TestRecordedStreams(t *testing.T) {
	for _, r := range streams {
		t.Run(r.file, func(t *testing.T) {
			body := r.body(t)
			s := newScene(t, keys(1))
			s.up.Always(testkit.Stream(r.contentType(), testkit.Text(body)))
			got := s.post(r.path, chat)
			equal(t, "body is the same", string(got.Body) == body, true)
			equal(t, "clean end", got.CleanEnd, true)
			equal(t, "succeeded", outcome(s.record()) == "success", r.failure == "")
			for i, n := range []int{1, len(body) / 3, len(body) / 2, strings.LastIndex(body, "\n\n") / 2, len(body) - 7} {
				how := []testkit.Cut{testkit.FIN, testkit.FINMidChunk}[i%2]
				e := r.expect(t, body, n, true)
				if n <= 0 || e.failed || e.maybeFailed || e.whole {
					continue
				}
				s.up.Always(testkit.CutAfter(r.contentType(), body, n, how))
				got := s.post(r.path, chat)
				rest, ok := strings.CutPrefix(string(got.Body), body[:n])
				equal(t, "beginning is the same", ok, true)
				equal(t, "clean end", got.CleanEnd, false)
				checkBreak(t, r.dialect, rest)
				equal(t, "outcome", outcome(s.record()), "failure")
			}
		})
	}
}

// An error as the first event is kept from the client as long as another key
// may do better.
func TestErrorFirst(t *testing.T) {
	for file, tt := range map[string]struct {
		path, contentType string
		set               func(*setting)
		retried           bool
		key               string
	}{
		"anthropic-error-first.sse":  {"/v1/messages", "text/event-stream", func(*setting) {}, true, "active 0"},
		"ollama-error-first.ndjson":  {"/api/chat", "application/x-ndjson", func(*setting) {}, true, "active 0"},
		"openrouter-error-first.sse": {"/v1/chat/completions", "text/event-stream", openRouter, false, "active 0"}, // of the model's provider
	} {
		r := recording{file: file}
		body := r.body(t)
		s := newScene(t, tt.set)
		first := testkit.Reply(200, tt.contentType, body)
		s.up.Handle(testkit.ByKey(map[string]testkit.Answer{key(0): first}, testkit.JSON(200, done)))
		got := s.post(tt.path, chat)
		equal(t, file+": status", got.Status, 200)
		equal(t, file+": retried", s.tried() == "0 1", tt.retried)
		want := body
		if tt.retried {
			want = done
		}
		equal(t, file+": body", string(got.Body), want)
		equal(t, file+": key", s.state(0), tt.key)
		s.record()
		s.up.Always(first)
		got = s.post(tt.path, chat)
		equal(t, file+": in the end", got.Status, 200)
		equal(t, file+": body in the end", string(got.Body), body)
		equal(t, file+": clean end", got.CleanEnd, true)
		equal(t, file+": outcome", outcome(s.record()), "failure")
	}
}
