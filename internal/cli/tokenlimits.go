package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ollama-api-pool/internal/gateway"
)

// limits are what a token may do, as the admin API tells it.
type limits struct {
	Models            []string `json:"models"`
	RequestsPerMinute int      `json:"requestsPerMinute"`
	RequestsPerDay    int      `json:"requestsPerDay"`
	TokensPerDay      int64    `json:"tokensPerDay"`
	Concurrent        int      `json:"concurrent"`
	Networks          []string `json:"networks"`
}

// used is what a token has used of its limits.
type used struct {
	RequestsToday int64 `json:"requestsToday"`
	TokensToday   int64 `json:"tokensToday"`
	Running       int   `json:"running"`
}

// text is the limits for people.
func (l *limits) text() string {
	if l == nil {
		return ""
	}
	var parts []string
	add := func(n int64, what string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, what))
		}
	}
	if len(l.Models) > 0 {
		parts = append(parts, strings.Join(l.Models, ","))
	}
	add(int64(l.RequestsPerMinute), "requests/min")
	add(int64(l.RequestsPerDay), "requests/day")
	add(l.TokensPerDay, "tokens/day")
	add(int64(l.Concurrent), "at once")
	if len(l.Networks) > 0 {
		parts = append(parts, "from "+strings.Join(l.Networks, ","))
	}
	return strings.Join(parts, "; ")
}

// limitFlags are the flags that limit a token.
type limitFlags struct {
	models, networks []string
	rpm, rpd         int
	tpd              int64
	concurrent       int
}

func (l *limitFlags) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&l.models, "models", nil, "only models of these `names`, * for any run of characters, such as 'gpt-oss*,kimi*'")
	f.IntVar(&l.rpm, "rpm", 0, "at most so many requests a minute; 0: no limit, here and below")
	f.IntVar(&l.rpd, "requests-per-day", 0, "at most so many requests a day (of UTC)")
	f.Int64Var(&l.tpd, "tokens-per-day", 0, "at most so many tokens of models a day, in and out")
	f.IntVar(&l.concurrent, "concurrent", 0, "at most so many requests at the same time")
	f.StringSliceVar(&l.networks, "networks", nil, "only from these `addresses` or networks, such as 192.0.2.0/24,2001:db8::/32")
}

// limitNames are the names of limitFlags and of the limits in the API.
var limitNames = [][2]string{
	{"models", "models"},
	{"rpm", "requestsPerMinute"},
	{"requests-per-day", "requestsPerDay"},
	{"tokens-per-day", "tokensPerDay"},
	{"concurrent", "concurrent"},
	{"networks", "networks"},
}

// given are the limits that were given, by their names in the API; nil if none
// was. Those that were not stay as they are.
func (l *limitFlags) given(cmd *cobra.Command) (map[string]any, error) {
	values := map[string]any{
		"models": trimmed(l.models), "networks": trimmed(l.networks), "rpm": l.rpm, "requests-per-day": l.rpd,
		"tokens-per-day": l.tpd, "concurrent": l.concurrent,
	}
	var out map[string]any
	for _, name := range limitNames {
		if !cmd.Flags().Changed(name[0]) {
			continue
		}
		if out == nil {
			out = map[string]any{}
		}
		out[name[1]] = values[name[0]]
	}
	if l.rpm < 0 || l.rpd < 0 || l.tpd < 0 || l.concurrent < 0 {
		return nil, usageError{errors.New("a limit must not be below 0")}
	}
	for _, n := range trimmed(l.networks) {
		if _, err := netip.ParseAddr(n); err == nil {
			continue
		}
		if _, err := netip.ParsePrefix(n); err != nil {
			return nil, usageError{fmt.Errorf("--networks: %q is neither an address nor a network such as 192.0.2.0/24", gateway.Clip(n, widestName))}
		}
	}
	return out, nil
}

