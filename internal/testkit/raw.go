package testkit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"testing"
	"time"
)

// RawResponse is an answer as it came over the wire of HTTP/1.1.
type RawResponse struct {
	Status        int
	Proto         string
	Header        http.Header // of the final answer
	Informational []int       // the 1xx that came first
	Body          []byte      // all that arrived, without the framing of chunks
	Chunks        []string    // the chunks that arrived whole, where the body came in chunks
	CleanEnd      bool        // the body ended as its framing says
	End           error       // why it did not: unexpected EOF, a reset, a timeout, bad framing
}

// RawConn is a plain HTTP/1.1 connection that hides nothing. It belongs to the
// test's goroutine.
type RawConn struct {
	conn    wire
	in      *bufio.Reader
	methods []string // of the requests whose answers are still to be read
	body    func() ([]byte, error)
}

// wire is what a RawConn does with its connection.
type wire interface {
	io.WriteCloser
	CloseWrite() error
	SetLinger(seconds int) error
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// DialRaw connects to host:port. The connection is closed when the test ends.
func DialRaw(tb testing.TB, addr string) *RawConn {
	tb.Helper()
	c, err := new(net.Dialer).DialContext(context.Background(), "tcp", addr)
	if err != nil {
		tb.Fatalf("testkit: connect to %s: %v", addr, err)
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		tb.Fatalf("testkit: connect to %s: got %T", addr, c)
	}
	tb.Cleanup(func() { _ = tcp.Close() })
	return &RawConn{conn: tcp, in: bufio.NewReader(tcp)}
}

// RawRequest connects, sends one request as it is written and reads the whole
// answer. A failure after the connection was made is in the answer's End.
func RawRequest(tb testing.TB, addr, rawHTTP string) RawResponse {
	tb.Helper()
	c := DialRaw(tb, addr)
	defer c.Close()
	c.Send(rawHTTP)
	return c.Response()
}

// HTTP11 writes a request: with Host, the headers (names and values in turn)
// and, where there is a body, its Content-Length.
func HTTP11(method, path, body string, headers ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: localhost\r\n", method, path)
	for i := 0; i+1 < len(headers); i += 2 {
		fmt.Fprintf(&b, "%s: %s\r\n", headers[i], headers[i+1])
	}
	if body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n" + body)
	return b.String()
}

// Send writes the bytes of a request. That the other side no longer takes them
// shows when the answer is read.
func (c *RawConn) Send(rawHTTP string) {
	method, _, _ := strings.Cut(rawHTTP, " ")
	c.methods = append(c.methods, method)
	c.SendMore(rawHTTP)
}

// SendMore writes more bytes of the request that Send began.
func (c *RawConn) SendMore(raw string) {
	_ = c.conn.SetWriteDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(c.conn, raw)
}

// Close closes the connection (FIN), as a client does that goes away.
func (c *RawConn) Close() { _ = c.conn.Close() }

// CloseWrite closes the sending half.
func (c *RawConn) CloseWrite() { _ = c.conn.CloseWrite() }

// Reset closes the connection with RST.
func (c *RawConn) Reset() {
	_ = c.conn.SetLinger(0)
	_ = c.conn.Close()
}

// Response reads an answer to its end.
func (c *RawConn) Response() RawResponse {
	out := c.Head()
	if out.End != nil {
		return out
	}
	chunked := isChunked(out.Header)
	for {
		b, err := c.Next()
		out.Body = append(out.Body, b...)
		if errors.Is(err, io.EOF) {
			out.CleanEnd = true
			return out
		}
		if err != nil {
			out.End = err
			return out
		}
		if chunked {
			out.Chunks = append(out.Chunks, string(b))
		}
	}
}

// Head reads an answer up to the end of its header; Next reads on from there.
func (c *RawConn) Head() RawResponse {
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	var out RawResponse
	c.body = nil
	text := textproto.NewReader(c.in)
	for {
		line, err := text.ReadLine()
		if err != nil {
			out.End = unexpected(err)
			return out
		}
		out.Proto, out.Status, err = parseStatusLine(line)
		if err != nil {
			out.End = err
			return out
		}
		header, err := text.ReadMIMEHeader()
		if err != nil {
			out.End = unexpected(err)
			return out
		}
		out.Header = http.Header(header)
		if out.Status >= 200 || out.Status == http.StatusSwitchingProtocols {
			break
		}
		out.Informational = append(out.Informational, out.Status)
	}
	method := http.MethodGet
	if len(c.methods) > 0 {
		method, c.methods = c.methods[0], c.methods[1:]
	}
	c.body, out.End = c.framing(method, &out)
	return out
}

// Next returns the next part of the body as it comes: one chunk, or what one
// read gave. The error is io.EOF at a clean end, and anything else where the
// answer broke off; bytes that came before the break are returned with it.
func (c *RawConn) Next() ([]byte, error) {
	if c.body == nil {
		return nil, errors.New("no answer to read from")
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	return c.body()
}

func parseStatusLine(line string) (proto string, status int, err error) {
	proto, rest, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(rest, " ")
	status, err = strconv.Atoi(code)
	if err != nil || !strings.HasPrefix(proto, "HTTP/") {
		return "", 0, fmt.Errorf("not a status line: %q", line)
	}
	return proto, status, nil
}

func isChunked(h http.Header) bool {
	return strings.EqualFold(h.Get("Transfer-Encoding"), "chunked")
}

// framing picks how the body is read (RFC 9112, section 6.3).
func (c *RawConn) framing(method string, r *RawResponse) (func() ([]byte, error), error) {
	length := r.Header.Get("Content-Length")
	switch {
	case method == http.MethodHead, r.Status == http.StatusNoContent, r.Status == http.StatusNotModified:
		return func() ([]byte, error) { return nil, io.EOF }, nil
	case isChunked(r.Header):
		return c.nextChunk, nil
	case length != "":
		n, err := strconv.Atoi(length)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("bad Content-Length %q", length)
		}
		return func() ([]byte, error) { return c.nextOf(&n) }, nil
	}
	return c.nextUntilClose, nil
}

func (c *RawConn) nextOf(left *int) ([]byte, error) {
	if *left == 0 {
		return nil, io.EOF
	}
	b := make([]byte, min(*left, 64<<10))
	n, err := c.in.Read(b)
	*left -= n
	if err != nil {
		err = unexpected(err)
	}
	return b[:n], err
}

func (c *RawConn) nextUntilClose() ([]byte, error) {
	b := make([]byte, 64<<10)
	n, err := c.in.Read(b)
	return b[:n], err
}

func (c *RawConn) nextChunk() ([]byte, error) {
	line, err := c.in.ReadString('\n')
	if err != nil {
		return nil, unexpected(err)
	}
	digits, _, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ";")
	size, err := strconv.ParseInt(digits, 16, 31)
	if err != nil || size < 0 {
		return nil, fmt.Errorf("bad length of a chunk: %q", line)
	}
	if size == 0 { // the trailer, which nobody here needs, and the blank line
		if _, err := textproto.NewReader(c.in).ReadMIMEHeader(); err != nil {
			return nil, unexpected(err)
		}
		return nil, io.EOF
	}
	b, err := io.ReadAll(io.LimitReader(c.in, size))
	if err != nil {
		return b, err
	}
	if int64(len(b)) < size {
		return b, io.ErrUnexpectedEOF
	}
	var crlf [2]byte
	if _, err := io.ReadFull(c.in, crlf[:]); err != nil {
		return b, unexpected(err)
	}
	if string(crlf[:]) != "\r\n" {
		return b, fmt.Errorf("chunk ends with %q", crlf)
	}
	return b, nil
}

// unexpected tells an end in the middle from a clean one.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
