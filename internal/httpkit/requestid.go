package httpkit

import (
	"math/rand/v2"
	"net/http"

	"ollama-api-pool/internal/gateway"
)

const (
	requestIDHeader = "X-Request-Id"
	maxRequestID    = 128
	newRequestIDLen = 20
	requestIDDigits = "0123456789abcdefghijklmnopqrstuv"
)

// RequestID is the name of a request in answers and logs: the client's own
// X-Request-Id where it sent 1 to 128 characters of [A-Za-z0-9._-], otherwise
// 20 random ones (100 bits).
func RequestID(r *http.Request) string {
	if v := r.Header[requestIDHeader]; len(v) > 0 && saneRequestID(v[0]) {
		return v[0]
	}
	return newRequestID()
}

func saneRequestID(s string) bool {
	if s == "" || len(s) > maxRequestID {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// newRequestID draws from the runtime's generator, which has a state per
// thread and takes no lock. An id guards nothing, so it need not come from
// the cryptographic source.
func newRequestID() string {
	var id [newRequestIDLen]byte
	for half := range 2 {
		bits := rand.Uint64() //nolint:gosec // names a request, guards nothing
		for i := range newRequestIDLen / 2 {
			id[half*newRequestIDLen/2+i] = requestIDDigits[bits%32]
			bits /= 32
		}
	}
	return string(id[:])
}

// Identify gives the request its id: in the answer's X-Request-Id, where IDOf
// finds it again, and in the exchange where there is one. An exchange that has
// an id already keeps it.
func Identify(next Handler) Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		x := gateway.ExchangeFrom(r.Context())
		var id string
		switch {
		case x == nil:
			id = RequestID(r)
		case x.RequestID == "":
			x.RequestID = RequestID(r)
			id = x.RequestID
		default:
			id = x.RequestID
		}
		w.Header()[requestIDHeader] = []string{id}
		return next(w, r)
	}
}

// IDOf gives the id that Identify gave the request which w answers, or "".
func IDOf(w http.ResponseWriter) string {
	if v := w.Header()[requestIDHeader]; len(v) > 0 {
		return v[0]
	}
	return ""
}
