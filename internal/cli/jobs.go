package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ollama-api-pool/internal/gateway"
)

// job is a check or an import as the admin API shows it and as 'jobs show
// --json' prints it.
type job struct {
	ID          string               `json:"id"`
	Kind        gateway.JobKind      `json:"kind"`
	Provider    gateway.ProviderName `json:"provider"`
	State       gateway.JobState     `json:"state"`
	Source      string               `json:"source"`
	By          string               `json:"by"`
	StartedAt   time.Time            `json:"startedAt"`
	UpdatedAt   time.Time            `json:"updatedAt"`
	FinishedAt  *time.Time           `json:"finishedAt"`
	Total       int                  `json:"total"`
	Done        int                  `json:"done"`
	Rate        float64              `json:"rate"` // steps per second
	SecondsLeft *int                 `json:"secondsLeft"`
	Waiting     *string              `json:"waiting"` // why it makes no progress at present
	Counts      map[string]int       `json:"counts"`
	Categories  map[string]int       `json:"categories"`
	BadListed   int                  `json:"badListed"`
	Error       *string              `json:"error"`
}

// jobPage is a part of the jobs.
type jobPage struct {
	Jobs  []job `json:"jobs"`
	Total int   `json:"total"`
}

func (p *program) jobsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "jobs",
		Short: "Watch and cancel checks and imports",
		Long: `Checks of many keys and imports run as jobs: they go on when whoever began them
leaves, one at a time for each provider, and are remembered.

These commands work on the instance of DATA_DIR, whether it runs or not, and
with --server on one that runs elsewhere.`,
	}
	p.serverFlag(cmd)
	return group(cmd, p.jobsListCommand(), p.jobsShowCommand(), p.jobsWatchCommand(), p.jobsCancelCommand())
}

// jobsList is one call of 'jobs list'.
type jobsList struct {
	kind        string
	limit, page int
	json        bool
}

