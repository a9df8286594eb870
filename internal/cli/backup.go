package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"ollama-api-pool/internal/app"
	"ollama-api-pool/internal/gateway"
)

// backup is one call of 'backup' or 'restore'.
type backup struct{ force, dryRun, json bool }

func (p *program) backupCommand() *cobra.Command {
	var o backup
	cmd := &cobra.Command{
		Use:   "backup FILE|-",
		Short: "Write keys, tokens, counts and the admin token into one file",
		Long: `Backup copies the store of DATA_DIR, as it is at one moment, and the admin token
that was made there into one compressed file that only its owner can read. It
works while the server runs; what that has counted in the last second is not in
the store yet.

The file opens the pool to whoever has it: keep it safe. Upstream keys are in it
as they are stored, encrypted or not. ENCRYPTION_KEY is not in it: keep that
elsewhere, for without it encrypted keys are lost. Settings are not in it
either.`,
		Example: `  ollama-api-pool backup pool.backup
  ollama-api-pool backup pool.backup --force
  ollama-api-pool backup - | ssh backup@example.com 'cat > pool.backup'`,
		Args: oneArg("FILE (or - for the standard output)"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.backup(cmd, args[0], &o) },
	}
	cmd.Flags().BoolVar(&o.force, "force", false, "replace FILE if it is there")
	jsonFlag(cmd, &o.json)
	return cmd
}

// backupJSON is what 'backup --json' prints.
type backupJSON struct {
	File  string `json:"file"`
	Bytes int64  `json:"bytes"`
	app.Manifest
}

func (p *program) backup(cmd *cobra.Command, file string, o *backup) error {
	ctx := cmd.Context()
	switch {
	case file == "-" && o.json:
		return usageError{errors.New("--json is for a FILE: the backup itself is on the standard output")}
	case file == "-" && p.watched(p.Out):
		return usageError{errors.New("the backup is not for a terminal: redirect the standard output, or give a FILE")}
	}
	cfg, err := p.settings()
	if err != nil {
		return err
	}
	shown := p.progress()
	defer shown.end()
	out := backupJSON{File: file}
	err = p.writeOut(file, o.force, func(w io.Writer) error {
		m, err := app.Backup(ctx, cfg, &counted{w, &out.Bytes}, app.BackupOptions{Version: Version(), Progress: func(done, total int64) {
			shown.show(func() string { return fmt.Sprintf("%s of %s", mebibytes(done), mebibytes(total)) })
		}})
		out.Manifest = m
		return err
	})
	shown.end()
	switch {
	case err != nil && ctx.Err() != nil:
		return errors.New("interrupted: there is no backup")
	case errors.Is(err, app.ErrNoStore):
		return fmt.Errorf("%w: DATA_DIR chooses the directory; of a server that runs elsewhere the backup is made there", err)
	case err != nil:
		return err
	case o.json:
		return p.printJSON(out)
	}
	said := fmt.Sprintf("%s, %s", holding(&out.Manifest), mebibytes(out.Bytes))
	if file == "-" {
		p.remark("Backed up: %s.\n", said)
		return nil
	}
	return p.say("Backed up to %s: %s.\n", file, said)
}

// counted counts what is written.
type counted struct {
	w io.Writer
	n *int64
}

// Write writes.
func (c *counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	*c.n += int64(n)
	return n, err
}

// holding says what a backup holds.
func holding(m *app.Manifest) string {
	var parts []string
	for _, name := range gateway.Providers() {
		if n := m.Keys[name]; n > 0 {
			parts = append(parts, count(n, string(name)+" key"))
		}
	}
	if len(parts) == 0 {
		parts = append(parts, "no key")
	}
	parts = append(parts, count(m.Tokens, "client token"))
	if m.Encrypted {
		parts = append(parts, "keys encrypted")
	} else {
		parts = append(parts, "keys not encrypted")
	}
	if !hasAdminToken(m) {
		parts = append(parts, "no admin token (there is none in DATA_DIR)")
	}
	return strings.Join(parts, ", ")
}

func hasAdminToken(m *app.Manifest) bool {
	for _, f := range m.Files {
		if f.Name == "admin-token" {
			return true
		}
	}
	return false
}

