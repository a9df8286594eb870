package cli

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ollama-api-pool/internal/app"
	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/gateway"
)

// bodyJudged is how much of a body is looked at, in bytes.
const bodyJudged = 64 << 10

// classify is one call of 'classify'.
type classify struct {
	provider    string
	status      int
	headers     []string
	body        string
	rules, json bool
}

func (p *program) classifyCommand() *cobra.Command {
	var o classify
	cmd := &cobra.Command{
		Use:   "classify",
		Short: "Say what an upstream's answer would do to the key and the request",
		Long: `Classify judges an answer as the server would: whose fault it is, what happens to
the key and until when, what the client gets, and which rule says so. It asks
nobody and changes nothing. With --rules it prints the rules themselves.`,
		Example: `  ollama-api-pool classify --status 401
  ollama-api-pool classify --status 429 --body '{"error":"you have reached your hourly usage limit"}'
  ollama-api-pool classify --provider openrouter --status 429 --header 'Retry-After: 20'
  ollama-api-pool classify --status 403 --body @answer.html --header 'Content-Type: text/html'
  ollama-api-pool classify --provider ollama --rules`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.classify(cmd, &o) },
	}
	providerFlag(cmd, &o.provider)
	f := cmd.Flags()
	f.IntVar(&o.status, "status", 0, "`status` of the answer, 100 to 599")
	f.StringArrayVar(&o.headers, "header", nil, "a header `line` of the answer, such as 'Retry-After: 20'; may be given several times")
	f.StringVar(&o.body, "body", "", "`text` of the answer, @FILE to read it from a file, - from the standard input")
	f.BoolVar(&o.rules, "rules", false, "print the rules, those of all providers unless --provider is given")
	jsonFlag(cmd, &o.json)
	return cmd
}

func (p *program) classify(cmd *cobra.Command, o *classify) error {
	name, err := parseProvider(o.provider)
	if err != nil {
		return err
	}
	cfg, err := p.settings()
	if err != nil {
		return err
	}
	given := cmd.Flags().Changed
	if o.rules {
		if given("status") || given("header") || given("body") {
			return usageError{errors.New("--rules prints all rules: leave out --status, --header and --body")}
		}
		providers := gateway.Providers()
		if given("provider") {
			providers = []gateway.ProviderName{name}
		}
		return p.printRules(cfg, providers, o.json)
	}
	if !given("status") {
		return usageError{fmt.Errorf("--status is missing\nSee '%s --help'", cmd.CommandPath())}
	}
	if o.status < 100 || o.status > 599 {
		return usageError{errors.New("--status must be from 100 to 599")}
	}
	answer := app.UpstreamAnswer{Status: o.status, Now: time.Now()}
	if answer.Header, err = parseHeaders(o.headers); err != nil {
		return err
	}
	if answer.Body, err = p.readBody(o.body); err != nil {
		return err
	}
	judge, err := app.NewJudge(cfg, name)
	if err != nil {
		return err
	}
	rule, verdict := judge.Explain(answer)
	e := explanation{cfg: cfg, provider: name, status: o.status, now: answer.Now, rule: rule, verdict: verdict}
	if o.json {
		return p.printJSON(e.json())
	}
	return p.say("%s", e.text())
}

func parseHeaders(lines []string) (http.Header, error) {
	h := http.Header{}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		name = strings.TrimSpace(name)
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return nil, usageError{errors.New("--header must be of the form 'Name: value'")}
		}
		h.Add(textproto.CanonicalMIMEHeaderKey(name), strings.TrimSpace(value))
	}
	return h, nil
}

// readBody reads as much of a body as the server would look at.
func (p *program) readBody(arg string) ([]byte, error) {
	in := p.In
	if file, ok := strings.CutPrefix(arg, "@"); ok {
		f, err := os.Open(file) //nolint:gosec // the operator's own file
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		in = f
	} else if arg != "-" {
		return []byte(arg)[:min(len(arg), bodyJudged)], nil
	}
	body, err := io.ReadAll(io.LimitReader(in, bodyJudged))
	if err != nil {
		return nil, fmt.Errorf("read the body: %w", err)
	}
	return body, nil
}

// explanation puts a verdict into words.
type explanation struct {
	cfg      *config.Config
	provider gateway.ProviderName
	status   int
	now      time.Time
	rule     app.Rule
	verdict  gateway.Verdict
}

