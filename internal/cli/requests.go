package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ollama-api-pool/internal/gateway"
)

// requestRow is a request of the log, as the admin API lists it.
type requestRow struct {
	ID        string               `json:"id"`
	At        time.Time            `json:"at"`
	Provider  gateway.ProviderName `json:"provider"`
	Model     string               `json:"model"`
	Path      string               `json:"path"`
	Token     requestToken         `json:"token"`
	Status    int                  `json:"status"`
	Outcome   string               `json:"outcome"`
	Error     *string              `json:"error"`
	Stream    bool                 `json:"stream"`
	Cache     *string              `json:"cache"`
	Attempts  int                  `json:"attempts"`
	Key       *string              `json:"key"`
	Masked    *string              `json:"apiKey"`
	FirstByte float64              `json:"firstByteMs"`
	Duration  float64              `json:"durationMs"`
	TokensIn  int64                `json:"tokensIn"`
	TokensOut int64                `json:"tokensOut"`
	Cost      float64              `json:"cost"`
}

type requestToken struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// requestLog says what the log holds.
type requestLog struct {
	Mode    string     `json:"mode"`
	Entries int64      `json:"entries"`
	Bytes   int64      `json:"bytes"`
	Since   *time.Time `json:"since"`
}

// requestPage is a part of the log, and how 'requests --json' prints it.
type requestPage struct {
	Requests []requestRow `json:"requests"`
	Log      requestLog   `json:"log"`
}

// requestEntry is all that is kept of a request.
type requestEntry struct {
	requestRow
	UpstreamRequestID *string       `json:"upstreamRequestId"`
	Client            *string       `json:"client"`
	Agent             *string       `json:"agent"`
	Sent              int64         `json:"sentBytes"`
	Steps             []requestStep `json:"steps"`
}

// requestStep is one attempt.
type requestStep struct {
	Key      gateway.KeyID `json:"key"`
	Masked   *string       `json:"apiKey"`
	Status   int           `json:"status"`
	OK       bool          `json:"ok"`
	Scope    string        `json:"scope"`
	Action   string        `json:"action"`
	Next     string        `json:"next"`
	Reason   string        `json:"reason"`
	Until    *time.Time    `json:"until"`
	Did      string        `json:"did"`
	Began    float64       `json:"beganMs"`
	Duration float64       `json:"durationMs"`
}

// requestsList is one call of 'requests'.
type requestsList struct {
	provider, model, token, key string
	failed, retried, slow, json bool
	status, limit               int
}

// mostRequests is how many requests one call of 'requests' shows at most.
const mostRequests = 10_000

