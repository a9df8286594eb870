package upstream

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/testkit"
)

// A fake upstream's faults, and what a caller should make of them.
var faults = []struct {
	name   string
	answer testkit.Answer
	class  string // "": whole
	body   string
	http2  string // the class where HTTP/2 tells less; "": the same
}{
	{name: "reset", answer: testkit.Reset(), class: "no head"},
	{name: "close", answer: testkit.Close(), class: "no head"},
	{name: "garbage", answer: testkit.Garbage(), class: "no head"},
	{name: "silence", answer: testkit.Silent(), class: "no head in time"},
	{name: "bad chunk", answer: testkit.BadChunk("text/plain", "good"), class: "broken", body: "good"},
	{name: "cut by its length", answer: testkit.TruncatedContentLength("text/plain", "short", 100), class: "cut", body: "short", http2: "broken"},
	{name: "cut between chunks", answer: testkit.CutAfter("text/plain", "abcdef", 3, testkit.FIN), class: "cut", body: "abc", http2: "broken"},
	{name: "cut in a chunk", answer: testkit.CutAfter("text/plain", "abcdef", 3, testkit.FINMidChunk), class: "cut", body: "abc", http2: "broken"},
	{name: "reset in the body", answer: testkit.CutAfter("text/plain", "abcdef", 3, testkit.RST), class: "broken"}, // a reset may overtake the body
	{name: "early hints", answer: testkit.Informational(testkit.JSON(200, "{}")), body: "{}"},
	{name: "a long head", answer: testkit.LongHeader(100<<10, testkit.JSON(200, "{}")), body: "{}"},
	{name: "a redirect", answer: testkit.Redirect(302, "/elsewhere"), body: "moved"},
	{name: "a stream", answer: testkit.SSE("a", "b", "[DONE]"), body: "data: a\n\ndata: b\n\ndata: [DONE]\n\n"},
	{name: "a long line", answer: testkit.HugeLine("text/plain", "<", 1<<20, ">"), body: "<" + strings.Repeat("x", 1<<20) + ">"},
	{name: "no content", answer: testkit.Reply(204, "", "")},
	{name: "an error", answer: testkit.JSON(503, `{"error":"x"}`), body: `{"error":"x"}`},
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for _, tt := range faults {
		t.Run(tt.name, func(t *testing.T) {
			each(t, everyone, func(t *testing.T, s subject) {
				u, rt := s.upstream(t, Options{HeaderTimeout: 200 * time.Millisecond})
				u.Always(tt.answer)
				got := exchanged(rt, request(t.Context(), t, "POST", u.URL+"/v1/x", "hello"))
				want := tt.class
				switch {
				case s.http2 && tt.http2 != "":
					want = tt.http2
				case want == "":
					want = "whole"
				}
				if c := got.class(); c != want && !(want == "broken" && c == "cut") {
					t.Fatalf("it is %s (%v, %v), want %s", c, got.HeadErr, got.BodyErr, want)
				}
				if tt.body != "" && got.Body != tt.body {
					t.Errorf("body of %d bytes, want %d", len(got.Body), len(tt.body))
				}
				u.Always(testkit.JSON(200, "fine"))
				if o := get(t, rt, request(t.Context(), t, "POST", u.URL, "hello")); o.Body != "fine" {
					t.Errorf("afterwards: body %q", o.Body)
				}
			})
		})
	}
}

// What is compressed stays so: it is not ours to unpack.
func TestCompressedIsPassedOn(t *testing.T) {
	t.Parallel()
	each(t, everyone, func(t *testing.T, s subject) {
		u, rt := s.upstream(t, Options{})
		u.Always(testkit.Compressed(200, "text/plain", "hello"))
		o := get(t, rt, request(t.Context(), t, "GET", u.URL, ""))
		if o.Header.Get("Content-Encoding") != "gzip" || !strings.HasPrefix(o.Body, "\x1f\x8b") {
			t.Errorf("header %v, body %q", o.Header, o.Body)
		}
		if got := u.Calls()[0].Header.Get("Accept-Encoding"); got != "" {
			t.Errorf("asked for %q", got)
		}
	})
}

