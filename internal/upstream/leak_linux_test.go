package upstream

import (
	"context"
	"io"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/testkit"
)

// Whatever happens, no descriptor and no goroutine stays behind. It is not
// parallel, because it counts those of the whole process.
func TestNothingIsLeft(t *testing.T) {
	for _, s := range []subject{ours, oursTLS, ours2} {
		t.Run(s.name, func(t *testing.T) {
			files, goroutines := openFiles(t), runtime.NumGoroutine()
			t.Run("traffic", func(t *testing.T) { traffic(t, s) })
			eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= goroutines })
			eventually(t, "descriptors are closed", func() bool { return openFiles(t) <= files })
		})
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// traffic does what can happen to a client, each several times.
func traffic(t *testing.T, s subject) {
	t.Helper()
	before := openFiles(t)
	u, rt := s.upstream(t, Options{HeaderTimeout: 30 * time.Millisecond})
	large := pattern(1, 1<<20)
	for range 3 {
		// Many first requests at once: with HTTP/2 all but one connection are
		// too many.
		u.Always(nil)
		rt.(*Client).CloseIdleConnections()
		var running sync.WaitGroup
		for range 10 {
			running.Go(func() { _ = exchanged(rt, request(t.Context(), t, "POST", u.URL, "x")) })
		}
		running.Wait()
		if s.http2 {
			eventually(t, "there are not ten connections", func() bool { return openFiles(t) < before+10 })
		}
		for _, f := range faults {
			u.Always(f.answer)
			_ = exchanged(rt, request(t.Context(), t, "POST", u.URL, "x"))
		}
		// Left in the middle, by the context, by closing, and by doing neither:
		// the context's end must then do.
		for _, how := range []string{"context", "close", "neither"} {
			u.Always(testkit.Stream("text/plain", testkit.Text("some"), testkit.Wait(testkit.NewGate())))
			ctx, cancel := context.WithCancel(t.Context())
			resp, err := rt.RoundTrip(request(ctx, t, "POST", u.URL, "x"))
			if err != nil {
				t.Fatal(err)
			}
			if how != "neither" {
				_, _ = resp.Body.Read(make([]byte, 4))
			}
			if how == "context" {
				cancel()
				_, _ = io.ReadAll(resp.Body)
			}
			if how != "neither" {
				_ = resp.Body.Close()
			}
			cancel()
		}
		u.HandleEarly(func(*testkit.Call) testkit.Answer { return testkit.EarlyAnswer(413, "text/plain", "no") })
		req := request(t.Context(), t, "POST", u.URL, "")
		forms[0].set(req, large)
		_ = exchanged(rt, req)
		u.HandleEarly(nil)
		u.Down()
		_ = exchanged(rt, request(t.Context(), t, "POST", u.URL, "x"))
		u.Up()
	}
}
