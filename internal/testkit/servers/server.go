package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// How long a server may take to serve, and to end when it was asked to.
const (
	startTime = 60 * time.Second
	stopTime  = 20 * time.Second
)

// Server is a process with all that it started itself. Its methods may be
// called concurrently; each waits for the one before it.
type Server struct {
	name    string                      // for messages, and for files
	dir     string                      // its working directory and its log
	path    string                      // of the program
	args    []string                    // of the program
	port    int                         // where it listens on 127.0.0.1
	orderly syscall.Signal              // asks it to end
	hurry   syscall.Signal              // asks it to end at once
	answers func(context.Context) error // nil when it serves

	mu     sync.Mutex // guards what follows, and is held while the process starts or ends
	pid    int
	exited chan struct{} // closed when the process is gone; nil: was never started
}

// Port is where the server listens on 127.0.0.1.
func (s *Server) Port() int { return s.port }

// Addr is the host and the port of the server.
func (s *Server) Addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// Name says which server this is, for messages.
func (s *Server) Name() string { return s.name }

// Running tells whether the process is there, frozen or not.
func (s *Server) Running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running()
}

func (s *Server) running() bool {
	if s.exited == nil {
		return false
	}
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// Start starts the server, with the port and the data that it had before, and
// waits until it serves.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running() {
		return fmt.Errorf("start %s: it is running", s.name)
	}
	if err := s.launch(); err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	if err := s.await(s.answers); err != nil {
		s.end(syscall.SIGKILL)
		return fmt.Errorf("start %s: %w\n%s", s.name, err, s.LogTail())
	}
	return nil
}

// launch starts the process from a thread that stays until the process ends:
// Linux kills the process when the thread that started it is gone, which is to
// happen at the end of the test process and not before.
func (s *Server) launch() error {
	log, err := os.OpenFile(filepath.Join(s.dir, s.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	cmd := exec.Command(s.path, s.args...) //nolint:gosec,noctx // programs of this package; Stop and Kill end them
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC", "HOME=" + s.dir}
	if cmd.SysProcAttr, err = attributes(true); err != nil {
		return errors.Join(err, log.Close())
	}
	started, exited := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- errors.Join(err, log.Close())
		if err == nil {
			_ = cmd.Wait() // how it ended is for its log
		}
		close(exited)
	}()
	if err := <-started; err != nil {
		return err
	}
	if s.exited == nil {
		home.add(s)
	}
	s.pid, s.exited = cmd.Process.Pid, exited
	return nil
}

// await waits until the server serves, or whatever else holds gives no error.
func (s *Server) await(holds func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		err := func() error {
			once, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			return holds(once)
		}()
		if err == nil {
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("it ended at once; asked it said %w", err)
		case <-ctx.Done():
			return fmt.Errorf("it does not serve: %w", err)
		case <-again.C:
		}
	}
}

// Stop ends the server in an orderly way, thawed if it was frozen, and waits
// until it and all that it started is gone. Its data stays.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running() {
		return nil
	}
	if !s.end(s.orderly) {
		return fmt.Errorf("stop %s: it did not end within %v and was killed\n%s", s.name, stopTime, s.LogTail())
	}
	return nil
}

// Kill ends the server and all that it started, as kill -9 does. Its data stays
// as it was at that moment.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running() {
		s.end(syscall.SIGKILL)
	}
}

// quit ends the server at the end of the test process.
func (s *Server) quit() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running() {
		s.end(s.hurry)
	}
}

// end sends a signal, and kills what is still there after a while; it reports
// whether that was not needed.
func (s *Server) end(how syscall.Signal) (itself bool) {
	frozen := freeze(s.pid)
	if how == syscall.SIGKILL {
		signalAll(frozen, syscall.SIGKILL)
	} else {
		resume(frozen)
		signalAll(frozen[:1], how)
	}
	if itself = awaitGone(frozen, s.exited, stopTime); itself {
		return true
	}
	left := freeze(s.pid)
	signalAll(append(left, frozen...), syscall.SIGKILL)
	awaitGone(left, s.exited, stopTime)
	return false
}

// awaitGone waits until processes are gone, the first of which is a child of
// this one.
func awaitGone(pids []int, exited <-chan struct{}, within time.Duration) bool {
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	select {
	case <-exited:
	case <-deadline.C:
		return false
	}
	for anyAlive(pids[1:]) {
		select {
		case <-deadline.C:
			return false
		case <-again.C:
		}
	}
	return true
}

// Freeze halts the server and all that it started, as SIGSTOP does: connections
// are taken by the kernel and nothing answers.
func (s *Server) Freeze() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running() {
		freeze(s.pid)
	}
}

// Thaw lets a frozen server go on.
func (s *Server) Thaw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running() {
		pids := family(s.pid)
		for i := len(pids) - 1; i >= 0; i-- { // the one that starts others last
			resume(pids[i : i+1])
		}
	}
}

// LogTail is the end of what the server has logged.
func (s *Server) LogTail() []byte {
	log, err := os.ReadFile(filepath.Join(s.dir, s.name+".log"))
	if err != nil {
		return []byte(err.Error())
	}
	const most = 2000
	if len(log) > most {
		log = log[len(log)-most:]
	}
	return bytes.TrimSpace(log)
}
