package upstream

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// Answers as they stand on the wire, and what a caller should see of them. All
// clients agree on them.
var answers = []struct {
	name   string
	method string
	wire   string
	want   outcome // of its errors only whether there are any
	class  string  // "": whole
	reused bool    // the connection serves the next request
}{
	{
		name: "length", wire: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		want: outcome{Status: "200 OK", Length: 5, Body: "hello"}, reused: true,
	},
	{
		name: "no reason", wire: "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok",
		want: outcome{Status: "200 ", Length: 2, Body: "ok"}, reused: true,
	},
	{
		name: "no blank after the status", wire: "HTTP/1.1 404\r\nContent-Length: 2\r\n\r\nno",
		want: outcome{Status: "404", Length: 2, Body: "no"}, reused: true,
	},
	{
		name: "an unknown status", wire: "HTTP/1.1 799 Odd\r\nContent-Length: 0\r\n\r\n",
		want: outcome{Status: "799 Odd"}, reused: true,
	},
	{
		name: "no body by length", wire: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		want: outcome{Status: "200 OK"}, reused: true,
	},
	{
		name: "the same length twice", wire: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
		want: outcome{Status: "200 OK", Length: 5, Body: "hello", Header: http.Header{"Content-Length": {"5"}}}, reused: true,
	},
	{
		name: "different lengths", wire: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
		class: "no head",
	},
	{name: "a list of lengths", wire: "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", class: "no head"},
	{name: "a signed length", wire: "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", class: "no head"},
	{name: "a negative length", wire: "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", class: "no head"},
	{name: "an empty length", wire: "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nhello", class: "no head"},
	{name: "a hexadecimal length", wire: "HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello", class: "no head"},
	{name: "an immense length", wire: "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello", class: "no head"},
	{
		name: "chunks", wire: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n006;a=b;c=\"d\"\r\n world\r\n0\r\n\r\n",
		want: outcome{Status: "200 OK", Length: -1, Body: "hello world", Header: http.Header{}}, reused: true,
	},
	{
		name: "chunked in capitals, digits in both cases", wire: "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\nA\r\n0123456789\r\na \t\r\n0123456789\r\n000\r\n\r\n",
		want: outcome{Status: "200 OK", Length: -1, Body: "01234567890123456789", Header: http.Header{}}, reused: true,
	},
	{
		name: "no chunks", wire: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		want: outcome{Status: "200 OK", Length: -1, Header: http.Header{}}, reused: true,
	},
	{
		name: "trailers", wire: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, x-other\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\nx-unannounced:  2 \r\n\r\n",
		want: outcome{
			Status: "200 OK", Length: -1, Body: "hi", Header: http.Header{},
			Trailer: http.Header{"X-Sum": {"1"}, "X-Other": nil, "X-Unannounced": {"2"}},
		}, reused: true,
	},
	{
		name: "a trailer that would frame", wire: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n0\r\n\r\n",
		class: "no head",
	},
	{
		name: "another coding", wire: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
		class: "no head",
	},
	{name: "two codings", wire: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", class: "no head"},
	{name: "chunked twice", wire: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", class: "no head"},
	{name: "chunked in disguise", wire: "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", class: "no head"},
	{name: "a chunk size with a sign", wire: chunked("+5\r\nhello\r\n0\r\n\r\n"), class: "broken"},
	{name: "a chunk size with 0x", wire: chunked("0x5\r\nhello\r\n0\r\n\r\n"), class: "broken"},
	{name: "a blank before the chunk size", wire: chunked(" 5\r\nhello\r\n0\r\n\r\n"), class: "broken"},
	{name: "no chunk size", wire: chunked("\r\nhello\r\n0\r\n\r\n"), class: "broken"},
	{name: "an extension without a size", wire: chunked(";a\r\nhello\r\n0\r\n\r\n"), class: "broken"},
	{name: "a chunk size that overflows", wire: chunked("1000000000000000f\r\nhello\r\n0\r\n\r\n"), class: "broken"},
	{name: "a size line with a bare LF", wire: chunked("5\nhello\r\n0\r\n\r\n"), class: "broken"},
	{name: "a size line with a CR inside", wire: chunked("5;\ra\r\nhello\r\n0\r\n\r\n"), class: "broken"},
	{name: "a chunk longer than its size", wire: chunked("4\r\nhello\r\n0\r\n\r\n"), class: "broken"},
	{name: "a chunk shorter than its size", wire: chunked("6\r\nhello\r\n0\r\n\r\n"), class: "broken"},
	{name: "a chunk's data ended by LF", wire: chunked("5\r\nhello\n0\r\n\r\n\r\n"), class: "broken"},
	{name: "an endless extension", wire: chunked("1;" + strings.Repeat("x", 5000) + "\r\nh\r\n0\r\n\r\n"), class: "broken"},
	{name: "extensions for ever", wire: chunked(strings.Repeat("1;"+strings.Repeat("x", 1000)+"\r\nh\r\n", 40) + "0\r\n\r\n"), class: "broken"},
	{name: "a long trailer", wire: chunked("0\r\nX-Long: " + strings.Repeat("x", 8<<10) + "\r\n\r\n"), class: "broken"},
	{name: "a trailer without a name", wire: chunked("0\r\n: x\r\n\r\n"), class: "broken"},
	{
		name: "until the end of the connection", wire: "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhello" + hangUp,
		want: outcome{Status: "200 OK", Length: -1, Body: "hello", Close: true, Header: http.Header{"Content-Type": {"text/plain"}}},
	},
	{
		name: "HTTP/1.0", wire: "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		want: outcome{Proto: "HTTP/1.0", Status: "200 OK", Length: 5, Body: "hello", Close: true},
	},
	{
		name: "HTTP/1.0 until the end", wire: "HTTP/1.0 200 OK\r\n\r\nhello" + hangUp,
		want: outcome{Proto: "HTTP/1.0", Status: "200 OK", Length: -1, Body: "hello", Close: true, Header: http.Header{}},
	},
	{
		name: "HTTP/1.0 kept", wire: "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n\r\nhello",
		want: outcome{
			Proto: "HTTP/1.0", Status: "200 OK", Length: 5, Body: "hello",
			Header: http.Header{"Content-Length": {"5"}, "Connection": {"Keep-Alive"}},
		}, reused: true,
	},
	{
		name: "close", wire: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
		want: outcome{
			Status: "200 OK", Length: 5, Body: "hello", Close: true,
			Header: http.Header{"Content-Length": {"5"}},
		},
	},
	{
		name: "close among others", wire: "HTTP/1.1 200 OK\r\nConnection: x-y ,\tCLOSE, foo\r\nConnection: bar\r\nContent-Length: 5\r\n\r\nhello",
		want: outcome{
			Status: "200 OK", Length: 5, Body: "hello", Close: true,
			Header: http.Header{"Content-Length": {"5"}},
		},
	},
	{
		name: "keep-alive where it goes without saying", wire: "HTTP/1.1 200 OK\r\nConnection: keep-alive, closed\r\nContent-Length: 5\r\n\r\nhello",
		want: outcome{
			Status: "200 OK", Length: 5, Body: "hello",
			Header: http.Header{"Content-Length": {"5"}, "Connection": {"keep-alive, closed"}},
		}, reused: true,
	},
	{
		name: "HEAD", method: "HEAD", wire: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
		want: outcome{Status: "200 OK", Length: 5, Header: http.Header{"Content-Length": {"5"}}}, reused: true,
	},
	{
		name: "HEAD, chunked", method: "HEAD", wire: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		want: outcome{Status: "200 OK", Length: -1, Header: http.Header{}}, reused: true,
	},
	{
		name: "HEAD, no length", method: "HEAD", wire: "HTTP/1.1 200 OK\r\n\r\n",
		want: outcome{Status: "200 OK", Length: -1, Header: http.Header{}}, reused: true,
	},
	{name: "204", wire: "HTTP/1.1 204 No Content\r\n\r\n", want: outcome{Status: "204 No Content", Header: http.Header{}}, reused: true},
	{
		name: "304 with the length of what it stands for", wire: "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
		want: outcome{Status: "304 Not Modified", Header: http.Header{"Content-Length": {"5"}}}, reused: true,
	},
	{
		name: "1xx", wire: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nX: y\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" +
			"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		want: outcome{Status: "200 OK", Length: 5, Body: "hello"}, reused: true,
	},
	{name: "1xx, and no more", wire: "HTTP/1.1 100 Continue\r\n\r\n" + hangUp, class: "no head"},
	{name: "no field name", wire: "HTTP/1.1 200 OK\r\n: x\r\nContent-Length: 5\r\n\r\nhello", class: "no head"},
	{name: "no colon", wire: "HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 5\r\n\r\nhello", class: "no head"},
	{name: "a folded first line", wire: "HTTP/1.1 200 OK\r\n folded\r\nContent-Length: 5\r\n\r\nhello", class: "no head"},
	{name: "a NUL in a value", wire: "HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 5\r\n\r\nhello", class: "no head"},
	{name: "a CR in a value", wire: "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 5\r\n\r\nhello", class: "no head"},
	{name: "another protocol", wire: "SSH-2.0-OpenSSH_9.6\r\n", class: "no head"},
	{name: "a status of two digits", wire: "HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello", class: "no head"},
	{name: "a status of four digits", wire: "HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nhello", class: "no head"},
	{name: "a status that is no number", wire: "HTTP/1.1 2x0 OK\r\nContent-Length: 5\r\n\r\nhello", class: "no head"},
	{name: "a negative status", wire: "HTTP/1.1 -20 OK\r\nContent-Length: 5\r\n\r\nhello", class: "no head"},
	{name: "an empty line first", wire: "\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", class: "no head"},
	{name: "garbage", wire: "\x16\x03\x01garbage\r\n\r\n", class: "no head"},
	{name: "nothing", wire: hangUp, class: "no head"},
	{name: "a body that is too short", wire: "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello" + hangUp, class: "cut"},
	{name: "no last chunk", wire: chunked("5\r\nhello\r\n") + hangUp, class: "cut"},
}

func chunked(body string) string {
	return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body
}

// hangUp, at the end of an answer, ends the connection.
const hangUp = "\x00hang up"

func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, tt := range answers {
		t.Run(tt.name, func(t *testing.T) {
			each(t, http1, func(t *testing.T, s subject) {
				last := 0
				wire, end := strings.CutSuffix(tt.wire, hangUp)
				srv := s.serveRaw(t, answering(func(conn, _ int, _ *http.Request, _ string, c net.Conn) bool {
					last = conn
					_, err := c.Write([]byte(wire))
					return err == nil && !end
				}))
				rt := s.client(t, Options{})
				method := tt.method
				if method == "" {
					method = "POST"
				}
				got := exchanged(rt, request(t.Context(), t, method, srv.url, ""))
				checkAnswer(t, got, tt.want, tt.class)
				_ = exchanged(rt, request(t.Context(), t, method, srv.url, ""))
				if reused := last == 0; reused != tt.reused {
					t.Errorf("connection reused: %v, want %v", reused, tt.reused)
				}
			})
		})
	}
}

func checkAnswer(t *testing.T, got, want outcome, class string) {
	t.Helper()
	if class == "" {
		class = "whole"
	}
	if got.class() != class {
		t.Fatalf("it is %s (%v, %v), want %s", got.class(), got.HeadErr, got.BodyErr, class)
	}
	if class != "whole" {
		return
	}
	if want.Proto == "" {
		want.Proto = "HTTP/1.1"
	}
	if want.Header == nil && want.Length >= 0 && strings.HasPrefix(want.Status, "2") || want.Header == nil && want.Status != "" {
		want.Header = http.Header{"Content-Length": {fmt.Sprint(want.Length)}}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// What net/http lets pass, and we do not.
var stricter = []struct{ name, wire, class string }{
	{"both lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "no head"},
	{"chunks in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "no head"},
	{"a field name with a blank", "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello", "no head"},
	{"HTTP/2 without asking", "HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", "no head"},
	{"a folded line", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 5\r\n\r\nhello", "no head"},
	{"a line that ends in LF", "HTTP/1.1 200 OK\r\nX: a\nContent-Length: 5\r\n\r\nhello", "no head"},
	{"all lines end in LF", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", "no head"},
	{"the empty line ends in LF", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\nhello", "no head"},
	{"a control character in the reason", "HTTP/1.1 200 O\x01K\r\nContent-Length: 5\r\n\r\nhello", "no head"},
	{"two blanks before the status", "HTTP/1.1  200 OK\r\nContent-Length: 5\r\n\r\nhello", "no head"},
	{"a version to come", "HTTP/1.9 200 OK\r\nContent-Length: 5\r\n\r\nhello", "no head"},
	{"a status below 100", "HTTP/1.1 099 OK\r\nContent-Length: 5\r\n\r\nhello", "no head"},
	{"a change of the protocol", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "no head"},
	{"1xx for ever", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100) + okAnswer, "no head"},
	{"hints that are too long together", strings.Repeat("HTTP/1.1 103 Early Hints\r\nX: "+strings.Repeat("x", maxHead/8)+"\r\n\r\n", 8) + okAnswer, "no head"},
	{"a huge head", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxHead) + "\r\nContent-Length: 0\r\n\r\n", "no head"},
	{"an endless head", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", maxHead/4), "no head"},
	{"a control character in an extension", chunked("5;\x01\r\nhello\r\n0\r\n\r\n"), "broken"},
	{"a trailer that frames", chunked("0\r\nContent-Length: 5\r\n\r\n"), "broken"},
}

func TestStricterThanNetHTTP(t *testing.T) {
	t.Parallel()
	for _, tt := range stricter {
		t.Run(tt.name, func(t *testing.T) {
			each(t, http1Ours, func(t *testing.T, s subject) {
				srv := s.serveRaw(t, sends(tt.wire))
				o := exchanged(s.client(t, Options{}), request(t.Context(), t, "POST", srv.url, ""))
				if o.class() != tt.class {
					t.Errorf("it is %s, want %s", o.class(), tt.class)
				}
			})
		})
	}
}

// Heads up to the limit are fine, in as many pieces as they come.
func TestLargeHead(t *testing.T) {
	t.Parallel()
	each(t, http1, func(t *testing.T, s subject) {
		long := strings.Repeat("x", 200<<10)
		srv := s.serveRaw(t, sends("HTTP/1.1 200 OK\r\nX-Long: "+long+"\r\nContent-Length: 5\r\n\r\nhello"))
		rt := s.client(t, Options{})
		for range 3 {
			o := get(t, rt, request(t.Context(), t, "GET", srv.url, ""))
			if o.Header.Get("X-Long") != long || o.Body != "hello" {
				t.Errorf("a head of %d bytes, body %q", len(o.Header.Get("X-Long")), o.Body)
			}
		}
	})
}

// Header values share memory, which must not show.
func TestHeaderIsTheCallersOwn(t *testing.T) {
	t.Parallel()
	each(t, http1, func(t *testing.T, s subject) {
		srv := s.serveRaw(t, sends("HTTP/1.1 200 OK\r\na-b: 1\r\nSET-COOKIE: x\r\nset-cookie: y\r\nEmpty:\r\nZ:  z \t\r\nContent-Length: 0\r\n\r\n"))
		o := get(t, s.client(t, Options{}), request(t.Context(), t, "GET", srv.url, ""))
		want := http.Header{"A-B": {"1"}, "Set-Cookie": {"x", "y"}, "Empty": {""}, "Z": {"z"}, "Content-Length": {"0"}}
		if !maps.EqualFunc(o.Header, want, func(a, b []string) bool { return reflect.DeepEqual(a, b) }) {
			t.Fatalf("header %v, want %v", o.Header, want)
		}
		for name := range want {
			o.Header.Add(name, "more")
			want.Add(name, "more")
		}
		o.Header.Set("A-B", "2")
		want.Set("A-B", "2")
		if !reflect.DeepEqual(o.Header, want) {
			t.Errorf("after changes: header %v, want %v", o.Header, want)
		}
	})
}

// What comes after an answer's end was not asked for and must not become the
// answer to the next request.
func TestSurplus(t *testing.T) {
	t.Parallel()
	const evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
	for _, first := range []struct{ name, wire, method string }{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "POST"},
		{"no length", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "POST"},
		{"chunks", chunked("5\r\nhello\r\n0\r\n\r\n"), "POST"},
		{"204", "HTTP/1.1 204 No Content\r\n\r\n", "POST"},
		{"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD"},
		{"long", "HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + strings.Repeat("x", 20000), "POST"},
	} {
		t.Run(first.name, func(t *testing.T) {
			each(t, http1Ours, func(t *testing.T, s subject) {
				srv := s.serveRaw(t, answering(func(conn, _ int, _ *http.Request, _ string, c net.Conn) bool {
					wire := "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
					if conn == 0 {
						wire = first.wire + evil
					}
					_, err := c.Write([]byte(wire))
					return err == nil
				}))
				rt := s.client(t, Options{})
				get(t, rt, request(t.Context(), t, first.method, srv.url, ""))
				if o := get(t, rt, request(context.Background(), t, "POST", srv.url, "")); o.Body != "good" {
					t.Errorf("the second answer is %q", o.Body)
				}
			})
		})
	}
}
