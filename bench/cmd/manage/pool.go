package main

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
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	adminToken = "fake-admin-token-of-the-bench"
	startLimit = 2 * time.Minute
)

// pool is the program as a process.
type pool struct {
	cmd    *exec.Cmd
	url    string
	logs   bytes.Buffer // read once it has ended
	exited chan struct{}
}

// settings are the program's environment. The pace of checks is lifted, which
// an upstream in earnest would not be glad of.
func settings(data, upstream string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + data, "DATA_DIR=" + data, "ADMIN_TOKEN=" + adminToken, "LOG_LEVEL=warn",
		"OLLAMA_BASE_URL=" + upstream, "OPENROUTER_BASE_URL=" + upstream, "CHECK_CONCURRENCY=32", "CHECK_PER_SECOND=100000",
	}
}

// start starts the program and waits until it serves.
func start(ctx context.Context, program, data, upstream string) (*pool, error) {
	addr, err := freeAddr(ctx)
	if err != nil {
		return nil, err
	}
	p := &pool{url: "http://" + addr, exited: make(chan struct{})}
	p.cmd = exec.Command(program, "serve")
	p.cmd.Env = append(settings(data, upstream), "LISTEN_ADDR="+addr)
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
		if a, err := p.ask(ctx, http.MethodGet, "/health/ready", "", nil); err == nil && a.status == http.StatusOK {
			return p, nil
		}
		select {
		case <-p.exited:
			return nil, fmt.Errorf("the program ended at once: %s", p.logs.String())
		case <-deadline.C:
			p.kill()
			return nil, fmt.Errorf("the program does not serve within %v: %s", startLimit, p.logs.String())
		case <-ctx.Done():
			p.kill()
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

// stop ends the program in an orderly way.
func (p *pool) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the program: %w", err)
	}
	select {
	case <-p.exited:
	case <-time.After(startLimit):
		p.kill()
		return errors.New("the program did not stop")
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the program ended with %d: %s", code, p.logs.String())
	}
	return nil
}

func (p *pool) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// answer is an answer that was read to its end.
type answer struct {
	status int
	body   []byte
}

// ask makes a call to the admin API.
func (p *pool) ask(ctx context.Context, method, path, kind string, body io.Reader) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, p.url+path, body)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, text}, err
}

// must makes a call that has to succeed, and tells how long it took.
func (p *pool) must(ctx context.Context, method, path, kind, body string, into any) (time.Duration, error) {
	began := time.Now()
	a, err := p.ask(ctx, method, path, kind, strings.NewReader(body))
	took := time.Since(began)
	if err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("%d %.500s", a.status, a.body)
	}
	if err == nil && into != nil {
		err = json.Unmarshal(a.body, into)
	}
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return took, nil
}

var (
	residentNow  = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`)
	residentPeak = regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB$`)
)

// resident is the program's memory, now or at its peak since calm, in MiB; 0
// where the system does not tell.
func (p *pool) resident(which *regexp.Regexp) int {
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

// calm begins a new measurement of the peak.
func (p *pool) calm() {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0)
}

func (p *pool) memory() string { return fmt.Sprintf("%d MiB", p.resident(residentNow)) }

// grown is the memory before, after and at the peak of something.
func (p *pool) grown(before int) string {
	return fmt.Sprintf("%d → %d MiB, peak %d", before, p.resident(residentNow), p.resident(residentPeak))
}
