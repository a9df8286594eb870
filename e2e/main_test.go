package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/e2e/program"
	"ollama-api-pool/internal/testkit/servers"
)

// built is the path of the program under test.
var built string

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
	built = filepath.Join(dir, "ollama-api-pool")
	if err := program.Build("..", built, program.Race); err != nil {
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
	if !program.Race {
		return built
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
		return path, program.Build("..", path, false)
	})
)

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
