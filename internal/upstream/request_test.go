package upstream

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	"ollama-api-pool/internal/testkit"
)

// What arrives is what net/http would have sent.
func TestRequestsArriveAsFromNetHTTP(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		set  func(req *http.Request)
	}{
		{"plain", func(*http.Request) {}},
		{"no method", func(req *http.Request) { req.Method = "" }},
		{"an odd method", func(req *http.Request) { req.Method = "PURGE" }},
		{"post without a body", func(req *http.Request) { req.Method = "POST" }},
		{"delete without a body", func(req *http.Request) { req.Method = "DELETE" }},
		{"NoBody", func(req *http.Request) { req.Method, req.Body = "PUT", http.NoBody }},
		{"query", func(req *http.Request) { req.URL.RawQuery = "beta=true&x=%20y&z=a+b;c" }},
		{"an empty query", func(req *http.Request) { req.URL.ForceQuery = true }},
		{"fragment", func(req *http.Request) { req.URL.Fragment = "no" }},
		{"escapes", func(req *http.Request) { req.URL.Path, req.URL.RawPath = "/a/b c", "/a%2Fb%20c" }},
		{"escapes that contradict", func(req *http.Request) { req.URL.Path, req.URL.RawPath = "/a b\x01ü", "/other" }},
		{"no path", func(req *http.Request) { req.URL.Path = "" }},
		{"star", func(req *http.Request) { req.Method, req.URL.Path = "OPTIONS", "*" }},
		{"opaque", func(req *http.Request) { req.URL.Opaque = "//" + req.URL.Host + "/opaque%2Fpath" }},
		{"another host", func(req *http.Request) { req.Host = "example.org:81" }},
		{"a strange host", func(req *http.Request) { req.Host = "bücher.example" }},
		{"headers", func(req *http.Request) {
			req.Header = http.Header{"X-One": {" padded\t"}, "X-Two": {"a", "b"}, "x-raw": {"é\xff"}, "Empty": {""}, "None": nil, "User-Agent": {"me/1"}}
		}},
		{"no user agent", func(req *http.Request) { req.Header["User-Agent"] = []string{""} }},
		{"what is ours to say", func(req *http.Request) {
			req.Header["Host"], req.Header["Content-Length"] = []string{"evil"}, []string{"99"}
			req.Header["Transfer-Encoding"], req.Header["Trailer"] = []string{"gzip"}, []string{"X"}
		}},
		{"close", func(req *http.Request) { req.Close = true }},
		{"body", func(req *http.Request) { forms[0].set(req, []byte("hello")) }},
		{"body with GET", func(req *http.Request) { req.Method = "GET"; forms[0].set(req, []byte("hello")) }},
		{"body of unknown length", func(req *http.Request) { forms[3].set(req, []byte("hello")) }},
		{"body of a length that was not told", func(req *http.Request) { forms[3].set(req, []byte("hello")); req.ContentLength = 0 }},
		{"trailer", func(req *http.Request) {
			forms[3].set(req, []byte("hello"))
			req.Trailer = http.Header{"X-Sum": {"1"}}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			each(t, http1Ours, func(t *testing.T, s subject) {
				type seen struct {
					Method, URI, Host, Body string
					Header, Trailer         http.Header
					Length                  int64
					Coding                  []string
					Close                   bool
				}
				var got seen
				srv := s.serveRaw(t, answering(func(_, _ int, req *http.Request, body string, c net.Conn) bool {
					got = seen{req.Method, req.RequestURI, req.Host, body, req.Header, req.Trailer, req.ContentLength, req.TransferEncoding, req.Close}
					_, _ = io.WriteString(c, okAnswer)
					return !req.Close
				}))
				reference := netHTTP
				if s.secure {
					reference = netHTTPTLS
				}
				var both []seen
				for _, who := range []subject{reference, s} {
					req := request(t.Context(), t, "GET", srv.url+"/v1/path", "")
					req.Header.Set("User-Agent", "test")
					tt.set(req)
					rt := who.client(t, Options{})
					get(t, rt, req)
					both = append(both, got)
				}
				if !reflect.DeepEqual(both[0], both[1]) {
					t.Errorf("net/http %+v\nours     %+v", both[0], both[1])
				}
			})
		})
	}
}

// What speaks of one connection is not the caller's to say.
func TestHopByHopHeadersAreNotSent(t *testing.T) {
	t.Parallel()
	each(t, http1Ours, func(t *testing.T, s subject) {
		u, rt := s.upstream(t, Options{})
		req := request(t.Context(), t, "POST", u.URL, "x")
		for _, name := range []string{"Connection", "Keep-Alive", "Proxy-Connection", "TE", "Upgrade", "Transfer-Encoding", "Trailer", "x-stays"} {
			req.Header[name] = []string{"x"}
		}
		get(t, rt, req)
		want := http.Header{"X-Stays": {"x"}, "Content-Length": {"1"}}
		if got := u.Calls()[0].Header; !reflect.DeepEqual(got, want) {
			t.Errorf("header %v, want %v", got, want)
		}
	})
}

