package cli

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ollama-api-pool/internal/gateway"
)

// overview is how everything stands, as the admin API tells it and as 'stats
// --json' prints it.
type overview struct {
	Provider  string            `json:"provider"`
	Range     statsRange        `json:"range"`
	Verdict   poolVerdict       `json:"verdict"`
	States    keyStates         `json:"states"`
	Providers []providerFigures `json:"providers"`
	InFlight  inFlight          `json:"inFlight"`
	Figures   figures           `json:"figures"`
	TopModels []modelFigures    `json:"topModels"`
	Timestamp time.Time         `json:"timestamp"`
}

type statsRange struct {
	Name string    `json:"name"`
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

type poolVerdict struct {
	Verdict    string     `json:"verdict"`
	Reason     string     `json:"reason"`
	Serving    int        `json:"serving"`
	Total      int        `json:"total"`
	Returning  int        `json:"returning"`
	NextReturn *time.Time `json:"nextReturn"`
}

type keyStates struct {
	Active   int `json:"active"`
	Resting  int `json:"resting"`
	Failed   int `json:"failed"`
	Disabled int `json:"disabled"`
	Expired  int `json:"expired"`
	Total    int `json:"total"`
}

type providerFigures struct {
	Provider    gateway.ProviderName `json:"provider"`
	Enabled     bool                 `json:"enabled"`
	Verdict     poolVerdict          `json:"verdict"`
	States      keyStates            `json:"states"`
	InFlight    int                  `json:"inFlight"`
	Breaker     breaker              `json:"breaker"`
	Requests    int64                `json:"requests"`
	Success     int64                `json:"success"`
	Failure     int64                `json:"failure"`
	SuccessRate string               `json:"successRate"`
}

type breaker struct {
	Open    bool       `json:"open"`
	Since   *time.Time `json:"since"`
	Refusal *string    `json:"refusal"`
}

type inFlight struct {
	Now    int        `json:"now"`
	Peak   int        `json:"peak"`
	PeakAt *time.Time `json:"peakAt"`
}

// figures are what requests add up to.
type figures struct {
	Requests    int64   `json:"requests"`
	Success     int64   `json:"success"`
	Failure     int64   `json:"failure"`
	SuccessRate string  `json:"successRate"`
	Attempts    int64   `json:"attempts"`
	TokensIn    int64   `json:"tokensIn"`
	TokensOut   int64   `json:"tokensOut"`
	Cost        float64 `json:"cost"`
	Duration    *times  `json:"duration"`
	FirstByte   *times  `json:"firstByte"`
}

// times are estimates in milliseconds.
type times struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
}

type modelFigures struct {
	Model    string               `json:"model"`
	Provider gateway.ProviderName `json:"provider"`
	Share    float64              `json:"share"` // percent
	figures
}

// statsRanges are the spans of time that figures can be about.
var statsRanges = []string{"1h", "24h", "7d", "30d"}

