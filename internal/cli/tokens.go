package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"ollama-api-pool/internal/gateway"
)

func (p *program) tokensCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tokens",
		Short: "Make, list, limit and revoke the tokens of clients",
		Long: `A token is what an application sends instead of an upstream key. It is shown
once, when it is made: only its hash is kept.

These commands work on the instance of DATA_DIR, whether it runs or not, and
with --server on one that runs elsewhere.`,
	}
	p.serverFlag(cmd)
	return group(cmd, p.tokensCreateCommand(), p.tokensListCommand(), p.tokensLimitCommand(), p.tokensRevokeCommand())
}

// everyProvider stands for all providers.
const everyProvider = "all"

// longestName is the length of a token's name at most, in characters.
const longestName = 100

// tokensCreate is one call of 'tokens create'.
type tokensCreate struct {
	limitFlags
	provider, expires string
	json              bool
}

func (p *program) tokensCreateCommand() *cobra.Command {
	var o tokensCreate
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a token for a client and print it, once",
		Long: `Create makes a token and prints it on the standard output, alone, so that a
script can take it; a line to try it with goes to the standard error. With
--json both are one object.`,
		Example: `  ollama-api-pool tokens create my-app
  ollama-api-pool tokens create "night batch" --provider openrouter --expires 30d
  ollama-api-pool tokens create ci --expires 720h --json
  ollama-api-pool tokens create guest --models 'gpt-oss*,kimi*' --rpm 20 --tokens-per-day 500000
  TOKEN=$(ollama-api-pool tokens create my-app)`,
		Args: oneArg("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.createToken(cmd, args[0], &o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.provider, "provider", everyProvider, "`name` of the provider that it is valid for: ollama, openrouter or all")
	f.StringVar(&o.expires, "expires", "", "`time` after which it is not valid any more, such as 720h or 30d (default: never)")
	o.flags(cmd)
	completeFixed(cmd, "provider", string(gateway.Ollama), string(gateway.OpenRouter), everyProvider)
	jsonFlag(cmd, &o.json)
	return cmd
}

// createdTokenJSON is what 'tokens create --json' prints.
type createdTokenJSON struct {
	newToken
	Example string `json:"example"`
}

func (p *program) createToken(cmd *cobra.Command, name string, o *tokensCreate) error {
	name, err := checkTokenName(name)
	if err != nil {
		return usageError{err}
	}
	providers, err := parseProviders(o.provider)
	if err != nil {
		return err
	}
	asked, err := o.given(cmd)
	if err != nil {
		return err
	}
	ttl, err := parseLifetime(o.expires)
	if err != nil {
		return usageError{fmt.Errorf("--expires %w", err)}
	}
	return p.operateOrMake(cmd.Context(), func(op operator) error {
		made, err := op.CreateToken(cmd.Context(), name, providers, ttl, asked)
		if err != nil {
			return err
		}
		example := tryOut(op.URL(), &made)
		if o.json {
			return p.printJSON(createdTokenJSON{made, example})
		}
		if err := p.say("%s\n", made.Token); err != nil {
			return err
		}
		p.remark("\nThis is token %s, for %q. It is not shown again. ", made.ID, printable(made.Name))
		if op.Runs() {
			p.remark("Try it:\n\n  %s\n", example)
		} else {
			p.remark("When the server runs, try it:\n\n  %s\n", example)
		}
		return nil
	})
}

// tryOut is a command that makes a request with a token.
func tryOut(url string, t *newToken) string {
	path, model := "/v1/chat/completions", "gpt-oss:20b"
	if len(t.Providers) == 1 && t.Providers[0] == gateway.OpenRouter {
		path, model = "/openrouter/v1/chat/completions", "openai/gpt-oss-20b"
	}
	return fmt.Sprintf(`curl %s%s -H 'Authorization: Bearer %s' -H 'Content-Type: application/json' -d '{"model":"%s","messages":[{"role":"user","content":"Hello"}]}'`,
		url, path, t.Token, model)
}

func checkTokenName(name string) (string, error) {
	name = strings.TrimSpace(name)
	switch {
	case name == "":
		return "", errors.New("NAME is empty: say who the token is for")
	case utf8.RuneCountInString(name) > longestName:
		return "", fmt.Errorf("NAME is longer than %d characters", longestName)
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }):
		return "", errors.New("NAME has a character that cannot be printed")
	}
	return name, nil
}

