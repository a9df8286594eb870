package app

import (
	"time"

	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/upstream"
)

// Limits of a connection to an upstream. How long an answer may take is the
// configuration's; these bound what comes before it.
const (
	dialTimeout      = 10 * time.Second
	tlsTimeout       = 10 * time.Second
	idleConnTimeout  = 90 * time.Second
	idleConnsPerHost = 1024
)

// newTransport makes the client side of the upstreams: HTTP/2 where an upstream
// offers it, else HTTP/1.1 with connections kept for reuse. A proxy is taken
// from the environment as usual (HTTPS_PROXY, NO_PROXY).
func newTransport(cfg *config.Config) *upstream.Client {
	return upstream.New(upstream.Options{
		HeaderTimeout: cfg.UpstreamHeaderTimeout,
		DialTimeout:   dialTimeout,
		TLSTimeout:    tlsTimeout,
		IdleTimeout:   idleConnTimeout,
		MaxIdle:       idleConnsPerHost,
	})
}
