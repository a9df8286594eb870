package browser

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/e2e/program"
)

// built is the path of the program under test.
var built string

// patience is how long anything may take that should happen at once; a busy
// machine gets time, a broken page an end.
const patience = 15 * time.Second

// TestMain builds the program once, with the race detector where the tests have
// it. The browser and the shared server are started when they are first asked
// for, and stopped here.
func TestMain(m *testing.M) {
	code, err := runAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e/browser:", err)
		code = 1
	}
	os.Exit(code)
}

func runAll(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "ollama-api-pool-browser-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := prepareScreens(); err != nil {
		return 0, err
	}
	built = filepath.Join(dir, "ollama-api-pool")
	if err := program.Build(filepath.Join("..", ".."), built, program.Race); err != nil {
		return 0, err
	}
	scratch = dir
	if err := waitTogether(); err != nil {
		return 0, err
	}
	code = m.Run()
	if err := stopShared(); err != nil {
		return 0, err
	}
	return code, stopBrowser()
}

// waitTogether lets more tests run at a time than there are processors, unless
// the command says how many: most of their time they wait for a page.
func waitTogether() error {
	flag.Parse()
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == "test.parallel" })
	if said {
		return nil
	}
	return flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0)))
}

// scratch is a directory that is removed at the end.
var scratch string

// buildQuick builds the program without the race detector, which makes it many
// times slower.
var buildQuick = sync.OnceValues(func() (string, error) {
	if !program.Race {
		return built, nil
	}
	path := filepath.Join(scratch, "ollama-api-pool-quick")
	return path, program.Build(filepath.Join("..", ".."), path, false)
})

// until asks again and again whether a condition holds, for as long as patience
// lasts, and returns the last word that it had about why it does not: nil is
// that it does.
func until(ctx context.Context, holds func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	again := time.NewTicker(15 * time.Millisecond)
	defer again.Stop()
	var last error
	for {
		err := holds(ctx)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %v still: %w", patience, last)
		case <-again.C:
		}
	}
}
