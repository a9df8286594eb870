package app

import (
	"context"
	"hash/fnv"
	"iter"

	"ollama-api-pool/internal/controlplane/check"
	"ollama-api-pool/internal/controlplane/jobs"
	"ollama-api-pool/internal/gateway"
)

// StartImport starts a job that checks new keys and adds the good ones. Keys
// that are in the pool already are not checked. At its end all are added in one
// step; if it is cancelled, stopped or fails before, none is.
func (c *Checks) StartImport(ctx context.Context, p gateway.ProviderName, in check.Import) (gateway.Job, error) {
	pr, err := c.prober(p)
	if err != nil {
		in.Close()
		return gateway.Job{}, err
	}
	work := &importWork{c: c, prober: pr, provider: p, in: &in}
	job, err := c.Start(ctx, jobs.Plan{Kind: gateway.JobImport, Provider: p, Source: in.Source, By: c.by, Run: work.run})
	if err != nil {
		in.Close()
	}
	return job, err
}

// importWork is a job that checks new keys.
type importWork struct {
	c        *Checks
	prober   *prober
	provider gateway.ProviderName
	in       *check.Import
	fates    []fate // by the key's number
	families []string
}

// fate is what came of a key of the list.
type fate struct {
	state  keyFate
	family uint16 // its place in families
}

type keyFate uint8

const (
	untried keyFate = iota
	existing
	wanted // is to be added
)

func (w *importWork) run(ctx context.Context, p *jobs.Progress) error {
	defer w.in.Close()
	total, err := w.survey(ctx)
	if err != nil {
		return err
	}
	known := w.in.Existing + len(w.fates) - total
	for _, b := range w.in.Bad {
		p.AddBad(b)
	}
	p.Update(func(j *gateway.Job) {
		j.Total = total
		j.Counts[check.CountExisting], j.Counts[check.CountBad] = known, w.in.BadLines
	})
	sum, err := w.check(ctx, p)
	if err != nil {
		return err
	}
	if sum.Stopped != "" {
		return gateway.Errorf(gateway.KindUpstream, "stopped after %d of %d keys, nothing was added: %s", sum.Asked, total, sum.Stopped)
	}
	return w.add(ctx, p, known)
}

// survey looks which keys are new and counts them.
func (w *importWork) survey(ctx context.Context) (fresh int, err error) {
	for k, err := range w.in.Keys() {
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return 0, err
		}
		f := fate{}
		if w.c.roster.HasKey(w.provider, gateway.IDOfKey(k.Secret)) {
			f.state = existing
		} else {
			fresh++
		}
		w.fates = append(w.fates, f)
	}
	return fresh, nil
}

// check asks the upstream about the new keys.
func (w *importWork) check(ctx context.Context, p *jobs.Progress) (check.Summary, error) {
	o := w.c.options
	o.Probe = func(ctx context.Context, t check.Target) gateway.CheckResult { return w.prober.probe(ctx, t.Secret) }
	o.Settle = func(_ context.Context, results []check.Result) error {
		for i := range results {
			w.settle(p, &results[i])
		}
		return nil
	}
	o.Progress = func(s check.Summary) {
		p.Update(func(j *gateway.Job) {
			j.Done, j.Waiting = s.Asked, s.Waiting
			j.Counts[check.CountValid], j.Counts[check.CountInvalid], j.Counts[check.CountInconclusive] = s.Valid, s.Refused, s.Inconclusive
			copyFamilies(j, s.Categories)
		})
	}
	return check.Run(ctx, w.targets(), o)
}

func (w *importWork) targets() iter.Seq2[check.Target, error] {
	return func(yield func(check.Target, error) bool) {
		n := 0
		for k, err := range w.in.Keys() {
			if err != nil {
				yield(check.Target{}, err)
				return
			}
			t := check.Target{Number: n, ID: gateway.IDOfKey(k.Secret), Secret: k.Secret, Account: accountNumber(k.Username)}
			if w.fates[n].state == untried && !yield(t, nil) {
				return
			}
			n++
		}
	}
}

// accountNumber tells accounts apart.
func accountNumber(username string) uint64 {
	account := gateway.AccountOf(username)
	if account == "" {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(account))
	return h.Sum64()
}

// settle decides about one key.
func (w *importWork) settle(p *jobs.Progress, r *check.Result) {
	tried := check.Tried{CheckResult: r.CheckResult, Line: w.in.Line(r.Number), Masked: gateway.MaskKey(r.Secret)}
	if r.Outcome != gateway.CheckValid {
		p.AddBad(gateway.BadKey{Line: tried.Line, Key: tried.Masked, Reason: r.Reason})
	}
	if r.Outcome == gateway.CheckValid || r.Outcome == gateway.CheckInconclusive && w.in.IncludeInconclusive {
		w.fates[r.Number] = fate{wanted, w.familyNumber(r.Category)}
	}
	if w.in.Each != nil {
		w.in.Each(tried)
	}
}

// familyNumber is the place of a family in families, of which there are a few.
func (w *importWork) familyNumber(family string) uint16 {
	for i, f := range w.families {
		if f == family {
			return uint16(i)
		}
	}
	w.families = append(w.families, family)
	return uint16(len(w.families) - 1) //nolint:gosec // there are a few dozen families
}

// add adds the keys that are wanted, all or none.
func (w *importWork) add(ctx context.Context, p *jobs.Progress, known int) error {
	added, twice, err := w.c.roster.AddKeys(ctx, w.provider, func(yield func(gateway.Key, error) bool) {
		n := 0
		for k, err := range w.in.Keys() {
			if err == nil && w.fates[n].state == wanted {
				k.Category = w.families[w.fates[n].family]
			}
			if (err != nil || w.fates[n].state == wanted) && !yield(k, err) {
				return
			}
			n++
		}
	})
	if err != nil {
		return err
	}
	p.Update(func(j *gateway.Job) {
		j.Counts[check.CountAdded], j.Counts[check.CountExisting] = added, known+twice
	})
	return nil
}