func (p *program) restoreCommand() *cobra.Command {
	var o backup
	cmd := &cobra.Command{
		Use:   "restore FILE|-",
		Short: "Put a backup in the place of the data",
		Long: `Restore checks a file that 'backup' wrote, its checksums, its store and that
ENCRYPTION_KEY fits, and then puts it into DATA_DIR. The server must not run.
Where there is a store already it needs --force, which moves that one aside and
says where. If it fails or is killed there is what was before, or all of the
backup.`,
		Example: `  ollama-api-pool restore pool.backup --dry-run
  ollama-api-pool restore pool.backup
  ENCRYPTION_KEY=$(cat key.txt) ollama-api-pool restore pool.backup --force
  ssh backup@example.com 'cat pool.backup' | ollama-api-pool restore -`,
		Args: oneArg("FILE (or - for the standard input)"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.restore(cmd.Context(), args[0], &o) },
	}
	cmd.Flags().BoolVar(&o.force, "force", false, "move a store that is there aside")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "check the file, say what is in it and change nothing")
	jsonFlag(cmd, &o.json)
	return cmd
}

// restoreJSON is what 'restore --json' prints.
type restoreJSON struct {
	DryRun   bool     `json:"dry_run"`
	Restored bool     `json:"restored"`
	Aside    string   `json:"aside,omitempty"`      // where the former store is
	Hinders  []string `json:"hindrances,omitempty"` // of a dry run: what would keep it from being restored
	app.Manifest
}

func (p *program) restore(ctx context.Context, file string, o *backup) error {
	cfg, err := p.settings()
	if err != nil {
		return err
	}
	in, err := p.openBackup(ctx, file)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	shown := p.progress()
	defer shown.end()
	step := func(done int64) { shown.show(func() string { return mebibytes(done) + " unpacked" }) }
	if o.dryRun {
		report, err := app.ReadBackup(ctx, cfg, in, step)
		shown.end()
		if err != nil {
			return p.unrestored(ctx, err)
		}
		return p.reportBackup(&report, o)
	}
	done, err := app.Restore(ctx, cfg, in, app.RestoreOptions{Force: o.force, Progress: step})
	shown.end()
	if err != nil {
		return p.unrestored(ctx, err)
	}
	if o.json {
		return p.printJSON(restoreJSON{Restored: true, Aside: done.Aside, Manifest: done.Manifest})
	}
	if err := p.say("Restored what was backed up %s: %s.\n", written(&done.Manifest), holding(&done.Manifest)); err != nil {
		return err
	}
	if done.Aside != "" {
		p.remark("What was there before is in %s. Delete it when it is not needed any more: it holds keys.\n", done.Aside)
	}
	if hasAdminToken(&done.Manifest) && cfg.AdminToken == "" {
		p.remark("The admin token is that of the backup, in %s.\n", app.AdminTokenPath(cfg.DataDir))
	}
	return nil
}

func (p *program) openBackup(ctx context.Context, file string) (io.ReadCloser, error) {
	if file == "-" {
		if p.watched(p.In) {
			return nil, usageError{errors.New("a backup cannot be typed: redirect the standard input, or give a FILE")}
		}
		return interruptible(ctx, p.In), nil
	}
	return os.Open(file) //nolint:gosec // the operator's own file
}

func written(m *app.Manifest) string {
	return m.Created.UTC().Format("2006-01-02 15:04:05 UTC") + " by version " + cell(m.Version, widestName)
}

// unrestored words why nothing was restored.
func (p *program) unrestored(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return errors.New("interrupted: nothing was changed")
	case errors.Is(err, app.ErrStoreThere):
		return fmt.Errorf("%w: --force moves it aside", err)
	}
	return err
}

// reportBackup says what a backup holds. What would keep it from being restored
// makes it an error.
func (p *program) reportBackup(r *app.BackupReport, o *backup) error {
	var hinders []string
	if r.Held {
		hinders = append(hinders, "an instance or another command holds DATA_DIR: stop it")
	}
	if r.Replaces && !o.force {
		hinders = append(hinders, "there is a store already: --force moves it aside")
	}
	if r.Misfit != "" {
		hinders = append(hinders, r.Misfit)
	}
	var err error
	if o.json {
		err = p.printJSON(restoreJSON{DryRun: true, Hinders: hinders, Manifest: r.Manifest})
	} else {
		err = p.say("The backup is sound. It was written %s and holds: %s.\n", written(&r.Manifest), holding(&r.Manifest))
	}
	switch {
	case err != nil:
		return err
	case len(hinders) > 0:
		return errors.New("it could not be restored now: " + strings.Join(hinders, "; "))
	case o.json:
		return nil
	}
	if r.Replaces {
		p.remark("The store that is there now would be moved aside.\n")
	}
	return nil
}
