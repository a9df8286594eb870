package servers

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"ollama-api-pool/internal/testkit"
)

// household is all that this process has started, and where it is kept.
type household struct {
	mu      sync.Mutex // guards what follows
	dir     string     // "": nothing was started yet
	names   int        // how many directories were made in it
	servers []*Server
	ports   []io.Closer // reserved ones
	reaper  *exec.Cmd   // cleans up when its input ends, as it does when this process is gone
	alive   io.Closer   // its input
}

var home household

// reap waits for the end of its input, then ends what still works in one of the
// servers' directories, a frozen child of a server that is gone too, and removes
// the directory of them all; what is ending may write into it for a moment.
const reap = `trap '' HUP INT QUIT TERM
cat >/dev/null
for p in /proc/[0-9]*; do
	at=$(readlink "$p/cwd") && while read -r dir; do
		case "$at" in "$dir" | "$dir"/*) kill -9 "${p#/proc/}" ;; esac
	done <"$1/places"
done
for i in 1 2 3 4 5 6 7 8 9 10; do rm -rf "$1" && break; sleep 0.2; done`

// open makes the directory and starts what removes it. The lock is held.
func (h *household) open() error {
	if h.dir != "" {
		return nil
	}
	dir, err := os.MkdirTemp("", "pool-servers-")
	if err != nil {
		return err
	}
	// The servers' user passes through.
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // see above
		return err
	}
	reaper := exec.Command("sh", "-c", reap, "reap", dir) //nolint:gosec,noctx // ends with its input
	reaper.SysProcAttr = apart()
	if h.alive, err = reaper.StdinPipe(); err != nil {
		return err
	}
	if err := reaper.Start(); err != nil {
		return fmt.Errorf("start what cleans up: %w", err)
	}
	h.dir, h.reaper = dir, reaper
	return nil
}

// directory makes a directory for a server, in dir or, where that is empty, in
// the one that is removed at the end.
func (h *household) directory(dir, name string) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.open(); err != nil {
		return "", err
	}
	if dir == "" {
		dir = h.dir
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	h.names++
	dir = filepath.Join(dir, fmt.Sprintf("%s-%d", name, h.names))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return dir, errors.Join(h.note(dir), give(dir))
}

// note writes down where a server works, for the one who cleans up. The lock is
// held.
func (h *household) note(dir string) error {
	places, err := os.OpenFile(filepath.Join(h.dir, "places"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = places.WriteString(dir + "\n")
	return errors.Join(err, places.Close())
}

// port finds a free port that stays the server's own while it is stopped.
func (h *household) port() (int, error) {
	closer, addr, err := testkit.ReservePort()
	if err != nil {
		return 0, err
	}
	h.mu.Lock()
	h.ports = append(h.ports, closer)
	h.mu.Unlock()
	return portOf(addr)
}

// add remembers a server that was started.
func (h *household) add(s *Server) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.servers = append(h.servers, s)
}

// StopAll ends every server of this process and removes their files. Nothing
// can be started afterwards but anew.
func StopAll() error {
	home.mu.Lock()
	servers := home.servers
	home.servers = nil
	home.mu.Unlock()
	var stopping sync.WaitGroup
	for _, s := range servers {
		stopping.Go(s.quit)
	}
	stopping.Wait()
	home.mu.Lock()
	defer home.mu.Unlock()
	if home.dir == "" {
		return nil
	}
	var err error
	for _, p := range home.ports {
		err = errors.Join(err, p.Close())
	}
	err = errors.Join(err, home.alive.Close(), home.reaper.Wait())
	home.dir, home.ports = "", nil
	return err
}

// Main runs the tests of a package, stops the servers that they started and
// ends the process: `func TestMain(m *testing.M) { servers.Main(m) }`.
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run runs the tests of a package, stops the servers that they started and
// returns the exit code.
func Run(m *testing.M) int {
	code := m.Run()
	if err := StopAll(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the servers:", err)
		return max(code, 1)
	}
	return code
}

// The servers that the tests of a process share.
var (
	sharedPostgres  = sync.OnceValues(func() (*Postgres, error) { return StartPostgres("", PostgresOptions{}) })
	sharedPgbouncer = sync.OnceValues(func() (*Pgbouncer, error) {
		p, err := sharedPostgres()
		if err != nil {
			return nil, err
		}
		return StartPgbouncer("", p)
	})
	sharedRedis = sync.OnceValues(func() (*Redis, error) { return StartRedis("", RedisOptions{}) })
)

// SharedPostgres is the PostgreSQL of this test process, started when it is
// first asked for. Nobody stops or freezes it; the package's TestMain calls Main.
func SharedPostgres(tb testing.TB) *Postgres {
	tb.Helper()
	p, err := sharedPostgres()
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// SharedPgbouncer stands before SharedPostgres, likewise.
func SharedPgbouncer(tb testing.TB) *Pgbouncer {
	tb.Helper()
	b, err := sharedPgbouncer()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// SharedRedis is the Redis of this test process, without a password, likewise.
// Tests keep apart by the names of their keys.
func SharedRedis(tb testing.TB) *Redis {
	tb.Helper()
	r, err := sharedRedis()
	if err != nil {
		tb.Fatal(err)
	}
	return r
}
