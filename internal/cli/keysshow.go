package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ollama-api-pool/internal/gateway"
)

// keyStory is all that is known about a key, as the admin API tells it and as
// 'keys show --json' prints it.
type keyStory struct {
	keyRow
	Provider      gateway.ProviderName `json:"provider"`
	Why           string               `json:"why"`
	ReturnsAt     *time.Time           `json:"returns_at"`
	ByItself      bool                 `json:"by_itself"`
	SuccessRate   string               `json:"success_rate"`
	LastSuccess   *time.Time           `json:"last_success"`
	LastFailure   *time.Time           `json:"last_failure"`
	Account       *keyAccount          `json:"account"`
	RefusedModels []refusedModel       `json:"refused_models"`
	Hours         []keyHour            `json:"hours"`
	Events        []keyEvent           `json:"events"`
}

type keyAccount struct {
	Username string `json:"username"`
	Keys     int    `json:"keys"`
	Resting  int    `json:"resting"`
}

type refusedModel struct {
	Model string    `json:"model"`
	Until time.Time `json:"until"`
}

type keyHour struct {
	Hour    time.Time `json:"hour"`
	Total   int64     `json:"total"`
	Success int64     `json:"success"`
	Failure int64     `json:"failure"`
}

type keyEvent struct {
	At        time.Time            `json:"at"`
	What      gateway.KeyEventKind `json:"what"`
	Detail    string               `json:"detail"`
	Until     *time.Time           `json:"until"`
	RequestID string               `json:"request_id,omitempty"`
	Attempt   int                  `json:"attempt,omitempty"`
	Model     string               `json:"model,omitempty"`
}

func (p *program) keysShowCommand() *cobra.Command {
	var provider string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Tell the whole story of one key",
		Long: `Show tells how a key stands and why, when it returns, what was counted for it and
what happened to it last. The key is named by its id or by itself.`,
		Example: `  ollama-api-pool keys show 0123456789abcdef
  ollama-api-pool keys show 0123456789abcdef --provider openrouter --json`,
		Args: oneArg("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := parseProvider(provider)
			if err != nil {
				return err
			}
			return p.showKey(cmd.Context(), name, args[0], asJSON)
		},
	}
	providerFlag(cmd, &provider)
	jsonFlag(cmd, &asJSON)
	p.completeKeys(cmd, &provider)
	return cmd
}

func (p *program) showKey(ctx context.Context, name gateway.ProviderName, ref string, asJSON bool) error {
	var story keyStory
	err := p.operate(ctx, func(op operator) (err error) {
		story, err = op.Key(ctx, name, ref)
		return err
	})
	if err != nil {
		return err
	}
	if asJSON {
		return p.printJSON(story)
	}
	if err := p.say("%s", story.text(time.Now())); err != nil || len(story.Events) == 0 {
		return err
	}
	if err := p.say("\n"); err != nil {
		return err
	}
	now := time.Now()
	rows := make([][]string, 0, len(story.Events))
	for i := range story.Events {
		rows = append(rows, story.Events[i].cells(now))
	}
	return p.table([]string{"WHEN", "WHAT", "WHY", "UNTIL", "REQUEST", "MODEL"}, rows)
}

// text is what stands above the events.
func (s *keyStory) text(now time.Time) string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-10s%s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "%s key %s, %s\n\n", s.Provider, cell(string(s.ID), widestName), cell(s.Masked, widestName))
	line("status", "%s", s.Status)
	line("why", "%s", printable(s.Why))
	if s.ReturnsAt != nil {
		line("returns", "%s", ahead(*s.ReturnsAt, now))
	}
	switch {
	case s.Account != nil && s.Account.Keys > 1:
		line("user", "%s, with %s, of which %d rest", cell(s.Username, widestText), count(s.Account.Keys, "key"), s.Account.Resting)
	default:
		line("user", "%s", cell(s.Username, widestText))
	}
	line("category", "%s", cell(s.Category, widestName))
	line("added", "%s", date(s.CreatedAt, now))
	if s.ExpiresAt != nil {
		line("expires", "%s", moment(*s.ExpiresAt, now))
	}
	line("attempts", "%d: %d good, %d failed (%s%%); the last %s", s.TotalRequests, s.SuccessCount, s.FailureCount, s.SuccessRate, ago(s.LastUsed, now))
	if s.LastFailure != nil {
		line("failed", "%s; %d in a row", ago(s.LastFailure, now), s.ConsecutiveFailures)
	}
	var day keyHour
	for _, h := range s.Hours {
		day.Total, day.Failure = day.Total+h.Total, day.Failure+h.Failure
	}
	if len(s.Hours) > 0 {
		line("last day", "%d attempts, %d failed", day.Total, day.Failure)
	}
	for _, m := range s.RefusedModels {
		line("not for", "%s until %s", cell(m.Model, widestText), ahead(m.Until, now))
	}
	return b.String()
}

func (e *keyEvent) cells(now time.Time) []string {
	until, request := "-", "-"
	if e.Until != nil {
		until = moment(*e.Until, now)
	}
	if e.RequestID != "" {
		request = cell(e.RequestID, widestName)
		if e.Attempt > 0 {
			request += fmt.Sprintf(" #%d", e.Attempt)
		}
	}
	return []string{moment(e.At, now), cell(string(e.What), widestName), cell(e.Detail, widestText), until, request, cell(e.Model, widestName)}
}
