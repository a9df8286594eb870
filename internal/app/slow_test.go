package app

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// slowly serves a handler to clients that are given little time.
func slowly(t *testing.T, h http.HandlerFunc) (addr string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const brief = 100 * time.Millisecond
	server := &http.Server{
		Handler:  &timely{next: h, patience: brief, unread: brief, odd: brief},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0), ReadHeaderTimeout: time.Minute,
	}
	go func() { _ = server.Serve(&patientListener{l, brief}) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// hello sends what there is to send and gives the connection.
func hello(t *testing.T, addr, text string) net.Conn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

// answered reads one answer and makes sure that the server closes the
// connection, or does not.
func answered(t *testing.T, what string, c net.Conn, method, want string, closes bool) {
	t.Helper()
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || string(body) != want || resp.Close != closes {
		t.Errorf("%s: %q, %v, closes: %t", what, body, err, resp.Close)
	}
	if !closes {
		return
	}
	if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
		t.Errorf("%s: the connection is still there: %q, %v", what, rest, err)
	}
}

// Who promises a body and does not send it is answered all the same, and let go.
func TestPromisedBodies(t *testing.T) {
	addr := slowly(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/reads" {
			_, err := io.Copy(io.Discard, r.Body)
			if err == nil {
				_, _ = io.WriteString(w, "all")
				return
			}
		}
		_, _ = io.WriteString(w, "cut")
	})
	const head = " HTTP/1.1\r\nHost: test\r\n"
	const odd = `{"error":{"message":"a body does not belong here, and this one did not come to its end","type":"invalid_request_error","code":"invalid_request_error","param":null}}` + "\n"
	for _, tt := range []struct {
		what, method, path, rest string
		want                     string
		closes                   bool
	}{
		{"a body that nobody reads", "POST", "/", "Content-Length: 100\r\n\r\nhalf", "cut", true},
		{"a body that is read", "POST", "/reads", "Content-Length: 100\r\n\r\nhalf", "cut", true},
		{"in pieces", "POST", "/reads", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", "cut", true},
		{"a body that does not belong there", "GET", "/", "Content-Length: 100\r\n\r\n", odd, true},
		{"a large one", "GET", "/", "Content-Length: 1000000\r\n\r\n" + strings.Repeat("x", 70_000), odd, true},
		{"one that is there", "GET", "/", "Content-Length: 4\r\n\r\nhere", "cut", false},
		{"a whole body", "POST", "/reads", "Content-Length: 4\r\n\r\nhere", "all", false},
		{"a whole body that nobody reads", "POST", "/", "Content-Length: 4\r\n\r\nhere", "cut", false},
	} {
		answered(t, tt.what, hello(t, addr, tt.method+" "+tt.path+head+tt.rest), tt.method, tt.want, tt.closes)
	}
}

// A body may take long as long as it comes; a drop now and then is not enough.
func TestDrippingBodies(t *testing.T) {
	came := make(chan int64, 1)
	addr := slowly(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		came <- n
		w.WriteHeader(http.StatusNoContent)
	})
	const head = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n"
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, tt := range []struct {
		piece int
		whole bool
	}{{1, false}, {100_000, true}} {
		c := hello(t, addr, head)
		piece := strings.Repeat("x", tt.piece)
		n := int64(-1)
		for sent := 0; n < 0 && sent < 1_000_000; sent += tt.piece {
			select {
			case n = <-came: // it was turned away
			case <-tick.C:
				_, _ = io.WriteString(c, piece)
			}
		}
		if n < 0 {
			n = <-came
		}
		if (n == 1_000_000) != tt.whole {
			t.Errorf("of a body in pieces of %d came %d bytes", tt.piece, n)
		}
	}
}

// After its body was read a request may take as long as it likes, and the
// server still sees the client go.
func TestLongRequests(t *testing.T) {
	gone := make(chan struct{})
	addr := slowly(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-r.Context().Done():
			close(gone)
		case <-time.After(300 * time.Millisecond): // longer than is waited for a body
			_, _ = io.WriteString(w, "here")
		}
	})
	for _, head := range []string{"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody", "GET / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody"} {
		answered(t, head[:4], hello(t, addr, head), "POST", "here", false)
	}
	_ = hello(t, addr, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody").Close()
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Error("the server did not see the client go")
	}
}

// Who asks and does not read is let go.
func TestUnreadAnswers(t *testing.T) {
	failed := make(chan struct{}, 1)
	addr := slowly(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/own" { // a handler's own bound goes first
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Hour))
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		}
		piece := make([]byte, 1<<20)
		for {
			if _, err := w.Write(piece); err != nil {
				failed <- struct{}{}
				return
			}
		}
	})
	for _, path := range []string{"/", "/own"} {
		hello(t, addr, "GET "+path+" HTTP/1.1\r\nHost: test\r\n\r\n")
		select {
		case <-failed:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: the server still waits for who does not read", path)
		}
	}
	c := hello(t, addr, "GET / HTTP/1.1\r\nHost: test\r\n\r\n")
	for range 50 { // a slow reader is served for long
		if _, err := io.CopyN(io.Discard, c, 1<<20); err != nil {
			t.Fatalf("a reader is not served: %v", err)
		}
	}
}

// The program itself does not wait for strangers.
func TestStrangersAreNotWaitedFor(t *testing.T) {
	a, err := Start(t.Context(), settings(t, t.TempDir()), Deps{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	c := hello(t, a.Addr().String(), "GET /v1/models/x HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if !resp.Close {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
}
