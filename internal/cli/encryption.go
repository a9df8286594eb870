package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"ollama-api-pool/internal/app"
	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/gateway"
)

// newKeyName is the variable that holds the key for 'encryption rotate'.
const newKeyName = "NEW_ENCRYPTION_KEY"

// makeKey tells in an error how to make an encryption key, howToMakeKey
// elsewhere.
const makeKey = "make one with 'openssl rand -hex 32' and keep it safe: without it the encrypted keys are lost"

const howToMakeKey = "Make a key with:\n\n  openssl rand -hex 32\n\nand keep it safe: without it the encrypted keys are lost."

func (p *program) encryptionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "encryption",
		Short: "Change how the store keeps the upstream keys",
		Long: `With ENCRYPTION_KEY set, the store keeps upstream keys encrypted (AES-256-GCM). A
new store is encrypted from its beginning; these commands change one that holds
keys already, in DATA_DIR or in the database of DATABASE_URL. No instance may run
meanwhile.

` + howToMakeKey,
		Example: `  ollama-api-pool encryption status
  ENCRYPTION_KEY=$(cat key.txt) ollama-api-pool encryption on`,
	}
	return group(cmd, p.encryptionStatusCommand(),
		p.reencryptCommand("on", "Encrypt a store that keeps its keys plain",
			`On encrypts the keys of the store with ENCRYPTION_KEY.`,
			`  ENCRYPTION_KEY=$(cat key.txt) ollama-api-pool encryption on`,
			p.encryptionOn),
		p.reencryptCommand("rotate", "Change the key of an encrypted store",
			`Rotate encrypts the keys of the store anew: with NEW_ENCRYPTION_KEY, which is read
from the environment alone, instead of ENCRYPTION_KEY.`,
			`  ENCRYPTION_KEY=$(cat key.txt) NEW_ENCRYPTION_KEY=$(cat new-key.txt) ollama-api-pool encryption rotate`,
			p.encryptionRotate),
		p.reencryptCommand("off", "Keep the keys of an encrypted store plain",
			`Off decrypts the keys of the store, with ENCRYPTION_KEY, and keeps them as they are.`,
			`  ENCRYPTION_KEY=$(cat key.txt) ollama-api-pool encryption off`,
			p.encryptionOff))
}

func (p *program) encryptionStatusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say how the store keeps the upstream keys, and whether ENCRYPTION_KEY fits",
		Example: `  ollama-api-pool encryption status
  ollama-api-pool encryption status --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.encryptionStatus(cmd.Context(), asJSON) },
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// encryptionJSON is what 'encryption status --json' prints.
type encryptionJSON struct {
	Store     string `json:"store"`
	Exists    bool   `json:"exists"`
	Encrypted bool   `json:"encrypted"`
	KeySet    bool   `json:"key_set"`
	KeyFits   bool   `json:"key_fits"` // the server can start with the setting as it is
}

func (p *program) encryptionStatus(ctx context.Context, asJSON bool) error {
	cfg, err := p.settings()
	if err != nil {
		return err
	}
	out := encryptionJSON{Store: app.StoreName(cfg), KeySet: cfg.EncryptionKey != "", KeyFits: true}
	s, err := app.Encryption(ctx, cfg)
	switch {
	case err == nil:
		out.Exists, out.Encrypted, out.KeyFits = true, s.Encrypted, s.Fits
	case !errors.Is(err, app.ErrNoStore):
		return err
	}
	missing := err
	if asJSON {
		return errors.Join(p.printJSON(out), missing)
	}
	if missing != nil {
		return fmt.Errorf("%w: DATA_DIR chooses the directory. %s", missing, p.encryptionWords(&out))
	}
	return p.say("%s\n", p.encryptionWords(&out))
}

// encryptionWords says how things stand and what to do about it.
func (p *program) encryptionWords(e *encryptionJSON) string {
	switch {
	case !e.Exists && e.KeySet:
		return "ENCRYPTION_KEY is set: one that is made will be encrypted."
	case !e.Exists:
		return "ENCRYPTION_KEY is not set: one that is made will not be encrypted.\n" + howToMakeKey
	case e.Encrypted && e.KeyFits:
		return "The keys in " + e.Store + " are encrypted, and ENCRYPTION_KEY fits."
	case e.Encrypted && e.KeySet:
		return "The keys in " + e.Store + " are encrypted, but not with this ENCRYPTION_KEY: set the one they were encrypted with."
	case e.Encrypted:
		return "The keys in " + e.Store + " are encrypted, and ENCRYPTION_KEY is not set: set the one they were encrypted with."
	case e.KeySet && !e.KeyFits:
		return "The keys in " + e.Store + " are plain although ENCRYPTION_KEY is set. Encrypt them with:\n\n  " + p.name + " encryption on"
	case e.KeySet:
		return "There are no keys in " + e.Store + " yet. ENCRYPTION_KEY is set: they will be encrypted."
	}
	return "The keys in " + e.Store + " are plain. To encrypt them, set ENCRYPTION_KEY and run:\n\n  " + p.name + " encryption on\n\n" + howToMakeKey
}

func (p *program) reencryptCommand(use, short, long, example string, run func(context.Context, *config.Config) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Example: example, Args: noArgs,
		Long: long + ` All keys are changed in one
