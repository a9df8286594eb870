package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"ollama-api-pool/internal/controlplane/check"
	"ollama-api-pool/internal/controlplane/jobs"
	"ollama-api-pool/internal/dataplane/pool"
	"ollama-api-pool/internal/dataplane/provider"
	"ollama-api-pool/internal/gateway"
)

// Who begins a job.
const (
	byAPI      = "api"
	bySchedule = "schedule"
	byCommand  = "command"
)

// Checks asks the upstreams about keys, one at once or many as a job, and
// applies what that shows. It may be used concurrently.
type Checks struct {
	*jobs.Registry
	roster  *Roster
	probers map[gateway.ProviderName]*prober // of the providers that are not disabled
	options check.Options                    // concurrency and pace
	by      string
	leads   func() bool // this instance keeps the schedule
	log     *slog.Logger
}

// newChecks makes the Checks of an App whose store is open.
func (a *App) newChecks(deps Deps) (*Checks, error) {
	by := byAPI
	if a.server == nil {
		by = byCommand // nothing is served
	}
	c := &Checks{
		Registry: a.jobs, roster: a.roster, probers: map[gateway.ProviderName]*prober{}, by: by, leads: a.leases.leads, log: a.log,
		options: check.Options{Concurrency: a.cfg.CheckConcurrency, PerSecond: a.cfg.CheckPerSecond},
	}
	for _, name := range gateway.Providers() {
		if a.cfg.Disabled(name) {
			continue
		}
		adapter, err := a.adapter(name)
		if err != nil {
			return nil, err
		}
		var transport http.RoundTripper = deps.Transport
		if transport == nil {
			transport = newTransport(a.cfg)
		}
		c.probers[name] = &prober{adapter: adapter, transport: transport, timeout: probeTimeout, now: time.Now}
	}
	return c, nil
}

// adapter makes the adapter of a provider, as configured.
func (a *App) adapter(name gateway.ProviderName) (*provider.Adapter, error) {
	appURL := a.cfg.OpenRouterAppURL
	if appURL == "" {
		appURL = a.cfg.PublicSiteURL
	}
	return provider.New(name, provider.Options{
		BaseURL: a.cfg.BaseURL(name), AppURL: appURL, AppTitle: a.cfg.OpenRouterAppTitle, Version: a.version,
	})
}

// stopJobs interrupts what runs and waits until that is written down.
func (a *App) stopJobs(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWrite)
	defer cancel()
	return a.jobs.Stop(ctx)
}

func (c *Checks) prober(p gateway.ProviderName) (*prober, error) {
	if pr := c.probers[p]; pr != nil {
		return pr, nil
	}
	return nil, gateway.Errorf(gateway.KindProviderDisabled, "%s is disabled, so its keys cannot be checked", p)
}

// RecordImport remembers an import that was over at once.
func (c *Checks) RecordImport(ctx context.Context, j gateway.Job) error {
	if j.By == "" {
		j.By = c.by
	}
	return c.Record(ctx, j)
}

// outcome is what the check of a key of the pool showed, and since when it has
// been under way.
type outcome struct {
	gateway.CheckResult
	trial pool.Trial
}

// VerifyKey checks one key and applies what that shows. One that is not there is
// a gateway.Error of KindNotFound.
func (c *Checks) VerifyKey(ctx context.Context, p gateway.ProviderName, id gateway.KeyID) (check.Checked, error) {
	pr, err := c.prober(p)
	if err != nil {
		return check.Checked{}, err
	}
	trial, secret, ok := c.roster.pools[p].BeginCheck(id)
	if !ok {
		return check.Checked{}, gateway.Errorf(gateway.KindNotFound, "no such key")
	}
	result := pr.probe(ctx, secret)
	if err := context.Cause(ctx); err != nil {
		return check.Checked{}, err
	}
	done, err := c.apply(context.WithoutCancel(ctx), p, []outcome{{result, trial}})
	if err != nil {
		return check.Checked{}, err
	}
	done[0].Masked = gateway.MaskKey(secret)
	return done[0], nil
}