// trimmed leaves out blanks and empty texts; the result is not nil.
func trimmed(list []string) []string {
	out := []string{}
	for _, s := range list {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// tokenChange is what is to become of a token; what is not there stays.
type tokenChange map[string]any

// tokensLimit is one call of 'tokens limit'.
type tokensLimit struct {
	limitFlags
	name, expires, provider string
	clear, json             bool
}

func (p *program) tokensLimitCommand() *cobra.Command {
	var o tokensLimit
	cmd := &cobra.Command{
		Use:   "limit ID",
		Short: "Change what a token may do, its name or its end",
		Long: `Limit changes a token; what is not given stays as it is. A limit of 0, or an empty
list, takes that limit away, --clear takes all away. It holds at once.`,
		Example: `  ollama-api-pool tokens limit 0123456789abcdef --rpm 60 --tokens-per-day 2000000
  ollama-api-pool tokens limit 0123456789abcdef --models 'gpt-oss*,kimi*' --networks 192.0.2.0/24
  ollama-api-pool tokens limit 0123456789abcdef --clear --name "night batch" --expires 30d
  ollama-api-pool tokens limit 0123456789abcdef --expires never --json`,
		Args: oneArg("ID"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.limitToken(cmd, args[0], &o) },
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.BoolVar(&o.clear, "clear", false, "take all limits away, before those that are given are set")
	f.StringVar(&o.name, "name", "", "its new `name`")
	f.StringVar(&o.expires, "expires", "", "`time` from now after which it is not valid any more, such as 30d, or never")
	f.StringVar(&o.provider, "provider", "", "`name` of the provider that it is valid for: ollama, openrouter or all")
	completeFixed(cmd, "provider", string(gateway.Ollama), string(gateway.OpenRouter), everyProvider)
	jsonFlag(cmd, &o.json)
	p.completeTokens(cmd)
	return cmd
}

// change is what was given.
func (o *tokensLimit) change(cmd *cobra.Command) (tokenChange, error) {
	given := cmd.Flags().Changed
	change := tokenChange{}
	asked, err := o.given(cmd)
	switch {
	case err != nil:
		return nil, err
	case o.clear:
		all := map[string]any{"models": []string{}, "requestsPerMinute": 0, "requestsPerDay": 0, "tokensPerDay": 0, "concurrent": 0, "networks": []string{}}
		for name, value := range asked {
			all[name] = value
		}
		change["limits"] = all
	case asked != nil:
		change["limits"] = asked
	}
	if given("name") {
		name, err := checkTokenName(o.name)
		if err != nil {
			return nil, usageError{fmt.Errorf("--name: %w", err)}
		}
		change["name"] = name
	}
	if given("expires") {
		ttl := time.Duration(0)
		if o.expires != "never" {
			if ttl, err = parseLifetime(o.expires); err != nil || ttl == 0 {
				return nil, usageError{fmt.Errorf("--expires must be a time such as 720h or 30d, or never, not %q", gateway.Clip(o.expires, widestName))}
			}
		}
		change["expiresIn"] = int64(ttl / time.Second)
	}
	if given("provider") {
		if _, err := parseProviders(o.provider); err != nil {
			return nil, err
		}
		change["provider"] = o.provider
	}
	if len(change) == 0 {
		return nil, usageError{fmt.Errorf("say what is to change\nSee '%s --help'", cmd.CommandPath())}
	}
	return change, nil
}

func (p *program) limitToken(cmd *cobra.Command, ref string, o *tokensLimit) error {
	change, err := o.change(cmd)
	if err != nil {
		return err
	}
	var token tokenRow
	err = p.operate(cmd.Context(), func(op operator) (err error) {
		token, err = op.ChangeToken(cmd.Context(), strings.TrimSpace(ref), change)
		return err
	})
	switch {
	case err != nil:
		return err
	case o.json:
		return p.printJSON(token)
	}
	text := token.Limits.text()
	if text == "" {
		text = "no limits"
	}
	return p.say("Token %s, %q: %s.\n", token.ID, printable(token.Name), printable(text))
}

// ChangeToken implements operator. A token itself does not belong into an
// address.
func (r *remote) ChangeToken(ctx context.Context, ref string, change tokenChange) (tokenRow, error) {
	var token tokenRow
	err := r.call(ctx, http.MethodPatch, "/admin/tokens/"+idOfToken(ref), nil, change, &token)
	return token, err
}

// parseProviders reads the name of a provider or all.
func parseProviders(s string) ([]gateway.ProviderName, error) {
	if s == everyProvider {
		return gateway.Providers(), nil
	}
	one, err := gateway.ParseProvider(s)
	if err != nil || s == "" {
		return nil, usageError{fmt.Errorf("unknown provider %q: use %q, %q or %q", gateway.Clip(s, widestName), gateway.Ollama, gateway.OpenRouter, everyProvider)}
	}
	return []gateway.ProviderName{one}, nil
}
