package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"ollama-api-pool/internal/testkit"
)

var errLeft = errors.New("the client has left")

// At whatever stage the context ends, the caller hears of it at once, with the
// cause, and the client goes on working.
func TestCancel(t *testing.T) {
	t.Parallel()
	large := pattern(2, 8<<20)
	for _, tt := range []struct {
		name string
		set  func(t *testing.T, u *testkit.Upstream, req *http.Request) (reached <-chan struct{})
		body bool // the head comes first
		sent bool // the server has the whole request, and so notices
	}{
		{name: "while the server is silent", sent: true, set: func(_ *testing.T, u *testkit.Upstream, _ *http.Request) <-chan struct{} {
			g := testkit.NewGate()
			u.Always(testkit.After(g, nil))
			return g.Reached()
		}},
		{name: "while the request is sent", set: func(t *testing.T, u *testkit.Upstream, req *http.Request) <-chan struct{} {
			g := testkit.NewGate()
			u.HandleEarly(func(*testkit.Call) testkit.Answer { return testkit.After(g, nil) })
			forms[0].set(req, large)
			return g.Reached()
		}},
		{name: "while a reader gives nothing", set: func(t *testing.T, u *testkit.Upstream, req *http.Request) <-chan struct{} {
			g := testkit.NewGate()
			u.HandleEarly(func(*testkit.Call) testkit.Answer { return testkit.After(g, nil) })
			r, w := io.Pipe()
			t.Cleanup(func() { _ = w.Close() })
			req.Body, req.ContentLength, req.GetBody = r, 100, nil
			return g.Reached()
		}},
		{name: "inside the body", body: true, sent: true, set: func(_ *testing.T, u *testkit.Upstream, _ *http.Request) <-chan struct{} {
			g := testkit.NewGate()
			u.Always(testkit.Stream("text/plain", testkit.Text("some"), testkit.Wait(g)))
			return g.Reached()
		}},
		{name: "before the body", body: true, sent: true, set: func(_ *testing.T, u *testkit.Upstream, _ *http.Request) <-chan struct{} {
			g := testkit.NewGate()
			u.Always(testkit.Stream("text/plain", testkit.Wait(g)))
			return g.Reached()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			each(t, everyone, func(t *testing.T, s subject) {
				if !tt.sent && s == netHTTP {
					return // waits for the body's reader
				}
				u, rt := s.upstream(t, Options{})
				h := &hooks{}
				ctx, cancel := context.WithCancelCause(h.with(t.Context()))
				defer cancel(nil)
				req := request(ctx, t, "POST", u.URL, "")
				reached := tt.set(t, u, req)
				headed, finished := make(chan struct{}), make(chan struct{})
				go func() {
					within(t, "the server gets there", reached)
					if tt.body {
						within(t, "the head comes", headed)
					}
					cancel(errLeft)
				}()
				go func() {
					defer close(finished)
					resp, err := rt.RoundTrip(req)
					close(headed)
					if err == nil {
						_, err = io.ReadAll(resp.Body)
						_ = resp.Body.Close()
					}
					if !errors.Is(err, errLeft) && !(s.http2 && errors.Is(err, context.Canceled)) {
						t.Errorf("the error is %v", err)
					}
				}()
				within(t, "the call returns", finished)
				if tt.sent {
					u.AwaitCanceled(1, soon)
				}
				h.awaitBalance(t)
				u.HandleEarly(nil)
				u.Always(testkit.JSON(200, "fine"))
				if o := get(t, rt, request(t.Context(), t, "POST", u.URL, "x")); o.Body != "fine" {
					t.Errorf("afterwards: %q", o.Body)
				}
			})
		})
	}
}

func TestCancelWhileConnecting(t *testing.T) {
	t.Parallel()
	each(t, []subject{ours, oursTLS, ours2}, func(t *testing.T, s subject) {
		u, rt := s.upstream(t, Options{})
		waiting := make(chan struct{})
		rt.(*Client).dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			close(waiting)
			<-ctx.Done()
			return nil, errors.New("gave up")
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			<-waiting
			cancel(errLeft)
		}()
		if o := exchanged(rt, request(ctx, t, "POST", u.URL, "x")); !errors.Is(o.HeadErr, errLeft) {
			t.Errorf("the error is %v", o.HeadErr)
		}
	})
}

func TestCancelDuringTheHandshake(t *testing.T) {
	t.Parallel()
	each(t, []subject{netHTTPTLS, oursTLS, ours2}, func(t *testing.T, s subject) {
		u, rt := s.upstream(t, Options{})
		u.Freeze()
		ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errLeft)
		defer cancel()
		o := exchanged(rt, request(ctx, t, "POST", u.URL, "x"))
		if !errors.Is(o.HeadErr, errLeft) {
			t.Errorf("the error is %v", o.HeadErr)
		}
		u.Thaw()
		get(t, rt, request(t.Context(), t, "POST", u.URL, "x"))
	})
}

// A deadline is a timeout, as the caller asks by net.Error.
func TestDeadline(t *testing.T) {
	t.Parallel()
	each(t, everyone, func(t *testing.T, s subject) {
		u, rt := s.upstream(t, Options{})
		u.Always(testkit.Silent())
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if o := exchanged(rt, request(ctx, t, "POST", u.URL, "x")); o.class() != "no head in time" || !errors.Is(o.HeadErr, context.DeadlineExceeded) {
			t.Errorf("it is %s: %v", o.class(), o.HeadErr)
		}
	})
}