// ruleJSON is a rule as 'classify --json' shows it.
type ruleJSON struct {
	Name   string `json:"name"`
	Why    string `json:"why"`
	Source string `json:"source,omitempty"`
}

// explanationJSON is what 'classify --json' prints.
type explanationJSON struct {
	Provider   gateway.ProviderName `json:"provider"`
	Status     int                  `json:"status"`
	OK         bool                 `json:"ok"`
	Scope      string               `json:"scope"`
	Action     string               `json:"action"`
	Until      *time.Time           `json:"until"`       // null: not told
	ForSeconds *int64               `json:"for_seconds"` // null: not fixed
	Next       string               `json:"next"`
	Reason     string               `json:"reason"`
	Rule       ruleJSON             `json:"rule"`
}

func (e *explanation) json() explanationJSON {
	v := &e.verdict
	out := explanationJSON{
		Provider: e.provider, Status: e.status, OK: v.OK,
		Scope: v.Scope.String(), Action: v.Action.String(), Next: v.Next.String(), Reason: v.Reason,
		Until: orNil(v.Until), Rule: ruleJSON{e.rule.Name, e.rule.Why, e.rule.Source},
	}
	length := v.For
	if v.Action == gateway.ActionFail {
		length = e.cfg.KeyFailedFor
	}
	if length > 0 {
		seconds := int64(length / time.Second)
		out.ForSeconds = &seconds
	}
	return out
}

// text is the explanation for people.
func (e *explanation) text() string {
	var b strings.Builder
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "  %-8s%s\n", name, text)
		}
	}
	v := &e.verdict
	fmt.Fprintf(&b, "%s answers %d\n\n", e.provider, e.status)
	line("scope", v.Scope.String()+scopes[v.Scope])
	line("action", v.Action.String()+e.effect())
	line("next", v.Next.String()+e.outcome())
	line("reason", v.Reason)
	line("rule", e.rule.Name+": "+e.rule.Why)
	line("source", e.rule.Source)
	return b.String()
}

// scopes say what a scope means.
var scopes = map[gateway.Scope]string{
	gateway.ScopeNone:     ": it worked",
	gateway.ScopeRequest:  ": what the client asked for",
	gateway.ScopeModel:    ": the model, whichever key asks",
	gateway.ScopeKeyModel: ": this key for this model",
	gateway.ScopeAccount:  ": all keys of one user name",
	gateway.ScopeProvider: ": the upstream; no key is blamed",
	gateway.ScopeUnknown:  ": nobody is blamed",
}

// effect says what an action does, and until when.
func (e *explanation) effect() string {
	v := &e.verdict
	switch v.Action {
	case gateway.ActionRest, gateway.ActionRestKey:
		return ": " + e.rest()
	case gateway.ActionFail:
		return fmt.Sprintf(": failed for %s, until %s; failure %d in a row disables it for %s",
			within(e.cfg.KeyFailedFor), e.at(e.now.Add(e.cfg.KeyFailedFor)), e.cfg.KeyDisableThreshold, within(e.cfg.KeyDisabledFor))
	case gateway.ActionPassOver:
		return ": the key is not used for this model until " + e.at(e.now.Add(v.For))
	case gateway.ActionStrike:
		return ": if nothing else comes back, attempts stop for a while"
	default:
		if v.OK {
			return ": failures in a row are 0 again"
		}
		return ": the key stays as it is"
	}
}

func (e *explanation) rest() string {
	v := &e.verdict
	switch {
	case !v.Until.IsZero():
		return "until " + e.at(v.Until) + ", " + within(v.Until.Sub(e.now)) + " from now"
	case v.For > 0:
		return "for " + within(v.For) + ", until " + e.at(e.now.Add(v.For))
	}
	return "the end is not told: for 30s, each time twice as long, up to 1h"
}

func (e *explanation) at(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// outcome says what a next step means for the client.
func (e *explanation) outcome() string {
	switch e.verdict.Next {
	case gateway.NextDeliver:
		return ": the client gets this answer"
	case gateway.NextKey:
		return ": another key is asked at once"
	case gateway.NextKeyOnce:
		return ": one other key is asked, then the client gets this answer"
	case gateway.NextAfterPause:
		return ": asked again after a short wait"
	default:
		return ""
	}
}
