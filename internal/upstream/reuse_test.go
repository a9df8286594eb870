package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ollama-api-pool/internal/testkit"
)

func TestReuse(t *testing.T) {
	t.Parallel()
	each(t, everyone, func(t *testing.T, s subject) {
		u, rt := s.upstream(t, Options{})
		h := &hooks{}
		for i := range 20 {
			u.Always([]testkit.Answer{
				testkit.JSON(200, "{}"), testkit.JSON(404, "{}"), testkit.Reply(204, "", ""), testkit.SSE("a", "b"),
				testkit.JSON(200, strings.Repeat("x", 100<<10)),
			}[i%5])
			get(t, rt, request(h.with(t.Context()), t, []string{"POST", "GET", "HEAD"}[i%3], u.URL, ""))
		}
		if n := connections(u); n != 1 {
			t.Errorf("%d connections for requests in a row, want 1", n)
		}
		if n := h.reused.Load(); n != 19 {
			t.Errorf("told of %d reuses, want 19", n)
		}
		h.awaitBalance(t)
	})
}

// As many connections as requests at once, and no more later.
func TestConnectionsGrowWithTheLoad(t *testing.T) {
	t.Parallel()
	const most = 16
	each(t, []subject{netHTTP, ours, oursTLS}, func(t *testing.T, s subject) {
		u, rt := s.upstream(t, Options{})
		for range 3 {
			g := testkit.NewGate()
			u.Always(testkit.After(g, testkit.JSON(200, "{}")))
			var running sync.WaitGroup
			before := len(u.Calls())
			for range most {
				running.Go(func() { get(t, rt, request(t.Context(), t, "POST", u.URL, "x")) })
			}
			u.AwaitCalls(before+most, soon)
			g.Open()
			running.Wait()
		}
		if n := connections(u); n != most {
			t.Errorf("%d connections, want %d", n, most)
		}
	})
}

func TestMaxIdle(t *testing.T) {
	t.Parallel()
	each(t, []subject{ours, oursTLS}, func(t *testing.T, s subject) {
		u, rt := s.upstream(t, Options{MaxIdle: 3})
		g := testkit.NewGate()
		u.Always(testkit.After(g, testkit.JSON(200, "{}")))
		var running sync.WaitGroup
		for range 8 {
			running.Go(func() { get(t, rt, request(t.Context(), t, "POST", u.URL, "x")) })
		}
		u.AwaitCalls(8, soon)
		g.Open()
		running.Wait()
		if n := idling(rt.(*Client)); n != 3 {
			t.Errorf("%d idle connections, want 3", n)
		}
		rt.(*Client).CloseIdleConnections()
		if n := idling(rt.(*Client)); n != 0 {
			t.Errorf("%d idle connections after closing them", n)
		}
	})
}

// idling counts a client's own idle connections.
func idling(c *Client) (n int) {
	for _, h := range *c.hosts.Load() {
		h.idle.mu.Lock()
		n += len(h.idle.conns)
		h.idle.mu.Unlock()
	}
	return n
}

// An answer that is not read to its end costs the connection.
func TestCloseBeforeTheEnd(t *testing.T) {
	t.Parallel()
	each(t, []subject{netHTTP, ours, oursTLS}, func(t *testing.T, s subject) {
		u, rt := s.upstream(t, Options{})
		u.Always(testkit.JSON(200, strings.Repeat("x", 1<<20)))
		for range 3 {
			resp, err := rt.RoundTrip(request(t.Context(), t, "GET", u.URL, ""))
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if _, err := resp.Body.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) || s.ours && !errors.Is(err, http.ErrBodyReadAfterClose) {
				t.Errorf("a read after the close: %v", err)
			}
		}
		if n := connections(u); n != 3 {
			t.Errorf("%d connections, want 3", n)
		}
	})
}

