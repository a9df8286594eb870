package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// front is the plainest of load balancers: each request goes to the next
// instance, on a connection of its own. A connection that cannot be made goes
// to the one after; an answer is never asked for again.
type front struct {
	URL string

	mu    sync.Mutex // guards what follows
	addrs []string
	out   []bool // of the addresses: not ready
	next  int
}

// newFront starts one that knows no instance yet.
func newFront(tb testing.TB) *front {
	f := &front{}
	nowhere, err := url.Parse("http://pool.example.invalid")
	if err != nil {
		tb.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(nowhere); r.SetXForwarded() },
		Transport:     &http.Transport{DialContext: f.dial, DisableKeepAlives: true, DisableCompression: true},
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, "the front: "+err.Error(), http.StatusBadGateway)
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Whole, or net/http may close it under the transport that has sent all
		// of it and looks for its end when the answer already comes.
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, r)
	}))
	tb.Cleanup(server.Close)
	f.URL = server.URL
	return f
}

// set puts an instance at a place, in place of the one that was there.
func (f *front) set(n int, instance string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.addrs) <= n {
		f.addrs, f.out = append(f.addrs, ""), append(f.out, false)
	}
	f.addrs[n] = strings.TrimPrefix(instance, "http://")
}

// turns lists the instances in the order in which a request tries them.
func (f *front) turns() (addrs []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next++
	for n := range f.addrs {
		if at := (f.next + n) % len(f.addrs); !f.out[at] {
			addrs = append(addrs, f.addrs[at])
		}
	}
	return addrs
}

func (f *front) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	errs := []error{errors.New("no instance takes a connection")}
	for _, addr := range f.turns() {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// watch asks every instance again and again whether it is ready, and sends
// nothing to those that are not, until the test ends.
func (f *front) watch(t *testing.T) {
	again := time.NewTicker(50 * time.Millisecond)
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	var watching sync.WaitGroup
	watching.Go(func() {
		defer again.Stop()
		for {
			select {
			case <-again.C:
			case <-t.Context().Done():
				return
			}
			f.look(t.Context(), client)
		}
	})
	t.Cleanup(watching.Wait)
}

func (f *front) look(ctx context.Context, client *http.Client) {
	f.mu.Lock()
	addrs := slices.Clone(f.addrs)
	f.mu.Unlock()
	for n, addr := range addrs {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/health/ready", nil)
		if err != nil {
			return
		}
		resp, err := client.Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		f.mu.Lock()
		if f.addrs[n] == addr {
			f.out[n] = err != nil || resp.StatusCode != http.StatusOK
		}
		f.mu.Unlock()
	}
}

// isOut tells whether the front sends nothing to a place.
func (f *front) isOut(n int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.out[n]
}
