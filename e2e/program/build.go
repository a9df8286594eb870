// Package program builds the program under test and runs it as a process, for
// the packages of tests that look at it from outside.
package program

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Version is what the program under test calls itself.
const Version = "v0.0.0-e2e"

// Build builds the program from the tree whose root is named, with the race
// detector in it where that is asked for.
func Build(root, path string, race bool) error {
	args := []string{"build", "-buildvcs=false", "-ldflags", "-X ollama-api-pool/internal/cli.version=" + Version, "-o", path}
	if race {
		args = append(args, RaceFlags()...)
	}
	_, err := Go(root, nil, append(args, "./cmd/ollama-api-pool")...)
	return err
}

// RaceFlags switch the race detector on as make does for the tests, so that
// what is built for the one is there for the other.
func RaceFlags() []string {
	if flags := strings.Fields(os.Getenv("RACE")); len(flags) > 0 {
		return flags
	}
	return []string{"-race"}
}

// Go runs the go command in a folder and returns what it printed. The error of
// a command that failed shows that, too.
func Go(dir string, env []string, args ...string) ([]byte, error) {
	tool := os.Getenv("GO")
	if tool == "" {
		tool = "go"
	}
	var out, errs bytes.Buffer
	cmd := exec.Command(tool, args...) //nolint:gosec,noctx // what the tests say; go test's own time limit ends it
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, append(os.Environ(), env...), &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go %s in %s: %w\n%s%s", args[0], dir, err, out.Bytes(), errs.Bytes())
	}
	return out.Bytes(), nil
}
