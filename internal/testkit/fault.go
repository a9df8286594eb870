package testkit

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// Reset resets the connection (RST) instead of answering.
func Reset() Answer {
	return answerFunc(func(x *exchange) {
		x.takeOver()
		x.conn.reset()
	})
}

// Close closes the connection (FIN) instead of answering. On a connection that
// served before it looks like one that the upstream found idle for too long.
func Close() Answer {
	return answerFunc(func(x *exchange) {
		x.takeOver()
		_ = x.conn.Close()
	})
}

// Garbage sends something that is not HTTP and closes the connection.
func Garbage() Answer {
	return answerFunc(func(x *exchange) {
		c := x.takeOver()
		_, _ = c.Write([]byte("\x16\x03 this is not HTTP\r\n\r\n"))
		_ = x.conn.Close()
	})
}

// BadChunk sends a good chunk, then one whose length is no number, and closes
// the connection.
func BadChunk(contentType, good string) Answer {
	return Stream(contentType, Text(good), pieceFunc(func(x *exchange) {
		c := x.takeOver()
		_, _ = c.Write([]byte("zz\r\nbad\r\n0\r\n\r\n"))
		_ = x.conn.Close()
		x.abort()
	}))
}

// TruncatedContentLength promises more bytes than it sends before it closes the
// connection.
func TruncatedContentLength(contentType, body string, promised int) Answer {
	return answerFunc(func(x *exchange) {
		x.head(contentType)
		x.w.Header().Set("Content-Length", strconv.Itoa(promised))
		x.w.WriteHeader(http.StatusOK)
		Text(body).send(x)
		x.finished.Store(true)
		x.flush()
		x.abort()
	})
}

// EarlyAnswer answers, closes its side of the connection and never looks at the
// request's body, which HandleEarly leaves unread. What still comes in is
// thrown away, so that the answer is not lost in a reset.
func EarlyAnswer(status int, contentType, body string) Answer {
	return answerFunc(func(x *exchange) {
		if x.r.ProtoMajor > 1 {
			Reply(status, contentType, body).give(x)
			return
		}
		c := x.takeOver()
		_, _ = fmt.Fprintf(c, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
			status, http.StatusText(status), contentType, len(body), body)
		if half, ok := c.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	})
}
