package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"ollama-api-pool/internal/testkit"
)

// Instance is the program as a process, with a data directory of its own that
// outlives it. It belongs to the test's goroutine, but for URL, Admin and what
// builds on them.
type Instance struct {
	tb   testing.TB
	Home string // its working directory
	Data string // its data directory
	Path string // of the program
	Args []string
	Env  []string

	Out testkit.SafeBuffer // what it printed since it was started
	Err testkit.SafeBuffer // what it logged since it was started

	url     string
	admin   string // the admin token
	cmd     *exec.Cmd
	exited  chan struct{}
	secrets plantedSecrets
}

// newInstance makes an instance that is not started. The settings are lines
// for the environment; nothing else of the test's own environment reaches it.
func newInstance(tb testing.TB, settings ...string) *Instance {
	tb.Helper()
	home := tb.TempDir()
	i := &Instance{tb: tb, Home: home, Data: filepath.Join(home, "data"), Path: program, Args: []string{"serve"}}
	i.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home,
		"LISTEN_ADDR=127.0.0.1:0", "DATA_DIR=" + i.Data, "LOG_LEVEL=debug",
		// A race ends the process with this code, see exitedBadly.
		"GORACE=halt_on_error=1 exitcode=66",
	}, settings...)
	tb.Cleanup(func() {
		if i.running() {
			i.Kill()
		}
	})
	return i
}

// start makes an instance in front of an upstream and starts it.
func start(tb testing.TB, up *upstream, settings ...string) *Instance {
	tb.Helper()
	i := newInstance(tb, append(up.settings(), settings...)...)
	i.Start()
	return i
}

var (
	listening  = regexp.MustCompile(`(?m)^  listening on  (http://\S+)$`)
	adminToken = regexp.MustCompile(`(?m)^  admin token   in (.+)$`)
)

// Start starts the process and waits until it says that it serves.
func (i *Instance) Start() {
	i.tb.Helper()
	i.launch()
	i.awaitServing()
}

// awaitServing waits until a process that was started says that it serves, and
// reads where.
func (i *Instance) awaitServing() {
	i.tb.Helper()
	await(i.tb, "word of the program that it serves", func() bool {
		if !i.running() {
			i.tb.Fatalf("the program ended at once:\n%s%s", i.Out.String(), i.Err.String())
		}
		return strings.Contains(i.Out.String(), "Ctrl-C stops")
	})
	said := i.Out.String()
	if i.url = found(listening, said); i.url == "" {
		i.tb.Fatalf("the program does not say where it listens:\n%s", said)
	}
	if path := found(adminToken, said); path != "" {
		token, err := os.ReadFile(filepath.Join(i.Home, relative(i.Home, path)))
		if err != nil {
			i.tb.Fatal(err)
		}
		i.admin = strings.TrimSpace(string(token))
	} else {
		for _, setting := range i.Env {
			if token, ok := strings.CutPrefix(setting, "ADMIN_TOKEN="); ok {
				i.admin = token
			}
		}
	}
	i.secrets.plant(i.admin)
}

// relative makes a path that the program printed relative to its directory.
func relative(home, path string) string {
	if rel, err := filepath.Rel(home, path); err == nil && filepath.IsAbs(path) {
		return rel
	}
	return path
}

func found(re *regexp.Regexp, text string) string {
	if m := re.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

// launch starts the process and does not wait for anything.
func (i *Instance) launch() {
	i.tb.Helper()
	i.Out.Reset()
	i.Err.Reset()
	i.cmd = exec.Command(i.Path, i.Args...) //nolint:noctx // Stop and Kill end it
	i.cmd.Dir, i.cmd.Env, i.cmd.Stdout, i.cmd.Stderr = i.Home, i.Env, &i.Out, &i.Err
	if err := i.cmd.Start(); err != nil {
		i.tb.Fatalf("start the program: %v", err)
	}
	exited, cmd := make(chan struct{}), i.cmd
	i.exited = exited
	go func() {
		_ = cmd.Wait() // how it ended is in its ProcessState
		close(exited)
	}()
}

func (i *Instance) running() bool {
	if i.cmd == nil {
		return false
	}
	select {
	case <-i.exited:
		return false
	default:
		return true
	}
}

// Signal sends a signal and does not wait for anything.
func (i *Instance) Signal(s os.Signal) {
	i.tb.Helper()
	if err := i.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		i.tb.Fatalf("send %v: %v", s, err)
	}
}

// Wait waits for the end of the process and returns its exit code, -1 for a
// signal. What it logged is looked through for secrets and for faults.
func (i *Instance) Wait() int {
	i.tb.Helper()
	select {
	case <-i.exited:
	case <-time.After(patience):
		i.Signal(syscall.SIGQUIT) // the goroutines come out on Err
		<-i.exited
		i.tb.Fatalf("the program does not end:\n%s", i.Err.String())
	}
	i.checkLogs()
	return i.cmd.ProcessState.ExitCode()
}

// Stop ends the process in an orderly way and expects that it says so.
func (i *Instance) Stop() {
	i.tb.Helper()
	i.Signal(syscall.SIGTERM)
	if code := i.Wait(); code != 0 {
		i.tb.Fatalf("after SIGTERM exit code %d:\n%s", code, i.Err.String())
	}
}

// Kill ends the process as kill -9 does.
func (i *Instance) Kill() {
	i.tb.Helper()
	i.Signal(syscall.SIGKILL)
	i.Wait()
}

// Restart stops the process in an orderly way and starts it again. Its address
// changes.
func (i *Instance) Restart() {
	i.tb.Helper()
	i.Stop()
	i.Start()
}

// URL is where the instance listens.
func (i *Instance) URL() string { return i.url }

// Log is all that the process has written since it was started.
func (i *Instance) Log() string { return i.Out.String() + i.Err.String() }

// checkLogs fails the test if the process wrote a secret down, or tells of a
// fault of its own.
func (i *Instance) checkLogs() {
	i.tb.Helper()
	log := i.Log()
	testkit.MustNotContain(i.tb, log, i.secrets.list()...)
	for _, bad := range []string{"DATA RACE", "panic", "level=ERROR", "goroutine "} {
		if strings.Contains(log, bad) {
			i.tb.Errorf("the program logged %q:\n%s", bad, log)
		}
	}
}
