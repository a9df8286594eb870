// Command handcopy is net/http on both sides without ReverseProxy: the body is
// read whole into a pooled buffer (so that it could be sent again with another
// key), headers are shared rather than cloned, and the answer is copied by hand.
package main

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"ollama-api-pool/bench/limits/internal/pool"
)

var (
	bufs   = sync.Pool{New: func() any { return new(bytes.Buffer) }}
	copies = sync.Pool{New: func() any { b := make([]byte, 16<<10); return &b }}
)

func main() {
	p := pool.FromFlags()
	tr := p.Transport()
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
		// The transport must see that the body is in memory (a bytes.Reader in a
		// NopCloser): otherwise it sends the head in a write of its own.
		b := io.NopCloser(bytes.NewReader(buf.Bytes()))
		out := (&http.Request{
			Method:        r.Method,
			URL:           &url.URL{Scheme: p.Upstream.Scheme, Host: p.Upstream.Host, Path: r.URL.Path, RawQuery: r.URL.RawQuery},
			Proto:         "HTTP/1.1",
			ProtoMajor:    1,
			ProtoMinor:    1,
			Host:          p.Upstream.Host,
			Header:        http.Header{"Authorization": {p.Pick()}, "Content-Type": {"application/json"}, "User-Agent": {""}},
			Body:          b,
			ContentLength: int64(buf.Len()),
		}).WithContext(r.Context())
		resp, err := tr.RoundTrip(out)
		if err != nil {
			http.Error(w, `{"error":{"message":"upstream failed"}}`, http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		hdr := w.Header()
		for k, v := range resp.Header {
			switch k {
			case "Connection", "Transfer-Encoding", "Keep-Alive":
			default:
				hdr[k] = v
			}
		}
		w.WriteHeader(resp.StatusCode)
		cp := copies.Get().(*[]byte)
		defer copies.Put(cp)
		sse := resp.ContentLength < 0 && strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream")
		var rc *http.ResponseController
		if sse {
			rc = http.NewResponseController(w)
			rc.Flush()
		}
		for {
			n, err := resp.Body.Read(*cp)
			if n > 0 {
				p.Bytes.Add(int64(n))
				if _, werr := w.Write((*cp)[:n]); werr != nil {
					return
				}
				if sse {
					rc.Flush()
				}
			}
			if err == io.EOF {
				return
			}
			if err != nil {
				panic(http.ErrAbortHandler)
			}
		}
	})
	log.Fatal((&http.Server{Addr: p.Listen, Handler: h}).ListenAndServe())
}
