package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
	"unicode"

	"ollama-api-pool/internal/gateway"
)

// How much of a foreign text a table shows, in bytes.
const (
	widestName = 40
	widestText = 60
)

// printJSON prints v for machines.
func (p *program) printJSON(v any) error {
	enc := json.NewEncoder(p.Out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("print the result: %w", err)
	}
	return nil
}

// say prints a result.
func (p *program) say(format string, args ...any) error {
	if _, err := fmt.Fprintf(p.Out, format, args...); err != nil {
		return fmt.Errorf("print the result: %w", err)
	}
	return nil
}

// remark prints what is no part of the result.
func (p *program) remark(format string, args ...any) {
	_, _ = fmt.Fprintf(p.Err, format, args...)
}

// table prints rows of cells under a head.
func (p *program) table(head []string, rows [][]string) error {
	tw := tabwriter.NewWriter(p.Out, 0, 8, 2, ' ', 0)
	for _, row := range append([][]string{head}, rows...) {
		_, _ = fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("print the result: %w", err)
	}
	return nil
}

// printable makes foreign text fit for a terminal: what could move the cursor
// or hide something is replaced, and so are the ends of lines.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case unicode.IsGraphic(r):
			return r
		}
		return '·'
	}, s)
}

// cell is a foreign text in a table, - for none.
func cell(s string, widest int) string {
	if s = strings.TrimSpace(printable(s)); s == "" {
		return "-"
	}
	return gateway.Clip(s, widest)
}

// within says how long a time is, roughly: in its two largest units.
func within(d time.Duration) string {
	const day = 24 * time.Hour
	d = max(d, 0)
	if d > time.Hour {
		d = d.Round(time.Minute)
	}
	large, small, units := d/day, d%day/time.Hour, "dh"
	switch {
	case d < time.Minute:
		return strconv.Itoa(int((d+time.Second-1)/time.Second)) + "s"
	case d < time.Hour:
		return strconv.Itoa(int(d/time.Minute)) + "m"
	case d < day:
		large, small, units = d/time.Hour, d%time.Hour/time.Minute, "hm"
	}
	if small == 0 {
		return fmt.Sprintf("%d%c", large, units[0])
	}
	return fmt.Sprintf("%d%c%d%c", large, units[0], small, units[1])
}

// moment writes a time as people near this machine do, without the date where
// it is less than a day away.
func moment(t, now time.Time) string {
	const day = 24 * time.Hour
	form := "2006-01-02 15:04"
	if d := t.Sub(now); d > -day && d < day {
		form = "15:04:05"
	}
	return t.In(now.Location()).Format(form)
}

// ahead is a time that is to come, with how far off it is.
func ahead(t, now time.Time) string {
	return moment(t, now) + " (" + within(t.Sub(now)) + ")"
}

// ago says how long ago a time was.
func ago(t *time.Time, now time.Time) string {
	if t == nil {
		return "never"
	}
	return within(now.Sub(*t)) + " ago"
}

// date is the day of a time.
func date(t *time.Time, now time.Time) string {
	if t == nil {
		return "-"
	}
	return t.In(now.Location()).Format(time.DateOnly)
}

// isTerminal reports whether a stream is one at which somebody sits.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && f.Name() != os.DevNull
}

// progress shows on a terminal how far something has come. It may be used
// concurrently.
type progress struct {
	w   io.Writer // nil: nobody watches
	now func() time.Time

	mu      sync.Mutex // guards what follows, and the line on the terminal
	next    time.Time  // when to show again
	visible bool
	over    bool
}

// How often progress is shown, and after which time at first.
const progressEvery = 200 * time.Millisecond

// progress starts to show progress if somebody watches.
func (p *program) progress() *progress {
	if !p.watched(p.Err) {
		return &progress{}
	}
	return &progress{w: p.Err, now: time.Now, next: time.Now().Add(progressEvery)}
}

// show shows a line in place of the last one, now and then, until the end.
func (g *progress) show(line func() string) {
	if g.w == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if g.over || now.Before(g.next) {
		return
	}
	g.next, g.visible = now.Add(progressEvery), true
	_, _ = fmt.Fprintf(g.w, "\r\x1b[K%s", line())
}

// end takes the line away.
func (g *progress) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
	if g.visible {
		_, _ = fmt.Fprint(g.w, "\r\x1b[K")
		g.visible = false
	}
}

// mebibytes is a size for people.
func mebibytes(n int64) string {
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// sentence begins a text with a capital.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