func (p *program) requestsCommand() *cobra.Command {
	var o requestsList
	cmd := &cobra.Command{
		Use:   "requests",
		Short: "List recent requests of clients, and what each attempt came to",
		Long: `Requests lists the request log, the newest first. REQUEST_LOG says what is kept in
it: failures (those that failed or took several attempts), all or off. It holds
neither bodies nor credentials.

It works on the instance of DATA_DIR, whether it runs or not, and with --server
on one that runs elsewhere.`,
		Example: `  ollama-api-pool requests
  ollama-api-pool requests --failed --model gpt-oss:20b --limit 200
  ollama-api-pool requests --status 429 --token 0123456789abcdef --json
  ollama-api-pool requests --key 0123456789abcdef
  ollama-api-pool requests show 0123456789abcdef`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.listRequests(cmd, &o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.provider, "provider", everyProvider, "`name` of the provider: ollama, openrouter or all")
	f.BoolVar(&o.failed, "failed", false, "only those that failed")
	f.BoolVar(&o.retried, "retried", false, "only those that took more than one attempt")
	f.BoolVar(&o.slow, "slow", false, "only those that took 10 seconds or longer")
	f.IntVar(&o.status, "status", 0, "only those to which the client got this `status`")
	f.StringVar(&o.model, "model", "", "only those for the model of this `name`")
	f.StringVar(&o.token, "token", "", "only those with the client token of this `id`")
	f.StringVar(&o.key, "key", "", "only those that tried the key of this `id`")
	f.IntVar(&o.limit, "limit", standardLimit, "show this `many` at most")
	jsonFlag(cmd, &o.json)
	completeFixed(cmd, "provider", string(gateway.Ollama), string(gateway.OpenRouter), everyProvider)
	p.serverFlag(cmd)
	cmd.AddCommand(p.requestsShowCommand())
	return cmd
}

// query is what is asked of the API.
func (o *requestsList) query(cmd *cobra.Command) (url.Values, error) {
	if _, err := parseProviders(o.provider); err != nil {
		return nil, err
	}
	ask := url.Values{"provider": {o.provider}}
	kinds := 0
	for kind, on := range map[string]bool{"failed": o.failed, "retried": o.retried, "slow": o.slow, strconv.Itoa(o.status): cmd.Flags().Changed("status")} {
		if on {
			kinds++
			ask.Set("status", kind)
		}
	}
	switch {
	case kinds > 1:
		return nil, usageError{errors.New("choose one of --failed, --retried, --slow and --status")}
	case cmd.Flags().Changed("status") && (o.status < 100 || o.status > 599):
		return nil, usageError{errors.New("--status must be from 100 to 599")}
	case o.limit < 1 || o.limit > mostRequests:
		return nil, usageError{fmt.Errorf("--limit must be from 1 to %d", mostRequests)}
	}
	if o.model != "" {
		ask.Set("model", o.model)
	}
	if o.token != "" {
		ask.Set("token", idOfToken(strings.TrimSpace(o.token)))
	}
	if o.key != "" {
		ask.Set("key", string(idOfKey(o.key)))
	}
	return ask, nil
}

func (p *program) listRequests(cmd *cobra.Command, o *requestsList) error {
	ask, err := o.query(cmd)
	if err != nil {
		return err
	}
	var page requestPage
	err = p.operate(cmd.Context(), func(op operator) (err error) {
		page, err = op.Requests(cmd.Context(), ask, o.limit)
		return err
	})
	switch {
	case err != nil:
		return err
	case o.json:
		page.Requests = append([]requestRow{}, page.Requests...)
		return p.printJSON(page)
	case len(page.Requests) == 0:
		return p.say("%s", page.none())
	}
	now := time.Now()
	rows := make([][]string, 0, len(page.Requests))
	for i := range page.Requests {
		rows = append(rows, page.Requests[i].cells(now))
	}
	return p.table([]string{"WHEN", "ID", "MODEL", "TOKEN", "STATUS", "ATTEMPTS", "TOOK", "WHY"}, rows)
}

// none says why a list is empty.
func (page *requestPage) none() string {
	switch {
	case page.Log.Entries > 0:
		return fmt.Sprintf("No request matches; the log holds %d (REQUEST_LOG=%s).\n", page.Log.Entries, cell(page.Log.Mode, widestName))
	case page.Log.Mode == "off":
		return "The request log is empty, and REQUEST_LOG=off keeps it so.\n"
	case page.Log.Mode == "failures":
		return "The request log is empty: it takes requests that failed or needed several attempts (REQUEST_LOG=failures).\n"
	}
	return "The request log is empty.\n"
}

func (r *requestRow) cells(now time.Time) []string {
	why := ""
	if r.Error != nil {
		why = *r.Error
	}
	return []string{
		moment(r.At, now), cell(r.ID, widestName), cell(r.Model, widestName), cell(r.Token.Name, widestName), r.end(),
		strconv.Itoa(r.Attempts), took(r.Duration), cell(why, widestText),
	}
}

// end says how a request ended.
func (r *requestRow) end() string {
	switch r.Outcome {
	case "client_closed":
		return "left"
	case "cut":
		return fmt.Sprintf("%d, cut", r.Status)
	}
	return strconv.Itoa(r.Status)
}

func (p *program) requestsShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one request with its attempts",
		Long: `Show tells all that is kept of a request: what was asked, what the client got, and
of each attempt which key was tried, what the upstream said, whose fault that
was and what was done about it. The id is that of the header X-Request-Id.`,
		Example: `  ollama-api-pool requests show 0123456789abcdef
  ollama-api-pool requests show 0123456789abcdef --json`,
		Args: oneArg("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var e requestEntry
			err := p.operate(cmd.Context(), func(op operator) (err error) {
				e, err = op.Request(cmd.Context(), args[0])
				return err
			})
			switch {
			case err != nil:
				return err
			case asJSON:
				return p.printJSON(e)
			}
			return p.say("%s", e.text(time.Now()))
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// text is a request for people.
func (e *requestEntry) text(now time.Time) string {
	var b strings.Builder
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "  %-12s%s\n", name, printable(text))
		}
	}
	opt := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	fmt.Fprintf(&b, "Request %s\n\n", printable(e.ID))
	line("when", moment(e.At, now))
	line("address", e.Path)
	line("model", e.Model)
	line("provider", string(e.Provider))
	if e.Token.ID != "" {
		line("token", e.Token.ID+" "+e.Token.Name)
	}
	line("client", strings.TrimSpace(opt(e.Client)+" "+opt(e.Agent)))
	line("status", e.end())
	line("why", opt(e.Error))
	line("took", took(e.Duration)+", the first byte after "+took(e.FirstByte))
	line("tokens", fmt.Sprintf("%d in, %d out", e.TokensIn, e.TokensOut))
	line("cache", opt(e.Cache))
	line("upstream id", opt(e.UpstreamRequestID))
	for i := range e.Steps {
		s := &e.Steps[i]
		status := "no answer"
		if s.Status > 0 {
			status = strconv.Itoa(s.Status)
		}
		fmt.Fprintf(&b, "\nAttempt %d, after %s: key %s %s\n\n", i+1, took(s.Began), cell(string(s.Key), widestName), printable(opt(s.Masked)))
		line("status", status+" after "+took(s.Duration))
		line("fault", s.Scope+scopeWords(s.Scope))
		line("why", s.Reason)
		line("done", s.Did)
	}
	return b.String()
}

// scopeWords say what the name of a scope means.
func scopeWords(name string) string {
	for scope, words := range scopes {
		if scope.String() == name {
			return words
		}
	}
	return ""
}

// Requests implements operator.
func (r *remote) Requests(ctx context.Context, ask url.Values, limit int) (requestPage, error) {
	var all requestPage
	for {
		ask.Set("limit", strconv.Itoa(min(limit-len(all.Requests), largestPage)))
		var page struct {
			requestPage
			Next *string `json:"next"`
		}
		if err := r.call(ctx, http.MethodGet, "/admin/requests", ask, nil, &page); err != nil {
			return requestPage{}, err
		}
		all.Log = page.Log
		all.Requests = append(all.Requests, page.Requests...)
		if page.Next == nil || len(page.Requests) == 0 || len(all.Requests) >= limit {
			return all, nil
		}
		ask.Set("before", *page.Next)
	}
}

// Request implements operator.
func (r *remote) Request(ctx context.Context, id string) (e requestEntry, err error) {
	err = r.call(ctx, http.MethodGet, "/admin/requests/"+url.PathEscape(id), nil, nil, &e)
	return e, err
}
