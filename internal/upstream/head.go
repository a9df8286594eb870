package upstream

import (
	"net/http"
	"strings"
)

// setHead reads the head of an answer, up to and with the empty line, into resp
// and tells how the body is framed.
func setHead(resp *http.Response, raw, method string) (f frame, err error) {
	line, rest, ok := cutLine(raw)
	if !ok {
		return f, malformed("the status line does not end in CRLF")
	}
	if err := setStatus(resp, line); err != nil {
		return f, err
	}
	if resp.Header, err = parseFields(rest[:len(rest)-2]); err != nil {
		return f, err
	}
	return setBody(resp, method)
}

// setStatus reads the status line (RFC 9112, section 4). The blank after a code
// without a reason may be missing, as it is in the answers of many servers.
func setStatus(resp *http.Response, line string) error {
	const version = "HTTP/1.x "
	if len(line) < len(version)+3 || line[:7] != "HTTP/1." || line[8] != ' ' ||
		line[7] != '0' && line[7] != '1' {
		return malformed("not a status line of HTTP/1.0 or 1.1")
	}
	code := 0
	for _, c := range []byte(line[9:12]) {
		if c < '0' || c > '9' {
			return malformed("a status that is no number")
		}
		code = code*10 + int(c-'0')
	}
	if code < 100 || len(line) > 12 && line[12] != ' ' || !isValue(line[12:]) {
		return malformed("a status line of another form")
	}
	resp.Status, resp.StatusCode = line[9:], code
	resp.Proto, resp.ProtoMajor, resp.ProtoMinor = line[:8], 1, int(line[7]-'0')
	return nil
}

// setBody tells how long the body is (RFC 9112, section 6.3). Both lengths at
// once, or a transfer coding other than chunked, are refused: that is how
// somebody's answer is passed off as the next one's.
func setBody(resp *http.Response, method string) (frame, error) {
	h := resp.Header
	chunked, err := isChunked(resp)
	if err != nil {
		return frame{}, err
	}
	length, err := contentLength(h)
	if err != nil {
		return frame{}, err
	}
	if chunked && length >= 0 {
		return frame{}, malformed("both Content-Length and Transfer-Encoding")
	}
	setClose(resp)
	if chunked {
		delete(h, "Transfer-Encoding")
		if err := setTrailer(resp); err != nil {
			return frame{}, err
		}
	}
	bare := resp.StatusCode < 200 || resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified
	f := frame{last: resp.Close, left: length}
	switch {
	case method == http.MethodHead:
		resp.ContentLength = length
	case bare:
		resp.ContentLength = 0
		f.last = f.last || chunked || length > 0 && resp.StatusCode != http.StatusNotModified // it may come all the same
	case chunked:
		f.kind, f.left, resp.ContentLength = byChunks, 0, -1
	case length < 0:
		f.kind, f.last, resp.ContentLength, resp.Close = byClose, true, -1, true
	default:
		f.kind, resp.ContentLength = byLength, length
	}
	return f, nil
}

// setClose tells whether the connection ends with this answer (RFC 9112,
// section 9.3). Where it says so, Connection has done its work, as in net/http.
func setClose(resp *http.Response) {
	connection := resp.Header["Connection"]
	if hasToken(connection, "close") {
		resp.Close = true
		delete(resp.Header, "Connection")
		return
	}
	resp.Close = resp.ProtoMinor == 0 && !hasToken(connection, "keep-alive")
}

// isChunked reads Transfer-Encoding.
func isChunked(resp *http.Response) (bool, error) {
	codings, ok := resp.Header["Transfer-Encoding"]
	switch {
	case !ok:
		return false, nil
	case resp.ProtoMinor == 0:
		return false, malformed("Transfer-Encoding in HTTP/1.0")
	case len(codings) != 1 || !strings.EqualFold(codings[0], "chunked"):
		return false, malformed("a Transfer-Encoding other than chunked")
	}
	codings[0] = "chunked"
	resp.TransferEncoding = codings
	return true, nil
}

// contentLength reads Content-Length; -1 means that there is none. Several that
// agree are taken for one.
func contentLength(h http.Header) (int64, error) {
	values, ok := h["Content-Length"]
	if !ok {
		return -1, nil
	}
	first := values[0]
	for _, v := range values[1:] {
		if v != first {
			return 0, malformed("different Content-Lengths")
		}
	}
	if len(values) > 1 {
		h["Content-Length"] = values[:1]
	}
	if len(first) == 0 || len(first) > 18 {
		return 0, malformed("a Content-Length that is no length")
	}
	var n int64
	for _, c := range []byte(first) {
		if c < '0' || c > '9' {
			return 0, malformed("a Content-Length that is no number")
		}
		n = n*10 + int64(c-'0')
	}
	return n, nil
}

// setTrailer notes the fields that are announced to come after the body.
func setTrailer(resp *http.Response) error {
	lists, ok := resp.Header["Trailer"]
	if !ok {
		return nil
	}
	delete(resp.Header, "Trailer")
	for _, list := range lists {
		for list != "" {
			var name string
			name, list, _ = strings.Cut(list, ",")
			if name = http.CanonicalHeaderKey(trim(name)); name == "" {
				continue
			}
			if isFraming(name) {
				return malformed("a trailer that would change the framing")
			}
			if resp.Trailer == nil {
				resp.Trailer = http.Header{}
			}
			resp.Trailer[name] = nil
		}
	}
	return nil
}

// isFraming tells the fields that mean something at the beginning only.
func isFraming(name string) bool {
	return name == "Transfer-Encoding" || name == "Content-Length" || name == "Trailer"
}
