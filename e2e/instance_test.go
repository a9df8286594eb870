package e2e

import (
	"os"
	"regexp"
	"syscall"
	"testing"

	"ollama-api-pool/e2e/program"
	"ollama-api-pool/internal/testkit"
)

// Instance is the program as a process, with a data directory of its own that
// outlives it. It belongs to the test's goroutine, but for URL, Admin and what
// builds on them.
type Instance struct {
	*program.Process
	tb      testing.TB
	secrets plantedSecrets
}

// newInstance makes an instance that is not started. The settings are lines
// for the environment; nothing else of the test's own environment reaches it.
func newInstance(tb testing.TB, settings ...string) *Instance {
	tb.Helper()
	i := &Instance{tb: tb, Process: program.New(built, tb.TempDir(), settings...)}
	tb.Cleanup(func() {
		if i.Running() {
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

// Start starts the process and waits until it says that it serves.
func (i *Instance) Start() {
	i.tb.Helper()
	i.launch()
	i.awaitServing()
}

// awaitServing waits until a process that was started says that it serves.
func (i *Instance) awaitServing() {
	i.tb.Helper()
	if err := i.AwaitServing(patience); err != nil {
		i.tb.Fatal(err)
	}
	if i.Args[0] != "demo" { // which shows it on purpose
		i.secrets.plant(i.AdminToken())
	}
}

// found returns what the first group of a pattern matches.
func found(re *regexp.Regexp, text string) string {
	if m := re.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

// launch starts the process and does not wait for anything.
func (i *Instance) launch() {
	i.tb.Helper()
	if err := i.Launch(); err != nil {
		i.tb.Fatal(err)
	}
}

// Signal sends a signal and does not wait for anything.
func (i *Instance) Signal(s os.Signal) {
	i.tb.Helper()
	if err := i.Send(s); err != nil {
		i.tb.Fatal(err)
	}
}

// Wait waits for the end of the process and returns its exit code, -1 for a
// signal. What it logged is looked through for secrets and for faults.
func (i *Instance) Wait() int {
	i.tb.Helper()
	code, err := i.AwaitEnd(patience)
	if err != nil {
		i.tb.Fatal(err)
	}
	i.checkLogs()
	return code
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

// checkLogs fails the test if the process wrote a secret down, or tells of a
// fault of its own.
func (i *Instance) checkLogs() {
	i.tb.Helper()
	testkit.MustNotContain(i.tb, i.Log(), i.secrets.list()...)
	if bad := i.Faults(); len(bad) > 0 {
		i.tb.Errorf("the program logged %q:\n%s", bad, i.Log())
	}
}
