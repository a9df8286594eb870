package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"ollama-api-pool/internal/gateway"
)

// keysChange is one call of a command that changes keys.
type keysChange struct {
	keyChoice
	act        keyAct
	verb, done string // such as "delete" and "deleted"
	asks       bool   // also where the keys are named
	span       string // of --for
}

func (p *program) keysEnableCommand() *cobra.Command {
	o := &keysChange{act: keysEnable, verb: "enable", done: "enabled"}
	return p.keysChangeCommand(o, "Put keys back: clear every mark and their failures",
		`Enable clears every mark of keys: what made them rest, fail or be disabled, the
failures in a row, and which models they may not use.`,
		`  ollama-api-pool keys enable 0123456789abcdef
  ollama-api-pool keys enable --status failed --dry-run
  ollama-api-pool keys enable --status disabled --yes`)
}

func (p *program) keysDisableCommand() *cobra.Command {
	o := &keysChange{act: keysDisable, verb: "disable", done: "disabled"}
	cmd := p.keysChangeCommand(o, "Take keys out, for a time or until they are enabled",
		`Disable takes keys out of the pool without deleting them: for the time that --for
says, or until they are enabled.`,
		`  ollama-api-pool keys disable 0123456789abcdef
  ollama-api-pool keys disable 0123456789abcdef fedcba9876543210 --for 2h
  ollama-api-pool keys disable --search alice@example.com --for 7d --yes
  ollama-api-pool keys disable --all --provider openrouter --dry-run`)
	cmd.Flags().StringVar(&o.span, "for", "", "`time` after which they return by themselves, such as 2h or 7d (default: they do not)")
	return cmd
}

func (p *program) keysDeleteCommand() *cobra.Command {
	o := &keysChange{act: keysDelete, verb: "delete", done: "deleted", asks: true}
	return p.keysChangeCommand(o, "Delete keys, with their counts",
		`Delete takes keys out of the pool for good, with what was counted for them.
'keys export --reveal' or 'backup' keeps a copy.`,
		`  ollama-api-pool keys delete 0123456789abcdef
  ollama-api-pool keys delete --status expired --dry-run
  ollama-api-pool keys delete --status failed --category gemma --yes
  ollama-api-pool keys delete - --yes < ids.txt`)
}

func (p *program) keysClearRestCommand() *cobra.Command {
	o := &keysChange{act: keysClearRest, verb: "clear the rest of", done: "cleared of their rest"}
	cmd := p.keysChangeCommand(o, "Let keys that rest on their quota serve again at once",
		`Clear-rest ends the rest of keys whose account was out of quota, as after a plan
was upgraded. Other marks stay.`,
		`  ollama-api-pool keys clear-rest 0123456789abcdef
  ollama-api-pool keys clear-rest --status resting --yes`)
	cmd.Use = "clear-rest ID..."
	return cmd
}

func (p *program) keysChangeCommand(o *keysChange, short, long, example string) *cobra.Command {
	cmd := &cobra.Command{
		Use: o.verb + " ID...", Short: short, Long: long + "\n\n" + chooseHelp, Example: example,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return p.changeKeys(cmd, o, args) },
	}
	o.flags(cmd)
	p.completeKeys(cmd, &o.provider)
	return cmd
}

// changedKeys is what became of keys, and how it is printed with --json.
type changedKeys struct {
	Provider gateway.ProviderName `json:"provider"`
	Done     string               `json:"done"`
	DryRun   bool                 `json:"dry_run"`
	Changed  int                  `json:"changed"`
	Missing  int                  `json:"missing"` // named and not there
	Total    int                  `json:"total"`   // named, or chosen by the filter
}

func (p *program) changeKeys(cmd *cobra.Command, o *keysChange, args []string) error {
	filtered, err := o.check(cmd, args)
	if err != nil {
		return err
	}
	length, err := parseLifetime(o.span)
	if err != nil {
		return usageError{fmt.Errorf("--for %w", err)}
	}
	ctx := cmd.Context()
	set, err := p.choose(ctx, &o.keyChoice, args, filtered)
	if err != nil {
		return err
	}
	return p.operate(ctx, func(op operator) error {
		out := changedKeys{Total: len(set.refs)}
		if o.dryRun || filtered {
			if out, err = op.ChangeKeys(ctx, &set, o.act, length, true); err != nil {
				return err
			}
			if filtered && out.Total == 0 {
				return partError{fmt.Errorf("no %s key matches", set.provider)}
			}
			set.expect = out.Total
		}
		if !o.dryRun {
			if o.asks || filtered {
				what := fmt.Sprintf("%s %s of %s", sentence(o.verb), count(out.Total, "key"), set.provider)
				if err := p.confirm(ctx, o.yes, out.Total, what); err != nil {
					return err
				}
			}
			if out, err = op.ChangeKeys(ctx, &set, o.act, length, false); err != nil {
				return err
			}
		}
		out.Provider, out.Done, out.DryRun = set.provider, o.done, o.dryRun
		return p.reportChange(&out, o.json)
	})
}

func (p *program) reportChange(out *changedKeys, asJSON bool) error {
	would := ""
	if out.DryRun {
		would = "would be "
	}
	var err error
	if asJSON {
		err = p.printJSON(out)
	} else {
		err = p.say("%s %s%s.\n", count(out.Changed, "key"), would, out.Done)
	}
	if err == nil && out.Missing > 0 {
		err = partError{fmt.Errorf("not there: %s", count(out.Missing, "key"))}
	}
	return err
}