// longestLifetime is the longest time that means anything here.
const longestLifetime = 100 * 365 * 24 * time.Hour

// parseLifetime reads a time such as 720h, 30d or 1d12h, or a bare number of
// seconds; nothing is 0. It gives whole seconds, as the API does.
func parseLifetime(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	allowed := fmt.Errorf("must be a time such as 90s, 720h or 30d, at least 1s and at most %dd, not %q", int(longestLifetime/(24*time.Hour)), gateway.Clip(s, widestName))
	if s[0] < '0' || s[0] > '9' {
		return 0, allowed
	}
	rest, total := s, time.Duration(0)
	if days, after, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, allowed
		}
		rest, total = after, time.Duration(n)*24*time.Hour
	} else if _, err := strconv.ParseUint(s, 10, 64); err == nil {
		rest += "s"
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 || d > longestLifetime {
			return 0, allowed
		}
		total += d
	}
	if total = total.Truncate(time.Second); total < time.Second || total > longestLifetime {
		return 0, allowed
	}
	return total, nil
}

func (p *program) tokensListCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the tokens, masked",
		Example: `  ollama-api-pool tokens list
  ollama-api-pool tokens list --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.listTokens(cmd, asJSON) },
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// listedTokensJSON is what 'tokens list --json' prints.
type listedTokensJSON struct {
	Tokens []tokenRow `json:"tokens"`
}

func (p *program) listTokens(cmd *cobra.Command, asJSON bool) error {
	var tokens []tokenRow
	err := p.operate(cmd.Context(), func(op operator) (err error) {
		tokens, err = op.Tokens(cmd.Context())
		return err
	})
	if err != nil {
		return err
	}
	if asJSON {
		return p.printJSON(listedTokensJSON{append([]tokenRow{}, tokens...)})
	}
	if len(tokens) == 0 {
		return p.say("There is no token yet. Make one for a client:\n\n  %s tokens create NAME\n", p.name)
	}
	now := time.Now()
	rows := make([][]string, 0, len(tokens))
	for i := range tokens {
		rows = append(rows, cellsOfToken(&tokens[i], now))
	}
	return p.table([]string{"ID", "TOKEN", "NAME", "PROVIDERS", "CREATED", "EXPIRES", "REQUESTS", "LAST USED", "LIMITS"}, rows)
}

func cellsOfToken(t *tokenRow, now time.Time) []string {
	var providers []string
	for _, name := range t.Providers {
		providers = append(providers, string(name))
	}
	expires := "never"
	if t.ExpiresAt != nil {
		expires = "expired"
		if now.Before(*t.ExpiresAt) {
			expires = ahead(*t.ExpiresAt, now)
		}
	}
	return []string{
		cell(t.ID, widestName), cell(t.Masked, widestName), cell(t.Name, widestName), cell(strings.Join(providers, ","), widestName),
		date(t.CreatedAt, now), expires, strconv.FormatInt(t.RequestCount, 10), ago(t.LastUsed, now), cell(t.Limits.text(), widestText),
	}
}

func (p *program) tokensRevokeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke ID|TOKEN",
		Short: "Delete a token: it stops working at once",
		Example: `  ollama-api-pool tokens revoke 0123456789abcdef
  ollama-api-pool tokens revoke "$TOKEN"`,
		Args: oneArg("ID or TOKEN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref := strings.TrimSpace(args[0])
			err := p.operate(cmd.Context(), func(op operator) error { return op.RevokeToken(cmd.Context(), ref) })
			if err != nil {
				return err
			}
			return p.say("Token %s is revoked.\n", idOfToken(ref))
		},
	}
	p.completeTokens(cmd)
	return cmd
}

// idOfToken is the public name of a token that is given by itself, by its hash
// or by that name.
func idOfToken(ref string) string {
	t := gateway.Token{Hash: gateway.HashToken(gateway.Secret(ref))}
	switch {
	case len(ref) == len(t.ID()):
		return strings.ToLower(ref)
	case gateway.IsTokenHash(ref):
		t.Hash = ref
	}
	return t.ID()
}