// recorded are answers that are cut off after each of their bytes.
var recorded = map[string]string{
	"length": "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 11\r\n\r\nhello world",
	"chunks": "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n" +
		"5;a=b\r\nhello\r\nb\r\n beautiful \r\n5\r\nworld\r\n0\r\nX: 1\r\n\r\n",
	"close": "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\nhello world",
}

func TestCutAtEveryByte(t *testing.T) {
	t.Parallel()
	for name, whole := range recorded {
		t.Run(name, func(t *testing.T) {
			for _, secure := range []bool{false, true} {
				for _, rude := range []bool{false, true} { // TLS without its own end
					if rude && !secure {
						continue
					}
					t.Run(fmt.Sprintf("TLS=%v,rude=%v", secure, rude), func(t *testing.T) {
						t.Parallel()
						cutAtEveryByte(t, whole, secure, rude)
					})
				}
			}
		})
	}
}

func cutAtEveryByte(t *testing.T, whole string, secure, rude bool) {
	t.Helper()
	length := make(chan int, 1)
	serve := answering(func(_, _ int, _ *http.Request, _ string, c net.Conn) bool {
		_, _ = io.WriteString(c, whole[:<-length])
		if rude {
			_ = c.(*tls.Conn).NetConn().Close()
		}
		return false
	})
	reference, own := netHTTP, ours
	if secure {
		reference, own = netHTTPTLS, oursTLS
	}
	theirs := reference.client(t, Options{})
	mine := own.client(t, Options{})
	srv := own.serveRaw(t, serve)
	step := 1
	if secure {
		step = 5 // handshakes are slow
	}
	for n := 0; n <= len(whole); n += step {
		length <- n
		want := exchanged(theirs, request(t.Context(), t, "POST", srv.url, "x"))
		length <- n
		got := exchanged(mine, request(t.Context(), t, "POST", srv.url, "x"))
		same := got.class() == want.class() || want.class() == "broken" && got.class() == "cut"
		if got.HeadErr != nil && !rude && errors.Is(got.HeadErr, io.ErrUnexpectedEOF) != (n > 0) {
			t.Errorf("after %q the error is %v", whole[:n], got.HeadErr)
		}
		if !same || got.Body != want.Body || got.Length != want.Length || got.Status != want.Status {
			t.Errorf("after %q:\ngot  %s %+v\nwant %s %+v", whole[:n], got.class(), got, want.class(), want)
		}
	}
}

// An answer that comes in single bytes is the same answer.
func TestByteByByte(t *testing.T) {
	t.Parallel()
	for name, whole := range recorded {
		t.Run(name, func(t *testing.T) {
			each(t, http1, func(t *testing.T, s subject) {
				srv := s.serveRaw(t, answering(func(_, _ int, _ *http.Request, _ string, c net.Conn) bool {
					for i := range len(whole) {
						if _, err := c.Write([]byte{whole[i]}); err != nil {
							break
						}
					}
					return false
				}))
				o := get(t, s.client(t, Options{}), request(t.Context(), t, "POST", srv.url, "x"))
				if want := strings.Contains(o.Body, "world"); !want {
					t.Errorf("body %q", o.Body)
				}
			})
		})
	}
}

// A server may have stopped sending for good, but still listen.
func TestHalfClosed(t *testing.T) {
	t.Parallel()
	each(t, []subject{netHTTP, ours}, func(t *testing.T, s subject) {
		srv := s.serveRaw(t, answering(func(_, _ int, _ *http.Request, _ string, c net.Conn) bool {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nhello")
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, c) // until the client closes
			return false
		}))
		rt := s.client(t, Options{})
		for range 2 {
			if o := get(t, rt, request(t.Context(), t, "POST", srv.url, "x")); o.Body != "hello" {
				t.Errorf("body %q", o.Body)
			}
		}
	})
}

