package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"ollama-api-pool/internal/testkit"
)

// echo answers with the body that it got, framed as the path says, and now and
// then closes the connection afterwards without a word.
func echo(mayClose bool) func(int, net.Conn) {
	return answering(func(conn, n int, req *http.Request, body string, c net.Conn) bool {
		var b strings.Builder
		switch req.URL.Path {
		case "/length":
			fmt.Fprintf(&b, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		case "/hints":
			fmt.Fprintf(&b, "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		default:
			b.WriteString("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			for i := 1; len(body) > 0; i = 3*i + 1 {
				piece := body[:min(i, len(body))]
				body = body[len(piece):]
				fmt.Fprintf(&b, "%x;n=%d\r\n%s\r\n", len(piece), i, piece)
			}
			b.WriteString("0\r\nX-Conn: " + strconv.Itoa(conn) + "\r\n\r\n")
		}
		_, err := io.WriteString(c, b.String())
		return err == nil && !(mayClose && (conn+n)%5 == 4)
	})
}

// Many at once, some of whom leave in the middle: nobody gets a byte of
// somebody else's answer.
func TestHammer(t *testing.T) {
	t.Parallel()
	for name, mayClose := range map[string]bool{"server keeps": false, "server closes": true} {
		t.Run(name, func(t *testing.T) {
			each(t, http1, func(t *testing.T, s subject) {
				srv := s.serveRaw(t, echo(mayClose))
				rt := s.client(t, Options{})
				var running sync.WaitGroup
				var whole atomic.Int32
				times := 5
				if s.ours {
					times = 20
				}
				for i := range 16 {
					running.Go(func() {
						rnd := rand.New(rand.NewPCG(uint64(i), 1))
						for j := range times {
							h := hammered{t: t, rt: rt, url: srv.url, rnd: rnd, name: fmt.Sprintf("%d/%d", i, j), mayClose: mayClose}
							if h.strike() {
								whole.Add(1)
							}
						}
					})
				}
				running.Wait()
				if n := whole.Load(); int(n) < 16*times/3 {
					t.Errorf("only %d of %d succeeded", n, 16*times)
				}
			})
		})
	}
}

type hammered struct {
	t         *testing.T
	rt        http.RoundTripper
	url, name string
	rnd       *rand.Rand
	mayClose  bool
}

// strike makes one request in one of many ways and reports whether its answer
// came whole.
func (h *hammered) strike() bool {
	size := []int{1, 100, 5000, 9000, 20000, 70000}[h.rnd.IntN(6)]
	body := strings.Repeat(h.name+".", size/4+1)[:size]
	path := []string{"/length", "/chunks", "/hints"}[h.rnd.IntN(3)]
	ctx, cancel := context.WithCancel(h.t.Context())
	defer cancel()
	req := request(ctx, h.t, "POST", h.url+path, "")
	forms[h.rnd.IntN(len(forms))].set(req, []byte(body))
	leave := h.rnd.IntN(4) == 0
	if leave && h.rnd.IntN(2) == 0 {
		go cancel()
	}
	resp, err := h.rt.RoundTrip(req)
	if err != nil {
		if !leave && !h.mayClose {
			h.t.Errorf("%s: %v", h.name, err)
		}
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	got := make([]byte, 0, size)
	buf := make([]byte, 1+h.rnd.IntN(6000))
	for err == nil && (!leave || len(got) < size/2) {
		var n int
		n, err = resp.Body.Read(buf)
		got = append(got, buf[:n]...)
	}
	if string(got) != body[:min(len(got), size)] || len(got) > size {
		h.t.Errorf("%s: the answer is another's", h.name)
	}
	if leave {
		return false
	}
	ok := errors.Is(err, io.EOF) && len(got) == size
	if !ok {
		h.t.Errorf("%s: %d of %d bytes, %v", h.name, len(got), size, err)
	}
	return ok
}

// Streams, plain requests, HTTP/2 and faults, all with one client.
func TestManyKindsAtOnce(t *testing.T) {
	t.Parallel()
	client := New(Options{})
	t.Cleanup(client.CloseIdleConnections)
	var running sync.WaitGroup
	plain := testkit.NewUpstream(t)
	plain.Handle(func(c *testkit.Call) testkit.Answer {
		switch c.Path {
		case "/stream":
			return testkit.SSE(string(c.Body), "[DONE]")
		case "/reset":
			return testkit.Reset()
		case "/cut":
			return testkit.CutAfter("text/plain", string(c.Body), 3, testkit.FIN)
		}
		return testkit.Reply(200, "text/plain", string(c.Body))
	})
	for i := range 12 {
		running.Go(func() {
			body := fmt.Sprintf("body-%d", i)
			for j := range 60 {
				path := []string{"/", "/stream", "/reset", "/cut"}[(i+j)%4]
				o := exchanged(client, request(t.Context(), t, "POST", plain.URL+path, body))
				want := map[string][2]string{
					"/": {"whole", body}, "/stream": {"whole", "data: " + body + "\n\ndata: [DONE]\n\n"},
					"/reset": {"no head", ""}, "/cut": {"cut", body[:3]},
				}[path]
				if o.class() != want[0] || o.Body != want[1] {
					t.Errorf("%s: it is %s, %q (%v, %v)", path, o.class(), o.Body, o.HeadErr, o.BodyErr)
				}
			}
		})
	}
	running.Wait()
}
