package httpkit

import (
	"net/http"

	"ollama-api-pool/internal/gateway"
)

// Handler answers a request or says why it could not. After an error it has
// either written nothing, and the error becomes the answer, or it has begun an
// answer that cannot be completed, and the connection is broken off.
type Handler func(w http.ResponseWriter, r *http.Request) error

// Middleware wraps a handler with one more step.
type Middleware func(Handler) Handler

// Chain puts steps around a handler. The first one sees the request first and
// the answer last.
func Chain(h Handler, outermostFirst ...Middleware) Handler {
	for i := len(outermostFirst) - 1; i >= 0; i-- {
		h = outermostFirst[i](h)
	}
	return h
}

// ErrorWriter answers a request with an error, in the form of one surface.
// WriteAdminError and WriteDataError are the two there are.
type ErrorWriter func(w http.ResponseWriter, r *http.Request, e *gateway.Error, requestID string)

// Entry is where a chain meets net/http: it hands the chain a Response and
// gives the error that comes out of it to answer, provided that nothing was
// sent yet; otherwise the connection is aborted, so that half an answer never
// looks like a whole one. The Response is used again for other requests, so no
// goroutine may hold on to it after its request.
func Entry(h Handler, answer ErrorWriter) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		res := borrowResponse(w)
		defer res.giveBack()
		err := h(res, r)
		switch {
		case err == nil:
		case res.status != 0:
			panic(http.ErrAbortHandler)
		default:
			answer(res, r, gateway.AsError(err), IDOf(res))
		}
	})
}

// NoStore keeps every answer below it out of caches.
func NoStore(next Handler) Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header()["Cache-Control"] = noStore
		return next(w, r)
	}
}

// Header values that never change, shared by all answers. Their capacity is
// their length, so that appending to one copies it.
var (
	noStore  = []string{"no-store"}
	jsonBody = []string{"application/json"}
	bearer   = []string{"Bearer"}
)
