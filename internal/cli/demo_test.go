package cli

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync"
	"testing"
)

// listenedOn runs a demo until it says where it listens.
func listenedOn(t *testing.T, env []string, args ...string) string {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out := &watchedFor{words: "listening on  ", seen: stop}
	if err := Run(ctx, append([]string{"ollama-api-pool", "demo"}, args...), env, Streams{In: strings.NewReader(""), Out: out, Err: &bytes.Buffer{}}); err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(out.text.String(), out.words)
	url, _, _ := strings.Cut(after, "\n")
	return url
}

// watchedFor calls seen once some words were written.
type watchedFor struct {
	words string
	seen  func()
	mu    sync.Mutex // guards text
	text  strings.Builder
}

// Write writes.
func (w *watchedFor) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(b)
	if strings.Contains(w.text.String(), w.words) {
		w.seen()
	}
	return len(b), nil
}

// freeAddr is an address on which nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func TestDemoListens(t *testing.T) {
	one, other := freeAddr(t), freeAddr(t)
	wantText(t, "LISTEN_ADDR", listenedOn(t, []string{"LISTEN_ADDR=" + one, "DATA_DIR=/nonexistent", "MAX_RETRIES=many"}), "http://"+one)
	wantText(t, "--listen wins", listenedOn(t, []string{"LISTEN_ADDR=" + one}, "--listen", other), "http://"+other)

	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", one)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	call := call{[]string{"LISTEN_ADDR=" + one}, "", []string{"demo"}}
	if r := call.run(t); r.code != exitFailed || !strings.Contains(r.err, one) {
		t.Errorf("an address that is taken: exit code %d, %q", r.code, r.err)
	}
	call.env = []string{"LISTEN_ADDR=nowhere"}
	if r := call.run(t); r.code == 0 || !strings.Contains(r.err, "LISTEN_ADDR") {
		t.Errorf("no address: exit code %d, %q", r.code, r.err)
	}
}
