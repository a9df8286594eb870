// Package program starts the built program on loopback and talks to its admin
// API. It ends only what it started.
package program

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	adminToken = "fake-admin-token-of-the-bench"
	startLimit = 2 * time.Minute
)

// Program is the program as a process.
type Program struct {
	URL    string
	cmd    *exec.Cmd
	logs   bytes.Buffer // read once it has ended
	exited chan struct{}
}

// Settings are the program's environment, for its commands too.
func Settings(data, upstream string, more ...string) []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + data, "DATA_DIR=" + data, "ADMIN_TOKEN=" + adminToken, "LOG_LEVEL=warn",
		"OLLAMA_BASE_URL=" + upstream, "OPENROUTER_BASE_URL=" + upstream,
	}, more...)
}

// Start starts the program at a path with these settings and waits until it
// serves.
func Start(ctx context.Context, path string, settings []string) (*Program, error) {
	addr, err := freeAddr(ctx)
	if err != nil {
		return nil, err
	}
	p := &Program{URL: "http://" + addr, exited: make(chan struct{})}
	p.cmd = exec.Command(path, "serve")
	p.cmd.Env = append(slices.Clone(settings), "LISTEN_ADDR="+addr)
	p.cmd.Stdout, p.cmd.Stderr = io.Discard, &p.logs
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the program: %w", err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in its ProcessState
		close(p.exited)
	}()
	deadline := time.NewTimer(startLimit)
	defer deadline.Stop()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		if a, err := p.Ask(ctx, http.MethodGet, "/health/ready", "", nil); err == nil && a.Status == http.StatusOK {
			return p, nil
		}
		select {
		case <-p.exited:
			return nil, fmt.Errorf("the program ended at once: %s", p.logs.String())
		case <-deadline.C:
			p.Kill()
			return nil, fmt.Errorf("the program does not serve within %v: %s", startLimit, p.logs.String())
		case <-ctx.Done():
			p.Kill()
			return nil, ctx.Err()
		case <-again.C:
		}
	}
}

// freeAddr finds an address that nobody listens on.
func freeAddr(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// Stop ends the program in an orderly way.
func (p *Program) Stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the program: %w", err)
	}
	select {
	case <-p.exited:
	case <-time.After(startLimit):
		p.Kill()
		return errors.New("the program did not stop")
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the program ended with %d: %s", code, p.logs.String())
	}
	return nil
}

// Kill ends it as kill -9 does.
func (p *Program) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// Answer is an answer that was read to its end.
type Answer struct {
	Status int
	Body   []byte
}

// Ask makes a call to the admin API.
func (p *Program) Ask(ctx context.Context, method, path, kind string, body io.Reader) (Answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, p.URL+path, body)
	if err != nil {
		return Answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	return Answer{res.StatusCode, text}, err
}

// Must makes a call that has to succeed, and tells how long it took.
func (p *Program) Must(ctx context.Context, method, path, kind, body string, into any) (time.Duration, error) {
	began := time.Now()
	a, err := p.Ask(ctx, method, path, kind, strings.NewReader(body))
	took := time.Since(began)
	if err == nil && a.Status != http.StatusOK {
		err = fmt.Errorf("%d %.500s", a.Status, a.Body)
	}
	if err == nil && into != nil {
		err = json.Unmarshal(a.Body, into)
	}
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return took, nil
}

// What Resident can tell.
var (
	Now  = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`)
	Peak = regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB$`)
)

// Resident is the program's memory, now or at its peak since calm, in MiB; 0
// where the system does not tell.
func (p *Program) Resident(which *regexp.Regexp) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	found := which.FindSubmatch(status)
	if found == nil {
		return 0
	}
	kilobytes, _ := strconv.Atoi(string(found[1])) // digits
	return kilobytes >> 10
}

// Calm begins a new measurement of the peak.
func (p *Program) Calm() {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0)
}

// Memory is Resident in words.
func (p *Program) Memory() string { return fmt.Sprintf("%d MiB", p.Resident(Now)) }

// Grown is the memory before, after and at the peak of something.
func (p *Program) Grown(before int) string {
	return fmt.Sprintf("%d → %d MiB, peak %d", before, p.Resident(Now), p.Resident(Peak))
}

// PID is the process.
func (p *Program) PID() int { return p.cmd.Process.Pid }
