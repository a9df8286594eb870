package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// report is a table in the making.
type report struct {
	head strings.Builder
	rows strings.Builder
}

func (r *report) line(format string, args ...any) { fmt.Fprintf(&r.head, format+"\n\n", args...) }

// add adds a row: what was done, how long it took, what memory the program had,
// and what else there is to say. It is shown on the standard error at once.
func (r *report) add(what, took, memory, note string) {
	row := fmt.Sprintf("| %s | %s | %s | %s |\n", what, took, memory, note)
	r.rows.WriteString(row)
	fmt.Fprint(os.Stderr, row)
}

// write prints the report, and writes it to a file if there is one.
func (r *report) write(path string) error {
	all := r.head.String() + "| what | seconds | memory (RSS) | median of the calls, and more |\n| --- | ---: | --- | --- |\n" + r.rows.String()
	fmt.Print(all)
	if path == "" {
		return nil
	}
	return os.WriteFile(path, []byte(all), 0o600)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()) }

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }
