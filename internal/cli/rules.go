package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"ollama-api-pool/internal/app"
	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/gateway"
)

// wholeRuleJSON is a rule as 'classify --rules --json' shows it.
type wholeRuleJSON struct {
	Provider   gateway.ProviderName `json:"provider"`
	Name       string               `json:"name"`
	Statuses   string               `json:"statuses"`
	Page       bool                 `json:"page"` // only of a web page
	Fields     []string             `json:"fields,omitempty"`
	Values     []string             `json:"values,omitempty"`
	Words      []string             `json:"words,omitempty"`
	Unless     []string             `json:"unless,omitempty"`
	Told       bool                 `json:"told"` // only with a usable end of the rest
	Scope      string               `json:"scope"`
	Action     string               `json:"action"`
	Next       string               `json:"next"`
	ForSeconds int64                `json:"for_seconds,omitempty"`
	Window     string               `json:"window,omitempty"`
	Reason     string               `json:"reason"`
	Why        string               `json:"why"`
	Source     string               `json:"source,omitempty"`
}

// printRules prints the rules by which answers are judged.
func (p *program) printRules(cfg *config.Config, providers []gateway.ProviderName, asJSON bool) error {
	all := []wholeRuleJSON{}
	var b strings.Builder
	for i, name := range providers {
		judge, err := app.NewJudge(cfg, name)
		if err != nil {
			return err
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "# %s: the first rule that holds decides\n", name)
		for _, r := range judge.Rules() {
			all = append(all, wholeRule(name, &r))
			b.WriteString("\n" + ruleText(&r))
		}
	}
	if asJSON {
		return p.printJSON(all)
	}
	return p.say("%s", b.String())
}

func wholeRule(name gateway.ProviderName, r *app.Rule) wholeRuleJSON {
	return wholeRuleJSON{
		Provider: name, Name: r.Name, Statuses: statuses(r), Page: r.Page, Fields: r.Fields, Values: r.Values,
		Words: r.Words, Unless: r.Unless, Told: r.Told,
		Scope: r.Scope.String(), Action: r.Action.String(), Next: r.Next.String(),
		ForSeconds: int64(r.For / time.Second), Window: r.Window.String(), Reason: r.Reason, Why: r.Why, Source: r.Source,
	}
}

// ruleText is a rule for people.
func ruleText(r *app.Rule) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", r.Name)
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "  %-8s%s\n", name, text)
		}
	}
	line("status", statuses(r))
	if r.Page {
		line("page", "the answer is a web page")
	}
	if len(r.Fields) > 0 {
		field := strings.Join(r.Fields, " or ")
		if len(r.Values) > 0 {
			field += " = " + strings.Join(r.Values, " or ")
		}
		line("field", field)
	}
	line("says", quoted(r.Words))
	line("unless", quoted(r.Unless))
	if r.Told {
		line("told", "the answer tells when the rest ends")
	}
	line("scope", r.Scope.String())
	line("action", r.Action.String()+length(r))
	line("next", r.Next.String())
	line("reason", r.Reason)
	line("why", r.Why)
	line("source", r.Source)
	return b.String()
}

// statuses are those for which a rule holds.
func statuses(r *app.Rule) string {
	switch {
	case r.From == math.MinInt && r.To == math.MaxInt:
		return "any"
	case r.From == r.To:
		return strconv.Itoa(r.From)
	}
	return fmt.Sprintf("%d-%d", r.From, r.To)
}

// length says for how long a rule's action holds, where the rule fixes that.
func length(r *app.Rule) string {
	switch {
	case r.For > 0:
		return " for " + within(r.For)
	case r.Window.String() != "":
		return " until the " + r.Window.String() + " ends"
	}
	return ""
}

func quoted(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return `"` + strings.Join(words, `" or "`) + `"`
}