// A context that ends after the answer must not touch the connection, which
// may be another request's by then.
func TestCancelAfterTheEnd(t *testing.T) {
	t.Parallel()
	each(t, everyone, func(t *testing.T, s subject) {
		u, rt := s.upstream(t, Options{})
		u.Always(testkit.Stream("text/plain", testkit.Text("a"), testkit.Text("b")))
		for range 200 {
			ctx, cancel := context.WithCancel(t.Context())
			o := get(t, rt, request(ctx, t, "POST", u.URL, "x"))
			go cancel()
			if o.Body != "ab" {
				t.Fatalf("body %q", o.Body)
			}
		}
		if n := connections(u); n != 1 {
			t.Errorf("%d connections, want 1", n)
		}
	})
}

// The race proper: the context ends at about the time of the answer's end. A
// request either fails with the cause or succeeds; no other request suffers.
func TestCancelRacingTheEnd(t *testing.T) {
	t.Parallel()
	each(t, []subject{ours, oursTLS}, func(t *testing.T, s subject) {
		u, rt := s.upstream(t, Options{})
		u.Handle(func(c *testkit.Call) testkit.Answer {
			return testkit.Stream("text/plain", testkit.Text(string(c.Body)))
		})
		for i := range 300 {
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				for range i * 20 {
					runtime.Gosched()
				}
				cancel(errLeft)
			}()
			o := exchanged(rt, request(ctx, t, "POST", u.URL, "abc"))
			switch {
			case o.class() == "whole" && o.Body == "abc":
			case errors.Is(o.HeadErr, errLeft) || errors.Is(o.BodyErr, errLeft):
			default:
				t.Fatalf("it is %s: %q, %v, %v", o.class(), o.Body, o.HeadErr, o.BodyErr)
			}
			if o := get(t, rt, request(t.Context(), t, "POST", u.URL, "next")); o.Body != "next" {
				t.Fatalf("the next answer is %q", o.Body)
			}
			cancel(nil)
		}
	})
}

// The caller may give up from another goroutine, as the forwarder does when an
// answer has fallen silent.
func TestCloseWhileReading(t *testing.T) {
	t.Parallel()
	each(t, everyone, func(t *testing.T, s subject) {
		u, rt := s.upstream(t, Options{})
		g := testkit.NewGate()
		u.Always(testkit.Stream("text/plain", testkit.Text("some"), testkit.Wait(g)))
		resp, err := rt.RoundTrip(request(t.Context(), t, "POST", u.URL, "x"))
		if err != nil {
			t.Fatal(err)
		}
		reading, finished := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(finished)
			buf := make([]byte, 1024)
			if n, err := resp.Body.Read(buf); string(buf[:n]) != "some" || err != nil {
				t.Errorf("%q, %v", buf[:n], err)
			}
			close(reading)
			if n, err := resp.Body.Read(buf); n != 0 || !failedByClose(s, err) {
				t.Errorf("%q, %v", buf[:n], err)
			}
		}()
		within(t, "the beginning is read", reading)
		for range 3 {
			if err := resp.Body.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
		within(t, "the read ends", finished)
		if _, err := resp.Body.Read(make([]byte, 10)); !failedByClose(s, err) {
			t.Errorf("a read after the close: %v", err)
		}
		u.AwaitCanceled(1, soon)
		u.Always(nil)
		get(t, rt, request(t.Context(), t, "POST", u.URL, "x"))
		if n := connections(u); n != 2 && !s.http2 {
			t.Errorf("%d connections, want 2", n)
		}
	})
}

func failedByClose(s subject, err error) bool {
	if s == ours || s == oursTLS {
		return errors.Is(err, http.ErrBodyReadAfterClose)
	}
	return err != nil && !errors.Is(err, io.EOF)
}

// What has come already is not given any more, either.
func TestCancelBeforeReading(t *testing.T) {
	t.Parallel()
	each(t, http1Ours, func(t *testing.T, s subject) {
		u, rt := s.upstream(t, Options{})
		ctx, cancel := context.WithCancelCause(t.Context())
		resp, err := rt.RoundTrip(request(ctx, t, "POST", u.URL, "x"))
		if err != nil {
			t.Fatal(err)
		}
		cancel(errLeft)
		if body, err := io.ReadAll(resp.Body); len(body) > 0 || !errors.Is(err, errLeft) {
			t.Errorf("%q, %v", body, err)
		}
		_ = resp.Body.Close()
	})
}

// hooked is a connection on which something happens after each read.
type hooked struct {
	net.Conn
	after func()
}

func (h *hooked) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	h.after()
	return n, err
}

// The context ends at the very moment when the answer does: the connection is
// being broken off and must not be kept.
func TestCancelAtTheEnd(t *testing.T) {
	t.Parallel()
	each(t, http1Ours, func(t *testing.T, s subject) {
		u, rt := s.upstream(t, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		var armed atomic.Bool
		rt.(*Client).dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			return &hooked{c, func() {
				if armed.Load() {
					cancel()
				}
			}}, err
		}
		for i, a := range []testkit.Answer{testkit.JSON(200, "{}"), testkit.SSE("a"), testkit.Reply(204, "", "")} {
			get(t, rt, request(t.Context(), t, "POST", u.URL, "x"))
			u.Always(a)
			armed.Store(true)
			_ = exchanged(rt, request(ctx, t, "POST", u.URL, "x"))
			armed.Store(false)
			if n := idling(rt.(*Client)); n != 0 {
				t.Errorf("answer %d: %d connections are kept", i, n)
			}
			ctx, cancel = context.WithCancel(t.Context())
		}
		cancel()
	})
}
