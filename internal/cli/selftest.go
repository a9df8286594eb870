package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/selftest"
)

// Where the tokens of a self-test come from when no flag gives them.
const (
	selftestToken      = "SELFTEST_TOKEN"
	selftestAdminToken = "SELFTEST_ADMIN_TOKEN"
)

// selftestFlags are what a self-test is told.
type selftestFlags struct {
	url, token, adminToken string
	provider, model        string
	asJSON                 bool
	markdown               string
	timeout, wait          time.Duration
}

func (p *program) selftestCommand() *cobra.Command {
	var f selftestFlags
	cmd := &cobra.Command{
		Use:   "selftest --url ADDRESS",
		Short: "Test a running deployment from outside, as a client does",
		Long: `Selftest asks a deployment what its clients ask: health, models, a chat, the same
streamed, Anthropic's and Ollama's own addresses, a sample prompt; it sends a wrong
token, asks for what is not there, and looks whether its requests were counted. Each
step is shown with its time; one that fails says why, and what to do about it.

The token is a client token of the deployment. Give it in the environment as
SELFTEST_TOKEN: what stands on the command line is seen by all users of a machine.
With the admin token, SELFTEST_ADMIN_TOKEN, the admin API and /metrics are asked too.

The test makes up to five small requests a provider, with the cheapest and smallest
model of the list, or with the one of --model.

Exit codes: 0 all steps passed, 1 some did not, 2 the command line makes no sense.`,
		Example: `  SELFTEST_TOKEN=sk-... ollama-api-pool selftest --url https://pool.example.com
  ollama-api-pool selftest --url https://pool.example.com --provider all --wait 1m --markdown report.md
  ollama-api-pool selftest --url http://127.0.0.1:8787 --model gpt-oss:20b --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.selftest(cmd.Context(), &f) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.url, "url", "", "`address` of the deployment, such as https://pool.example.com")
	fs.StringVar(&f.token, "token", "", "client `token` of the deployment (better: the environment's "+selftestToken+")")
	fs.StringVar(&f.adminToken, "admin-token", "", "its admin `token`, to ask the admin API as well (better: "+selftestAdminToken+")")
	fs.StringVar(&f.provider, "provider", string(gateway.Ollama), "`name` of the provider: ollama, openrouter or all")
	fs.StringVar(&f.model, "model", "", "`name` of the model to chat with (default: the cheapest and smallest of the list)")
	fs.StringVar(&f.markdown, "markdown", "", "write the report as Markdown to this `file` as well; - prints it in place of the text")
	fs.DurationVar(&f.timeout, "timeout", time.Minute, "how long one request may take with its whole answer")
	fs.DurationVar(&f.wait, "wait", 0, "how long the deployment may take until it serves")
	jsonFlag(cmd, &f.asJSON)
	completeFixed(cmd, "provider", string(gateway.Ollama), string(gateway.OpenRouter), everyProvider)
	return cmd
}

// selftestOptions reads what the test is told.
func (p *program) selftestOptions(f *selftestFlags) (*selftest.Options, error) {
	o := &selftest.Options{
		Token: p.secret(f.token, selftestToken), AdminToken: p.secret(f.adminToken, selftestAdminToken),
		Providers: gateway.Providers(), Model: f.model, Agent: "ollama-api-pool-selftest/" + Version(),
		Timeout: f.timeout, Wait: f.wait,
	}
	if f.url == "" {
		return nil, usageError{errors.New("--url is missing: the address of the deployment")}
	}
	var err error
	if o.URL, err = serverAddress("--url", f.url); err != nil {
		return nil, err
	}
	if f.provider != everyProvider {
		name, err := parseProvider(f.provider)
		if err != nil {
			return nil, err
		}
		o.Providers = []gateway.ProviderName{name}
	}
	switch {
	case o.Token == "":
		err = errors.New("the token is missing: set " + selftestToken + ", or use --token; 'tokens create' makes one")
	case f.model != "" && len(o.Providers) > 1:
		err = errors.New("--model is of one provider: say which with --provider")
	case f.timeout <= 0 || f.wait < 0:
		err = errors.New("--timeout must be more than 0, and --wait not less")
	case f.asJSON && f.markdown == "-":
		err = errors.New("--json and --markdown - both want the standard output")
	}
	if err != nil {
		return nil, usageError{err}
	}
	return o, nil
}

// secret is the value of a flag or else of a variable of the environment.
func (p *program) secret(flag, variable string) gateway.Secret {
	if flag = strings.TrimSpace(flag); flag != "" {
		return gateway.Secret(flag)
	}
	return gateway.Secret(p.variable(variable))
}

func (p *program) selftest(ctx context.Context, f *selftestFlags) (err error) {
	o, err := p.selftestOptions(f)
	if err != nil {
		return err
	}
	var page *outFile
	if f.markdown != "" && f.markdown != "-" {
		// A place where nothing can be written is told before anything is asked.
		if page, err = createOut(f.markdown, true); err != nil {
			return usageError{fmt.Errorf("--markdown: %w", err)}
		}
		defer page.drop()
	}
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSHandshakeTimeout: connectTimeout,
		Protocols:           new(http.Protocols),
	}
	// Most SDKs speak HTTP/1.1, and it is there that nginx holds streams back.
	transport.Protocols.SetHTTP1(true)
	defer transport.CloseIdleConnections()
	o.Transport = transport
	shown := !f.asJSON && f.markdown != "-"
	if shown {
		err = p.say("Self-test of %s\n\n", o.URL)
	}
	skipped := ""
	report := selftest.Run(ctx, o, func(s selftest.Step) {
		again := s.Result == selftest.Skipped && s.Cause == skipped // said already
		if skipped = ""; s.Result == selftest.Skipped {
			skipped = s.Cause
		}
		if shown && !again {
			err = errors.Join(err, p.say("%s", stepText(&s)))
		}
	})
	switch {
	case f.asJSON:
		err = p.printJSON(reportJSON(report))
	case !shown:
		err = p.say("%s", report.Markdown())
	default:
		err = errors.Join(err, p.say("\n%s in %s\n", sentence(report.Summary()), selftest.Duration(report.Took)))
	}
	if page != nil {
		_, wrote := io.WriteString(page, report.Markdown())
		err = errors.Join(err, wrote, page.keep())
	}
	if !report.OK() {
		err = errors.Join(err, fmt.Errorf("the deployment does not pass: %s", report.Summary()))
	}
	return err
}

// stepText is a step for people.
func stepText(s *selftest.Step) string {
	var b strings.Builder
	mark := map[selftest.Result]string{selftest.Passed: "ok", selftest.Failed: "FAIL", selftest.Skipped: "skip"}[s.Result]
	text := s.Seen
	if s.Result != selftest.Passed {
		text = s.Cause
	}
	fmt.Fprintf(&b, "  %-4s  %-32s %8s  %s\n", mark, s.Title(), selftest.Duration(s.Took), text)
	for _, more := range []string{s.Cure, s.Note} {
		if more != "" {
			fmt.Fprintf(&b, "        %s\n", more)
		}
	}
	return b.String()
}

// selftestStep is a step as JSON.
type selftestStep struct {
	Name       string               `json:"name"`
	Provider   gateway.ProviderName `json:"provider,omitempty"`
	Result     selftest.Result      `json:"result"`
	DurationMS int64                `json:"durationMs"`
	Seen       string               `json:"seen,omitempty"`
	Cause      string               `json:"cause,omitempty"`
	Cure       string               `json:"cure,omitempty"`
	Note       string               `json:"note,omitempty"`
}

// selftestReport is what --json prints.
type selftestReport struct {
	OK         bool                            `json:"ok"`
	URL        string                          `json:"url"`
	Version    string                          `json:"version"`
	Models     map[gateway.ProviderName]string `json:"models"`
	StartedAt  time.Time                       `json:"startedAt"`
	DurationMS int64                           `json:"durationMs"`
	Passed     int                             `json:"passed"`
	Failed     int                             `json:"failed"`
	Skipped    int                             `json:"skipped"`
	Steps      []selftestStep                  `json:"steps"`
}

func reportJSON(r *selftest.Report) selftestReport {
	out := selftestReport{
		OK: r.OK(), URL: r.URL, Version: r.Version, Models: r.Models, StartedAt: r.StartedAt, DurationMS: r.Took.Milliseconds(),
		Passed: r.Count(selftest.Passed), Failed: r.Count(selftest.Failed), Skipped: r.Count(selftest.Skipped),
	}
	for s := range slices.Values(r.Steps) {
		out.Steps = append(out.Steps, selftestStep{s.Name, s.Provider, s.Result, s.Took.Milliseconds(), s.Seen, s.Cause, s.Cure, s.Note})
	}
	return out
}