// apply applies what checks showed: first in memory, where it can be told
// whether they count, then in the store. When it returns all is durable.
func (c *Checks) apply(ctx context.Context, p gateway.ProviderName, outcomes []outcome) ([]check.Checked, error) {
	pl, now := c.roster.pools[p], c.roster.now()
	events := gateway.Delta{Provider: p}
	categories := map[gateway.KeyID]string{}
	done := make([]check.Checked, 0, len(outcomes))
	for _, o := range outcomes {
		if refusal := pl.Health().Refusal; refusal != "" && o.Outcome == gateway.CheckRefused {
			o.Outcome, o.Reason = gateway.CheckInconclusive, "the upstream refuses every key at present: "+refusal
		}
		counts := pl.EndCheck(o.trial, o.Outcome, o.Reason, now)
		state, status, there := pl.State(o.Key)
		if there && o.Category != "" {
			categories[o.Key] = o.Category
		}
		if counts {
			events.Events = append(events.Events, eventOf(&o.CheckResult, &state))
		}
		done = append(done, check.Checked{CheckResult: o.CheckResult, State: status})
	}
	err := c.roster.writer.alone(ctx, func(ctx context.Context) error { // which writes the states first
		if len(events.Events) > 0 {
			if err := c.roster.store.Apply(ctx, []gateway.Delta{events}); err != nil {
				return err
			}
		}
		if len(categories) == 0 {
			return nil
		}
		return c.roster.store.SetCategories(ctx, p, categories)
	})
	if err != nil {
		return nil, fmt.Errorf("write down what a check showed: %w", err)
	}
	return done, nil
}

// eventOf is what a check that counts meant for its key.
func eventOf(r *gateway.CheckResult, s *gateway.KeyState) gateway.KeyEvent {
	e := gateway.KeyEvent{Key: r.Key, At: r.At, What: gateway.EventCheckedOK, Detail: "the upstream accepts it", Model: r.Model}
	if r.Outcome == gateway.CheckRefused {
		e.What, e.Detail, e.Until = gateway.EventRefused, r.Reason+", found by a check", s.FailedUntil
		if s.Disabled == gateway.DisabledAuto {
			e.Until = s.DisabledUntil
		}
	}
	return e
}

// StartCheck starts a job that checks keys of the pool. Each is told what became
// of each, once that is applied, one after the other; it may be nil.
func (c *Checks) StartCheck(ctx context.Context, p gateway.ProviderName, ids []gateway.KeyID, source string, each func(check.Checked)) (gateway.Job, error) {
	return c.startCheck(ctx, jobs.Plan{Provider: p, Source: source, By: c.by}, ids, each)
}

func (c *Checks) startCheck(ctx context.Context, plan jobs.Plan, ids []gateway.KeyID, each func(check.Checked)) (gateway.Job, error) {
	pr, err := c.prober(plan.Provider)
	if err != nil {
		return gateway.Job{}, err
	}
	work := &checkWork{c: c, prober: pr, provider: plan.Provider, ids: c.goodFirst(plan.Provider, ids), each: each}
	plan.Kind, plan.Total, plan.Run = gateway.JobCheck, len(ids), work.run
	return c.Start(ctx, plan)
}

// goodFirst puts keys in good standing in front, see check.Run.
func (c *Checks) goodFirst(p gateway.ProviderName, ids []gateway.KeyID) []gateway.KeyID {
	sorted := make([]gateway.KeyID, 0, len(ids))
	var rest []gateway.KeyID
	for _, id := range ids {
		if s, _ := c.roster.pools[p].Standing(id); s.Good {
			sorted = append(sorted, id)
		} else {
			rest = append(rest, id)
		}
	}
	return append(sorted, rest...)
}

// checkWork is a job that checks keys of the pool.
type checkWork struct {
	c        *Checks
	prober   *prober
	provider gateway.ProviderName
	ids      []gateway.KeyID
	each     func(check.Checked)
	trials   []pool.Trial // by number; each is written by its probe, and read when its result is settled
	masked   []string     // likewise
	missing  int          // went before their turn came
}

func (w *checkWork) run(ctx context.Context, p *jobs.Progress) error {
	w.trials, w.masked = make([]pool.Trial, len(w.ids)), make([]string, len(w.ids))
	o := w.c.options
	o.Probe = w.probe
	o.Settle = func(ctx context.Context, results []check.Result) error { return w.settle(ctx, p, results) }
	o.Progress = func(s check.Summary) {
		p.Update(func(j *gateway.Job) {
			j.Done, j.Waiting = s.Asked+w.missing, s.Waiting
			j.Counts[check.CountHealthy], j.Counts[check.CountUnhealthy], j.Counts[check.CountInconclusive] = s.Valid, s.Refused, s.Inconclusive
			countMissing(j, w.missing)
			copyFamilies(j, s.Categories)
		})
	}
	sum, err := check.Run(ctx, w.targets(), o)
	p.Update(func(j *gateway.Job) { // also where the last ones were missing
		j.Done = sum.Asked + w.missing
		countMissing(j, w.missing)
	})
	if err == nil && sum.Stopped != "" {
		err = gateway.Errorf(gateway.KindUpstream, "stopped after %d of %d keys: %s", sum.Asked, len(w.ids), sum.Stopped)
	}
	return err
}

