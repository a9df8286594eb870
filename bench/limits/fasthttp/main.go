// Command fasthttp is the same proxy on valyala/fasthttp. It neither notices a
// client that leaves before the next write nor speaks HTTP/2.
package main

import (
	"log"
	"time"

	"github.com/valyala/fasthttp"

	"ollama-api-pool/bench/limits/internal/pool"
)

func main() {
	p := pool.FromFlags()
	hc := &fasthttp.HostClient{
		Addr:                          p.Upstream.Host,
		MaxConns:                      20000,
		StreamResponseBody:            true,
		NoDefaultUserAgentHeader:      true,
		DisableHeaderNamesNormalizing: true,
		DisablePathNormalizing:        true,
		MaxIdleConnDuration:           90 * time.Second,
		MaxResponseBodySize:           64 << 20,
		RetryIfErr:                    func(*fasthttp.Request, int, error) (bool, bool) { return false, false },
	}
	srv := &fasthttp.Server{
		NoDefaultServerHeader: true,
		NoDefaultDate:         true,
		MaxRequestBodySize:    64 << 20,
		Handler: func(ctx *fasthttp.RequestCtx) {
			if !p.AllowBytes(ctx.Request.Header.Peek("Authorization")) {
				ctx.Error(`{"error":{"message":"bad token"}}`, 401)
				return
			}
			req := &ctx.Request
			req.Header.Set("Authorization", p.Pick())
			req.SetHost(p.Upstream.Host)
			ctx.Response.ImmediateHeaderFlush = true
			if err := hc.Do(req, &ctx.Response); err != nil {
				ctx.Error(`{"error":{"message":"upstream failed"}}`, 502)
				return
			}
			ctx.Response.Header.Del("Connection")
		},
	}
	log.Fatal(srv.ListenAndServe(p.Listen))
}
