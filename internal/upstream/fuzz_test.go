package upstream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

// recordedConn gives bytes in pieces of random sizes and takes everything.
type recordedConn struct {
	data []byte
	rnd  *rand.Rand // nil: all at once
	read int
}

func (c *recordedConn) Read(p []byte) (int, error) {
	rest := c.data[c.read:]
	if len(rest) == 0 {
		return 0, io.EOF
	}
	n := min(len(p), len(rest))
	if c.rnd != nil {
		n = 1 + c.rnd.IntN(n)
	}
	copy(p, rest[:n])
	c.read += n
	return n, nil
}

func (*recordedConn) Write(p []byte) (int, error)      { return len(p), nil }
func (*recordedConn) Close() error                     { return nil }
func (*recordedConn) LocalAddr() net.Addr              { return nil }
func (*recordedConn) RemoteAddr() net.Addr             { return nil }
func (*recordedConn) SetDeadline(time.Time) error      { return nil }
func (*recordedConn) SetReadDeadline(time.Time) error  { return nil }
func (*recordedConn) SetWriteDeadline(time.Time) error { return nil }

// readOurs reads an answer as the client does. kept says that the connection
// was found fit for another request.
func readOurs(req *http.Request, c *recordedConn) (o outcome, coding []string, kept bool) {
	h := &host{client: &Client{}}
	defer h.idle.closeAll()
	x := newExchange(newConn(h, c), req)
	if o.HeadErr = x.run(); o.HeadErr != nil {
		return o, nil, false
	}
	resp := &x.resp
	o.Status, o.Proto, o.Header, o.Length, o.Close = resp.Status, resp.Proto, resp.Header.Clone(), resp.ContentLength, resp.Close
	var body bytes.Buffer
	buf := make([]byte, 2048)
	for o.BodyErr == nil {
		p := buf
		if c.rnd != nil {
			p = buf[:1+c.rnd.IntN(len(buf))]
		}
		var n int
		n, o.BodyErr = resp.Body.Read(p)
		body.Write(p[:n])
	}
	if errors.Is(o.BodyErr, io.EOF) {
		o.BodyErr = nil
	}
	o.Body, o.Trailer = body.String(), resp.Trailer
	kept = len(h.idle.conns) == 1
	_ = resp.Body.Close()
	return o, resp.TransferEncoding, kept
}

// readTheirs reads it as net/http does, and tells how many bytes it took.
func readTheirs(req *http.Request, data []byte) (o outcome, coding []string, took int) {
	src := bytes.NewReader(data)
	br := bufio.NewReader(src)
	for {
		resp, err := http.ReadResponse(br, req)
		if err != nil {
			o.HeadErr = err
			return o, nil, 0
		}
		if resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		o.Status, o.Proto, o.Header, o.Length, o.Close = resp.Status, resp.Proto, resp.Header.Clone(), resp.ContentLength, resp.Close
		body, err := io.ReadAll(resp.Body)
		o.Body, o.BodyErr, o.Trailer = string(body), err, resp.Trailer
		return o, resp.TransferEncoding, len(data) - src.Len() - br.Buffered()
	}
}

// What we accept net/http accepts, and it means the same. We may be stricter.
func FuzzAnswer(f *testing.F) {
	for _, tt := range answers {
		wire, _ := strings.CutSuffix(tt.wire, hangUp)
		f.Add([]byte(wire), tt.method == "HEAD", uint64(0))
	}
	for _, tt := range stricter {
		if len(tt.wire) < 4096 {
			f.Add([]byte(tt.wire), false, uint64(1))
		}
	}
	for _, wire := range recorded {
		f.Add([]byte(wire), false, uint64(2))
		f.Add([]byte(wire+"HTTP/1.1 200 OK\r\n\r\n"), false, uint64(0))
	}
	f.Fuzz(func(t *testing.T, data []byte, head bool, seed uint64) {
		method := http.MethodGet
		if head {
			method = http.MethodHead
		}
		req, err := http.NewRequestWithContext(context.Background(), method, "http://upstream.test/", nil)
		if err != nil {
			t.Fatal(err)
		}
		conn := &recordedConn{data: data}
		if seed > 0 {
			conn.rnd = rand.New(rand.NewPCG(seed, seed))
		}
		got, coding, kept := readOurs(req, conn)
		if got.HeadErr != nil {
			return
		}
		want, wantCoding, took := readTheirs(req, data)
		if want.HeadErr != nil {
			t.Fatalf("we accept what net/http refuses: %v\n%+v", want.HeadErr, got)
		}
		if !reflect.DeepEqual(coding, wantCoding) {
			t.Errorf("Transfer-Encoding %q, want %q", coding, wantCoding)
		}
		if got.BodyErr != nil {
			if want.BodyErr == nil && !errors.As(got.BodyErr, new(malformed)) {
				t.Errorf("body: %v, and nothing is malformed", got.BodyErr)
			}
			if !strings.HasPrefix(want.Body, got.Body) && !strings.HasPrefix(got.Body, want.Body) {
				t.Errorf("broken bodies differ: %q, %q", got.Body, want.Body)
			}
			return
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		if kept && (got.Close || took != conn.read && conn.rnd == nil) {
			t.Errorf("kept, though of %d bytes %d are the answer", conn.read, took)
		}
	})
}

// However the bytes come and whatever room there is for the data, a chunked
// body is the same, and its end is found at the same place.
func FuzzChunks(f *testing.F) {
	for _, tt := range answers {
		if _, body, ok := strings.Cut(tt.wire, "chunked\r\n\r\n"); ok && len(body) < 4096 {
			f.Add([]byte(body), uint64(7))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) {
		whole := frame{kind: byChunks}
		want := make([]byte, len(data))
		n, used, end := whole.next(want, data)
		want = want[:n]
		if n > used || used > len(data) || end == nil && used != len(data) {
			t.Fatalf("%d bytes of data of %d used of %d, %v", n, used, len(data), end)
		}
		rnd := rand.New(rand.NewPCG(seed, 1))
		parts := frame{kind: byChunks}
		var got []byte
		var err error
		left := data[:used]
		for err == nil && len(left) > 0 {
			src := bytes.Clone(left[:1+rnd.IntN(len(left))])
			dst := src
			if rnd.IntN(2) == 0 {
				dst = make([]byte, 1+rnd.IntN(64))
			}
			var n, used int
			n, used, err = parts.next(dst, src)
			if n == 0 && used == 0 && err == nil {
				t.Fatal("nothing moves")
			}
			got = append(got, dst[:n]...)
			left = left[used:]
		}
		if !bytes.Equal(got, want) || len(left) > 0 || !errors.Is(err, end) {
			t.Errorf("in parts %q, %v, %d bytes left; whole %q, %v", got, err, len(left), want, end)
		}
	})
}
