package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"ollama-api-pool/internal/app"
	"ollama-api-pool/internal/config"
)

func (p *program) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Serve clients (what happens without a command, too)",
		Long: `Serve listens on LISTEN_ADDR (:8787) and keeps its data in DATA_DIR (./data), or in
the database of DATABASE_URL, which several instances may share.
Settings come from the environment or from a file given with --config;
'config print' shows them all. Ctrl-C lets running requests finish within
SHUTDOWN_GRACE (30s), writes everything down and ends.`,
		Example: `  ollama-api-pool serve
  LISTEN_ADDR=127.0.0.1:9000 DATA_DIR=/var/lib/pool ollama-api-pool serve
  ollama-api-pool serve --config wrangler.toml`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.serve(cmd.Context()) },
	}
}

func (p *program) serve(ctx context.Context) error {
	cfg, report, err := config.Load(p.environ, p.configFile)
	if err != nil {
		p.warn(report)
		return err
	}
	tuneMemory(p.environ)
	a, err := app.Start(ctx, cfg, app.Deps{Log: p.logger(cfg), Version: Version(), Settings: report})
	if err != nil {
		return err
	}
	p.warn(report) // a start that failed has more to say than doubts
	p.greet(cfg, a)
	return p.serveUntilDone(ctx, a)
}

// serveUntilDone waits for the end and stops the app in an orderly way. A
// second signal ends the process at once, as the first one is all we catch.
func (p *program) serveUntilDone(ctx context.Context, a *app.App) error {
	var failed error
	select {
	case <-ctx.Done():
		_, _ = fmt.Fprintln(p.Out, "\nStopping: running requests may finish (SHUTDOWN_GRACE); Ctrl-C again to end at once.")
	case failed = <-a.Failed():
	}
	restoreSignals(ctx)
	if err := a.Stop(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	return failed
}

// greet says where things are and what to do next.
func (p *program) greet(cfg *config.Config, a *app.App) {
	var b strings.Builder
	fmt.Fprintf(&b, "ollama-api-pool %s\n\n", Version())
	fmt.Fprintf(&b, "  listening on  %s\n", a.URL())
	fmt.Fprintf(&b, "  data          %s (%s, %s)\n", whereData(cfg, a), count(a.Keys(), "key"), count(a.Tokens(), "client token"))
	for _, reason := range a.Degraded() {
		fmt.Fprintf(&b, "  degraded      %s\n", reason)
	}
	if cfg.AdminToken == "" {
		fmt.Fprintf(&b, "  admin token   in %s\n", app.AdminTokenPath(cfg.DataDir))
	} else {
		b.WriteString("  admin token   from the settings (ADMIN_TOKEN)\n")
	}
	fmt.Fprintf(&b, "\nThe dashboard is at %s/dashboard: log in with the admin token.\n", a.URL())
	if a.Keys() == 0 {
		fmt.Fprintf(&b, "\nThe pool is empty. Fill it there, or in another terminal%s:\n\n  %[2]s keys import FILE\n  %[2]s tokens create NAME\n", p.alsoNeeded(), p.elsewhere())
		b.WriteString("\nFILE holds one key a line. The second prints a token for your client, once.\n")
	}
	b.WriteString("\nCtrl-C stops.\n")
	_, _ = fmt.Fprint(p.Out, b.String())
}

// whereData says where the data are, without credentials.
func whereData(cfg *config.Config, a *app.App) string {
	s := a.Storage()
	if s.Host == "" {
		return cfg.DataDir
	}
	return s.Host
}

// elsewhere begins a command that reaches this instance from another terminal,
// where the settings of this one are not in the environment.
func (p *program) elsewhere() string {
	words := p.name
	if dir := p.variable("DATA_DIR"); dir != "" {
		words = "DATA_DIR=" + shellWord(absolute(dir)) + " " + words
	}
	if p.configFile != "" {
		words += " --config " + shellWord(absolute(p.configFile))
	}
	return words
}

// alsoNeeded names what commands in another terminal need and what is not shown.
func (p *program) alsoNeeded() string {
	var names []string
	for _, name := range []string{"ADMIN_TOKEN", "DATABASE_URL", "SUPABASE_REST_URL", "SUPABASE_SERVICE_ROLE_KEY", "ENCRYPTION_KEY"} {
		if p.variable(name) != "" && (name == "ADMIN_TOKEN" || p.inDatabase()) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return ", with the same " + strings.Join(names, ", ")
}

// inDatabase reports whether the environment names a database.
func (p *program) inDatabase() bool {
	return p.variable("DATABASE_URL") != "" || p.variable("SUPABASE_REST_URL") != ""
}

// variable is the value of a variable of the environment, without blanks around it.
func (p *program) variable(name string) string {
	value := ""
	for _, e := range p.environ {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			value = strings.TrimSpace(v)
		}
	}
	return value
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// shellWord quotes what a shell would not take as one word.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r > 0x7f || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/._-:,+=@%", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// gcPercent lets a small heap grow more before it is collected: most of what a
// request allocates is short-lived.
const gcPercent = 200

// tuneMemory sets the collector's pace, unless GOGC does.
func tuneMemory(environ []string) {
	for _, e := range environ {
		if value, ok := strings.CutPrefix(e, "GOGC="); ok && value != "" {
			return
		}
	}
	debug.SetGCPercent(gcPercent)
}

// restoreSignals gives a second signal its ordinary effect.
func restoreSignals(ctx context.Context) {
	if stop, ok := ctx.Value(stopKey{}).(func()); ok {
		stop()
	}
}

type stopKey struct{}

// WithStop gives Run the function that stops the catching of signals, so that
// a second one ends the process while it drains.
func WithStop(ctx context.Context, stop func()) context.Context {
	return context.WithValue(ctx, stopKey{}, stop)
}
