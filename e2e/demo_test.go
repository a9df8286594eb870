package e2e

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"ollama-api-pool/internal/testkit"
)

var clientToken = regexp.MustCompile(`client token  (sk-\w+)`)

func TestDemo(t *testing.T) {
	t.Parallel()
	i := newDemo(t, "--listen", "127.0.0.1:0")
	// What the environment says belongs to the real one.
	if err := os.MkdirAll(i.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	i.Start()
	lines := pasted(i.Out.String())
	if len(lines) < 4 {
		t.Fatalf("%d curl lines in\n%s", len(lines), i.Out.String())
	}
	wants := []string{simulated, "data: [DONE]", `"object":"list"`, `"api_keys":[`}
	for n, line := range lines[:4] {
		if got := i.Shell(line).works(t); !strings.Contains(got.Out, wants[n]) {
			t.Fatalf("%s\ngives %s%s", line, got.Out, got.Err)
		}
	}
	token := found(clientToken, i.Out.String())
	short := map[string]any{"model": ollamaFace.chat, "prompt": "Hello", "max_tokens": 1}
	for n := range 30 { // so many that every sample key has its turn
		status, answer, err := do(t.Context(), "POST", i.URL()+"/v1/completions", token, short)
		if err != nil || status != 200 {
			t.Errorf("call %d: %d %s %v", n, status, answer, err)
		}
	}
	keys := i.Shell(lines[3]).works(t)
	for _, want := range []string{`"status":"active"`, `"status":"failed"`, `"status":"resting"`} {
		if !strings.Contains(keys.Out, want) {
			t.Errorf("no key is %s: %s", want, keys.Out)
		}
	}
	i.Signal(syscall.SIGINT)
	if code := i.Wait(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, i.Log())
	}
	testkit.MustNotContain(t, i.Err.String(), token) // on its output it stands on purpose
	wantFiles(t, i.Home, "data")
	wantFiles(t, i.Data)
}

// TestDemoWithItsPortTaken starts the demo while its usual port is in use.
func TestDemoWithItsPortTaken(t *testing.T) {
	t.Parallel()
	const usual = "127.0.0.1:8787"
	var lc net.ListenConfig
	if l, err := lc.Listen(t.Context(), "tcp", usual); err == nil { // else it is taken already
		defer func() { _ = l.Close() }()
	}
	i := newDemo(t)
	i.Start()
	if strings.HasSuffix(i.URL(), usual) {
		t.Errorf("it says that it listens on %s", i.URL())
	}
	if status, answer, err := do(context.WithoutCancel(t.Context()), "GET", i.URL()+"/health", "", nil); err != nil || status != 200 {
		t.Errorf("health: %d %s %v", status, answer, err)
	}
	i.Signal(syscall.SIGINT)
	if code := i.Wait(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, i.Log())
	}
	wantFiles(t, i.Home)
}

func newDemo(t *testing.T, args ...string) *Instance {
	i := newInstance(t, "LISTEN_ADDR=") // as if it were not set
	i.Args = append([]string{"demo"}, args...)
	return i
}

// wantFiles expects exactly these names in a directory.
func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, want) {
		t.Errorf("in %s there is %v, want %v", filepath.Base(dir), got, want)
	}
}
