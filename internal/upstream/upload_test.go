package upstream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"testing"

	"ollama-api-pool/internal/testkit"
)

// watched is a body that tells when it is read and closed.
type watched struct {
	io.Reader
	closed atomic.Int32
	over   atomic.Bool // nothing may be read any more
	late   atomic.Bool // but was
}

func (w *watched) Read(p []byte) (int, error) {
	if w.over.Load() {
		w.late.Store(true)
	}
	return w.Reader.Read(p)
}

func (w *watched) Close() error {
	w.closed.Add(1)
	return nil
}

// form is a way to give a body.
type form struct {
	name string
	set  func(req *http.Request, body []byte) *watched
}

var forms = []form{
	{"in memory", func(req *http.Request, body []byte) *watched {
		w := &watched{Reader: bytes.NewReader(body)}
		req.Body, req.ContentLength = w, int64(len(body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		return w
	}},
	{"a reader", func(req *http.Request, body []byte) *watched {
		w := &watched{Reader: struct{ io.Reader }{bytes.NewReader(body)}}
		req.Body, req.ContentLength, req.GetBody = w, int64(len(body)), nil
		return w
	}},
	{"a slow reader", func(req *http.Request, body []byte) *watched {
		r, w := io.Pipe()
		go func() {
			_, _ = w.Write(body[:len(body)/2])
			_, _ = w.Write(body[len(body)/2:])
			_ = w.Close()
		}()
		b := &watched{Reader: r}
		req.Body, req.ContentLength, req.GetBody = b, int64(len(body)), nil
		return b
	}},
	{"unknown length", func(req *http.Request, body []byte) *watched {
		w := &watched{Reader: bytes.NewReader(body)}
		req.Body, req.ContentLength, req.GetBody = w, -1, nil
		return w
	}},
}

// sizes lie on both sides of every bound: a write with the head, a gathering
// write, a goroutine.
var sizes = []int{1, 300, joinedPlain, joinedPlain + 1, joinedTLS, joinedTLS + 1, byItselfMost, byItselfMost + 1, 1 << 20}

func TestBodiesArriveWhole(t *testing.T) {
	t.Parallel()
	each(t, everyone, func(t *testing.T, s subject) {
		u, rt := s.upstream(t, Options{})
		for _, form := range forms {
			for i, size := range sizes {
				body := pattern(i, size)
				req := request(t.Context(), t, "POST", u.URL, "")
				w := form.set(req, body)
				get(t, rt, req)
				calls := u.Calls()
				if got := calls[len(calls)-1].Body; !bytes.Equal(got, body) {
					t.Errorf("%s, %d bytes: %d arrived, or others", form.name, size, len(got))
				}
				eventually(t, "the body is closed", func() bool { return w.closed.Load() > 0 })
			}
		}
		if conns := connections(u); conns != 1 {
			t.Errorf("%d connections, want 1", conns)
		}
	})
}

// connections counts the connections that calls came on.
func connections(u *testkit.Upstream) int {
	seen := map[int64]bool{}
	for _, c := range u.Calls() {
		seen[c.Conn] = true
	}
	return len(seen)
}

// pattern makes bytes that differ from those of any other seed.
func pattern(seed, size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b) // never fails
	return b
}

// hooks counts what a caller is told about its request.
type hooks struct {
	got, wrote, reused atomic.Int32
	onWrote            func()
}

func (h *hooks) with(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			h.got.Add(1)
			if info.Reused {
				h.reused.Add(1)
			}
		},
		WroteRequest: func(httptrace.WroteRequestInfo) {
			h.wrote.Add(1)
			if h.onWrote != nil {
				h.onWrote()
			}
		},
	})
}

func (h *hooks) awaitBalance(t *testing.T) {
	t.Helper()
	eventually(t, "every connection's request is written", func() bool { return h.got.Load() == h.wrote.Load() })
}

// An answer may come while the body is still being sent, and the server may
// never read the rest. The answer is passed on; the body is let go of.
func TestEarlyAnswer(t *testing.T) {
	t.Parallel()
	body := pattern(1, 32<<20)
	each(t, everyone, func(t *testing.T, s subject) {
		u, rt := s.upstream(t, Options{})
		u.HandleEarly(func(c *testkit.Call) testkit.Answer {
			if c.Path != "/early" {
				return nil
			}
			return testkit.EarlyAnswer(413, "text/plain", "too large")
		})
		for _, form := range forms {
			h := &hooks{}
			req := request(h.with(t.Context()), t, "POST", u.URL+"/early", "")
			w := form.set(req, body)
			h.onWrote = func() { w.over.Store(true) }
			o := get(t, rt, req)
			if o.Status != "413 Request Entity Too Large" && !s.http2 || o.Body != "too large" {
				t.Errorf("%s: got %s %q", form.name, o.Status, o.Body)
			}
			h.awaitBalance(t)
			eventually(t, "the body is closed", func() bool { return w.closed.Load() > 0 })
			if w.late.Load() {
				t.Errorf("%s: the body was read after WroteRequest", form.name)
			}
			get(t, rt, request(t.Context(), t, "POST", u.URL, "x"))
		}
	})
}

