package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// upstream answers questions about keys, and counts whatever would have cost
// tokens.
type upstream struct {
	url        string
	server     *http.Server
	questions  atomic.Int64
	generating atomic.Int64
}

func newUpstream() (*upstream, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	u := &upstream{url: "http://" + l.Addr().String()}
	u.server = &http.Server{Handler: u, ReadHeaderTimeout: time.Minute}
	go func() {
		if err := u.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			fmt.Println("the upstream:", err)
		}
	}()
	return u, nil
}

func (u *upstream) close() { _ = u.server.Close() }

// ServeHTTP says of every twentieth key that it is refused, and of the others
// that they are good.
func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/api/tags":
		_, _ = io.WriteString(w, `{"models":[{"name":"kimi-k2:1t"},{"name":"gpt-oss:120b"}]}`)
	case "/v1/chat/completions":
		u.questions.Add(1)
		var ask struct{ Model, Messages any }
		if json.Unmarshal(body, &ask) != nil || ask.Model != nil || ask.Messages != nil {
			u.generating.Add(1)
		}
		if strings.HasSuffix(r.Header.Get("Authorization"), "-bad") {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error":"unauthorized"}`)
			return
		}
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":{"message":"model is required"}}`)
	default:
		u.generating.Add(1)
		w.WriteHeader(http.StatusNotFound)
	}
}

// line is a line as ollama.txt has it; every twentieth key is bad.
func line(pool string, n int) string {
	return fmt.Sprintf("user%06d@example.invalid----fake-password-%d----fake-session-%d;aid=%d----%d----%s\n", n, n, n, n, n, key(pool, n))
}

func key(pool string, n int) string {
	if n%20 == 7 {
		return fmt.Sprintf("fake-bench-%s-%08d-bad", pool, n)
	}
	return fmt.Sprintf("fake-bench-%s-%08d", pool, n)
}

func lines(pool string, n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(line(pool, i))
	}
	return b.String()
}