// The server closes each connection as soon as it has nothing to do. Hardly a
// request may suffer from it, though none may be sent twice; those that may be
// repeated always succeed.
func TestServerClosesIdleConnections(t *testing.T) {
	t.Parallel()
	each(t, []subject{ours, oursTLS}, func(t *testing.T, s subject) {
		u, rt := s.upstream(t, Options{})
		u.Always(testkit.KeepAliveThenClose(testkit.JSON(200, "{}")))
		get(t, rt, request(t.Context(), t, "POST", u.URL, "x"))
		c := rt.(*Client)
		for range 50 {
			get(t, rt, request(t.Context(), t, "GET", u.URL, ""))
			o := exchanged(rt, request(t.Context(), t, "POST", u.URL, "x"))
			if o.HeadErr == nil {
				// Closed at leisure, it is always noticed.
				awaitClosedByServer(t, c)
				get(t, rt, request(t.Context(), t, "POST", u.URL, "x"))
			}
		}
	})
}

// awaitClosedByServer waits until no idle connection is alive.
func awaitClosedByServer(t *testing.T, c *Client) {
	t.Helper()
	eventually(t, "the server closes", func() bool {
		for _, h := range *c.hosts.Load() {
			h.idle.mu.Lock()
			for _, c := range h.idle.conns {
				if c.alive(0) {
					h.idle.mu.Unlock()
					return false
				}
			}
			h.idle.mu.Unlock()
		}
		return true
	})
}

// dying is a connection that looks alive and, once armed, fails as it is told.
type dying struct {
	net.Conn
	armed *atomic.Bool
	write func(c net.Conn, p []byte) (int, error)
}

func (d *dying) Write(p []byte) (int, error) {
	if d.armed.Load() {
		return d.write(d.Conn, p)
	}
	return d.Conn.Write(p)
}

// A connection that dies under a request is replaced where nothing of the
// request can have been acted on, or where that would do no harm.
func TestRepeating(t *testing.T) {
	t.Parallel()
	refuse := func(net.Conn, []byte) (int, error) { return 0, io.ErrClosedPipe }
	half := func(c net.Conn, p []byte) (int, error) {
		n, _ := c.Write(p[:len(p)/2])
		_ = c.Close()
		return n, io.ErrClosedPipe
	}
	swallow := func(c net.Conn, p []byte) (int, error) {
		_ = c.Close()
		return len(p), nil
	}
	for _, tt := range []struct {
		name     string
		write    func(net.Conn, []byte) (int, error)
		method   string
		size     int
		header   string
		reader   bool // the body cannot be got again
		repeated bool
	}{
		{name: "nothing sent", write: refuse, method: "POST", size: 100, repeated: true},
		{name: "nothing sent, large", write: refuse, method: "POST", size: 20 << 10, repeated: true},
		{name: "nothing sent, huge", write: refuse, method: "POST", size: 1 << 20, repeated: true},
		{name: "nothing sent, cannot be got again", write: refuse, method: "POST", size: 100, reader: true},
		{name: "half sent", write: half, method: "POST", size: 100},
		{name: "half sent, no harm", write: half, method: "GET", repeated: true},
		{name: "sent", write: swallow, method: "POST", size: 100},
		{name: "sent, large", write: swallow, method: "POST", size: 20 << 10},
		{name: "sent, huge", write: swallow, method: "POST", size: 1 << 20},
		{name: "sent, no harm", write: swallow, method: "GET", repeated: true},
		{name: "sent, no harm by its own word", write: swallow, method: "POST", size: 100, header: "Idempotency-Key", repeated: true},
		{name: "sent, deleting", write: swallow, method: "DELETE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			u := testkit.NewUpstream(t, testkit.WithoutHTTP2())
			rt := ours.client(t, Options{})
			var dials atomic.Int32
			var first atomic.Bool
			rt.(*Client).dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
				if dials.Add(1) > 1 {
					return c, err
				}
				return &dying{Conn: c, write: tt.write, armed: &first}, err
			}
			get(t, rt, request(t.Context(), t, "GET", u.URL, ""))
			first.Store(true)
			h := &hooks{}
			req := request(h.with(t.Context()), t, tt.method, u.URL, "")
			if tt.size > 0 {
				forms[0].set(req, pattern(1, tt.size))
			}
			if tt.reader {
				req.GetBody = nil
			}
			if tt.header != "" {
				req.Header.Set(tt.header, "1")
			}
			o := exchanged(rt, req)
			if repeated := o.HeadErr == nil; repeated != tt.repeated {
				t.Errorf("repeated: %v, want %v (%v)", repeated, tt.repeated, o.HeadErr)
			}
			want := int32(1)
			if tt.repeated {
				want = 2
			}
			if dials.Load() != want {
				t.Errorf("%d connections, want %d", dials.Load(), want)
			}
			h.awaitBalance(t)
			if calls := u.Calls(); tt.repeated && tt.size > 0 && len(calls[len(calls)-1].Body) != tt.size {
				t.Errorf("%d bytes arrived, want %d", len(calls[len(calls)-1].Body), tt.size)
			}
		})
	}
}

