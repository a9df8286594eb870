package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// ordinary reports whether a request is one for the HTTP/1.1 of this package.
func ordinary(req *http.Request) bool {
	return req.Method != http.MethodConnect && len(req.Trailer) == 0 && len(req.TransferEncoding) == 0 &&
		(req.Host == "" || req.Host == req.URL.Host || plainHost(req.Host))
}

// plainHost reports whether a host can be dialled and named as it stands there.
func plainHost(host string) bool {
	for i := range len(host) {
		if class[host[i]]&inHost == 0 {
			return false
		}
	}
	return host != ""
}

// check refuses what would not arrive as it was meant. Its errors repeat no
// value, since that may be a secret.
func check(req *http.Request) error {
	if req.Method != "" && !isToken(req.Method) {
		return fmt.Errorf("request: invalid method %q", req.Method)
	}
	if req.URL.Opaque != "" && !isTarget(req.URL.RequestURI()) || !isTarget(req.URL.RawQuery) {
		return errors.New("request: the URL has a blank or a control character")
	}
	for name, values := range req.Header {
		if !isToken(name) {
			return fmt.Errorf("request: invalid header field name %q", name)
		}
		for _, value := range values {
			if !isValue(value) {
				return fmt.Errorf("request: invalid value of header field %q", name)
			}
		}
	}
	return nil
}

func isTarget(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// unsent are fields that are written from the request's own members, or that
// speak of one connection only.
func unsent(name string) bool {
	switch len(name) {
	case 2, 4, 7, 10, 14, 16, 17:
	default:
		return false
	}
	switch strings.ToLower(name) {
	case "te", "host", "trailer", "upgrade", "connection", "keep-alive",
		"content-length", "proxy-connection", "transfer-encoding":
		return true
	}
	return false
}

// appendHead writes the request's head.
func appendHead(b []byte, req *http.Request, length int64) []byte {
	b = appendTarget(append(b, orGet(req.Method)...), req)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	if req.Host != "" {
		b = append(b, req.Host...)
	} else {
		b = append(b, req.URL.Host...)
	}
	b = append(b, "\r\n"...)
	for name, values := range req.Header {
		if unsent(name) || name == "User-Agent" && len(values) > 0 && values[0] == "" {
			continue
		}
		for _, value := range values {
			b = append(append(b, name...), ": "...)
			b = append(append(b, trim(value)...), "\r\n"...)
		}
	}
	switch {
	case length > 0 || length == 0 && expectsBody(req.Method):
		b = strconv.AppendInt(append(b, "Content-Length: "...), length, 10)
		b = append(b, "\r\n"...)
	case length < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	if req.Close {
		b = append(b, "Connection: close\r\n"...)
	}
	return append(b, "\r\n"...)
}

func orGet(method string) string {
	if method == "" {
		return http.MethodGet
	}
	return method
}

func appendTarget(b []byte, req *http.Request) []byte {
	u := req.URL
	b = append(b, ' ')
	if u.Opaque != "" {
		return append(b, u.RequestURI()...)
	}
	path := u.EscapedPath()
	if path == "" || path[0] != '/' && path != "*" {
		b = append(b, '/')
	}
	b = append(b, path...)
	if u.ForceQuery || u.RawQuery != "" {
		b = append(append(b, '?'), u.RawQuery...)
	}
	return b
}

// expectsBody tells the methods for which the absence of a body is told.
func expectsBody(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

// bodyLength is the length of the body that is to be sent: -1 where it is not
// known, 0 where there is none.
func bodyLength(req *http.Request) int64 {
	switch {
	case req.Body == nil || req.Body == http.NoBody:
		return 0
	case req.ContentLength > 0:
		return req.ContentLength
	}
	return -1
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close() // nothing hangs on it
	}
}

// mayRepeat reports whether a request does no harm when it is done twice: by
// its method, or because it says so. The rule is net/http's.
func mayRepeat(req *http.Request) bool {
	switch orGet(req.Method) {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	_, ok := req.Header["Idempotency-Key"]
	if !ok {
		_, ok = req.Header["X-Idempotency-Key"]
	}
	return ok
}

// rewind gives the request with a body that has not been read yet.
func rewind(req *http.Request) (*http.Request, error) {
	if bodyLength(req) == 0 {
		return req, nil
	}
	body, err := req.GetBody()
	if err != nil {
		return nil, fmt.Errorf("get the request's body again: %w", err)
	}
	again := *req
	again.Body = body
	return &again, nil
}
