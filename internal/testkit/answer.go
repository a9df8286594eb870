package testkit

import (
	"bytes"
	"compress/gzip"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Answer is what a call gets: one of the values that the functions of this
// package make. An Answer may be given to any number of calls at once, but for
// its gates, which open once.
type Answer interface{ give(x *exchange) }

type answerFunc func(x *exchange)

func (f answerFunc) give(x *exchange) { f(x) }

// exchange is one call being answered. It belongs to the handler's goroutine,
// but for finished.
type exchange struct {
	w        http.ResponseWriter
	r        *http.Request
	conn     *conn
	call     *Call
	stopping <-chan struct{}
	left     func()      // notes that the client has gone away
	finished atomic.Bool // nothing is left to send: a client that leaves now cancels nothing
}

// wait waits for a gate and reports whether it opened before the client left
// and the test ended.
func (x *exchange) wait(g *Gate) bool {
	g.arrive()
	select {
	case <-g.opened:
		return true
	case <-x.r.Context().Done():
	case <-x.stopping:
	}
	return false
}

func (x *exchange) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-x.r.Context().Done():
	case <-x.stopping:
	}
	return false
}

// abort ends the answer where it stands: HTTP/1.1 closes the connection,
// HTTP/2 resets the stream.
func (x *exchange) abort() { panic(http.ErrAbortHandler) }

// takeOver gives the bare connection. HTTP/2 has none to give: the answer is
// aborted, which is the nearest to every fault that needs it.
func (x *exchange) takeOver() net.Conn {
	x.finished.Store(true)
	c, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		x.abort()
	}
	return c
}

// flush sends what was written.
func (x *exchange) flush() {
	if err := http.NewResponseController(x.w).Flush(); err != nil {
		x.lose()
	}
}

// lose ends an answer that the client no longer takes.
func (x *exchange) lose() {
	x.left()
	x.abort()
}

// head sets the header of an ordinary answer.
func (x *exchange) head(contentType string) {
	if contentType == "" {
		x.w.Header()["Content-Type"] = nil // no guess either
		return
	}
	x.w.Header().Set("Content-Type", contentType)
}

// Reply answers in full, with a Content-Length. The headers are names and
// values in turn; contentType "" sends none.
func Reply(status int, contentType, body string, headers ...string) Answer {
	plain := answerFunc(func(x *exchange) {
		x.finished.Store(true)
		x.head(contentType)
		bodyless := status == http.StatusNoContent || status == http.StatusNotModified
		if !bodyless {
			x.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		}
		x.w.WriteHeader(status)
		if !bodyless && x.r.Method != http.MethodHead {
			_, _ = x.w.Write([]byte(body))
		}
	})
	return WithHeader(plain, headers...)
}

// JSON answers in full with application/json.
func JSON(status int, body string, headers ...string) Answer {
	return Reply(status, "application/json", body, headers...)
}

// WithHeader adds headers, names and values in turn, to an answer. A name that
// comes twice is sent twice. It does not reach answers that are not HTTP.
func WithHeader(a Answer, headers ...string) Answer {
	if len(headers) == 0 {
		return a
	}
	if len(headers)%2 != 0 {
		panic("testkit: headers must be names and values in turn")
	}
	return answerFunc(func(x *exchange) {
		for i := 0; i < len(headers); i += 2 {
			x.w.Header().Add(headers[i], headers[i+1])
		}
		a.give(x)
	})
}

// LongHeader adds a header X-Long of n bytes to an answer.
func LongHeader(n int, a Answer) Answer {
	return WithHeader(a, "X-Long", strings.Repeat("x", n))
}

// Redirect answers with a status of the 300s and a Location.
func Redirect(status int, location string) Answer {
	return Reply(status, "text/plain", "moved", "Location", location)
}

// WrongContentType sends a body that is JSON under another name, with 200.
func WrongContentType(body string) Answer {
	return Reply(http.StatusOK, "text/html; charset=utf-8", body)
}

// Compressed sends the body compressed with gzip, whether or not the client
// asked for that.
func Compressed(status int, contentType, body string) Answer {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(body)) // a bytes.Buffer takes everything
	_ = z.Close()
	return Reply(status, contentType, b.String(), "Content-Encoding", "gzip")
}

// Informational sends 103 Early Hints with a Link header before an answer.
func Informational(a Answer) Answer {
	return answerFunc(func(x *exchange) {
		x.w.Header().Set("Link", "</early>; rel=preload")
		x.w.WriteHeader(http.StatusEarlyHints)
		x.w.Header().Del("Link")
		a.give(x)
	})
}

// KeepAliveThenClose answers as if the connection stayed open, and closes it,
// without a word of warning, as soon as it is idle.
func KeepAliveThenClose(a Answer) Answer {
	return answerFunc(func(x *exchange) {
		x.conn.closeIdle.Store(true)
		a.give(x)
	})
}

// After waits at a gate, before any header is sent, and then gives an answer.
func After(g *Gate, a Answer) Answer {
	return answerFunc(func(x *exchange) {
		if !x.wait(g) {
			x.abort()
		}
		a.give(x)
	})
}

// Silent sends nothing, not even a header, until the client leaves or the test
// ends. After is for one that is released.
func Silent() Answer { return After(NewGate(), nil) }

// InTurn is a handler that gives the answers one after another and then the
// last one for ever.
func InTurn(answers ...Answer) func(*Call) Answer {
	var next atomic.Int64
	return func(*Call) Answer {
		i := min(int(next.Add(1)), len(answers))
		return answers[i-1]
	}
}

// ByKey is a handler that answers according to the credential, and where it
// knows none as otherwise says.
func ByKey(answers map[string]Answer, otherwise Answer) func(*Call) Answer {
	return func(c *Call) Answer {
		if a, ok := answers[c.Key]; ok {
			return a
		}
		return otherwise
	}
}
