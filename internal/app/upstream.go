package app

import (
	"net"
	"net/http"
	"time"

	"ollama-api-pool/internal/config"
)

// Limits of a connection to an upstream. How long an answer may take is the
// configuration's; these bound what comes before it.
const (
	dialTimeout      = 10 * time.Second
	tlsTimeout       = 10 * time.Second
	keepAlive        = 30 * time.Second
	idleConnTimeout  = 90 * time.Second
	idleConnsPerHost = 1024
)

// newTransport makes the client side of one upstream: HTTP/2 where the upstream
// offers it, else HTTP/1.1 with connections kept for reuse. A proxy is taken
// from the environment as usual (HTTPS_PROXY, NO_PROXY).
func newTransport(cfg *config.Config) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   tlsTimeout,
		ResponseHeaderTimeout: cfg.UpstreamHeaderTimeout,
		IdleConnTimeout:       idleConnTimeout,
		MaxIdleConns:          4 * idleConnsPerHost,
		MaxIdleConnsPerHost:   idleConnsPerHost,
		DisableCompression:    true, // answers are passed on as they come
	}
}
