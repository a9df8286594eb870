package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ollama-api-pool/internal/gateway"
)

// checkedKey is what the check of one key showed.
type checkedKey struct {
	Healthy        bool          `json:"healthy"`
	ID             gateway.KeyID `json:"id"`
	Masked         string        `json:"apiKey"`
	Outcome        string        `json:"outcome"`
	Status         string        `json:"status"`
	UpstreamStatus int           `json:"upstreamStatus"`
	Category       string        `json:"category,omitempty"`
	Model          string        `json:"model,omitempty"`
	LatencyMs      int64         `json:"latencyMs"`
	Error          string        `json:"error,omitempty"`
	Timestamp      time.Time     `json:"timestamp"`
}

// checkResult is what a check came to, as the admin API tells it and as 'keys
// check --json' prints it.
type checkResult struct {
	Results      []checkedKey `json:"results"`
	Healthy      int          `json:"healthy"`
	Unhealthy    int          `json:"unhealthy"`
	Inconclusive int          `json:"inconclusive"`
	Failed       int          `json:"failed"`    // named and not there
	Unchecked    int          `json:"unchecked"` // not reached
	Stopped      string       `json:"stopped,omitempty"`
	Job          string       `json:"job"`
}

// keysCheck is one call of 'keys check'.
type keysCheck struct {
	keyChoice
	background bool
}

func (p *program) keysCheckCommand() *cobra.Command {
	var o keysCheck
	cmd := &cobra.Command{
		Use:   "check ID...",
		Short: "Ask the upstream whether it accepts keys, and apply the answers",
		Long: `Check asks the upstream about each key, which costs no tokens. A key that it
accepts loses its marks of failure, one that it refuses fails as it would with a
client's request. Where the upstream does not say, or is down, nothing changes.

It runs as a job on the server and goes on there if this command is broken off.
The exit code is 3 if a key was not found healthy.

` + chooseHelp,
		Example: `  ollama-api-pool keys check 0123456789abcdef
  ollama-api-pool keys check --all
  ollama-api-pool keys check --status failed --provider openrouter --json
  ollama-api-pool keys check --all --background`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return p.checkKeys(cmd, &o, args) },
	}
	o.keyFilter.flags(cmd)
	cmd.Flags().BoolVar(&o.all, "all", false, "all keys of the provider")
	cmd.Flags().BoolVar(&o.background, "background", false, "print the job's id and do not wait")
	jsonFlag(cmd, &o.json)
	p.completeKeys(cmd, &o.provider)
	return cmd
}

func (p *program) checkKeys(cmd *cobra.Command, o *keysCheck, args []string) error {
	filtered, err := o.check(cmd, args)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	set, err := p.choose(ctx, &o.keyChoice, args, filtered)
	if err != nil {
		return err
	}
	return p.operate(ctx, func(op operator) error {
		if o.background {
			return p.startCheck(ctx, op, &set, o.json)
		}
		shown := p.progress()
		defer shown.end()
		result, err := op.CheckKeys(ctx, &set, func(s step) { shown.show(s.line) })
		shown.end()
		switch {
		case err != nil && ctx.Err() != nil && op.Runs():
			return errors.New("interrupted: the check goes on; 'jobs list' shows it, 'jobs cancel' ends it")
		case err != nil && ctx.Err() != nil:
			return errors.New("interrupted: what was found out by then was applied")
		case err != nil:
			return err
		}
		return p.reportCheck(&set, &result, o.json)
	})
}

func (p *program) startCheck(ctx context.Context, op operator, set *keySet, asJSON bool) error {
	if !op.Runs() {
		return errors.New("--background needs a server that runs: here the check would end with this command")
	}
	job, err := op.StartCheck(ctx, set)
	if err != nil {
		return err
	}
	if asJSON {
		return p.printJSON(job)
	}
	if err := p.say("%s\n", job.ID); err != nil {
		return err
	}
	p.remark("Job %[2]s checks %[3]s. Watch it:\n\n  %[1]s jobs watch %[2]s\n", p.name, job.ID, count(job.Total, "key"))
	return nil
}

// worstKeys is how many keys that were not found healthy people are told.
const worstKeys = 50

func (p *program) reportCheck(set *keySet, r *checkResult, asJSON bool) error {
	var err error
	if asJSON {
		r.Results = append([]checkedKey{}, r.Results...)
		err = p.printJSON(r)
	} else {
		err = p.sayCheck(r)
	}
	if err != nil {
		return err
	}
	checked := r.Healthy + r.Unhealthy + r.Inconclusive
	switch {
	case r.Stopped != "":
		return partError{fmt.Errorf("stopped with %s unchecked: %s", count(r.Unchecked, "key"), printable(r.Stopped))}
	case checked+r.Failed+r.Unchecked == 0:
		return partError{fmt.Errorf("no %s key matches", set.provider)}
	case r.Healthy < checked+r.Failed:
		var parts []string
		for _, part := range []struct {
			n    int
			what string
		}{{r.Unhealthy, "refused"}, {r.Inconclusive, "unclear"}, {r.Failed, "not there"}} {
			if part.n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", part.n, part.what))
			}
		}
		return partError{fmt.Errorf("not every key is healthy: %s", strings.Join(parts, ", "))}
	}
	return nil
}

// sayCheck tells what a check came to, and which keys it did not find healthy.
func (p *program) sayCheck(r *checkResult) error {
	if err := p.say("%d healthy, %d refused, %d unclear\n", r.Healthy, r.Unhealthy, r.Inconclusive); err != nil {
		return err
	}
	var rows [][]string
	for i := range r.Results {
		if k := &r.Results[i]; !k.Healthy && len(rows) < worstKeys {
			rows = append(rows, []string{
				cell(string(k.ID), widestName), cell(k.Masked, widestName), cell(k.Outcome, widestName), cell(k.Status, widestName), cell(k.Error, widestText),
			})
		}
	}
	if len(rows) == 0 {
		return nil
	}
	if err := p.say("\n"); err != nil {
		return err
	}
	if err := p.table([]string{"ID", "KEY", "CHECK", "STATUS", "WHY"}, rows); err != nil {
		return err
	}
	if more := r.Unhealthy + r.Inconclusive - len(rows); more > 0 {
		p.remark("And %d more; --json lists all.\n", more)
	}
	return nil
}
