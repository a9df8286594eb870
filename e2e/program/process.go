package program

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"ollama-api-pool/internal/testkit"
)

// Process is the program as a process, with a data directory of its own that
// outlives it. It belongs to one goroutine, but for URL and AdminToken between
// two starts.
type Process struct {
	Home string // its working directory
	Data string // its data directory
	Path string // of the program
	Args []string
	Env  []string

	Out testkit.SafeBuffer // what it printed since it was started
	Err testkit.SafeBuffer // what it logged since it was started

	url    string
	admin  string
	cmd    *exec.Cmd
	exited chan struct{} // closed at its end
}

// New makes a process that is not started, to serve on a free port with a
// data directory below home. The settings are lines for the environment;
// nothing else of the environment reaches it.
func New(path, home string, settings ...string) *Process {
	p := &Process{Home: home, Data: filepath.Join(home, "data"), Path: path, Args: []string{"serve"}}
	p.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home,
		"LISTEN_ADDR=127.0.0.1:0", "DATA_DIR=" + p.Data, "LOG_LEVEL=debug",
		// A race ends the process with this code.
		"GORACE=halt_on_error=1 exitcode=66",
	}, settings...)
	return p
}

// At stands for a process that somebody else runs, by its address and its admin
// token. It cannot be launched.
func At(url, admin string) *Process { return &Process{url: url, admin: admin} }

// Launch starts the process and does not wait for anything.
func (p *Process) Launch() error {
	p.Out.Reset()
	p.Err.Reset()
	p.cmd = exec.Command(p.Path, p.Args...) //nolint:gosec,noctx // it is what is tested; Wait waits for its end
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = p.Home, p.Env, &p.Out, &p.Err
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start the program: %w", err)
	}
	exited, cmd := make(chan struct{}), p.cmd
	p.exited = exited
	go func() {
		_ = cmd.Wait() // how it ended is in its ProcessState
		close(exited)
	}()
	return nil
}

var (
	listening  = regexp.MustCompile(`(?m)^  listening on  (http://\S+)$`)
	adminToken = regexp.MustCompile(`(?m)^  admin token   in (.+)$`)
	shownToken = regexp.MustCompile(`(?m)^  admin token   (\S+) \(for this run only\)$`) // by the demo
)

// AwaitServing waits until a process that was launched says that it serves,
// and reads where, and what the admin token is.
func (p *Process) AwaitServing(within time.Duration) error {
	if err := p.awaitWord("Ctrl-C stops", within); err != nil {
		return err
	}
	said := p.Out.String()
	if p.url = found(listening, said); p.url == "" {
		return fmt.Errorf("the program does not say where it listens:\n%s", said)
	}
	if path := found(adminToken, said); path != "" {
		if !filepath.IsAbs(path) {
			path = filepath.Join(p.Home, path)
		}
		token, err := os.ReadFile(path) //nolint:gosec // in a directory of the test's own
		if err != nil {
			return fmt.Errorf("read the admin token: %w", err)
		}
		p.admin = strings.TrimSpace(string(token))
		return nil
	}
	if p.admin = found(shownToken, said); p.admin != "" {
		return nil
	}
	for _, setting := range p.Env {
		if token, ok := strings.CutPrefix(setting, "ADMIN_TOKEN="); ok {
			p.admin = token
		}
	}
	return nil
}

// awaitWord waits until the process has printed something.
func (p *Process) awaitWord(word string, within time.Duration) error {
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for !strings.Contains(p.Out.String(), word) {
		if !p.Running() {
			return fmt.Errorf("the program ended at once:\n%s%s", p.Out.String(), p.Err.String())
		}
		select {
		case <-deadline.C:
			return fmt.Errorf("after %v the program does not say that it serves:\n%s%s", within, p.Out.String(), p.Err.String())
		case <-again.C:
		}
	}
	return nil
}

func found(re *regexp.Regexp, text string) string {
	if m := re.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

// URL is where the process listens.
func (p *Process) URL() string { return p.url }

// AdminToken is the token of its administrator.
func (p *Process) AdminToken() string { return p.admin }

// PID is the number of the process that was launched last.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Running says whether the process was launched and has not ended.
func (p *Process) Running() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Send sends a signal and does not wait for anything.
func (p *Process) Send(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %v: %w", s, err)
	}
	return nil
}

// AwaitEnd waits for the end of the process and returns its exit code, -1 for
// a signal. A process that does not end is made to say where it hangs.
func (p *Process) AwaitEnd(within time.Duration) (int, error) {
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-time.After(within):
	}
	if err := p.Send(syscall.SIGQUIT); err != nil { // the goroutines come out on Err
		return 0, err
	}
	<-p.exited
	return 0, fmt.Errorf("after %v the program does not end:\n%s", within, p.Err.String())
}

// Log is all that the process has written since it was started.
func (p *Process) Log() string { return p.Out.String() + p.Err.String() }

// Faults are the words in its log that tell of a fault of its own.
func (p *Process) Faults() []string {
	log := p.Log()
	var bad []string
	for _, word := range []string{"DATA RACE", "panic", "level=ERROR", "goroutine "} {
		if strings.Contains(log, word) {
			bad = append(bad, word)
		}
	}
	return bad
}