// A connection that fails at its first use is not replaced: the server is at
// fault, and the caller decides.
func TestFreshConnectionsAreNotRepeated(t *testing.T) {
	t.Parallel()
	each(t, http1, func(t *testing.T, s subject) {
		var conns atomic.Int32
		srv := s.serveRaw(t, answering(func(int, int, *http.Request, string, net.Conn) bool {
			conns.Add(1)
			return false
		}))
		if o := exchanged(s.client(t, Options{}), request(t.Context(), t, "GET", srv.url, "")); o.class() != "no head" {
			t.Errorf("it is %s", o.class())
		}
		if conns.Load() != 1 {
			t.Errorf("tried %d times", conns.Load())
		}
	})
}

// The upstream is restarted: every idle connection is dead. (net/http may not
// have noticed yet.)
func TestRestart(t *testing.T) {
	t.Parallel()
	each(t, http1Ours, func(t *testing.T, s subject) {
		u, rt := s.upstream(t, Options{})
		g := testkit.NewGate()
		u.Always(testkit.After(g, testkit.JSON(200, "{}")))
		var running sync.WaitGroup
		for range 8 {
			running.Go(func() { get(t, rt, request(t.Context(), t, "POST", u.URL, "x")) })
		}
		u.AwaitCalls(8, soon)
		g.Open()
		running.Wait()
		u.Down()
		if o := exchanged(rt, request(t.Context(), t, "POST", u.URL, "x")); o.class() != "no head" {
			t.Errorf("while it is down: %s", o.class())
		}
		u.Up()
		get(t, rt, request(t.Context(), t, "POST", u.URL, "x"))
	})
}

func TestCloseIdleConnections(t *testing.T) {
	t.Parallel()
	each(t, everyone, func(t *testing.T, s subject) {
		u, rt := s.upstream(t, Options{})
		for i := range 3 {
			get(t, rt, request(t.Context(), t, "GET", u.URL, ""))
			rt.(interface{ CloseIdleConnections() }).CloseIdleConnections()
			if n := connections(u); n != i+1 {
				t.Errorf("%d connections, want %d", n, i+1)
			}
		}
	})
}

// A caller may ask for a connection of its own.
func TestRequestCloseIsHonoured(t *testing.T) {
	t.Parallel()
	each(t, []subject{netHTTP, ours, oursTLS}, func(t *testing.T, s subject) {
		u, rt := s.upstream(t, Options{IdleTimeout: time.Minute})
		for range 2 {
			req := request(t.Context(), t, "POST", u.URL, "x")
			req.Close = true
			get(t, rt, req)
		}
		if n := connections(u); n != 2 {
			t.Errorf("%d connections, want 2", n)
		}
	})
}
