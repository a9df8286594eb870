package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// call is one request being answered. It belongs to the request's goroutine.
type call struct {
	*Simulator
	face
	w       http.ResponseWriter
	r       *http.Request
	key     string
	started time.Time
	wrote   bool // the status is out
	slow    int  // how many times as long as usual the answer takes; 0: once
}

// open makes a handler of what needs no key by itself; method "" takes all.
func (s *Simulator) open(method string, f face, h func(*call)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{Simulator: s, face: f, w: w, r: r, started: time.Now()}
		c.key, _ = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		head := r.Method == http.MethodHead && method == http.MethodGet
		if method != "" && r.Method != method && !head {
			w.Header().Set("Allow", method)
			c.refuse(http.StatusMethodNotAllowed, "method not allowed")
			return
		}
		h(c)
	})
}

func noSuchPath(c *call) {
	c.refuse(http.StatusNotFound, fmt.Sprintf("path %q not found", c.r.URL.Path))
}

// status sends the status line and counts it.
func (c *call) status(status int) {
	if !c.wrote {
		c.wrote = true
		c.count(c.key, status)
		c.w.WriteHeader(status)
	}
}

// json sends a whole answer.
func (c *call) json(status int, v any) {
	c.w.Header().Set("Content-Type", "application/json; charset=utf-8")
	c.status(status)
	_, _ = c.w.Write(encode(v))
}

// encode writes JSON as the upstreams do: without escapes for HTML.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("simulator: an answer that is no JSON: %v", err)) // the types here all are
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// stream begins an answer that comes in parts.
func (c *call) stream(contentType string) {
	c.w.Header().Set("Content-Type", contentType)
	c.w.Header().Set("Cache-Control", "no-cache")
	c.status(http.StatusOK)
}

// send writes a part and flushes it; a client that is gone shows in the
// request's context.
func (c *call) send(part string) {
	_, _ = c.w.Write([]byte(part))
	_ = http.NewResponseController(c.w).Flush()
}

// line sends one line of newline-delimited JSON.
func (c *call) line(v any) { c.send(string(encode(v)) + "\n") }

// data sends one event without a name.
func (c *call) data(v any) { c.send("data: " + string(encode(v)) + "\n\n") }

// event sends one event with a name.
func (c *call) event(name string, v any) {
	c.send("event: " + name + "\ndata: " + string(encode(v)) + "\n\n")
}

// take waits as long as it takes to say n words, and reports whether the client
// is still there.
func (c *call) take(n int) bool {
	if c.pace <= 0 {
		return c.r.Context().Err() == nil
	}
	t := time.NewTimer(time.Duration(n*max(c.slow, 1)) * c.pace)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.r.Context().Done():
		return false
	}
}

// say streams the words: each is given to f after its pause. It reports whether
// the client stayed to the end.
func (c *call) say(words []string, f func(word string)) bool {
	for _, word := range words {
		if !c.take(1) {
			return false
		}
		f(word)
	}
	return c.r.Context().Err() == nil
}

// id makes an identifier that no other answer of this simulator has.
func (c *call) id(prefix string) string {
	return fmt.Sprintf("%s%016x", prefix, c.counter.Add(1))
}
