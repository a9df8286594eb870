package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"ollama-api-pool/internal/app"
	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/gateway"
)

// operatorCommands are the commands for who runs an instance.
func (p *program) operatorCommands() []*cobra.Command {
	return []*cobra.Command{p.keysCommand(), p.tokensCommand(), p.statsCommand(), p.requestsCommand(), p.jobsCommand(), p.configCommand(), p.classifyCommand(), p.encryptionCommand(), p.backupCommand(), p.restoreCommand(), p.migrateCommand(), p.selftestCommand(), p.healthcheckCommand(), p.completionCommand()}
}

// operator is what commands ask of an instance. One that runs is asked over
// its admin API, of another the store is opened. Errors are fit to be shown.
type operator interface {
	// Keys returns a page of keys; a limit of 0 means all.
	Keys(ctx context.Context, p gateway.ProviderName, q gateway.KeyQuery) (keyPage, error)
	// Key tells all about a key that is named by itself or its id; that it is not
	// there is a partError.
	Key(ctx context.Context, p gateway.ProviderName, ref string) (keyStory, error)
	// ExportKeys writes the keys that a filter finds, in one of exportFormats.
	ExportKeys(ctx context.Context, p gateway.ProviderName, f gateway.KeyFilter, format string, reveal bool, w io.Writer) error
	// AddKey adds one key; added is false if it was there already.
	AddKey(ctx context.Context, p gateway.ProviderName, k newKey) (id gateway.KeyID, added bool, err error)
	// ChangeKeys does something to keys, with d of it where that takes a time, or
	// only counts them.
	ChangeKeys(ctx context.Context, set *keySet, act keyAct, d time.Duration, dryRun bool) (changedKeys, error)
	// AddKeys adds all keys of a sequence or, after an error, none; of a dry run
	// it says only what it would add.
	AddKeys(ctx context.Context, in *newKeys) (added, existing int, err error)
	// AddGoodKeys checks the keys of a sequence upstream and adds the good ones
	// or, after an error, none. It tells now and then how far it is.
	AddGoodKeys(ctx context.Context, in *newKeys, seen func(step)) (goodKeys, error)
	// CheckKeys checks keys upstream and tells now and then how far it is.
	CheckKeys(ctx context.Context, set *keySet, seen func(step)) (checkResult, error)
	// StartCheck begins to check keys and does not wait.
	StartCheck(ctx context.Context, set *keySet) (job, error)
	// Jobs lists the nth so many jobs of a kind, "" all, the newest first.
	Jobs(ctx context.Context, kind gateway.JobKind, page, limit int) (jobPage, error)
	// Job shows a job; that it is not there is a partError, so it is with the
	// following two.
	Job(ctx context.Context, id string) (job, error)
	// CancelJob ends a job that runs.
	CancelJob(ctx context.Context, id string) (job, error)
	// JobBad writes a table of what a job could not use.
	JobBad(ctx context.Context, id string, w io.Writer) error
	// Overview tells how everything stands, with figures of a span of time.
	Overview(ctx context.Context, provider, span string) (overview, error)
	// Requests lists requests of the log, as the API's query asks for them.
	Requests(ctx context.Context, ask url.Values, limit int) (requestPage, error)
	// Request tells all about a request of the log; that it is not there is a
	// partError.
	Request(ctx context.Context, id string) (requestEntry, error)
	// Tokens lists the client tokens.
	Tokens(ctx context.Context) ([]tokenRow, error)
	// CreateToken issues a client token, ttl 0 for ever, with limits by their
	// names in the API.
	CreateToken(ctx context.Context, name string, providers []gateway.ProviderName, ttl time.Duration, limits map[string]any) (newToken, error)
	// ChangeToken changes a client token, named by itself or its id.
	ChangeToken(ctx context.Context, ref string, change tokenChange) (tokenRow, error)
	// RevokeToken deletes a client token, named by itself or its id.
	RevokeToken(ctx context.Context, ref string) error
	// URL is where clients reach the instance, or will when it runs.
	URL() string
	// Runs reports whether the instance serves now.
	Runs() bool
	// Close lets go of the instance.
	Close(ctx context.Context) error
}

// How long to wait for an instance that holds the data directory but does not
// answer: it is starting, or another command is at work.
const (
	holdPatience = 10 * time.Second
	holdPause    = 50 * time.Millisecond
)

// operate calls use with the instance that a command is for: that of --server,
// or the one of the data directory, whether it runs or not. Where there is none
// it fails and makes none.
func (p *program) operate(ctx context.Context, use func(op operator) error) error {
	if err := p.mustBe(); err != nil {
		return err
	}
	return p.operateOrMake(ctx, use)
}

