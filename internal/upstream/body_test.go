package upstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// failing is a body that breaks.
type failing struct {
	before io.Reader
	err    error
}

func (f failing) Read(p []byte) (int, error) {
	if n, err := f.before.Read(p); err == nil {
		return n, nil
	}
	return 0, f.err
}

// A request that cannot be sent as announced is an error, and what was sent is
// not taken for the whole.
func TestWrongBodies(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for _, tt := range []struct {
		name   string
		size   int // of the body
		length int64
		err    error // of the body, at its end
	}{
		{"too short", 100, 101, io.EOF},
		{"too long", 100, 99, io.EOF},
		{"short and large", 30 << 10, 30<<10 + 1, io.EOF},
		{"long and large", 30 << 10, 30<<10 - 1, io.EOF},
		{"short and huge", 300 << 10, 300<<10 + 1, io.EOF},
		{"long and huge", 300 << 10, 300<<10 - 1, io.EOF},
		{"breaks", 100, 200, boom},
		{"breaks, large", 20 << 10, 30 << 10, boom},
		{"breaks, huge", 1 << 20, 2 << 20, boom},
		{"breaks, unknown length", 1 << 20, -1, boom},
	} {
		t.Run(tt.name, func(t *testing.T) {
			subjects := []subject{ours, oursTLS}
			if !strings.Contains(tt.name, "long") { // net/http may send what was announced
				subjects = append(subjects, netHTTP)
			}
			each(t, subjects, func(t *testing.T, s subject) {
				u, rt := s.upstream(t, Options{})
				h := &hooks{}
				req := request(h.with(t.Context()), t, "POST", u.URL, "")
				w := &watched{Reader: failing{bytes.NewReader(pattern(3, tt.size)), tt.err}}
				req.Body, req.ContentLength = w, tt.length
				req.GetBody = func() (io.ReadCloser, error) { return w, nil }
				o := exchanged(rt, req)
				if o.class() != "no head" || errors.Is(tt.err, boom) && !errors.Is(o.HeadErr, boom) {
					t.Errorf("it is %s: %v", o.class(), o.HeadErr)
				}
				h.awaitBalance(t)
				eventually(t, "the body is closed", func() bool { return w.closed.Load() > 0 })
				get(t, rt, request(t.Context(), t, "POST", u.URL, "x"))
				for _, c := range u.Calls() {
					if c.Body != nil && string(c.Body) != "x" {
						t.Errorf("%d bytes were taken for the whole", len(c.Body))
					}
				}
			})
		})
	}
}

// A request that never reaches a server closes its body, too.
func TestBodyIsClosedWithoutAConnection(t *testing.T) {
	t.Parallel()
	each(t, everyone, func(t *testing.T, s subject) {
		u, rt := s.upstream(t, Options{})
		u.Down()
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		for name, ctx := range map[string]context.Context{"refused": t.Context(), "canceled": canceled} {
			req := request(ctx, t, "POST", u.URL, "")
			w := forms[0].set(req, pattern(1, 100))
			if o := exchanged(rt, req); o.class() != "no head" {
				t.Errorf("%s: it is %s", name, o.class())
			}
			if w.closed.Load() == 0 {
				t.Errorf("%s: the body is open", name)
			}
		}
		req := request(t.Context(), t, "POST", u.URL, "")
		w := forms[0].set(req, pattern(1, 100))
		req.Header.Set("X", "a\r\nb")
		if o := exchanged(rt, req); o.class() != "no head" || w.closed.Load() == 0 {
			t.Errorf("an invalid header: it is %s, body closed %d times", o.class(), w.closed.Load())
		}
	})
}

