package provider

import (
	"net/http"
	"strings"
)

// passedOn are the client's headers that reach the upstream. Everything else
// stays here: credentials, cookies, what proxies in front of us added.
var passedOn = [...]string{
	"Content-Type",
	"Accept",
	"User-Agent",
	"Accept-Language",
	"Anthropic-Version",
	"Anthropic-Beta",
	"Openai-Beta",
	"Http-Referer",
	"X-Title",
}

// SetHeaders fills the header of an upstream request: what the client may pass
// on, the key ("Bearer …" ready made), and our own name where the client sent
// none. dst and the client's header share values afterwards; neither side may
// write into them.
func (a *Adapter) SetHeaders(dst, client http.Header, bearer string) {
	hops := client["Connection"]
	for _, name := range passedOn {
		if v := client[name]; len(v) > 0 && !lists(hops, name) {
			dst[name] = v
		}
	}
	dst["Authorization"] = []string{bearer}
	dst["Accept-Encoding"] = a.identity
	if v := dst["User-Agent"]; len(v) == 0 || v[0] == "" {
		dst["User-Agent"] = a.userAgent
	}
	if a.referer != nil && len(dst["Http-Referer"]) == 0 {
		dst["Http-Referer"] = a.referer
	}
	if a.title != nil && len(dst["X-Title"]) == 0 {
		dst["X-Title"] = a.title
	}
}

// The upstream's request id, as it comes and as it is passed on; the first
// name belongs to our own id.
const (
	requestID         = "X-Request-Id"
	upstreamRequestID = "X-Upstream-Request-Id"
)

// CopyResponseHeaders passes an upstream's header on: everything that is meant
// for the far end, but not the upstream's CORS headers, which speak of other
// origins than ours. dst shares the values of src afterwards; a Vary that dst
// has already is kept, and so is what it says of the client's own limits.
func CopyResponseHeaders(dst, src http.Header) {
	hops := src["Connection"]
	for name, v := range src {
		switch {
		case isHopByHop(name), strings.HasPrefix(name, "Access-Control-"), lists(hops, name):
		case name == requestID:
		case strings.HasPrefix(name, "X-Ratelimit-") && len(dst[name]) > 0:
		case name == "Vary" && len(dst[name]) > 0:
			dst[name] = append(dst[name][:len(dst[name]):len(dst[name])], v...)
		default:
			dst[name] = v
		}
	}
	if v := src[requestID]; len(v) > 0 && !lists(hops, requestID) {
		dst[upstreamRequestID] = v
	}
}

// RequestIDOf is what the upstream that sent a header calls its answer, "" where
// it does not say.
func RequestIDOf(h http.Header) string {
	if v := h[requestID]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// isHopByHop knows the headers that concern one connection only (RFC 9110,
// section 7.6.1, and what older agents send).
func isHopByHop(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// lists reports whether the values of a Connection header name a header.
func lists(connection []string, name string) bool {
	for _, v := range connection {
		for v != "" {
			var token string
			token, v, _ = strings.Cut(v, ",")
			if strings.EqualFold(strings.TrimSpace(token), name) {
				return true
			}
		}
	}
	return false
}
