package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ollama-api-pool/internal/testkit"
)

// The handshake decides what is spoken, and many first requests at once change
// nothing about that.
func TestNegotiation(t *testing.T) {
	t.Parallel()
	for s, proto := range map[subject]string{ours: "HTTP/1.1", oursTLS: "HTTP/1.1", ours2: "HTTP/2.0"} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			u, rt := s.upstream(t, Options{})
			var running sync.WaitGroup
			for range 10 {
				running.Go(func() {
					body := strings.Repeat("x", 20<<10)
					req := request(t.Context(), t, "POST", u.URL, body)
					resp, err := rt.RoundTrip(req)
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					if resp.Proto != proto || resp.Request != req || (resp.TLS != nil) != s.secure {
						t.Errorf("%s, request %p of %p, TLS %v", resp.Proto, resp.Request, req, resp.TLS)
					}
				})
			}
			running.Wait()
			for _, c := range u.Calls() {
				if c.Proto != proto || len(c.Body) != 20<<10 {
					t.Errorf("%s with %d bytes arrived", c.Proto, len(c.Body))
				}
			}
			if proto == "HTTP/2.0" && idling(rt.(*Client)) != 0 {
				t.Error("connections of HTTP/2 are kept for HTTP/1.1")
			}
		})
	}
}

// changing is a server that speaks HTTP/2 or not, from one handshake to the next.
func changing(t *testing.T, offer2 *atomic.Bool) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(append([]byte(r.Proto+" "), body...))
	}))
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{authority().cert}}
	srv.TLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		cfg := srv.TLS.Clone()
		cfg.GetConfigForClient = nil
		if !offer2.Load() {
			cfg.NextProtos = []string{"http/1.1"}
		}
		return cfg, nil
	}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}

// What was agreed on is remembered: there is one handshake.
func TestNegotiationIsRemembered(t *testing.T) {
	t.Parallel()
	each(t, []subject{oursTLS, ours2}, func(t *testing.T, s subject) {
		u, rt := s.upstream(t, Options{})
		var dials atomic.Int32
		plain := rt.(*Client).dial
		rt.(*Client).dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials.Add(1)
			return plain(ctx, network, addr)
		}
		for range 10 {
			get(t, rt, request(t.Context(), t, "POST", u.URL, "x"))
		}
		if n := dials.Load(); n != 1 {
			t.Errorf("%d connections were made", n)
		}
	})
}

// endable is a connection that tells when it is closed.
type endable struct {
	net.Conn
	closed chan struct{}
	once   sync.Once // guards the closing of closed
}

func (e *endable) Close() error {
	e.once.Do(func() { close(e.closed) })
	return e.Conn.Close()
}

// A connection for HTTP/2 that is not needed in the end is closed.
func TestNeedlessHandover(t *testing.T) {
	t.Parallel()
	u, rt := ours2.upstream(t, Options{})
	c := rt.(*Client)
	plain := c.dial
	var made []*endable
	c.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := plain(ctx, network, addr)
		made = append(made, &endable{Conn: conn, closed: make(chan struct{})})
		return made[len(made)-1], err
	}
	for range 2 {
		get(t, rt, request(t.Context(), t, "POST", u.URL, "x"))
		for _, h := range *c.hosts.Load() {
			h.http2.Store(false) // as if another had not known
		}
	}
	if len(made) != 2 {
		t.Fatalf("%d connections were made", len(made))
	}
	within(t, "the second is closed", made[1].closed)
	select {
	case <-made[0].closed:
		t.Error("the first was closed")
	default:
	}
}

