package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ollama-api-pool/internal/gateway"
)

// shells are those for which there is completion.
var shells = []string{"bash", "zsh", "fish", "powershell"}

func (p *program) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print what makes a shell complete these commands",
		Long: `Completion prints a script that makes a shell complete commands, flags, providers,
states and the ids of keys and tokens.

  bash        needs the package bash-completion
  zsh         needs 'autoload -U compinit; compinit' in ~/.zshrc, once
  fish        as it is
  powershell  add the second line below to the profile`,
		Example: `  ollama-api-pool completion bash > ~/.local/share/bash-completion/completions/ollama-api-pool
  ollama-api-pool completion zsh > "${fpath[1]}/_ollama-api-pool"
  ollama-api-pool completion fish > ~/.config/fish/completions/ollama-api-pool.fish
  ollama-api-pool completion powershell | Out-String | Invoke-Expression`,
		Args:              oneArg("SHELL (" + strings.Join(shells, ", ") + ")"),
		ValidArgsFunction: cobra.FixedCompletions(shells, cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				err = root.GenBashCompletionV2(p.Out, true)
			case "zsh":
				err = root.GenZshCompletion(p.Out)
			case "fish":
				err = root.GenFishCompletion(p.Out, true)
			case "powershell":
				err = root.GenPowerShellCompletionWithDesc(p.Out)
			default:
				return usageError{fmt.Errorf("unknown shell %q: use %s", gateway.Clip(args[0], widestName), strings.Join(shells, ", "))}
			}
			if err != nil {
				return fmt.Errorf("print the result: %w", err)
			}
			return nil
		},
	}
}

// completeFixed completes a flag with words.
func completeFixed(cmd *cobra.Command, flag string, words ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// completeStatus completes --status with the states of keys.
func completeStatus(cmd *cobra.Command) {
	var words []string
	for _, s := range gateway.KeyStatuses() {
		words = append(words, string(s))
	}
	completeFixed(cmd, "status", words...)
}

// completePatience is how long a completion may take: a shell waits for it.
const completePatience = 2 * time.Second

// completeKeys completes the arguments of a command with the ids of keys.
func (p *program) completeKeys(cmd *cobra.Command, provider *string) {
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		name, err := parseProvider(*provider)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return p.complete(cmd.Context(), args, begun, func(ctx context.Context, op operator) (words [][2]string, err error) {
			page, err := op.Keys(ctx, name, gateway.KeyQuery{Limit: largestPage})
			for _, k := range page.Keys {
				words = append(words, [2]string{string(k.ID), string(k.Status) + " " + cell(k.Username, widestName)})
			}
			return words, err
		})
	}
}

// completeTokens completes the arguments of a command with the ids of tokens.
func (p *program) completeTokens(cmd *cobra.Command) {
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return p.complete(cmd.Context(), args, begun, func(ctx context.Context, op operator) (words [][2]string, err error) {
			tokens, err := op.Tokens(ctx)
			for _, t := range tokens {
				words = append(words, [2]string{t.ID, cell(t.Name, widestName)})
			}
			return words, err
		})
	}
}

// complete offers those words, each with what it stands for, that go on as was
// begun and are no argument yet. Where no instance can be asked it offers none.
func (p *program) complete(ctx context.Context, args []string, begun string, ask func(context.Context, operator) ([][2]string, error)) ([]cobra.Completion, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	if there, err := p.thereIs(); err != nil || !there {
		return nil, none
	}
	ctx, cancel := context.WithTimeout(ctx, completePatience)
	defer cancel()
	given := map[string]bool{}
	for _, a := range args {
		given[a] = true
	}
	var out []cobra.Completion
	err := p.operate(ctx, func(op operator) error {
		words, err := ask(ctx, op)
		for _, w := range words {
			if strings.HasPrefix(w[0], begun) && !given[w[0]] {
				out = append(out, cobra.CompletionWithDesc(w[0], w[1]))
			}
		}
		return err
	})
	if err != nil {
		return nil, none
	}
	return out, none
}
