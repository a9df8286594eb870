package upstream

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/testkit"
)

// soon is how long a test waits for what should happen within milliseconds.
const soon = 10 * time.Second

// subject is a client under test. Whatever a caller can see should be the same
// with all of them.
type subject struct {
	name   string
	ours   bool
	secure bool
	http2  bool
}

var (
	netHTTP    = subject{name: "net-http"}
	netHTTPTLS = subject{name: "net-http-tls", secure: true}
	netHTTP2   = subject{name: "net-http-2", secure: true, http2: true}
	ours       = subject{name: "ours", ours: true}
	oursTLS    = subject{name: "ours-tls", ours: true, secure: true}
	ours2      = subject{name: "ours-2", ours: true, secure: true, http2: true}

	everyone  = []subject{netHTTP, netHTTP2, ours, oursTLS, ours2}
	http1     = []subject{netHTTP, netHTTPTLS, ours, oursTLS} // those that can talk to a raw server
	http1Ours = []subject{ours, oursTLS}
)

// each runs a test for each subject.
func each(t *testing.T, subjects []subject, f func(t *testing.T, s subject)) {
	t.Helper()
	for _, s := range subjects {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			f(t, s)
		})
	}
}

// client makes a client that trusts the test's servers. At the end nothing of
// it may be left running.
func (s subject) client(tb testing.TB, opts Options) http.RoundTripper {
	tb.Helper()
	if opts.TLS == nil {
		opts.TLS = &tls.Config{RootCAs: authority().pool, MinVersion: tls.VersionTLS12}
	}
	opts.TLS.CurvePreferences = []tls.CurveID{tls.X25519} // the fastest
	if s.ours {
		c := New(opts)
		tb.Cleanup(func() {
			c.CloseIdleConnections()
			awaitNoUploads(tb)
		})
		return c
	}
	tr := &http.Transport{
		TLSClientConfig:       opts.TLS,
		ForceAttemptHTTP2:     s.http2,
		TLSHandshakeTimeout:   opts.TLSTimeout,
		ResponseHeaderTimeout: opts.HeaderTimeout,
		IdleConnTimeout:       opts.IdleTimeout,
		MaxIdleConnsPerHost:   1024,
		DisableCompression:    true,
	}
	tb.Cleanup(tr.CloseIdleConnections)
	return tr
}

// upstream starts a fake upstream for the subject, and a client that trusts it.
func (s subject) upstream(tb testing.TB, opts Options) (*testkit.Upstream, http.RoundTripper) {
	tb.Helper()
	var how []testkit.Option
	if s.secure {
		how = append(how, testkit.WithTLS())
	}
	if !s.http2 {
		how = append(how, testkit.WithoutHTTP2())
	}
	u := testkit.NewUpstream(tb, how...)
	opts.TLS = u.ClientTLS()
	return u, s.client(tb, opts)
}

// certified is a server's certificate and who vouches for it.
type certified struct {
	cert tls.Certificate
	pool *x509.CertPool
}

// authority is a certificate for 127.0.0.1 that vouches for itself.
var authority = sync.OnceValue(func() certified {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return certified{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool}
})

// raw is a server that does as it is told, byte for byte.
type raw struct{ url, addr string }

// serveRaw listens, and calls serve for each connection, which n counts from 0.
// The connection is closed after it.
func (s subject) serveRaw(tb testing.TB, serve func(n int, c net.Conn)) *raw {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var running sync.WaitGroup
	var mu sync.Mutex // guards open
	open := map[net.Conn]bool{}
	r := &raw{addr: l.Addr().String(), url: "http://" + l.Addr().String()}
	if s.secure {
		r.url = "https://" + r.addr
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{authority().cert}, NextProtos: []string{"http/1.1"}})
	}
	running.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			running.Go(func() {
				serve(n, c)
				_ = c.Close()
				mu.Lock()
				delete(open, c)
				mu.Unlock()
			})
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return r
}

// answering serves requests one after another: answer gets the numbers of the
// connection and of the request on it, and says whether to go on.
func answering(answer func(conn, n int, req *http.Request, body string, c net.Conn) bool) func(int, net.Conn) {
	return func(conn int, c net.Conn) {
		br := bufio.NewReader(c)
		for n := 0; ; n++ {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			body, err := io.ReadAll(req.Body)
			if err != nil || !answer(conn, n, req, string(body), c) {
				return
			}
		}
	}
}

// sends answers every request with the same bytes and goes on.
func sends(s string) func(int, net.Conn) {
	return answering(func(_, _ int, _ *http.Request, _ string, c net.Conn) bool {
		_, err := io.WriteString(c, s)
		return err == nil
	})
}

// request makes a request whose body, like the forwarder's, can be got again.
func request(ctx context.Context, tb testing.TB, method, url, body string) *http.Request {
	tb.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, r)
	if err != nil {
		tb.Fatal(err)
	}
	return req
}

// outcome is what a caller sees of one exchange.
type outcome struct {
	Status  string
	Proto   string
	Header  http.Header
	Trailer http.Header
	Length  int64
	Close   bool
	Body    string
	HeadErr error
	BodyErr error
}

// class tells outcomes apart as far as a caller must.
func (o *outcome) class() string {
	switch {
	case o.HeadErr != nil:
		if isTimeout(o.HeadErr) {
			return "no head in time"
		}
		return "no head"
	case errors.Is(o.BodyErr, io.ErrUnexpectedEOF):
		return "cut"
	case o.BodyErr != nil:
		return "broken"
	}
	return "whole"
}

func exchanged(rt http.RoundTripper, req *http.Request) (o outcome) {
	resp, err := rt.RoundTrip(req)
	if err != nil {
		o.HeadErr = err
		return o
	}
	defer func() { _ = resp.Body.Close() }()
	o.Status, o.Proto, o.Header, o.Length, o.Close = resp.Status, resp.Proto, resp.Header, resp.ContentLength, resp.Close
	body, err := io.ReadAll(resp.Body)
	o.Body, o.BodyErr, o.Trailer = string(body), err, resp.Trailer
	return o
}

// get is exchanged for an exchange that must succeed.
func get(tb testing.TB, rt http.RoundTripper, req *http.Request) outcome {
	tb.Helper()
	o := exchanged(rt, req)
	if o.HeadErr != nil || o.BodyErr != nil {
		tb.Fatalf("%s %s: head: %v, body: %v", req.Method, req.URL, o.HeadErr, o.BodyErr)
	}
	return o
}

// eventually waits for something that is about to become true.
func eventually(tb testing.TB, what string, f func() bool) {
	tb.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(soon); !f(); <-tick.C {
		if time.Now().After(end) {
			tb.Fatalf("still not after %v: %s", soon, what)
		}
	}
}

// within fails the test if something takes too long.
func within(tb testing.TB, what string, done <-chan struct{}) {
	tb.Helper()
	select {
	case <-done:
	case <-time.After(soon):
		buf := make([]byte, 1<<20)
		tb.Fatalf("not within %v: %s\n%s", soon, what, buf[:runtime.Stack(buf, true)])
	}
}

// awaitNoUploads waits until no goroutine of this package is left. Those of
// tests that run at the same time count as well, but they end, too.
func awaitNoUploads(tb testing.TB) {
	tb.Helper()
	buf := make([]byte, 4<<20)
	eventually(tb, "uploads end", func() bool {
		return !strings.Contains(string(buf[:runtime.Stack(buf, true)]), "upstream.(*exchange).startUpload")
	})
}
