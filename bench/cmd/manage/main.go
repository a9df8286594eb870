// Command manage measures what an operator with very many keys does: it starts
// the built program on a directory of its own, in front of an upstream that it
// plays itself, fills it, and times the calls of the admin API. It prints a
// table in Markdown. Everything is on loopback, and it ends only the processes
// that it started.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"time"

	"ollama-api-pool/bench/internal/program"
)

// options are what may be set on the command line.
type options struct {
	program  string
	dir      string // "": a new one, removed at the end
	out      string // a file for the report besides the standard output
	keys     int
	requests int
	calls    int // of each kind
}

func main() {
	var o options
	flag.StringVar(&o.program, "program", "bin/ollama-api-pool", "the built program")
	flag.StringVar(&o.dir, "dir", "", "directory for the data; a temporary one that is removed unless it is set")
	flag.StringVar(&o.out, "md", "", "write the report to this file, too")
	flag.IntVar(&o.keys, "keys", 100_000, "keys in the pool")
	flag.IntVar(&o.requests, "requests", 1_000_000, "requests a month of which there are statistics")
	flag.IntVar(&o.calls, "calls", 20, "calls of each kind")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := measure(ctx, &o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "manage:", err)
		os.Exit(1)
	}
}

// measure takes every figure, in the order in which an operator would.
func measure(ctx context.Context, o *options) (err error) {
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "ollama-api-pool-manage-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	}
	if o.program, err = filepath.Abs(o.program); err != nil {
		return err
	}
	up, err := newUpstream()
	if err != nil {
		return err
	}
	defer up.close()
	m := &measurement{o: o, up: up, report: &report{}}
	m.report.line("%d keys, statistics of %d requests a month; %s, %d cores, %s.", o.keys, o.requests,
		time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), runtime.Version())
	for _, step := range []func(context.Context) error{
		m.imports, m.fill, m.reads, m.files, m.checks, m.validated, m.backups, m.bulk,
	} {
		if err := step(ctx); err != nil {
			if m.pool != nil {
				m.pool.Kill()
			}
			return err
		}
	}
	if n := up.generating.Load(); n != 0 {
		return fmt.Errorf("%d requests would have cost tokens", n)
	}
	return m.report.write(o.out)
}

// measurement is one under way.
type measurement struct {
	o      *options
	up     *upstream
	pool   *program.Program
	report *report
}

// start starts the program on the data directory and notes how long it takes.
func (m *measurement) start(ctx context.Context, what string) (err error) {
	began := time.Now()
	if m.pool, err = program.Start(ctx, m.o.program, m.settings()); err != nil {
		return err
	}
	m.report.add(what, seconds(time.Since(began)), m.pool.Memory(), "")
	return nil
}

func (m *measurement) data() string { return filepath.Join(m.o.dir, "data") }

// settings lift the pace of checks, which an upstream in earnest would not be
// glad of.
func (m *measurement) settings() []string {
	return program.Settings(m.data(), m.up.url, "CHECK_CONCURRENCY=32", "CHECK_PER_SECOND=100000")
}
