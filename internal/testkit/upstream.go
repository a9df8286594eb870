package testkit

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// patience is how long the kit waits for something that should happen within
// milliseconds before it calls the test failed.
const patience = 10 * time.Second

// Upstream is a fake LLM service on 127.0.0.1. Its methods may be called
// concurrently and while requests are running.
type Upstream struct {
	URL  string // http://127.0.0.1:port, or https://…
	Addr string // 127.0.0.1:port

	// RootCAs holds the certificate authority to trust; nil without WithTLS.
	RootCAs *x509.CertPool

	tb       testing.TB
	server   *http.Server
	secure   bool
	network  *network
	ledger   *ledger
	running  sync.WaitGroup // requests being answered, and the serving loops
	stopping chan struct{}  // closed once the test is over
	patience time.Duration  // how long handlers may take to end after that

	// mu guards the script, which is what the next request gets, and that
	// nothing is added to running once stopping is closed.
	mu     sync.Mutex
	handle func(*Call) Answer
	early  func(*Call) Answer
	frozen *Gate
}

// Option changes how an Upstream listens.
type Option func(*Upstream)

// WithTLS makes the upstream serve HTTP/2 and HTTP/1.1 over TLS, with a
// certificate for 127.0.0.1 and localhost of an authority of its own.
func WithTLS() Option {
	return func(u *Upstream) {
		u.secure = true
		u.server.Protocols.SetHTTP2(true)
	}
}

// WithoutHTTP2 leaves only HTTP/1.1, also over TLS.
func WithoutHTTP2() Option {
	return func(u *Upstream) { u.server.Protocols.SetHTTP2(false) }
}

// NewUpstream starts a fake upstream that answers every call with 200 and {}
// until Handle says otherwise. It stops when the test ends, and the test fails
// if a handler is then still running.
func NewUpstream(tb testing.TB, opts ...Option) *Upstream {
	tb.Helper()
	u := &Upstream{
		tb:       tb,
		ledger:   newLedger(),
		stopping: make(chan struct{}),
		patience: patience,
		server: &http.Server{
			ReadHeaderTimeout: time.Minute,
			ErrorLog:          log.New(io.Discard, "", 0),
			Protocols:         new(http.Protocols),
		},
	}
	u.server.Protocols.SetHTTP1(true)
	for _, opt := range opts {
		opt(u)
	}
	u.server.Handler = http.HandlerFunc(u.serve)
	u.server.ConnContext = rememberConn
	u.server.ConnState = closeWhenIdle
	if u.secure {
		u.server.TLSConfig, u.RootCAs = serverCertificate(tb)
	}
	var err error
	if u.network, err = newNetwork(); err != nil {
		tb.Fatalf("testkit: reserve a port: %v", err)
	}
	u.Addr = u.network.addr
	u.URL = "http://" + u.Addr
	if u.secure {
		u.URL = "https://" + u.Addr
	}
	tb.Cleanup(u.stop)
	u.Up()
	return u
}

// ClientTLS returns a client's TLS settings that trust this upstream; nil
// without WithTLS.
func (u *Upstream) ClientTLS() *tls.Config {
	if !u.secure {
		return nil
	}
	return &tls.Config{RootCAs: u.RootCAs, MinVersion: tls.VersionTLS12}
}

// Handle sets what decides on each call, once its body has been read whole. A
// nil Answer is the default one. The function may be called concurrently.
func (u *Upstream) Handle(f func(*Call) Answer) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.handle = f
}

// HandleEarly sets what decides on each call before its body is read, so that
// Call.Body is nil. Where it returns nil the call goes on to Handle.
func (u *Upstream) HandleEarly(f func(*Call) Answer) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.early = f
}

// Always answers every call alike.
func (u *Upstream) Always(a Answer) { u.Handle(func(*Call) Answer { return a }) }

// Down closes the listener and every connection, like a process that died: new
// connections are refused. The port stays reserved for Up.
func (u *Upstream) Down() { u.network.down() }

// Up listens again on the same port after Down.
func (u *Upstream) Up() {
	u.tb.Helper()
	listener, err := u.network.up()
	if err != nil {
		u.tb.Fatalf("testkit: listen on %s: %v", u.Addr, err)
	}
	if listener == nil {
		return // is up
	}
	if u.enter() {
		go func() {
			defer u.running.Done()
			u.listen(listener)
		}()
	}
}

func (u *Upstream) listen(listener net.Listener) {
	var err error
	if u.secure {
		err = u.server.ServeTLS(listener, "", "")
	} else {
		err = u.server.Serve(listener)
	}
	if err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		u.tb.Errorf("testkit: the upstream stopped listening: %v", err)
	}
}

// Freeze makes the upstream accept connections and requests but answer none,
// not even a TLS handshake on new connections, until Thaw.
func (u *Upstream) Freeze() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.frozen == nil {
		u.frozen = NewGate()
		u.network.hold(u.frozen)
	}
}

// Thaw ends Freeze: what was accepted meanwhile is answered now.
func (u *Upstream) Thaw() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.frozen != nil {
		u.frozen.Open()
		u.frozen = nil
		u.network.hold(nil)
	}
}

// enter counts one more thing to wait for at the end, unless that has come.
func (u *Upstream) enter() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if isClosed(u.stopping) {
		return false
	}
	u.running.Add(1)
	return true
}

func (u *Upstream) script() (early, handle func(*Call) Answer, frozen *Gate) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.early, u.handle, u.frozen
}

// serve answers one request.
func (u *Upstream) serve(w http.ResponseWriter, r *http.Request) {
	if !u.enter() {
		panic(http.ErrAbortHandler)
	}
	defer u.running.Done()
	early, handle, frozen := u.script()
	x := &exchange{w: w, r: r, conn: connOf(r.Context()), stopping: u.stopping, call: newCall(r)}
	u.ledger.add(x.call)
	defer u.ledger.done()
	defer u.watch(x)()
	if frozen != nil && !x.wait(frozen) {
		x.abort()
	}
	var answer Answer
	if early != nil {
		answer = early(u.ledger.copyOf(x.call))
	}
	if answer == nil {
		if !u.ledger.readBody(x.call, r.Body) {
			x.abort()
		}
		if handle != nil {
			answer = handle(u.ledger.copyOf(x.call))
		}
	}
	if answer == nil {
		answer = Reply(http.StatusOK, "application/json", "{}")
	}
	answer.give(x)
}

// watch notes when the client leaves before the answer is complete. The
// function that it returns ends that, and notes what has just happened.
func (u *Upstream) watch(x *exchange) func() {
	x.left = func() {
		if !x.finished.Load() && !x.conn.dropped.Load() && !isClosed(u.stopping) {
			u.ledger.canceled(x.call)
		}
	}
	end := context.AfterFunc(x.r.Context(), x.left)
	return func() {
		end()
		if x.r.Context().Err() != nil {
			x.left()
		}
	}
}

// stop ends everything and waits for it.
func (u *Upstream) stop() {
	u.mu.Lock()
	close(u.stopping)
	u.mu.Unlock()
	u.network.close()
	_ = u.server.Close()
	u.network.down() // connections that were taken over
	done := make(chan struct{})
	go func() {
		u.running.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(u.patience):
		u.tb.Errorf("testkit: a handler of the upstream hangs %v after the test", u.patience)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
