package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"ollama-api-pool/internal/app"
	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/gateway"
)

// Variables that hold the encryption keys of the two sides of 'migrate'.
const (
	fromKeyName = "FROM_ENCRYPTION_KEY"
	toKeyName   = "TO_ENCRYPTION_KEY"
)

// migrate is one call of 'migrate'.
type migrate struct {
	from, to, provider     string
	fromKeyFile, toKeyFile string
	dryRun, merge, again   bool
	yes, json              bool
}

func (p *program) migrateCommand() *cobra.Command {
	var o migrate
	cmd := &cobra.Command{
		Use:   "migrate --from PLACE --to PLACE",
		Short: "Copy everything from one database into another",
		Long: `Migrate copies keys with their state and statistics, client tokens, the request
log, events, jobs and all sums. A place is one of

  postgres://user:password@host/database    PostgreSQL; better DATABASE_URL, for
                                            others may see a command line
  pool.db                                   a file of SQLite
  ./data                                    a data directory
  DATABASE_URL, DATA_DIR, SUPABASE_REST_URL what is configured under that name

and as the source also an export of Workers KV: what 'wrangler kv key list' and
'wrangler kv bulk get' printed, as keys.json. What in it is not understood is
counted and named by a pattern.

The source is read as it is at one moment and never changed; a database of the
former system needs no preparation. Client tokens that it keeps as they are
become hashes on the way and stay valid. The copy is one transaction, which is
compared with the source before it is committed: if it fails or is killed, the
target is as it was, and the same command may be given again.

The target must be empty. With --merge it need not be: keys and tokens that are
there stay as they are, and counters are added up. A second run of the same
source is refused then, for it would count everything twice; --again does it all
the same.

Upstream keys are encrypted on the target with TO_ENCRYPTION_KEY, else with
ENCRYPTION_KEY, else not at all. An encrypted source is read with
FROM_ENCRYPTION_KEY, else with ENCRYPTION_KEY. These are read from the
environment, or from files that the flags name.

No instance may run on a data directory that is a source or a target. Instances
on a PostgreSQL target wait with their writes until the copy is done.`,
		Example: `  ollama-api-pool migrate --from DATABASE_URL --to DATA_DIR --dry-run
  ollama-api-pool migrate --from ./data --to DATABASE_URL
  ollama-api-pool migrate --from keys.json --to DATA_DIR --dry-run
  ollama-api-pool migrate --from old.db --to DATABASE_URL --merge --yes
  FROM_ENCRYPTION_KEY=$(cat old.txt) TO_ENCRYPTION_KEY=$(cat new.txt) ollama-api-pool migrate --from ./data --to new.db`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.migrate(cmd.Context(), &o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.from, "from", "", "the `place` to copy from")
	f.StringVar(&o.to, "to", "", "the `place` to copy to")
	f.StringVar(&o.provider, "provider", string(gateway.Ollama), "`name` of the provider of keys and tokens of which an export of KV does not say it")
	f.StringVar(&o.fromKeyFile, "from-encryption-key-file", "", "read the source's encryption key from this `file`")
	f.StringVar(&o.toKeyFile, "to-encryption-key-file", "", "read the target's encryption key from this `file`")
	f.BoolVar(&o.dryRun, "dry-run", false, "read everything, say what would be copied and write nothing")
	f.BoolVar(&o.merge, "merge", false, "add to what the target holds")
	f.BoolVar(&o.again, "again", false, "with --merge: also if this source was copied into the target before; its counters are added once more")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	jsonFlag(cmd, &o.json)
	cmd.AddCommand(p.migrateSQLCommand())
	return cmd
}

func (p *program) migrate(ctx context.Context, o *migrate) error {
	cfg, err := p.settings()
	if err != nil {
		return err
	}
	do, err := p.migration(cfg, o)
	if err != nil {
		return usageError{err}
	}
	shown := p.progress()
	defer shown.end()
	do.Progress = func(line string) { shown.show(func() string { return line }) }
	do.Confirm = func(ctx context.Context, m app.Migration) error {
		shown.end()
		if err := p.confirmMigration(ctx, o, &m); err != nil {
			return err
		}
		shown.again()
		return nil
	}
	m, err := app.Migrate(ctx, *do)
	shown.end()
	if err != nil {
		return migrationFault(ctx, err)
	}
	if o.json {
		err = p.printJSON(migrationJSON(&m))
	} else {
		err = p.reportMigration(&m, o)
	}
	if err != nil {
		return err
	}
	return notTaken(&m)
}

// migration reads the command line.
func (p *program) migration(cfg *config.Config, o *migrate) (*app.MigrateOptions, error) {
	if o.again && !o.merge {
		return nil, errors.New("--again goes with --merge")
	}
	provider, err := parseProvider(o.provider)
	if err != nil {
		return nil, err
	}
	do := &app.MigrateOptions{DryRun: o.dryRun, Merge: o.merge, Again: o.again, Provider: provider, Log: p.quiet(cfg)}
	if do.From, err = app.FindPlace(cfg, o.from, true); err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	if do.To, err = app.FindPlace(cfg, o.to, false); err != nil {
		return nil, fmt.Errorf("--to: %w", err)
	}
	if do.From.EncryptionKey, err = p.sideKey(cfg, fromKeyName, o.fromKeyFile); err != nil {
		return nil, err
	}
	do.To.EncryptionKey, err = p.sideKey(cfg, toKeyName, o.toKeyFile)
	return do, err
}

// sideKey is the encryption key of one side: of its file, else of its variable,
// else that of the settings.
func (p *program) sideKey(cfg *config.Config, name, file string) (gateway.Secret, error) {
	text := p.variable(name)
	if file != "" {
		b, err := os.ReadFile(file) //nolint:gosec // the operator's own file
		if err != nil {
			return "", err
		}
		if text, name = strings.TrimSpace(string(b)), "the key in "+file; text == "" {
			return "", fmt.Errorf("%s is empty", file)
		}
	}
	if text == "" {
		return cfg.EncryptionKey, nil
	}
	return parseEncryptionKey(name, text)
}

// confirmMigration says what would be done and asks.
func (p *program) confirmMigration(ctx context.Context, o *migrate, m *app.Migration) error {
	if m.FromInUse > 0 {
		p.remark("warning: the source is in use by %s: what happens there from now on is not copied\n", count(m.FromInUse, "instance"))
	}
	if m.ToInUse > 0 {
		p.remark("warning: the target is in use by %s: writes wait until the copy is done\n", count(m.ToInUse, "instance"))
	}
	if o.yes {
		return nil
	}
	p.remark("From %s\nTo   %s\n", m.From, m.To)
	what := "Copy what the source holds: " + m.Holding()
	if len(m.Found) == 0 {
		what = "Copy, though the source holds nothing"
	}
	return p.confirm(ctx, false, 1, what)
}

// migrationFault words what kept a database from being copied.
func migrationFault(ctx context.Context, err error) error {
	var holds app.TargetHolds
	var before app.CopiedBefore
	switch {
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return errors.New("interrupted: nothing was copied")
	case errors.As(err, &holds):
		return fmt.Errorf("%w: choose an empty one, or add to it with --merge", holds)
	case errors.As(err, &before):
		return fmt.Errorf("%w: everything would be counted twice; --again does it all the same", before)
	case errors.Is(err, app.ErrSourceSealed):
		return fmt.Errorf("%w: set %s, or --from-encryption-key-file", err, fromKeyName)
	}
	return err
}

// notTaken is the error of an export of which not all was understood.
func notTaken(m *app.Migration) error {
	if m.Export == nil || len(m.Export.Unknown) == 0 {
		return nil
	}
	n := 0
	for _, u := range m.Export.Unknown {
		n += u.Pairs
	}
	return partError{fmt.Errorf("not all of the export was taken: %d of its %d pairs", n, m.Export.Pairs)}
}

// parseEncryptionKey reads a key as the settings read ENCRYPTION_KEY.
func parseEncryptionKey(name, text string) (gateway.Secret, error) {
	cfg, _, err := config.Load([]string{"ENCRYPTION_KEY=" + text}, "")
	var wrong config.Problems
	if errors.As(err, &wrong) && len(wrong) > 0 {
		return "", fmt.Errorf("%s %s", name, wrong[0].Reason)
	}
	if err != nil {
		return "", err
	}
	return cfg.EncryptionKey, nil
}
