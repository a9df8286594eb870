package forward_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"ollama-api-pool/internal/testkit"
)

// counted counts the writes to a connection.
type counted struct {
	net.Conn
	writes *atomic.Int32
}

func (c counted) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

type countedListener struct {
	net.Listener
	writes *atomic.Int32
}

func (l countedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return counted{c, l.writes}, nil
}

// Head and body leave in one write, to the upstream and to the client; of a
// stream each piece is one.
func TestWrites(t *testing.T) {
	for _, tt := range []struct {
		name       string
		body       string
		answer     testkit.Answer
		up, client int32
	}{
		{"plain", chat, testkit.JSON(200, done), 1, 1},
		{"plain without a body", "", testkit.JSON(200, done), 1, 1},
		{"plain from several pieces", chat, testkit.WithHeader(testkit.Stream("application/json", testkit.Text(done[:20]), testkit.Text(done[20:])), "Content-Length", fmt.Sprint(len(done))), 1, 1},
		{"error", chat, testkit.JSON(400, `{"error":"bad"}`), 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var up, client atomic.Int32
			s := newScene(t, func(set *setting) {
				set.tune = func(tr *http.Transport) {
					tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
						c, err := new(net.Dialer).DialContext(ctx, network, addr)
						return counted{c, &up}, err
					}
				}
			})
			l, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{Handler: s.handler, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
			go func() { _ = server.Serve(countedListener{l, &client}) }()
			defer func() { _ = server.Close() }()
			s.up.Always(tt.answer)
			got := testkit.RawRequest(t, l.Addr().String(), s.request("/v1/chat/completions", tt.body))
			equal(t, "clean end", got.CleanEnd, true)
			equal(t, "writes to the upstream", up.Load(), tt.up)
			equal(t, "writes to the client", client.Load(), tt.client)
		})
	}
}

// discard is a ResponseWriter for benchmarks.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) Flush()                      {}

// canned is a body that is there at once, in pieces.
type canned struct {
	piece string
	n     int
	last  string
}

func (c *canned) Read(p []byte) (int, error) {
	switch {
	case c.n > 0:
		c.n--
		return copy(p, c.piece), nil
	case c.last != "":
		n := copy(p, c.last)
		c.last = ""
		return n, nil
	}
	return 0, io.EOF
}

func (c *canned) Close() error { return nil }

// benchmark sends requests through the whole handler, without sockets.
func benchmark(b *testing.B, contentType, requestBody string, answer func() (io.ReadCloser, int64)) {
	b.Helper()
	header := http.Header{"Content-Type": {contentType}}
	s := newScene(b, keys(100), func(set *setting) {
		set.quiet = true
		set.transport = roundTripper(func(req *http.Request) (*http.Response, error) {
			if trace := httptrace.ContextClientTrace(req.Context()); trace != nil {
				trace.GotConn(httptrace.GotConnInfo{})
				trace.WroteRequest(httptrace.WroteRequestInfo{})
			}
			body, length := answer()
			return &http.Response{StatusCode: 200, Header: header, Body: body, ContentLength: length, Request: req}, nil
		})
	})
	where := &url.URL{Path: "/v1/chat/completions"}
	client := http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}, "User-Agent": {"bench"}}
	w := &discard{}
	b.ReportAllocs()
	for b.Loop() {
		w.header = make(http.Header, 8)
		r := (&http.Request{
			Method: http.MethodPost, URL: where, Header: client, RemoteAddr: "127.0.0.1:1",
			Body: io.NopCloser(strings.NewReader(requestBody)), ContentLength: int64(len(requestBody)),
		}).WithContext(b.Context())
		s.handler.ServeHTTP(w, r)
		<-s.records
	}
}

func BenchmarkPlain(b *testing.B) {
	for _, size := range []int{300, 32 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			body := `{"model":"gpt-oss:120b","messages":[{"content":"` + strings.Repeat("word ", size/5) + `"}]}`
			benchmark(b, "application/json", body, func() (io.ReadCloser, int64) {
				return &canned{last: done}, int64(len(done))
			})
		})
	}
}

// BenchmarkStream shows the cost of an event: the difference between the two,
// divided by 1000.
func BenchmarkStream(b *testing.B) {
	const event = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1753357673,"model":"gpt-oss:120b","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}` + "\n\n"
	for _, events := range []int{1, 1001} {
		b.Run(fmt.Sprint(events), func(b *testing.B) {
			benchmark(b, "text/event-stream", chat, func() (io.ReadCloser, int64) {
				return &canned{piece: event, n: events, last: "data: [DONE]\n\n"}, -1
			})
		})
	}
}

// BenchmarkSockets is the same over real connections, client and upstream
// included.
func BenchmarkSockets(b *testing.B) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, done)
	}))
	defer upstream.Close()
	s := newScene(b, keys(100), func(set *setting) {
		set.quiet = true
		set.transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			r.URL.Host = upstream.Listener.Addr().String()
			return upstream.Client().Transport.RoundTrip(r)
		})
	})
	c := testkit.DialRaw(b, s.addr)
	request := s.request("/v1/chat/completions", chat)
	b.ReportAllocs()
	for b.Loop() {
		c.Send(request)
		if got := c.Response(); got.Status != 200 {
			b.Fatal(got.Status)
		}
		<-s.records
	}
}
