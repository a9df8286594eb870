package testkit

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// Gate is where an answer waits until the test lets it go on. It may be used
// from any goroutine.
type Gate struct {
	opened, reached       chan struct{}
	openOnce, reachedOnce sync.Once // guard the closing of the two
}

// NewGate makes a closed gate.
func NewGate() *Gate {
	return &Gate{opened: make(chan struct{}), reached: make(chan struct{})}
}

// Open lets through whatever waits at the gate, now and later. It may be called
// more than once.
func (g *Gate) Open() { g.openOnce.Do(func() { close(g.opened) }) }

// Reached is closed once something has come to the gate.
func (g *Gate) Reached() <-chan struct{} { return g.reached }

// AwaitReached waits until something has come to the gate, so that everything
// before it is on its way, and fails the test if nothing does.
func (g *Gate) AwaitReached(tb testing.TB) {
	tb.Helper()
	select {
	case <-g.reached:
	case <-time.After(patience):
		tb.Fatalf("testkit: nothing reached the gate within %v", patience)
	}
}

func (g *Gate) arrive() { g.reachedOnce.Do(func() { close(g.reached) }) }

// Piece is a part of a streamed answer: something to send, or something that
// happens between two things to send.
type Piece interface{ send(x *exchange) }

type pieceFunc func(x *exchange)

func (f pieceFunc) send(x *exchange) { f(x) }

// textPiece is what Text makes.
type textPiece string

func (t textPiece) send(x *exchange) {
	if t == "" {
		return // an empty chunk would end the answer
	}
	if _, err := x.w.Write([]byte(t)); err != nil {
		x.lose()
	}
	x.flush()
}

// Text sends bytes and flushes them: one chunk of HTTP/1.1, one write.
func Text(s string) Piece { return textPiece(s) }

// Wait waits at a gate.
func Wait(g *Gate) Piece {
	return pieceFunc(func(x *exchange) {
		if !x.wait(g) {
			x.abort()
		}
	})
}

// Pause waits for a time. A Gate is the better choice where the test can open
// one.
func Pause(d time.Duration) Piece {
	return pieceFunc(func(x *exchange) {
		if !x.pause(d) {
			x.abort()
		}
	})
}

// Cut is a way in which an answer breaks off.
type Cut uint8

// Ways to break off. HTTP/2 knows one only: it resets the stream.
const (
	FIN         Cut = iota // the connection is closed between two chunks, without the last one
	FINMidChunk            // the connection is closed after a chunk's announced length
	RST                    // the connection is reset
)

// Break breaks the answer off; pieces after it are not sent.
func Break(how Cut) Piece {
	return pieceFunc(func(x *exchange) {
		c := x.takeOver()
		if how == FINMidChunk {
			_, _ = c.Write([]byte("40\r\n"))
		}
		if how == RST {
			x.conn.reset()
		} else {
			_ = x.conn.Close()
		}
		x.abort()
	})
}

// Stream answers 200 and sends its header at once, then the pieces in order,
// without a Content-Length.
func Stream(contentType string, pieces ...Piece) Answer {
	return StreamStatus(http.StatusOK, contentType, pieces...)
}

// StreamStatus is Stream with another status.
func StreamStatus(status int, contentType string, pieces ...Piece) Answer {
	return answerFunc(func(x *exchange) {
		x.head(contentType)
		x.w.WriteHeader(status)
		x.flush()
		for i, p := range pieces {
			if _, text := p.(textPiece); text && i == len(pieces)-1 {
				x.finished.Store(true)
			}
			p.send(x)
		}
		x.finished.Store(true)
	})
}

// SSE answers with an event stream: each text becomes one "data: …" event.
func SSE(data ...string) Answer {
	pieces := make([]Piece, len(data))
	for i, d := range data {
		pieces[i] = Event(d)
	}
	return Stream("text/event-stream", pieces...)
}

// Event is one event of an event stream, "data: " and a blank line around it.
func Event(data string) Piece { return Text("data: " + data + "\n\n") }

// Line is one line of newline-delimited JSON.
func Line(data string) Piece { return Text(data + "\n") }

// CutAfter sends the first n bytes of a body of unknown length and breaks off.
func CutAfter(contentType, body string, n int, how Cut) Answer {
	return Stream(contentType, Text(body[:n]), Break(how))
}

// SlowBody sends a body in parts of size bytes with a pause after each.
func SlowBody(contentType, body string, size int, pause time.Duration) Answer {
	var pieces []Piece
	for len(body) > 0 {
		n := min(size, len(body))
		pieces = append(pieces, Text(body[:n]), Pause(pause))
		body = body[n:]
	}
	return Stream(contentType, pieces...)
}

// HugeLine streams head, n times the letter x, and tail.
func HugeLine(contentType, head string, n int, tail string) Answer {
	const block = 32 << 10
	pieces := []Piece{Text(head)}
	for ; n > 0; n -= block {
		pieces = append(pieces, Text(strings.Repeat("x", min(n, block))))
	}
	return Stream(contentType, append(pieces, Text(tail))...)
}