// operateOrMake is operate for commands that add something: where there is no
// store it makes one.
func (p *program) operateOrMake(ctx context.Context, use func(op operator) error) (err error) {
	cfg, err := p.settings()
	if err != nil {
		return err
	}
	op, err := p.reach(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, op.Close(context.WithoutCancel(ctx))) }()
	return use(op)
}

// settings reads the settings for a command that does not serve: what is
// doubtful about them concerns 'serve' and 'config check'.
func (p *program) settings() (*config.Config, error) {
	cfg, _, err := config.Load(p.environ, p.configFile)
	return cfg, err
}

// thereIs reports whether there is an instance at all: one of --server, or a
// store in the data directory.
func (p *program) thereIs() (bool, error) {
	err := p.mustBe()
	if errors.Is(err, app.ErrNoStore) {
		return false, nil
	}
	return true, err
}

// mustBe fails where there is no instance at all, and says how to name another.
func (p *program) mustBe() error {
	cfg, err := p.settings()
	if err != nil || p.server != "" {
		return err
	}
	if err = app.FindStore(cfg); errors.Is(err, app.ErrNoStore) {
		return fmt.Errorf("%w: 'serve', 'keys import' and 'tokens create' make one; DATA_DIR chooses the directory, --server=URL reaches an instance that runs elsewhere", err)
	}
	return err
}

func (p *program) reach(ctx context.Context, cfg *config.Config) (operator, error) {
	if p.server != "" {
		return distant(p.server, cfg.AdminToken)
	}
	if app.InDatabase(cfg) {
		// An instance at hand is asked, since it answers also while the database is
		// out of reach. Others follow what is changed in the database.
		if i, err := app.ReadInstance(cfg.DataDir); err == nil && i.Store != "" && i.Store == app.Fingerprint(cfg) {
			if other, err := running(ctx, cfg); err == nil {
				return other, nil
			}
		}
		op, err := openOffline(ctx, cfg, p.quiet(cfg))
		if err != nil {
			return nil, err
		}
		return op, nil
	}
	deadline := time.Now().Add(holdPatience)
	for {
		op, err := openOffline(ctx, cfg, p.quiet(cfg))
		if err == nil {
			return op, nil
		}
		if !errors.Is(err, app.ErrHeld) {
			return nil, err
		}
		other, why := running(ctx, cfg)
		if why == nil {
			return other, nil
		}
		if errors.Is(why, errTokenElsewhere) {
			return nil, why
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%w; it does not answer: %w", err, why)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(holdPause):
		}
	}
}

// errTokenElsewhere says that an instance has an admin token that is not in its
// data directory.
var errTokenElsewhere = errors.New("it has its admin token from its settings: set the same ADMIN_TOKEN here")

// running reaches the instance that serves from the data directory.
func running(ctx context.Context, cfg *config.Config) (operator, error) {
	i, err := app.ReadInstance(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	r := newRemote("http://"+i.Addr, cfg.AdminToken, nil)
	if err := r.ready(ctx); err != nil {
		_ = r.Close(ctx)
		return nil, err
	}
	if r.token == "" {
		if r.token, err = app.AdminToken(cfg.DataDir); err != nil {
			_ = r.Close(ctx)
			if errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("the instance at %s holds the data directory %s; %w", r.base, cfg.DataDir, errTokenElsewhere)
			}
			return nil, err
		}
	}
	return r, nil
}

// providerFlag adds --provider, read with parseProvider.
func providerFlag(cmd *cobra.Command, into *string) {
	cmd.Flags().StringVar(into, "provider", string(gateway.Ollama), "`name` of the provider: ollama or openrouter")
	completeFixed(cmd, "provider", string(gateway.Ollama), string(gateway.OpenRouter))
}

func parseProvider(s string) (gateway.ProviderName, error) {
	name, err := gateway.ParseProvider(s)
	if err != nil {
		return "", usageError{err}
	}
	return name, nil
}

// serverFlag adds --server to a command and those below it.
func (p *program) serverFlag(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&p.server, "server", "", "`address` of an instance elsewhere, such as https://pool.example.com; needs its ADMIN_TOKEN (default: the one of DATA_DIR)")
}

func jsonFlag(cmd *cobra.Command, into *bool) {
	cmd.Flags().BoolVar(into, "json", false, "print JSON")
}

// group makes a command that only holds others.
func group(cmd *cobra.Command, under ...*cobra.Command) *cobra.Command {
	cmd.Args = noArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.AddCommand(under...)
	return cmd
}

// oneArg wants exactly one argument, which messages call what.
func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0 || len(args) == 1 && args[0] == "":
			return usageError{fmt.Errorf("%s is missing\nSee '%s --help'", what, cmd.CommandPath())}
		case len(args) > 1:
			// The others are not repeated: one of them may be a secret.
			return usageError{fmt.Errorf("%d arguments where one is wanted: %s\nSee '%s --help'", len(args), what, cmd.CommandPath())}
		}
		return nil
	}
}
