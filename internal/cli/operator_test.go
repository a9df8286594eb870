package cli

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ollama-api-pool/internal/app"
)

// hold takes hold of a place's data directory as another process would.
func hold(t *testing.T, p place) (dir string, release func()) {
	t.Helper()
	dir = strings.TrimPrefix(p.env[0], "DATA_DIR=")
	lock, err := app.TakeDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, func() {
		if err := lock.Release(); err != nil {
			t.Error(err)
		}
	}
}

// A command waits for another one that is at work.
func TestWaitForAnotherCommand(t *testing.T) {
	p := stopped(t)
	_, release := hold(t, p)
	released := make(chan struct{})
	time.AfterFunc(2*holdPause, func() { release(); close(released) })
	p.ok(t, keyA, "keys", "import", "-")
	<-released

	_, release = hold(t, p)
	defer release()
	ctx, cancel := context.WithTimeout(t.Context(), 2*holdPause)
	defer cancel()
	err := Run(ctx, []string{"x", "keys", "list"}, p.env, Streams{In: strings.NewReader(""), Out: &strings.Builder{}, Err: &strings.Builder{}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

// A command waits for an instance that is starting, and does not give its
// token away before that is ready.
func TestWaitForStart(t *testing.T) {
	var asked, early atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/health/ready" && asked.Add(1) < 3:
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == "/health/ready":
		case asked.Load() < 3 || r.Header.Get("Authorization") != "Bearer fake-made-token":
			early.Add(1)
		default:
			answer(http.StatusOK, `{"tokens":[{"id":"0123456789abcdef","token":"sk-…","name":"from the instance"}]}`)(w, r)
		}
	}))
	defer s.Close()
	p := stopped(t)
	dir, release := hold(t, p)
	defer release()
	for name, text := range map[string]string{
		"instance.json": `{"pid":1,"addr":"` + strings.TrimPrefix(s.URL, "http://") + `"}`,
		"admin-token":   "fake-made-token\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wantAll(t, p.ok(t, "", "tokens", "list").out, "from the instance")
	if asked.Load() != 3 || early.Load() != 0 {
		t.Errorf("asked %d times whether it is ready; %d calls too early", asked.Load(), early.Load())
	}
}

// What a killed instance left behind leads nobody to its address.
func TestKilledInstance(t *testing.T) {
	p := stopped(t)
	p.ok(t, keyA, "keys", "import", "-")
	left := filepath.Join(strings.TrimPrefix(p.env[0], "DATA_DIR="), "instance.json")
	if err := os.WriteFile(left, []byte(`{"pid":1,"addr":"127.0.0.1:1"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	wantAll(t, p.ok(t, "", "keys", "list").out, "fake-k…aaaa")
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

// The admin token of the settings wins over the one that was made.
func TestAdminTokenOfRunningInstance(t *testing.T) {
	p := stopped(t)
	start(t, p)
	wantAll(t, p.ok(t, "", "keys", "list").out, "is empty")
	r := p.with("ADMIN_TOKEN="+testAdminToken).fails(t, exitFailed, "wrong admin token\nIt was http://127.0.0.1:", "", "keys", "list")
	wantNone(t, r.err, testAdminToken)
}

// Where the running instance has its admin token from its settings, a command
// without it says so, and does not wait.
func TestAdminTokenElsewhere(t *testing.T) {
	p := stopped(t)
	start(t, p, "ADMIN_TOKEN="+testAdminToken)
	ctx, cancel := context.WithTimeout(t.Context(), holdPatience/2)
	defer cancel()
	r := call{p.env, "", []string{"keys", "list"}}.runIn(ctx)
	if r.code != exitFailed || !strings.Contains(r.err, "set the same ADMIN_TOKEN here") {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
	wantAll(t, p.with("ADMIN_TOKEN="+testAdminToken).ok(t, "", "keys", "list").out, "is empty")
}