func (p *program) jobsListCommand() *cobra.Command {
	var o jobsList
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List checks and imports, the newest first",
		Example: `  ollama-api-pool jobs list
  ollama-api-pool jobs list --kind check --limit 5 --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.listJobs(cmd.Context(), &o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.kind, "kind", "", "only jobs of this `kind`: import, check")
	f.IntVar(&o.limit, "limit", 20, "show this `many` at most, up to 200")
	f.IntVar(&o.page, "page", 1, "show the `n`th that many")
	jsonFlag(cmd, &o.json)
	completeFixed(cmd, "kind", string(gateway.JobImport), string(gateway.JobCheck))
	return cmd
}

func (p *program) listJobs(ctx context.Context, o *jobsList) error {
	kind := gateway.JobKind(o.kind)
	switch {
	case kind != "" && kind != gateway.JobImport && kind != gateway.JobCheck:
		return usageError{fmt.Errorf("unknown kind %q: use import or check", gateway.Clip(o.kind, widestName))}
	case o.limit < 1 || o.limit > largestPage:
		return usageError{fmt.Errorf("--limit must be from 1 to %d", largestPage)}
	case o.page < 1:
		return usageError{errors.New("--page must be from 1 on")}
	}
	page := jobPage{Jobs: []job{}}
	err := p.operate(ctx, func(op operator) (err error) {
		page, err = op.Jobs(ctx, kind, o.page, o.limit)
		return err
	})
	switch {
	case err != nil:
		return err
	case o.json:
		return p.printJSON(page)
	case len(page.Jobs) == 0 && page.Total == 0 && kind == "":
		return p.say("There is no job yet: checks and imports are listed here.\n")
	case len(page.Jobs) == 0:
		return p.say("There is no such job.\n")
	}
	now := time.Now()
	rows := make([][]string, 0, len(page.Jobs))
	for i := range page.Jobs {
		j := &page.Jobs[i]
		rows = append(rows, []string{
			cell(j.ID, widestName), cell(string(j.Kind), widestName), cell(string(j.Provider), widestName), cell(string(j.State), widestName),
			moment(j.StartedAt, now), fmt.Sprintf("%d of %d", j.Done, j.Total), cell(counts(j.Counts), widestText), cell(j.Source, widestName),
		})
	}
	if err := p.table([]string{"ID", "KIND", "PROVIDER", "STATE", "STARTED", "DONE", "OUTCOME", "SOURCE"}, rows); err != nil {
		return err
	}
	if len(page.Jobs) < page.Total {
		p.remark("%d of %d jobs; --page and --limit show others.\n", len(page.Jobs), page.Total)
	}
	return nil
}

// counts is what came of a job's steps, or valid keys by category.
func counts(of map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		if n := of[name]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, name))
		}
	}
	return strings.Join(parts, ", ")
}

func (p *program) jobsShowCommand() *cobra.Command {
	var asJSON, bad bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show how far a job is, or what it came to",
		Example: `  ollama-api-pool jobs show 0123456789abcdef
  ollama-api-pool jobs show 0123456789abcdef --json
  ollama-api-pool jobs show 0123456789abcdef --bad > bad.csv`,
		Args: oneArg("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if bad && asJSON {
				return usageError{errors.New("--bad prints a table in CSV: leave out --json")}
			}
			return p.showJob(cmd.Context(), args[0], asJSON, bad)
		},
	}
	cmd.Flags().BoolVar(&bad, "bad", false, "print the lines and keys that it could not use, masked, as a table in CSV")
	jsonFlag(cmd, &asJSON)
	p.completeJobs(cmd)
	return cmd
}

func (p *program) showJob(ctx context.Context, id string, asJSON, bad bool) error {
	return p.operate(ctx, func(op operator) error {
		if bad {
			return op.JobBad(ctx, id, p.Out)
		}
		j, err := op.Job(ctx, id)
		if err != nil {
			return err
		}
		return p.sayJob(&j, asJSON)
	})
}

func (p *program) sayJob(j *job, asJSON bool) error {
	if asJSON {
		return p.printJSON(j)
	}
	now := time.Now()
	var b strings.Builder
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "  %-10s%s\n", name, text)
		}
	}
	fmt.Fprintf(&b, "Job %s: %s of %s\n\n", cell(j.ID, widestName), cell(string(j.Kind), widestName), cell(string(j.Provider), widestName))
	line("state", string(j.State))
	if j.Error != nil {
		line("why", printable(*j.Error))
	}
	line("source", printable(j.Source))
	line("begun by", printable(j.By))
	line("started", moment(j.StartedAt, now))
	if j.FinishedAt != nil {
		line("ended", moment(*j.FinishedAt, now)+", after "+within(j.FinishedAt.Sub(j.StartedAt)))
	}
	done := fmt.Sprintf("%d of %d, %.1f a second", j.Done, j.Total, j.Rate)
	if j.SecondsLeft != nil {
		done += ", " + within(time.Duration(*j.SecondsLeft)*time.Second) + " left"
	}
	line("done", done)
	if j.Waiting != nil {
		line("waiting", printable(*j.Waiting))
	}
	line("outcome", counts(j.Counts))
	line("families", counts(j.Categories))
	if j.BadListed > 0 {
		line("bad", fmt.Sprintf("%d lines or keys, see 'jobs show %s --bad'", j.BadListed, cell(j.ID, widestName)))
	}
	return p.say("%s", b.String())
}

func (p *program) jobsWatchCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "watch ID",
		Short: "Show how far a job is until it ends",
		Long: `Watch waits for the end of a job and shows how far it is meanwhile, on a terminal.
The exit code is 3 if the job did not get to its end. Ctrl-C ends the watching,
not the job.`,
		Example: `  ollama-api-pool jobs watch 0123456789abcdef
  ollama-api-pool jobs watch 0123456789abcdef --json`,
		Args: oneArg("ID"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.watchJob(cmd.Context(), args[0], asJSON) },
	}
	jsonFlag(cmd, &asJSON)
	p.completeJobs(cmd)
	return cmd
}

// watchEvery is how often a job is asked how far it is.
const watchEvery = 500 * time.Millisecond

func (p *program) watchJob(ctx context.Context, id string, asJSON bool) error {
	return p.operate(ctx, func(op operator) error {
		shown := p.progress()
		defer shown.end()
		var j job
		for {
			var err error
			if j, err = op.Job(ctx, id); err != nil {
				return err
			}
			if j.State != gateway.JobRunning || !op.Runs() {
				break
			}
			shown.show(func() string {
				return j.line()
			})
			select {
			case <-ctx.Done():
				return errors.New("interrupted: the job goes on; 'jobs cancel' ends it")
			case <-time.After(watchEvery):
			}
		}
		shown.end()
		if err := p.sayJob(&j, asJSON); err != nil {
			return err
		}
		if j.State != gateway.JobDone {
			return partError{fmt.Errorf("the job is %s", j.State)}
		}
		return nil
	})
}

// line is how far a job is, for people.
func (j *job) line() string {
	why := ""
	if j.Waiting != nil {
		why = *j.Waiting
	}
	return fmt.Sprintf("%s %d of %d: %s", bar(j.Done, j.Total), j.Done, j.Total, counts(j.Counts)) + waits(why)
}

func (p *program) jobsCancelCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "cancel ID",
		Short: "End a job that runs",
		Long: `Cancel ends a job and says how far it got. What a check found out by then stays; an
import adds nothing.`,
		Example: `  ollama-api-pool jobs cancel 0123456789abcdef`,
		Args:    oneArg("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.operate(cmd.Context(), func(op operator) error {
				j, err := op.CancelJob(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return p.sayJob(&j, asJSON)
			})
		},
	}
	jsonFlag(cmd, &asJSON)
	p.completeJobs(cmd)
	return cmd
}

// completeJobs completes the arguments of a command with the ids of jobs.
func (p *program) completeJobs(cmd *cobra.Command) {
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return p.complete(cmd.Context(), args, begun, func(ctx context.Context, op operator) (words [][2]string, err error) {
			page, err := op.Jobs(ctx, "", 1, 20)
			for _, j := range page.Jobs {
				words = append(words, [2]string{j.ID, string(j.Kind) + " " + string(j.State)})
			}
			return words, err
		})
	}
}
