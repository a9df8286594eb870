// Command revproxy is the least proxy one writes with net/http and
// httputil.ReverseProxy.
package main

import (
	"log"
	"net/http"
	"net/http/httputil"
	"sync"

	"ollama-api-pool/bench/limits/internal/pool"
)

type buffers struct{ p sync.Pool }

func (b *buffers) Get() []byte  { return *b.p.Get().(*[]byte) }
func (b *buffers) Put(x []byte) { b.p.Put(&x) }

func main() {
	p := pool.FromFlags()
	rp := &httputil.ReverseProxy{
		Transport:     p.Transport(),
		FlushInterval: -1,
		BufferPool:    &buffers{sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(p.Upstream)
			r.Out.Header["Authorization"] = []string{p.Pick()}
		},
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !p.Allow(r.Header.Get("Authorization")) {
			http.Error(w, `{"error":{"message":"bad token"}}`, http.StatusUnauthorized)
			return
		}
		rp.ServeHTTP(w, r)
	})
	log.Fatal((&http.Server{Addr: p.Listen, Handler: h}).ListenAndServe())
}
