package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// tcpKeepAlive is the time between probes of a silent connection.
const tcpKeepAlive = 30 * time.Second

// How long a connection of HTTP/2 may be silent before it is pinged, and how
// long the answer to that may take.
const (
	pingAfter   = 30 * time.Second
	pingTimeout = 15 * time.Second
)

// maxHosts bounds how many addresses a Client keeps connections to. They come
// from the settings, so there are few; any more are left to net/http.
const maxHosts = 64

// Options are a Client's limits and surroundings. A limit of 0 is none.
type Options struct {
	HeaderTimeout time.Duration // from the end of a request to the head of its answer
	DialTimeout   time.Duration // to connect
	TLSTimeout    time.Duration // for the handshake
	IdleTimeout   time.Duration // how long a connection is kept without work
	MaxIdle       int           // how many of them are kept for each address

	// TLS are the settings for https addresses; nil: the system's authorities.
	TLS *tls.Config
	// Proxy tells the proxy for an address; nil: http.ProxyFromEnvironment. It
	// is asked once for each address.
	Proxy func(*http.Request) (*url.URL, error)
}

// Client is an http.RoundTripper. All its methods may be called concurrently.
//
// Its own HTTP/1.1 knows no upgrade of the protocol and no 101, and does not
// send what speaks of one connection (Connection, TE, Upgrade and the like).
// Of the hooks of net/http/httptrace it calls GotConn and, once nothing of the
// request will be read any more, WroteRequest; the dialer calls its own.
type Client struct {
	opts Options
	tls  *tls.Config // what the settings of each address begin with
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
	rest *http.Transport // for all that is not plain HTTP/1.1

	mu    sync.Mutex                   // guards the adding of hosts
	hosts atomic.Pointer[map[at]*host] // replaced as a whole
}

// at names what a host is kept for, as it stands in a URL.
type at struct{ scheme, host string }

// New makes a Client. CloseIdleConnections lets go of what it keeps.
func New(opts Options) *Client {
	dialer := &net.Dialer{Timeout: opts.DialTimeout, KeepAlive: tcpKeepAlive}
	c := &Client{opts: opts, tls: baseTLS(opts.TLS), dial: dialer.DialContext}
	if c.opts.Proxy == nil {
		c.opts.Proxy = http.ProxyFromEnvironment
	}
	c.rest = &http.Transport{
		Proxy:                 c.opts.Proxy,
		DialContext:           c.dialPlain,
		DialTLSContext:        c.dialRest,
		TLSClientConfig:       c.tls.Clone(), // behind a proxy
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   opts.TLSTimeout,
		ResponseHeaderTimeout: opts.HeaderTimeout,
		IdleConnTimeout:       opts.IdleTimeout,
		MaxIdleConnsPerHost:   opts.MaxIdle,
		DisableCompression:    true, // answers are passed on as they come
		// A connection on which nothing comes is asked whether it still lives:
		// all requests to an address share it.
		HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
	if opts.MaxIdle == 0 {
		c.rest.MaxIdleConnsPerHost = int(^uint(0) >> 1)
	}
	c.hosts.Store(&map[at]*host{})
	return c
}

// dialPlain connects, and can be replaced by tests as long as nothing runs.
func (c *Client) dialPlain(ctx context.Context, network, addr string) (net.Conn, error) {
	return c.dial(ctx, network, addr)
}

// RoundTrip implements http.RoundTripper. The answer's body must be read to
// its end or closed. Where the request's context ends, the error is its cause,
// here and from the body.
//
// A request is sent a second time only if the first connection had been idle
// and proved dead: before anything was written, or, where the request may be
// repeated (as net/http defines it), before anything came back.
func (c *Client) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL == nil || req.Header == nil {
		return c.leave(req) // has words for it
	}
	h := c.host(req.URL)
	if h == nil || h.foreign || h.http2.Load() || !ordinary(req) {
		return c.leave(req)
	}
	if err := check(req); err != nil {
		closeBody(req)
		return nil, err
	}
	return h.roundTrip(req)
}

// leave leaves a request to net/http.
func (c *Client) leave(req *http.Request) (*http.Response, error) {
	resp, err := c.rest.RoundTrip(req)
	if resp != nil {
		resp.Request = req // HTTP/2 may name a copy
	}
	return resp, err
}

// CloseIdleConnections closes the connections that nothing uses now.
func (c *Client) CloseIdleConnections() {
	for _, h := range *c.hosts.Load() {
		h.idle.closeAll()
	}
	c.rest.CloseIdleConnections()
}

// host finds what is kept for an address; nil leaves it to net/http.
func (c *Client) host(u *url.URL) *host {
	key := at{u.Scheme, u.Host}
	if h, ok := (*c.hosts.Load())[key]; ok {
		return h
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old := *c.hosts.Load()
	if h, ok := old[key]; ok {
		return h
	}
	if len(old) >= maxHosts {
		return nil
	}
	h := c.newHost(u)
	if h == nil {
		return nil
	}
	hosts := maps.Clone(old)
	hosts[key] = h
	c.hosts.Store(&hosts)
	return h
}

func (c *Client) newHost(u *url.URL) *host {
	port := u.Port()
	switch {
	case !plainHost(u.Host) || u.Hostname() == "":
		return nil
	case u.Scheme == "http":
		if port == "" {
			port = "80"
		}
	case u.Scheme == "https":
		if port == "" {
			port = "443"
		}
	default:
		return nil
	}
	h := &host{client: c, addr: net.JoinHostPort(u.Hostname(), port)}
	h.idle.timeout, h.idle.max = c.opts.IdleTimeout, c.opts.MaxIdle
	if u.Scheme == "https" {
		h.tls = c.tlsFor(u.Hostname())
	}
	proxy, err := c.opts.Proxy(&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}})
	h.foreign = proxy != nil || err != nil // the error shows where net/http asks again
	return h
}

// host is one address: its connections without work, and how it is spoken to.
type host struct {
	client  *Client
	addr    string      // host:port
	tls     *tls.Config // nil: plain
	foreign bool        // everything goes through net/http
	http2   atomic.Bool // what the last handshake agreed on
	idle    idleConns
}

// roundTrip sends a request that was checked.
func (h *host) roundTrip(orig *http.Request) (*http.Response, error) {
	req := orig
	for again := false; ; again = true {
		c, err := h.connect(req.Context(), again)
		if err != nil {
			closeBody(req)
			return nil, err
		}
		if c.http2 {
			resp, err := h.client.handOver(c, req)
			if resp != nil {
				resp.Request = orig
			}
			return resp, err
		}
		x := newExchange(c, req)
		if err = x.run(); err == nil {
			x.resp.Request = orig
			return &x.resp, nil
		}
		if !x.repeatable() { // a fresh connection is not
			return nil, err
		}
		next, err2 := rewind(orig)
		if err2 != nil {
			return nil, errors.Join(err, err2)
		}
		req = next
	}
}

// connect takes the connection that was used last, or makes one. A fresh one
// is asked for where another proved dead: its neighbours may be, too.
func (h *host) connect(ctx context.Context, fresh bool) (*conn, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if !fresh {
		if c := h.idle.take(); c != nil {
			return c, nil
		}
	}
	return h.open(ctx)
}