step, or none. The server must not run meanwhile.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := p.settings()
			if err != nil {
				return err
			}
			return run(cmd.Context(), cfg)
		},
	}
}

func (p *program) encryptionOn(ctx context.Context, cfg *config.Config) error {
	if cfg.EncryptionKey == "" {
		return errors.New("ENCRYPTION_KEY is not set: " + makeKey)
	}
	if err := p.reencrypt(ctx, cfg, "", cfg.EncryptionKey); err != nil {
		return err
	}
	return p.say("The keys are encrypted. Start the server with this ENCRYPTION_KEY from now on.\nBackups made before still hold them plain.\n")
}

func (p *program) encryptionRotate(ctx context.Context, cfg *config.Config) error {
	if cfg.EncryptionKey == "" {
		return errors.New("ENCRYPTION_KEY is not set: set it to the key that the store is encrypted with ('encryption on' encrypts a plain one)")
	}
	next, err := p.newEncryptionKey()
	if err != nil {
		return err
	}
	if next == cfg.EncryptionKey {
		return fmt.Errorf("%s is the same as ENCRYPTION_KEY", newKeyName)
	}
	if err := p.reencrypt(ctx, cfg, cfg.EncryptionKey, next); err != nil {
		return err
	}
	return p.say("The keys are encrypted with the new key. Set ENCRYPTION_KEY to it before the next start.\nBackups made before need the former one.\n")
}

func (p *program) encryptionOff(ctx context.Context, cfg *config.Config) error {
	if cfg.EncryptionKey == "" {
		return errors.New("ENCRYPTION_KEY is not set: set it to the key that the store is encrypted with")
	}
	if err := p.reencrypt(ctx, cfg, cfg.EncryptionKey, ""); err != nil {
		return err
	}
	return p.say("The keys are stored plain. Unset ENCRYPTION_KEY before the next start.\n")
}

// reencrypt changes the store from one key to another, "" for none.
func (p *program) reencrypt(ctx context.Context, cfg *config.Config, from, to gateway.Secret) error {
	shown := p.progress()
	defer shown.end()
	err := app.Reencrypt(ctx, cfg, from, to, func(done, total int) {
		shown.show(func() string { return fmt.Sprintf("%d of %d keys", done, total) })
	})
	switch {
	case errors.Is(err, app.ErrNoStore):
		return fmt.Errorf("%w: one that is made while ENCRYPTION_KEY is set is encrypted from its beginning", err)
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return errors.New("interrupted: nothing was changed")
	}
	return err
}

// newEncryptionKey reads the key for 'encryption rotate' as the settings read
// ENCRYPTION_KEY.
func (p *program) newEncryptionKey() (gateway.Secret, error) {
	text := p.variable(newKeyName)
	if text == "" {
		return "", fmt.Errorf("%s, the key that is to replace ENCRYPTION_KEY, is not set in the environment: %s", newKeyName, makeKey)
	}
	cfg, _, err := config.Load([]string{"ENCRYPTION_KEY=" + text}, "")
	var wrong config.Problems
	if errors.As(err, &wrong) && len(wrong) > 0 {
		return "", fmt.Errorf("%s %s", newKeyName, wrong[0].Reason)
	}
	if err != nil {
		return "", err
	}
	return cfg.EncryptionKey, nil
}