// The server answers and keeps the connection, but does not read on.
func TestEarlyAnswerOnAKeptConnection(t *testing.T) {
	t.Parallel()
	const answer = "HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\n\r\ntoo large"
	for _, size := range []int{32 << 10, 64 << 10, 100 << 10, 8 << 20} {
		body := pattern(1, size)
		each(t, http1Ours, func(t *testing.T, s subject) {
			done := make(chan struct{})
			srv := s.serveRaw(t, func(_ int, c net.Conn) {
				if tcp, ok := c.(*net.TCPConn); ok {
					_ = tcp.SetReadBuffer(1) // as little as the system allows
				}
				buf := make([]byte, 100)
				_, _ = c.Read(buf)
				_, _ = io.WriteString(c, answer)
				<-done
			})
			t.Cleanup(func() { close(done) })
			h := &hooks{}
			req := request(h.with(t.Context()), t, "POST", srv.url, "")
			forms[0].set(req, body)
			rt := s.client(t, Options{})
			if !s.secure {
				rt.(*Client).dial = dialNarrow
			}
			finished := make(chan struct{})
			go func() {
				defer close(finished)
				if o := exchanged(rt, req); o.Body != "too large" {
					t.Errorf("%d bytes: got %q, %v, %v", size, o.Body, o.HeadErr, o.BodyErr)
				}
			}()
			within(t, "an early answer", finished)
			h.awaitBalance(t)
		})
	}
}

// dialNarrow makes connections whose sending side holds as little as the system
// allows.
func dialNarrow(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err == nil {
		_ = c.(*net.TCPConn).SetWriteBuffer(1)
	}
	return c, err
}

// The server answers and breaks the connection while the body is under way.
func TestAnswerThenReset(t *testing.T) {
	t.Parallel()
	each(t, http1Ours, func(t *testing.T, s subject) {
		srv := s.serveRaw(t, func(_ int, c net.Conn) {
			buf := make([]byte, 100)
			_, _ = c.Read(buf)
			_, _ = io.WriteString(c, "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")
		})
		for _, size := range []int{1000, 60 << 10, 32 << 20} {
			h := &hooks{}
			req := request(h.with(t.Context()), t, "POST", srv.url, "")
			forms[0].set(req, pattern(1, size))
			o := exchanged(s.client(t, Options{}), req)
			if o.HeadErr == nil && o.BodyErr == nil && o.Body != "busy" { // a reset may throw the answer away
				t.Errorf("%d bytes: got %q", size, o.Body)
			}
			h.awaitBalance(t)
		}
	})
}

func TestLargeBothWays(t *testing.T) {
	t.Parallel()
	each(t, everyone, func(t *testing.T, s subject) {
		size := 4 << 20
		if s == ours {
			size = 32 << 20
		}
		body := pattern(7, size)
		want := sha256.Sum256(body)
		u, rt := s.upstream(t, Options{})
		u.Handle(func(c *testkit.Call) testkit.Answer {
			if c.Path == "/stream" {
				return testkit.Stream("application/octet-stream", testkit.Text(string(c.Body)))
			}
			return testkit.Reply(200, "application/octet-stream", string(c.Body))
		})
		for _, path := range []string{"/length", "/stream"} {
			req := request(t.Context(), t, "POST", u.URL+path, "")
			if forms[0].set(req, body); path == "/stream" {
				forms[3].set(req, body)
			}
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.New()
			_, err = io.Copy(sum, resp.Body)
			_ = resp.Body.Close()
			if err != nil || !bytes.Equal(sum.Sum(nil), want[:]) {
				t.Errorf("%s: the answer differs, %v", path, err)
			}
		}
		if conns := connections(u); conns != 1 {
			t.Errorf("%d connections, want 1", conns)
		}
	})
}

// Both directions at once: the answer follows the request byte for byte.
func TestEchoWhileSending(t *testing.T) {
	t.Parallel()
	body := pattern(9, 4<<20)
	each(t, http1, func(t *testing.T, s subject) {
		srv := s.serveRaw(t, func(_ int, c net.Conn) {
			head := make([]byte, 0, 4096)
			for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
				var one [1]byte
				if _, err := c.Read(one[:]); err != nil {
					return
				}
				head = append(head, one[0])
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
			_, _ = io.CopyN(c, struct{ io.Reader }{c}, int64(len(body)))
		})
		req := request(t.Context(), t, "POST", srv.url, "")
		forms[0].set(req, body)
		if o := get(t, s.client(t, Options{}), req); o.Body != string(body) {
			t.Errorf("%d bytes came back, or others", len(o.Body))
		}
	})
}