// The time for the head begins when the request has left, covers informational
// answers, and ends with the head.
func TestHeaderTimeout(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]string{
		"silence":      "",
		"half a head":  "HTTP/1.1 200 OK\r\nContent-",
		"only hints":   "HTTP/1.1 103 Early Hints\r\n\r\n",
		"half a hint":  "HTTP/1.1 103 Ear",
		"slow trickle": "HTTP/1.1 200 OK\r\nX: ",
	} {
		t.Run(name, func(t *testing.T) {
			each(t, http1Ours, func(t *testing.T, s subject) {
				done := make(chan struct{})
				srv := s.serveRaw(t, answering(func(_, _ int, _ *http.Request, _ string, c net.Conn) bool {
					_, _ = io.WriteString(c, begin)
					<-done
					return false
				}))
				t.Cleanup(func() { close(done) })
				began := time.Now()
				o := exchanged(s.client(t, Options{HeaderTimeout: 100 * time.Millisecond}), request(t.Context(), t, "POST", srv.url, "x"))
				if o.class() != "no head in time" || time.Since(began) > soon {
					t.Errorf("it is %s: %v", o.class(), o.HeadErr)
				}
			})
		})
	}
}

func TestHeaderTimeoutEndsWithTheHead(t *testing.T) {
	t.Parallel()
	each(t, everyone, func(t *testing.T, s subject) {
		u, rt := s.upstream(t, Options{HeaderTimeout: 50 * time.Millisecond})
		u.Always(testkit.Stream("text/plain", testkit.Text("a"), testkit.Pause(150*time.Millisecond), testkit.Text("b")))
		for range 2 {
			if o := get(t, rt, request(t.Context(), t, "POST", u.URL, "x")); o.Body != "ab" {
				t.Errorf("body %q", o.Body)
			}
		}
	})
}

// Each read gives all that has come, and does not wait for more.
func TestReadGivesWhatIsThere(t *testing.T) {
	t.Parallel()
	each(t, http1Ours, func(t *testing.T, s subject) {
		more := make(chan struct{})
		var first strings.Builder
		first.WriteString("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for i := range 100 {
			fmt.Fprintf(&first, "6\r\ndat%03d\r\n", i)
		}
		srv := s.serveRaw(t, answering(func(_, _ int, _ *http.Request, _ string, c net.Conn) bool {
			_, _ = io.WriteString(c, first.String()+"3\r\nab")
			<-more
			_, _ = io.WriteString(c, "c\r\n")
			// Over TLS two records, which come in one piece.
			<-more
			w := io.Writer(c)
			if under, ok := c.(*tls.Conn); ok {
				_, _ = w.Write([]byte("1\r\nx\r\n"))
				_, _ = under.Write([]byte("1\r\ny\r\n0\r\n\r\n"))
				return true
			}
			_, _ = w.Write([]byte("1\r\nx\r\n1\r\ny\r\n0\r\n\r\n"))
			return true
		}))
		resp, err := s.client(t, Options{}).RoundTrip(request(t.Context(), t, "POST", srv.url, "x"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		buf := make([]byte, 4096)
		n, err := resp.Body.Read(buf)
		for n < 602 && err == nil { // the pieces of one write may come one by one
			var m int
			m, err = resp.Body.Read(buf[n:])
			n += m
		}
		if n != 602 || err != nil || !strings.HasSuffix(string(buf[:n]), "dat099ab") {
			t.Fatalf("%d bytes, %v", n, err)
		}
		more <- struct{}{}
		if n, err = resp.Body.Read(buf); string(buf[:n]) != "c" || err != nil {
			t.Fatalf("%q, %v", buf[:n], err)
		}
		more <- struct{}{}
		rest, err := io.ReadAll(resp.Body)
		if string(rest) != "xy" || err != nil {
			t.Fatalf("%q, %v", rest, err)
		}
	})
}