// Nothing that a caller passes on may begin a line of its own.
func TestInjection(t *testing.T) {
	t.Parallel()
	const secret = "sk-test-do-not-show"
	for name, set := range map[string]func(req *http.Request){
		"a line in a value":      func(req *http.Request) { req.Header["X"] = []string{secret + "\r\nEvil: 1"} },
		"LF in a value":          func(req *http.Request) { req.Header["X"] = []string{secret + "\nEvil: 1"} },
		"CR in a value":          func(req *http.Request) { req.Header["X"] = []string{secret + "\rEvil: 1"} },
		"NUL in a value":         func(req *http.Request) { req.Header["X"] = []string{secret + "\x00"} },
		"a line in a name":       func(req *http.Request) { req.Header["X: 1\r\nEvil"] = []string{"1"} },
		"a blank in a name":      func(req *http.Request) { req.Header["Transfer-Encoding "] = []string{"chunked"} },
		"an empty name":          func(req *http.Request) { req.Header[""] = []string{"1"} },
		"a line in the method":   func(req *http.Request) { req.Method = "GET / HTTP/1.1\r\nEvil: 1\r\n" },
		"a blank in the method":  func(req *http.Request) { req.Method = "GET /" },
		"a line in the query":    func(req *http.Request) { req.URL.RawQuery = "a HTTP/1.1\r\nEvil: 1" },
		"a blank in the query":   func(req *http.Request) { req.URL.RawQuery = "a HTTP/1.1" },
		"a control in the query": func(req *http.Request) { req.URL.RawQuery = "a\x7f" },
		"a line in opaque":       func(req *http.Request) { req.URL.Opaque = "//x/\r\nEvil: 1" },
		"a line in the host":     func(req *http.Request) { req.Host = "x\r\nEvil: 1" },
		"a blank in the host":    func(req *http.Request) { req.Host = "x y" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u, rt := ours.upstream(t, Options{})
			req := request(t.Context(), t, "GET", u.URL+"/x", "")
			set(req)
			o := exchanged(rt, req)
			for _, c := range u.Calls() {
				if c.Header.Get("Evil") != "" || c.Method != "GET" || c.RawQuery != "" {
					t.Errorf("arrived: %+v", c)
				}
			}
			if o.HeadErr == nil && name != "a line in the host" && name != "a blank in the host" { // net/http escapes some
				t.Error("it was sent")
			}
			if o.HeadErr != nil {
				testkit.MustNotContain(t, o.HeadErr.Error(), secret)
			}
		})
	}
}

// countedConn counts writes.
type countedConn struct {
	net.Conn
	writes *atomic.Int32
}

func (c countedConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// Head and small body go out in one write, over TLS in one record.
func TestOneWrite(t *testing.T) {
	t.Parallel()
	each(t, http1Ours, func(t *testing.T, s subject) {
		u, rt := s.upstream(t, Options{})
		var writes atomic.Int32
		rt.(*Client).dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			return countedConn{c, &writes}, err
		}
		get(t, rt, request(t.Context(), t, "POST", u.URL, "x"))
		for _, size := range []int{0, 1, 300, joinedPlain} {
			writes.Store(0)
			get(t, rt, request(t.Context(), t, "POST", u.URL, strings.Repeat("x", size)))
			if n := writes.Load(); n != 1 {
				t.Errorf("%d bytes: %d writes", size, n)
			}
		}
	})
}

func TestUserInfoIsNotSent(t *testing.T) {
	t.Parallel()
	u, rt := ours.upstream(t, Options{})
	to, err := url.Parse(u.URL)
	if err != nil {
		t.Fatal(err)
	}
	to.User = url.UserPassword("u", "p")
	get(t, rt, request(t.Context(), t, "GET", to.String(), ""))
	if c := u.Calls()[0]; c.Host != u.Addr || c.Header.Get("Authorization") != "" {
		t.Errorf("host %q, header %v", c.Host, c.Header)
	}
}

// Whatever is not refused arrives as one request, with what it was given.
func FuzzRequest(f *testing.F) {
	f.Add("GET", "/v1/models/a b", "", "beta=true", "X-Title", "some title", "")
	f.Add("POST", "/a/b", "/a%2Fb", "", "content-type", "a/b; c=\"d\"", "example.org:8080")
	f.Add("", "", "", "?", "Host", "evil", "[::1]:80")
	f.Add("GET /", "*", "", "a b", "X:", "\r\nEvil: 1", "x\r\n")
	f.Add("DELETE", "//x/y", "", "%", "Transfer-Encoding", "chunked", "")
	f.Fuzz(func(t *testing.T, method, path, rawPath, query, name, value, host string) {
		req := &http.Request{
			Method: method, Host: host, Header: http.Header{name: {value}},
			URL: &url.URL{Scheme: "http", Host: "upstream.test", Path: path, RawPath: rawPath, RawQuery: query},
		}
		if !ordinary(req) || check(req) != nil || strings.EqualFold(name, "Pragma") { // ReadRequest adds to that
			return
		}
		br := bufio.NewReader(bytes.NewReader(appendHead(nil, req, 0)))
		got, err := http.ReadRequest(br)
		if err != nil {
			if strings.Contains(err.Error(), "invalid URI") || strings.Contains(err.Error(), "parse ") {
				return // a path that is none
			}
			t.Fatalf("it cannot be read: %v", err)
		}
		if rest, _ := io.ReadAll(br); len(rest) > 0 {
			t.Errorf("%q is left", rest)
		}
		if got.Method != orGet(method) || got.Host != host && host != "" || got.URL.RawQuery != query {
			t.Errorf("%s %s?%s, host %s", got.Method, got.URL.Path, got.URL.RawQuery, got.Host)
		}
		got.Header.Del("Content-Length")
		switch {
		case unsent(name) || name == "User-Agent" && value == "":
			if len(got.Header) > 0 && !strings.EqualFold(name, "Content-Length") {
				t.Errorf("header %v", got.Header)
			}
		case got.Header.Get(name) != trim(value) || len(got.Header) != 1:
			t.Errorf("header %v, want %q: %q", got.Header, name, value)
		}
	})
}
