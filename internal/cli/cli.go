// Package cli is the command line: it turns arguments into calls of the
// program's parts and their results into text.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"ollama-api-pool/internal/config"
)

// version is set when the program is built, see the Makefile.
var version string

// Version is what this build calls itself.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

// Streams are where commands read from and write to.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Exit codes, for scripts. exitTable says what they mean.
const (
	exitFailed = 1
	exitUsage  = 2
	exitPart   = 3
)

const exitTable = `Exit codes:
  0  done; of a list also when it is empty
  1  failed: nothing was changed, or the message says what was
  2  the command line makes no sense: nothing was done
  3  not all of it: nothing matched, something named is not there, some lines
     or keys were bad, or a job that was watched did not end well`

// usageError is a command line that makes no sense.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// partError says that what was asked for could be done in part only, or that
// there was nothing to do it to.
type partError struct{ error }

func (e partError) Unwrap() error { return e.error }

// ExitCode is the process's exit code for an error that Run returned.
func ExitCode(err error) int {
	var u usageError
	if errors.As(err, &u) {
		return exitUsage
	}
	var part partError
	if errors.As(err, &part) {
		return exitPart
	}
	return exitFailed
}

// program is one call of the command line.
type program struct {
	Streams
	name       string // as it was called, for texts to be pasted
	environ    []string
	configFile string
	server     string // of --server

	// watched reports whether somebody sits at a stream; tests say so.
	watched func(stream any) bool
}

// Run carries out one command line; args[0] is the program's name. It returns
// when the command is done or ctx ends.
func Run(ctx context.Context, args, environ []string, streams Streams) error {
	p := &program{Streams: streams, name: callName(args[0]), environ: environ, watched: isTerminal}
	return p.run(ctx, args)
}

func (p *program) run(ctx context.Context, args []string) error {
	root := p.root()
	root.SetArgs(args[1:])
	root.SetIn(p.In)
	root.SetOut(p.Out)
	root.SetErr(p.Err)
	return root.ExecuteContext(ctx)
}

// callName keeps a path as it was typed, and a bare name bare.
func callName(arg0 string) string {
	if arg0 == "" {
		return "ollama-api-pool"
	}
	return filepath.ToSlash(arg0)
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "ollama-api-pool",
		Short: "One address for many Ollama Cloud and OpenRouter accounts",
		Long: `Ollama API Pool stands between your applications and many upstream accounts.
It gives each request a key in turn, fails over when a key, an account or the
upstream gives out, and streams the answer back untouched. Applications speak
OpenAI's, Anthropic's or Ollama's protocol to it.

Without a command it serves.

` + exitTable,
		Example: `  ollama-api-pool                       serve on :8787 with data in ./data
  ollama-api-pool demo                  watch failover with no account at all
  ollama-api-pool keys import keys.txt  add keys, one a line
  ollama-api-pool tokens create app     make a token for a client`,
		Args:          noArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return p.serve(cmd.Context()) },
	}
	root.CompletionOptions.DisableDefaultCmd = true // ours has examples
	root.PersistentFlags().StringVar(&p.configFile, "config", "", "read settings from this TOML `file` (a wrangler.toml will do); the environment wins")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w\nSee '%s --help'", plainly(err), cmd.CommandPath())}
	})
	root.AddCommand(p.serveCommand(), p.demoCommand(), p.versionCommand())
	root.AddCommand(p.operatorCommands()...)
	return root
}

// plainly says in our words what is wrong with the value of a flag.
func plainly(err error) error {
	wrong, ok := errors.AsType[*strconv.NumError](err)
	if !ok {
		return err
	}
	wanted := "a whole number"
	if wrong.Func == "ParseBool" {
		wanted = "true or false"
	}
	said, _, _ := strings.Cut(err.Error(), ": "+wrong.Error())
	return fmt.Errorf("%s: it must be %s", said, wanted)
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unknown command or argument %q\nSee '%s --help'", args[0], cmd.CommandPath())}
	}
	return nil
}

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Say which version this is", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(p.Out, "ollama-api-pool "+Version())
			return err
		},
	}
}

// load reads the settings and passes their warnings on.
func (p *program) load() (*config.Config, error) {
	cfg, report, err := config.Load(p.environ, p.configFile)
	p.warn(report)
	return cfg, err
}

// warn passes the settings' warnings on.
func (p *program) warn(report config.Report) {
	for _, w := range report.Warnings {
		_, _ = fmt.Fprintf(p.Err, "warning: %s\n", w)
	}
}

// logger makes the log that the settings ask for.
func (p *program) logger(cfg *config.Config) *slog.Logger { return p.logFrom(cfg, cfg.LogLevel) }

// quiet makes the log of a command: what it does it says itself.
func (p *program) quiet(cfg *config.Config) *slog.Logger {
	return p.logFrom(cfg, max(cfg.LogLevel, slog.LevelWarn))
}

func (p *program) logFrom(cfg *config.Config, level slog.Level) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	if cfg.LogFormat == config.LogJSON {
		return slog.New(slog.NewJSONHandler(p.Err, opts))
	}
	return slog.New(slog.NewTextHandler(p.Err, opts))
}
