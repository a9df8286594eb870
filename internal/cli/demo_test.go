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

func TestDemoOptions(t *testing.T) {
	for _, args := range [][]string{{"--keys", "99"}, {"--keys", "100001"}, {"--keys", "many"}, {"--traffic=slow"}, {"more"}} {
		if r := (call{args: append([]string{"demo"}, args...)}).run(t); r.code != exitUsage {
			t.Errorf("%v: exit code %d, %q", args, r.code, r.err)
		}
	}
}

// TestDemoWithoutPast has nothing but new keys and tokens, and says what to do
// with them.
func TestDemoWithoutPast(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out := &watchedFor{words: "Ctrl-C stops", seen: stop}
	addr := freeAddr(t)
	args := []string{"ollama-api-pool", "demo", "--listen", addr, "--keys", "150", "--past=false", "--traffic=false"}
	if err := Run(ctx, args, nil, Streams{In: strings.NewReader(""), Out: out, Err: &bytes.Buffer{}}); err != nil {
		t.Fatal(err)
	}
	said := out.text.String()
	for _, want := range []string{
		"keys          150 for ollama: 150 active\n", "keys          40 for openrouter: 40 active\n",
		"open http://" + addr + "/ and log in", "client token  sk-", "admin token   admin-", "(for this run only)",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
	if strings.Contains(said, "Simulated clients") {
		t.Errorf("there are clients:\n%s", said)
	}
}

func TestDemoListens(t *testing.T) {
	one, other := freeAddr(t), freeAddr(t)
	wantText(t, "LISTEN_ADDR", listenedOn(t, []string{"LISTEN_ADDR=" + one, "DATA_DIR=/nonexistent", "MAX_RETRIES=many"}, "--past=false", "--traffic=false"), "http://"+one)
	wantText(t, "--listen wins", listenedOn(t, []string{"LISTEN_ADDR=" + one}, "--past=false", "--listen", other), "http://"+other)

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
