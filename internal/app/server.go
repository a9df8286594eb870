package app

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"ollama-api-pool/internal/dataplane"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// Limits of a client's connection. An answer may take as long as it takes: a
// server-wide write timeout would cut streams.
const (
	readHeaderTimeout = 30 * time.Second
	idleTimeout       = 120 * time.Second
	maxHeaderBytes    = 64 << 10
)

// serve begins to answer: what does not need the pool at once, the rest as
// soon as it is loaded.
func (a *App) serve() {
	a.server = &http.Server{
		Handler:           newTimely(a.active.watch(http.HandlerFunc(a.dispatch))),
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          log.New(serverLog{a.log}, "", 0),
	}
	go func() {
		if err := a.server.Serve(&patientListener{a.listener, writePatience}); !errors.Is(err, http.ErrServerClosed) {
			a.failed <- err
		}
	}()
}

func (a *App) dispatch(w http.ResponseWriter, r *http.Request) {
	if h := a.handler.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	if strings.HasPrefix(r.URL.Path, "/health") {
		a.health(w, r)
		return
	}
	if !a.stopping.Load() && a.forPages(r) { // they need nothing that is being loaded
		a.pages.ServeHTTP(w, r)
		return
	}
	e := gateway.Errorf(gateway.KindUnavailable, "starting: the pool is being loaded")
	if a.stopping.Load() {
		e = gateway.Errorf(gateway.KindUnavailable, "stopping: no new requests are taken")
		w.Header()["Connection"] = []string{"close"}
	}
	e.RetryAfter = time.Second
	if known := dataplane.NewRoutes(); known.Serves(r.URL.Path) {
		a.publish(w.Header(), r)
		_, _, route, _ := known.Resolve(r.Method, r.URL.EscapedPath()) // of an unknown address the dialect is known, too
		httpkit.WriteError(w, route.Dialect, e, httpkit.RequestID(r))
		return
	}
	httpkit.WriteAdminError(w, r, e, httpkit.RequestID(r))
}

// serverLog hands net/http's own complaints to the log. Most are about clients
// that broke off; what an operator has to know is that no connection can be
// accepted any more (too many open files), or that something panicked where
// nobody caught it.
type serverLog struct{ log *slog.Logger }

func (s serverLog) Write(p []byte) (int, error) {
	level, text := slog.LevelDebug, strings.TrimSpace(string(p))
	switch {
	case strings.HasPrefix(text, "http: Accept error"):
		level = slog.LevelWarn
	case strings.HasPrefix(text, "http: panic serving"):
		level = slog.LevelError
	}
	s.log.LogAttrs(context.Background(), level, "http server", slog.String("message", text))
	return len(p), nil
}

// inFlight counts the requests that run.
type inFlight struct {
	mu   sync.Mutex // guards n and idle
	n    int
	idle chan struct{} // closed when n falls to 0 while somebody waits
}

func newInFlight() *inFlight { return &inFlight{} }

func (f *inFlight) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.n++
		f.mu.Unlock()
		defer f.leave()
		next.ServeHTTP(w, r)
	})
}

func (f *inFlight) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n--
	if f.n == 0 && f.idle != nil {
		close(f.idle)
		f.idle = nil
	}
}

func (f *inFlight) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

// wait returns when no request runs any more, or when ctx ends.
func (f *inFlight) wait(ctx context.Context) {
	f.mu.Lock()
	if f.n == 0 {
		f.mu.Unlock()
		return
	}
	if f.idle == nil {
		f.idle = make(chan struct{})
	}
	idle := f.idle
	f.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}