func countMissing(j *gateway.Job, n int) {
	if n > 0 {
		j.Counts[check.CountMissing] = n
	}
}

// copyFamilies notes how many valid keys there are of each family that is known.
func copyFamilies(j *gateway.Job, categories map[string]int) {
	for family, n := range categories {
		if family != "" {
			j.Categories[family] = n
		}
	}
}

// targets are the keys that are there when their turn comes.
func (w *checkWork) targets() iter.Seq2[check.Target, error] {
	return func(yield func(check.Target, error) bool) {
		for n, id := range w.ids {
			s, ok := w.c.roster.pools[w.provider].Standing(id)
			if !ok {
				w.missing++
				continue
			}
			if !yield(check.Target{Number: n, ID: id, Account: s.Account, Good: s.Good}, nil) {
				return
			}
		}
	}
}

func (w *checkWork) probe(ctx context.Context, t check.Target) gateway.CheckResult {
	trial, secret, ok := w.c.roster.pools[w.provider].BeginCheck(t.ID)
	if !ok {
		return gateway.CheckResult{Key: t.ID, At: w.c.roster.now(), Reason: "the key was deleted meanwhile"}
	}
	w.trials[t.Number], w.masked[t.Number] = trial, gateway.MaskKey(secret)
	return w.prober.probe(ctx, secret)
}

func (w *checkWork) settle(ctx context.Context, p *jobs.Progress, results []check.Result) error {
	outcomes := make([]outcome, len(results))
	for i, r := range results {
		outcomes[i] = outcome{r.CheckResult, w.trials[r.Number]}
	}
	done, err := w.c.apply(ctx, w.provider, outcomes)
	if err != nil {
		return err
	}
	for i := range done {
		done[i].Masked = w.masked[results[i].Number]
		if done[i].Outcome != gateway.CheckValid {
			p.AddBad(gateway.BadKey{Key: done[i].Masked, Reason: done[i].Reason})
		}
		if w.each != nil {
			w.each(done[i])
		}
	}
	return nil
}

// recheck is what the schedule does: the keys that failed, or were disabled by
// failures, are checked before they return. Where a job runs it waits for the
// next time. Of several instances one does so for all.
func (c *Checks) recheck(ctx context.Context) error {
	if !c.leads() {
		return nil
	}
	var errs []error
	for p := range c.probers {
		ids, err := c.failedKeys(ctx, p)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if len(ids) == 0 {
			continue
		}
		plan := jobs.Plan{Provider: p, Source: "keys that failed", By: bySchedule, ID: scheduleID(p)}
		_, err = c.startCheck(ctx, plan, ids, nil)
		if e := (*gateway.Error)(nil); errors.As(err, &e) && e.Kind == gateway.KindConflict {
			err = nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// scheduleID names the scheduled job of a provider. Each takes the place of the
// one before it, or they would soon be all that is listed.
func scheduleID(p gateway.ProviderName) string {
	sum := sha256.Sum256([]byte("scheduled check of " + p))
	return hex.EncodeToString(sum[:8])
}

// failedKeys are the keys that are out because the upstream refused them.
func (c *Checks) failedKeys(ctx context.Context, p gateway.ProviderName) ([]gateway.KeyID, error) {
	if err := c.roster.writer.flush(ctx); err != nil {
		return nil, err
	}
	find := func(status gateway.KeyStatus) ([]gateway.KeyID, error) {
		return asked(ctx, c.roster.ask, func(ctx context.Context) ([]gateway.KeyID, error) {
			return c.roster.store.KeyIDs(ctx, p, gateway.KeyFilter{Status: status})
		})
	}
	failed, err := find(gateway.KeyFailed)
	if err != nil {
		return nil, err
	}
	disabled, err := find(gateway.KeyDisabled)
	if err != nil {
		return nil, err
	}
	disabled = slices.DeleteFunc(disabled, func(id gateway.KeyID) bool {
		s, _, ok := c.roster.pools[p].State(id)
		return !ok || s.Disabled != gateway.DisabledAuto
	})
	return append(failed, disabled...), nil
}
