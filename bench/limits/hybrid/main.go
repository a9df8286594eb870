// Command hybrid keeps net/http for clients (and so its robustness, and the
// request context that ends when the client leaves) and puts a small pooled
// HTTP/1.1 client in place of http.Transport: the handler's own goroutine
// writes the request and reads the answer, with no other goroutine per
// upstream connection. Cancelling closes the upstream connection.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"ollama-api-pool/bench/internal/h1"
	"ollama-api-pool/bench/limits/internal/pool"
)

type upConn struct {
	c    net.Conn
	r    *h1.Reader
	head h1.Head
	out  []byte
}

type upstream struct {
	addr string
	tls  *tls.Config // nil: plain
	mu   sync.Mutex
	idle []*upConn
}

func (u *upstream) get() (*upConn, bool, error) {
	u.mu.Lock()
	if n := len(u.idle); n > 0 {
		c := u.idle[n-1]
		u.idle = u.idle[:n-1]
		u.mu.Unlock()
		return c, true, nil
	}
	u.mu.Unlock()
	c, err := net.DialTimeout("tcp", u.addr, 10*time.Second)
	if err != nil {
		return nil, false, err
	}
	if u.tls != nil {
		c = tls.Client(c, u.tls)
	}
	return &upConn{c: c, r: h1.NewReader(c, 4<<10)}, false, nil
}

func (u *upstream) put(c *upConn) {
	u.mu.Lock()
	u.idle = append(u.idle, c)
	u.mu.Unlock()
}

var bufs = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func main() {
	p := pool.FromFlags()
	up := &upstream{addr: p.Upstream.Host}
	if p.Upstream.Scheme == "https" {
		up.tls = p.Transport().TLSClientConfig
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !p.Allow(r.Header.Get("Authorization")) {
			http.Error(w, `{"error":{"message":"bad token"}}`, http.StatusUnauthorized)
			return
		}
		buf := bufs.Get().(*bytes.Buffer)
		buf.Reset()
		defer bufs.Put(buf)
		if n := r.ContentLength; n > 0 && n < 8<<20 {
			buf.Grow(int(n) + bytes.MinRead)
		}
		if _, err := buf.ReadFrom(r.Body); err != nil {
			http.Error(w, `{"error":{"message":"bad body"}}`, http.StatusBadRequest)
			return
		}
		var c *upConn
		var stop func() bool
		for {
			var reused bool
			var err error
			if c, reused, err = up.get(); err == nil {
				nc := c.c
				stop = context.AfterFunc(r.Context(), func() { nc.SetDeadline(time.Unix(1, 0)) })
				err = c.send(r, p, buf.Bytes())
			}
			if err == nil {
				err = c.r.ReadHead(&c.head, true)
			}
			if err == nil {
				break
			}
			if c != nil {
				stop()
				c.c.Close()
			}
			if !reused {
				http.Error(w, `{"error":{"message":"upstream failed"}}`, http.StatusBadGateway)
				return
			}
		}
		hd := w.Header()
		if c.head.EventStream {
			hd["Content-Type"] = []string{"text/event-stream"}
		} else {
			hd["Content-Type"] = []string{"application/json"}
			if c.head.ContentLength >= 0 {
				hd["Content-Length"] = []string{strconv.FormatInt(c.head.ContentLength, 10)}
			}
		}
		w.WriteHeader(c.head.Status)
		rc := http.NewResponseController(w)
		if c.head.EventStream {
			rc.Flush()
		}
		n, err := c.r.Body(&c.head, true, func(b []byte) error {
			if _, err := w.Write(b); err != nil {
				return err
			}
			// Flush when nothing more has arrived, not for every event.
			if c.head.EventStream && c.r.Buffered() < 16 {
				return rc.Flush()
			}
			return nil
		})
		p.Bytes.Add(n)
		if !stop() || err != nil || c.head.Close {
			c.c.Close()
			if err != nil && err != io.EOF {
				panic(http.ErrAbortHandler)
			}
			return
		}
		up.put(c)
	})
	log.Fatal((&http.Server{Addr: p.Listen, Handler: h}).ListenAndServe())
}

func (c *upConn) send(r *http.Request, p *pool.Pool, body []byte) error {
	b := append(c.out[:0], r.Method...)
	b = append(b, ' ')
	b = append(b, r.URL.RequestURI()...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, p.Upstream.Host...)
	b = append(b, "\r\nAuthorization: "...)
	b = append(b, p.Pick()...)
	b = append(b, "\r\nContent-Type: application/json\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(b, "\r\n\r\n"...)
	if len(body) <= 8<<10 {
		b = append(b, body...)
		c.out = b
		_, err := c.c.Write(b)
		return err
	}
	c.out = b
	// writev on a plain connection, two writes on TLS.
	v := net.Buffers{b, body}
	_, err := v.WriteTo(c.c)
	return err
}
