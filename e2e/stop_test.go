package e2e

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// streaming is a streamed answer that is being read.
type streaming struct {
	text chan string // all of it, when it has ended
	err  error       // how it ended, valid then
}

// beginStream asks for a stream and returns when its first part is there; the
// upstream holds the rest back.
func beginStream(t *testing.T, up *upstream, i *Instance, token string) (*hold, *streaming) {
	t.Helper()
	h := up.hold(5)
	body := strings.NewReader(`{"model":"gpt-oss:20b","stream":true,"messages":[{"role":"user","content":"Hello, pool"}]}`)
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPost, i.URL()+"/v1/chat/completions", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := plain.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", resp, err)
	}
	r := bufio.NewReader(resp.Body)
	first, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	awaitClosed(t, h.reached, patience, "the upstream has sent some parts")
	s := &streaming{text: make(chan string, 1)}
	go func() {
		defer func() { _ = resp.Body.Close() }()
		rest, err := io.ReadAll(r)
		s.err = err
		s.text <- first + string(rest)
	}()
	return h, s
}

// wait returns the whole answer and how it ended.
func (s *streaming) wait(t *testing.T) (string, error) {
	t.Helper()
	select {
	case text := <-s.text:
		return text, s.err
	case <-time.After(patience):
		t.Fatal("the stream does not end")
		return "", nil
	}
}

// closedToNew waits until the instance takes no new requests, and says so.
func closedToNew(t *testing.T, i *Instance) {
	t.Helper()
	await(t, "end of new requests", func() bool {
		status, _, err := do(t.Context(), http.MethodGet, i.URL()+"/health/ready", "", nil)
		return err == nil && status == http.StatusServiceUnavailable
	})
	status, answer, err := do(t.Context(), http.MethodPost, i.URL()+"/v1/chat/completions", "", nil)
	if err != nil || status != http.StatusServiceUnavailable || !strings.Contains(string(answer), "stopping") {
		t.Errorf("a new request while stopping: %d %s %v", status, answer, err)
	}
}

func TestStopLetsStreamsFinish(t *testing.T) {
	t.Parallel()
	for name, signal := range map[string]syscall.Signal{"SIGINT": syscall.SIGINT, "SIGTERM": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up, i, token := serving(t, healthy)
			h, s := beginStream(t, up, i, token)
			i.Signal(signal)
			closedToNew(t, i)
			close(h.release)
			text, err := s.wait(t)
			if err != nil || !strings.Contains(text, "pool”") || !strings.HasSuffix(text, "data: [DONE]\n\n") {
				t.Errorf("the stream ended with %v and\n%s", err, text)
			}
			if code := i.Wait(); code != 0 {
				t.Errorf("exit code %d:\n%s", code, i.Log())
			}
			i.Start()
			if got := i.Totals(gateway.Ollama); got.SuccessCount != 1 || got.TotalRequests != 1 {
				t.Errorf("counted %+v", got)
			}
			i.Stop()
		})
	}
}

// TestStopCutsLongStreams lets a stream run longer than SHUTDOWN_GRACE: its
// client must see that something is missing.
func TestStopCutsLongStreams(t *testing.T) {
	t.Parallel()
	up, i, token := serving(t, healthy, "SHUTDOWN_GRACE=300ms")
	h, s := beginStream(t, up, i, token)
	began := time.Now()
	i.Signal(syscall.SIGINT)
	text, err := s.wait(t)
	if err == nil || strings.Contains(text, "[DONE]") {
		t.Errorf("the stream was cut, but its client sees %v and\n%s", err, text)
	}
	if code := i.Wait(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, i.Log())
	}
	if spent := time.Since(began); spent < 300*time.Millisecond || spent > patience/2 {
		t.Errorf("the grace is 300ms, the end took %v", spent)
	}
	awaitClosed(t, h.gone, within, "the upstream's request is cancelled")
	if !strings.Contains(i.Err.String(), "the grace is over") {
		t.Errorf("the log does not say that a request was broken off:\n%s", i.Err.String())
	}
	i.Start()
	if got := i.Totals(gateway.Ollama); got.SuccessCount != 0 || got.TotalRequests != 1 {
		t.Errorf("counted %+v", got)
	}
	i.Stop()
}

// TestSecondSignal ends a program that drains.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	up, i, token := serving(t, healthy, "SHUTDOWN_GRACE=10m")
	_, s := beginStream(t, up, i, token)
	i.Signal(syscall.SIGINT)
	closedToNew(t, i)
	i.Signal(syscall.SIGINT)
	if text, err := s.wait(t); err == nil {
		t.Errorf("the stream ended well:\n%s", text)
	}
	if code := i.Wait(); code != -1 {
		t.Errorf("exit code %d, want the end by a signal", code)
	}
	i.Start()
	i.Stop()
}
