package httpkit

import (
	"io"
	"net/http"
	"sync"
)

// Response is a ResponseWriter that remembers what was sent. Entry makes it;
// it belongs to the request's goroutine. Flushing and everything else that
// http.ResponseController offers reaches the writer below.
type Response struct {
	http.ResponseWriter
	status int
}

var responses = sync.Pool{New: func() any { return new(Response) }}

func borrowResponse(w http.ResponseWriter) *Response {
	res, _ := responses.Get().(*Response)
	res.ResponseWriter = w
	return res
}

func (w *Response) giveBack() {
	*w = Response{}
	responses.Put(w)
}

// Status is the status that was sent, 0 while none was.
func (w *Response) Status() int { return w.status }

// Unwrap gives the writer below to http.ResponseController.
func (w *Response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader sends the head. Informational heads (1xx) may precede it.
func (w *Response) WriteHeader(status int) {
	if w.status == 0 && (status >= http.StatusOK || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write sends a part of the body, with a 200 head before the first one.
func (w *Response) Write(p []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(p)
}

// ReadFrom sends all of src as a part of the body, in the writer's own way
// where it has one (net/http's spares a buffer for files).
func (w *Response) ReadFrom(src io.Reader) (int64, error) {
	w.begin()
	return io.Copy(w.ResponseWriter, src)
}

// Flush sends what is buffered, where the writer below can.
func (w *Response) Flush() { _ = w.FlushError() }

// FlushError sends what is buffered. It fails with http.ErrNotSupported where
// the writer below cannot flush.
func (w *Response) FlushError() error {
	w.begin()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *Response) begin() {
	if w.status == 0 {
		w.status = http.StatusOK
	}
}

// responseOf finds the Response among the layers of w, or gives nil.
func responseOf(w http.ResponseWriter) *Response {
	for {
		if res, ok := w.(*Response); ok {
			return res
		}
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return nil
		}
		w = u.Unwrap()
	}
}

// bottom takes every layer off w: http.MaxBytesReader tells only net/http's
// own writer to close the connection.
func bottom(w http.ResponseWriter) http.ResponseWriter {
	for {
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = u.Unwrap()
	}
}