func (p *program) statsCommand() *cobra.Command {
	var provider, span string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Show requests, times, models and the states of keys",
		Long: `Stats shows what clients asked for in a span of time until now: how many requests,
how many of them succeeded, how long they took (half of them, and 95 of 100, took
no longer), the models that were used most; and how the pool stands now.

It works on the instance of DATA_DIR, whether it runs or not, and with --server
on one that runs elsewhere.`,
		Example: `  ollama-api-pool stats
  ollama-api-pool stats --provider openrouter --range 7d
  ollama-api-pool stats --range 1h --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.stats(cmd.Context(), provider, span, asJSON) },
	}
	cmd.Flags().StringVar(&provider, "provider", everyProvider, "`name` of the provider: ollama, openrouter or all")
	cmd.Flags().StringVar(&span, "range", "24h", "`span` of time: "+strings.Join(statsRanges, ", "))
	completeFixed(cmd, "provider", string(gateway.Ollama), string(gateway.OpenRouter), everyProvider)
	completeFixed(cmd, "range", statsRanges...)
	jsonFlag(cmd, &asJSON)
	p.serverFlag(cmd)
	return cmd
}

func (p *program) stats(ctx context.Context, provider, span string, asJSON bool) error {
	if _, err := parseProviders(provider); err != nil {
		return err
	}
	if !slices.Contains(statsRanges, span) {
		return usageError{fmt.Errorf("unknown span %q: use %s", gateway.Clip(span, widestName), strings.Join(statsRanges, ", "))}
	}
	var o overview
	err := p.operate(ctx, func(op operator) (err error) {
		o, err = op.Overview(ctx, provider, span)
		return err
	})
	switch {
	case err != nil:
		return err
	case asJSON:
		o.Providers, o.TopModels = append([]providerFigures{}, o.Providers...), append([]modelFigures{}, o.TopModels...)
		return p.printJSON(o)
	}
	if err := p.say("%s", o.text(time.Now())); err != nil || len(o.TopModels) == 0 {
		return err
	}
	rows := make([][]string, 0, len(o.TopModels))
	for i := range o.TopModels {
		m := &o.TopModels[i]
		rows = append(rows, []string{
			cell(m.Model, widestText), cell(string(m.Provider), widestName), strconv.FormatInt(m.Requests, 10), fmt.Sprintf("%.1f%%", m.Share),
			m.SuccessRate + "%", strconv.FormatInt(m.TokensIn, 10), strconv.FormatInt(m.TokensOut, 10),
		})
	}
	if err := p.say("\n"); err != nil {
		return err
	}
	return p.table([]string{"MODEL", "PROVIDER", "REQUESTS", "SHARE", "GOOD", "TOKENS IN", "TOKENS OUT"}, rows)
}

// text is what stands above the models.
func (o *overview) text(now time.Time) string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-12s%s\n", name, fmt.Sprintf(format, args...))
	}
	f := &o.Figures
	fmt.Fprintf(&b, "%s, the last %s\n\n", sentence(o.Provider), o.Range.Name)
	f.tell(line)
	if o.InFlight.Peak > 0 {
		line("in flight", "%d now, %d at most", o.InFlight.Now, o.InFlight.Peak)
	}
	b.WriteByte('\n')
	for i := range o.Providers {
		s := &o.Providers[i]
		line(string(s.Provider), "%s", s.words(now))
	}
	return b.String()
}

// tell says what requests came to, one line for each kind of figure.
func (f *figures) tell(line func(name, format string, args ...any)) {
	if f.Requests == 0 {
		line("requests", "none")
		return
	}
	brokenOff := ""
	if n := f.Requests - f.Success - f.Failure; n > 0 {
		brokenOff = fmt.Sprintf(", %d broken off by clients", n)
	}
	line("requests", "%d: %d good, %d failed%s (%s%% good)", f.Requests, f.Success, f.Failure, brokenOff, f.SuccessRate)
	line("attempts", "%d", f.Attempts)
	line("tokens", "%d in, %d out", f.TokensIn, f.TokensOut)
	if f.Cost > 0 {
		line("cost", "%.4f", f.Cost)
	}
	line("took", "half within %s, 95%% within %s", f.Duration.half(), f.Duration.most())
	line("first byte", "half within %s, 95%% within %s", f.FirstByte.half(), f.FirstByte.most())
}

// words say how a provider stands.
func (s *providerFigures) words(now time.Time) string {
	if !s.Enabled {
		return "disabled"
	}
	k := &s.States
	text := fmt.Sprintf("%s: %d keys, %d active, %d resting, %d failed, %d disabled, %d expired", s.Verdict.Verdict, k.Total, k.Active, k.Resting, k.Failed, k.Disabled, k.Expired)
	if s.Verdict.NextReturn != nil && s.Verdict.Returning > 0 {
		text += "; the next returns " + ahead(*s.Verdict.NextReturn, now)
	}
	if s.Breaker.Open {
		text += "; the upstream does not serve"
		if s.Breaker.Refusal != nil {
			text += ": " + printable(*s.Breaker.Refusal)
		}
	}
	return text
}

// half is the time that half of the requests took at most.
func (t *times) half() string {
	if t == nil {
		return "-"
	}
	return took(t.P50)
}

// most is the time that 95 of 100 requests took at most.
func (t *times) most() string {
	if t == nil {
		return "-"
	}
	return took(t.P95)
}

// took is a time of so many milliseconds for people.
func took(ms float64) string {
	switch {
	case ms < 1000:
		return strconv.Itoa(int(math.Round(ms))) + "ms"
	case ms < 60_000:
		return strconv.FormatFloat(ms/1000, 'f', 1, 64) + "s"
	}
	return within(time.Duration(ms) * time.Millisecond)
}

// Overview implements operator.
func (r *remote) Overview(ctx context.Context, provider, span string) (o overview, err error) {
	err = r.call(ctx, http.MethodGet, "/admin/overview", url.Values{"provider": {provider}, "range": {span}}, nil, &o)
	return o, err
}
