package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/testkit/servers"
)

// program is the path of the program under test.
var program string

// TestMain builds the program once, and begins to build the ollama command for
// the tests that need it. The program has the race detector in it where the
// tests have.
func TestMain(m *testing.M) {
	code, err := runAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func runAll(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "ollama-api-pool-e2e-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program = filepath.Join(dir, "ollama-api-pool")
	if err := buildProgram(program, raceDetector); err != nil {
		return 0, err
	}
	quickDir = dir
	ollama.begin(dir)
	defer ollama.wait()
	return servers.Run(m), nil
}

// quickProgram is the path of the program without the race detector, which makes
// it many times slower: for tests in which it does the same thing a hundred
// thousand times.
func quickProgram(tb testing.TB) string {
	tb.Helper()
	if !raceDetector {
		return program
	}
	path, err := buildQuick()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

var (
	quickDir   string
	buildQuick = sync.OnceValues(func() (string, error) {
		path := filepath.Join(quickDir, "ollama-api-pool-quick")
		return path, buildProgram(path, false)
	})
)

func buildProgram(path string, race bool) error {
	args := []string{"build", "-buildvcs=false", "-ldflags", "-X ollama-api-pool/internal/cli.version=" + builtVersion, "-o", path}
	if race {
		args = append(args, raceFlags()...)
	}
	return goCommand("..", append(args, "./cmd/ollama-api-pool")...)
}

// raceFlags switch the race detector on as make does for the tests, so that
// what is built for the one is there for the other.
func raceFlags() []string {
	if flags := strings.Fields(os.Getenv("RACE")); len(flags) > 0 {
		return flags
	}
	return []string{"-race"}
}

// builtVersion is what the program under test calls itself.
const builtVersion = "v0.0.0-e2e"

// goCommand runs the go command in a folder of the tree.
func goCommand(dir string, args ...string) error {
	_, err := goOutput(dir, nil, args...)
	return err
}

func goOutput(dir string, env []string, args ...string) ([]byte, error) {
	tool := os.Getenv("GO")
	if tool == "" {
		tool = "go"
	}
	var out, errs bytes.Buffer
	cmd := exec.Command(tool, args...) //nolint:noctx // go test's own time limit ends it
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, append(os.Environ(), env...), &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go %s in %s: %w\n%s%s", args[0], dir, err, out.Bytes(), errs.Bytes())
	}
	return out.Bytes(), nil
}

// patience is how long anything may take that should happen at once; a busy
// machine gets time, a broken program an end.
const patience = 30 * time.Second

// await waits until a condition holds.
func await(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	awaitWithin(tb, patience, what, holds)
}

func awaitWithin(tb testing.TB, within time.Duration, what string, holds func() bool) {
	tb.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			tb.Fatalf("after %v still no %s", within, what)
		case <-again.C:
		}
	}
}
