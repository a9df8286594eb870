// Command stores compares the embedded store with PostgreSQL and Redis in one
// run: what the store's own work takes on each, and what a request costs the
// program on each. It starts PostgreSQL and Redis itself, on loopback and in a
// temporary directory, durable as they are by default, and ends only what it
// started. It prints tables in Markdown.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"ollama-api-pool/internal/testkit/servers"
)

// options are what may be set on the command line.
type options struct {
	program string
	bin     string // where the load driver and the mock upstream are
	out     string
	keys    int
	rounds  int
	time    time.Duration // of a run under load
	only    string
}

func main() {
	var o options
	flag.StringVar(&o.program, "program", "bin/ollama-api-pool", "the built program")
	flag.StringVar(&o.bin, "bin", ".cache/bench/bin", "the folder of the built run and mockupstream")
	flag.StringVar(&o.out, "md", "", "write the report to this file, too")
	flag.IntVar(&o.keys, "keys", 100_000, "keys in the store")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds, in which all take turns")
	flag.DurationVar(&o.time, "d", 4*time.Second, "measured time of each run under load")
	flag.StringVar(&o.only, "only", "", "store: the store's own work only; requests: what a request costs only")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := errors.Join(measure(ctx, &o), servers.StopAll())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "stores:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, o *options) (err error) {
	dir, err := os.MkdirTemp("", "ollama-api-pool-stores-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, path := range []*string{&o.program, &o.bin} {
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	var all bytes.Buffer
	w := io.MultiWriter(os.Stdout, &all)
	_, _ = fmt.Fprintf(w, "%s, %d cores, %s; %d rounds, medians.\n", time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), runtime.Version(), o.rounds)
	if o.only != "requests" {
		if err := storeWork(ctx, o, dir, w); err != nil {
			return err
		}
	}
	if o.only != "store" {
		if err := requests(ctx, o, dir, w); err != nil {
			return err
		}
	}
	if o.out == "" {
		return nil
	}
	return os.WriteFile(o.out, all.Bytes(), 0o600)
}

// durable are the settings of a PostgreSQL as it is where it keeps something.
func durable() servers.PostgresOptions {
	return servers.PostgresOptions{Settings: map[string]string{
		"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "shared_buffers": "128MB", "autovacuum_naptime": "1min",
	}}
}

// table prints rows, the first of them being the head.
func table(w io.Writer, rows [][]string) {
	for n, row := range rows {
		_, _ = fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
		if n == 0 {
			_, _ = fmt.Fprintf(w, "| --- |%s\n", strings.Repeat(" ---: |", len(row)-1))
		}
	}
}