func TestNegotiationChanges(t *testing.T) {
	t.Parallel()
	var offer2 atomic.Bool
	srv := changing(t, &offer2)
	rt := ours2.client(t, Options{})
	ask := func() string {
		t.Helper()
		return get(t, rt, request(t.Context(), t, "POST", srv.URL, "hello")).Body
	}
	for range 2 {
		for _, want := range []string{"HTTP/1.1 hello", "HTTP/2.0 hello"} {
			offer2.Store(strings.HasPrefix(want, "HTTP/2"))
			rt.(*Client).CloseIdleConnections()
			srv.CloseClientConnections()
			for range 3 {
				if got := ask(); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
			if n := idling(rt.(*Client)); (n == 0) != offer2.Load() {
				t.Errorf("after %q %d connections of HTTP/1.1 are kept", want, n)
			}
		}
	}
}

// The session of one connection makes the next handshake shorter.
func TestSessionIsResumed(t *testing.T) {
	t.Parallel()
	each(t, []subject{oursTLS, ours2}, func(t *testing.T, s subject) {
		u, rt := s.upstream(t, Options{})
		for i := range 3 {
			resp, err := rt.RoundTrip(request(t.Context(), t, "GET", u.URL, ""))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.TLS.DidResume != (i > 0) {
				t.Errorf("handshake %d: resumed %v", i, resp.TLS.DidResume)
			}
			rt.(*Client).CloseIdleConnections()
		}
	})
}

func TestCertificateIsChecked(t *testing.T) {
	t.Parallel()
	each(t, []subject{netHTTPTLS, oursTLS, ours2}, func(t *testing.T, s subject) {
		u, _ := s.upstream(t, Options{})
		rt := s.client(t, Options{})
		o := exchanged(rt, request(t.Context(), t, "GET", u.URL, ""))
		if o.class() != "no head" || !strings.Contains(o.HeadErr.Error(), "certificate") {
			t.Errorf("it is %s: %v", o.class(), o.HeadErr)
		}
		if n := len(u.Calls()); n != 0 {
			t.Errorf("%d calls arrived", n)
		}
	})
}

func TestHandshakeTimeout(t *testing.T) {
	t.Parallel()
	each(t, []subject{netHTTPTLS, oursTLS, ours2}, func(t *testing.T, s subject) {
		u, rt := s.upstream(t, Options{TLSTimeout: 50 * time.Millisecond})
		u.Freeze()
		if o := exchanged(rt, request(t.Context(), t, "GET", u.URL, "")); o.class() != "no head in time" {
			t.Errorf("it is %s: %v", o.class(), o.HeadErr)
		}
		u.Thaw()
	})
}

// Where a proxy is set, nothing goes past it.
func TestProxy(t *testing.T) {
	t.Parallel()
	each(t, []subject{ours, oursTLS, ours2}, func(t *testing.T, s subject) {
		u := testkit.NewUpstream(t, testkit.WithTLS())
		if !s.secure {
			u = testkit.NewUpstream(t)
		}
		var asked atomic.Pointer[string]
		proxy := ours.serveRaw(t, func(_ int, c net.Conn) {
			req, err := http.ReadRequest(bufio.NewReader(c))
			if err != nil {
				return
			}
			line := req.Method + " " + req.RequestURI
			asked.Store(&line)
			if req.Method != http.MethodConnect {
				_, _ = io.WriteString(c, okAnswer)
				return
			}
			to, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", req.RequestURI)
			if err != nil {
				return
			}
			defer func() { _ = to.Close() }()
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			go func() { _, _ = io.Copy(c, to) }()
			_, _ = io.Copy(to, c)
		})
		rt := s.client(t, Options{TLS: u.ClientTLS(), Proxy: func(*http.Request) (*url.URL, error) { return url.Parse(proxy.url) }})
		get(t, rt, request(t.Context(), t, "GET", u.URL+"/x", ""))
		want := "GET " + u.URL + "/x"
		if s.secure {
			want = "CONNECT " + u.Addr
		}
		if got := *asked.Load(); got != want {
			t.Errorf("the proxy was asked for %q, want %q", got, want)
		}
		rt.(*Client).CloseIdleConnections()
	})
}

// Whatever is not plain is left to net/http, which knows how or why not.
func TestUnusualAddresses(t *testing.T) {
	t.Parallel()
	u := testkit.NewUpstream(t)
	_, port, _ := net.SplitHostPort(u.Addr)
	rt := ours.client(t, Options{})
	for _, addr := range []string{"http://LOCALHOST:" + port, "HTTP://localhost:" + port, "http://user:pw@127.0.0.1:" + port} {
		req := request(t.Context(), t, "GET", addr, "")
		if o := get(t, rt, req); o.Body != "{}" {
			t.Errorf("%s: body %q", addr, o.Body)
		}
	}
	for _, addr := range []string{"http://", "ftp://localhost", "http://:" + port + "x", "http://local host", "unix:///x", "http:opaque"} {
		to, err := url.Parse(addr)
		if err != nil {
			continue // not even an address
		}
		req := &http.Request{Method: "GET", URL: to, Header: http.Header{}}
		if o := exchanged(rt, req.WithContext(t.Context())); o.class() != "no head" {
			t.Errorf("%s: it is %s", addr, o.class())
		}
	}
	if o := exchanged(rt, &http.Request{Method: "GET"}); o.class() != "no head" {
		t.Errorf("no address: it is %s", o.class())
	}
}

// However many addresses are asked for, only so many are remembered.
func TestAddressesAreBounded(t *testing.T) {
	t.Parallel()
	u := testkit.NewUpstream(t)
	rt := ours.client(t, Options{})
	_, port, _ := net.SplitHostPort(u.Addr)
	for i := range 2 * maxHosts {
		host := []byte("localhost")
		for j := range 8 {
			if i>>j&1 == 1 {
				host[j] -= 'a' - 'A'
			}
		}
		get(t, rt, request(t.Context(), t, "GET", "http://"+string(host)+":"+port, ""))
	}
	if n := len(*rt.(*Client).hosts.Load()); n > maxHosts {
		t.Errorf("%d addresses are remembered", n)
	}
}

// Two records that are there make one read.
func TestReadGivesSeveralRecords(t *testing.T) {
	t.Parallel()
	read := make(chan struct{})
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		corked := &corkedConn{Conn: c}
		s := tls.Server(corked, &tls.Config{Certificates: []tls.Certificate{authority().cert}})
		if _, err := http.ReadRequest(bufio.NewReader(s)); err != nil {
			return
		}
		_, _ = io.WriteString(s, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		<-read
		corked.held = make([]byte, 0, 1<<16)
		for _, piece := range []string{"4\r\none,\r\n", "4\r\ntwo,\r\n", "5\r\nthre", "e\r\n"} {
			_, _ = io.WriteString(s, piece)
		}
		_, _ = c.Write(corked.held)
		_, _ = c.Read(make([]byte, 1)) // until the client closes
	}()
	resp, err := oursTLS.client(t, Options{}).RoundTrip(request(t.Context(), t, "GET", "https://"+l.Addr().String(), ""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	close(read)
	buf := make([]byte, 4096)
	if n, err := resp.Body.Read(buf); string(buf[:n]) != "one,two,three" || err != nil {
		t.Errorf("one read gave %q, %v", buf[:n], err)
	}
}

// corkedConn holds back what is written, once held is there.
type corkedConn struct {
	net.Conn
	held []byte
}

func (c *corkedConn) Write(p []byte) (int, error) {
	if c.held == nil {
		return c.Conn.Write(p)
	}
	c.held = append(c.held, p...)
	return len(p), nil
}
