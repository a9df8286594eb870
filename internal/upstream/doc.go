// Package upstream is the client side of an upstream: an http.RoundTripper for
// many short requests and long streams to few addresses. It speaks HTTP/1.1
// itself, in the goroutine of the caller: no goroutine per connection, no
// hand-over between goroutines, no copy that can be saved. What is rarer goes
// through net/http: HTTP/2 where a server offers it, proxies, unusual requests.
//
// It is stricter than net/http about what an answer may look like (RFC 9112),
// and like it about everything that a caller can see.
package upstream