// The memory of a body may be used again once WroteRequest was called: nothing
// of the next one may get into what is still being sent.
func TestMemoryIsFreeAfterWroteRequest(t *testing.T) {
	t.Parallel()
	each(t, []subject{netHTTP, ours, oursTLS}, func(t *testing.T, s subject) {
		u, rt := s.upstream(t, Options{})
		var mu sync.Mutex // guards free
		free := [][]byte{make([]byte, 100<<10)}
		var running sync.WaitGroup
		for i := range 8 {
			running.Go(func() {
				for j := range 20 {
					size := []int{200, 30 << 10, 100 << 10}[j%3]
					mu.Lock()
					var mem []byte
					if n := len(free); n > 0 {
						mem, free = free[n-1], free[:n-1]
					} else {
						mem = make([]byte, 100<<10)
					}
					mu.Unlock()
					body := mem[:copy(mem, strings.Repeat(string(rune('a'+i)), size))]
					h := &hooks{onWrote: func() {
						mu.Lock()
						free = append(free, mem)
						mu.Unlock()
					}}
					req := request(h.with(t.Context()), t, "POST", u.URL, "")
					forms[0].set(req, body)
					get(t, rt, req)
					h.awaitBalance(t)
				}
			})
		}
		running.Wait()
		for _, c := range u.Calls() {
			if strings.Trim(string(c.Body), string(c.Body[:1])) != "" {
				t.Fatal("a body is mixed with another")
			}
		}
	})
}

// A writer that takes the slow path must hand over exactly what is left.
func TestStalledWrite(t *testing.T) {
	t.Parallel()
	body := pattern(5, 60<<10)
	began := make(chan struct{})
	got := make(chan []byte, 1)
	srv := ours.serveRaw(t, func(_ int, c net.Conn) {
		_ = c.(*net.TCPConn).SetReadBuffer(1)
		<-began
		var in bytes.Buffer
		buf := make([]byte, 512)
		for !bytes.HasSuffix(in.Bytes(), body[len(body)-100:]) {
			n, err := c.Read(buf)
			if err != nil {
				break
			}
			in.Write(buf[:n])
		}
		_, all, _ := bytes.Cut(in.Bytes(), []byte("\r\n\r\n"))
		got <- all
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	})
	time.AfterFunc(3*stall, func() { close(began) })
	rt := ours.client(t, Options{})
	rt.(*Client).dial = dialNarrow
	h := &hooks{}
	req := request(h.with(t.Context()), t, "POST", srv.url, "")
	w := forms[0].set(req, body)
	if o := get(t, rt, req); o.Body != "ok" {
		t.Errorf("got %q", o.Body)
	}
	if !bytes.Equal(<-got, body) {
		t.Error("the body arrived changed")
	}
	h.awaitBalance(t)
	if w.closed.Load() != 1 {
		t.Errorf("the body was closed %d times", w.closed.Load())
	}
}

// stuck is a connection whose first write of a body stops after some bytes.
type stuck struct {
	net.Conn
	after int
	done  bool
}

func (s *stuck) Write(p []byte) (int, error) {
	if s.done || s.after >= len(p) {
		s.after -= len(p)
		return s.Conn.Write(p)
	}
	s.done = true
	n, err := s.Conn.Write(p[:s.after])
	if err == nil {
		err = os.ErrDeadlineExceeded
	}
	return n, err
}

// Wherever a write gets stuck, in the head or in the body, the rest follows.
func TestStuckWrite(t *testing.T) {
	t.Parallel()
	u, _ := ours.upstream(t, Options{})
	for _, after := range []int{0, 10, 100, 1000, 20 << 10} {
		rt := ours.client(t, Options{})
		rt.(*Client).dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			return &stuck{Conn: c, after: after}, err
		}
		body := pattern(after, 50<<10)
		req := request(t.Context(), t, "POST", u.URL, "")
		forms[1].set(req, body) // in pieces
		req.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("not needed") }
		get(t, rt, req)
		calls := u.Calls()
		if !bytes.Equal(calls[len(calls)-1].Body, body) {
			t.Errorf("stuck after %d bytes: the body arrived changed", after)
		}
	}
}

// The answer has begun, and the server waits for the rest of a body that will
// never come.
func TestBodyBreaksAfterTheHead(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	each(t, http1Ours, func(t *testing.T, s subject) {
		srv := s.serveRaw(t, func(_ int, c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nbegun")
			_, _ = io.Copy(io.Discard, c)
		})
		r, w := io.Pipe()
		req := request(t.Context(), t, "POST", srv.url, "")
		req.Body, req.ContentLength = r, 1000
		resp, err := s.client(t, Options{}).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = w.CloseWithError(boom)
		finished := make(chan struct{})
		go func() {
			defer close(finished)
			if _, err := io.ReadAll(resp.Body); !errors.Is(err, boom) {
				t.Errorf("the error is %v", err)
			}
		}()
		within(t, "the answer breaks off", finished)
		_ = resp.Body.Close()
	})
}
