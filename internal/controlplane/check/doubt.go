package check

import (
	"context"

	"ollama-api-pool/internal/gateway"
)

// accounts counts owners of keys up to doubtAfter.
type accounts map[uint64]struct{}

func (a *accounts) add(t *Target) {
	if *a == nil {
		*a = accounts{}
	}
	if len(*a) >= doubtAfter {
		return
	}
	owner := t.Account
	if owner == 0 {
		owner = ^uint64(t.Number) //nolint:gosec // each is its own
	}
	(*a)[owner] = struct{}{}
}

func (a accounts) many() bool { return len(a) >= doubtAfter }

// heard ends a row of answers that showed nothing, up to the one with a number:
// what ends it was asked only after that one had come. Those of an outage are
// asked for again.
func (r *run) heard(number int) {
	outage := r.outage || len(r.silent) >= silenceAfter
	before, after := split(r.silent, number)
	for _, a := range before {
		r.believe(a, !outage)
	}
	r.silent, r.outage = after, outage && len(after) > 0
}

// split parts answers, which are in order, behind the one with a number.
func split(answers []answer, number int) (before, after []answer) {
	n := 0
	for n < len(answers) && answers[n].number <= number {
		n++
	}
	return answers[:n], answers[n:]
}

// refused takes in a refusal.
func (r *run) refused(a answer) {
	if r.control == nil && len(r.good) == 0 && !a.Good {
		r.certain(a)
		return
	}
	r.hold(a)
}

func (r *run) hold(a answer) {
	r.held = append(r.held, a)
	r.accounts.add(&a.Target)
	if a.Good {
		r.good.add(&a.Target)
	}
}

// vouched ends a row of refusals. Up to the one with a number, see heard, they
// are certain, or else the whole row is asked for again. Where too many in good
// standing were refused even what is certain is asked for again: an outage may
// be over in a moment.
func (r *run) vouched(number int, certain bool) {
	if !certain {
		number = r.answered
	}
	tooMany := r.good.many()
	before, after := split(r.held, number)
	for _, a := range before {
		r.believe(a, certain && !tooMany)
	}
	r.held, r.accounts = nil, nil
	if !tooMany || len(after) == 0 { // else the rest of the row is no more certain
		r.good = nil
	}
	for _, a := range after {
		r.hold(a)
	}
}

// believe takes an answer for certain, unless it is in doubt for the first time.
func (r *run) believe(a answer, certain bool) {
	if certain || a.first != nil {
		r.certain(a)
		return
	}
	r.repeats = append(r.repeats, question{Target: a.Target, first: &a.CheckResult})
}

// certain passes an answer on.
func (r *run) certain(a answer) {
	switch a.Outcome {
	case gateway.CheckValid:
		r.sum.Valid++
		r.sum.Categories[a.Category]++
	case gateway.CheckRefused:
		r.sum.Refused++
	default:
		r.sum.Inconclusive++
	}
	r.ready = append(r.ready, Result{a.Target, a.CheckResult})
}

// conclude decides about what is still open at the end.
func (r *run) conclude(ctx context.Context) {
	doubt := r.good.many() || r.sum.Stopped != "" && r.accounts.many()
	if doubt && r.control != nil && r.sum.Stopped == "" && ctx.Err() == nil {
		doubt = r.o.Probe(ctx, *r.control).Outcome != gateway.CheckValid
	}
	for _, a := range r.held {
		r.certain(a.doubted(doubt))
	}
	for _, a := range r.silent {
		r.certain(a)
	}
	if q := r.peeked; q != nil && q.first != nil {
		r.repeats = append(r.repeats, *q)
	}
	for _, q := range r.repeats { // the run ended before they were asked about again
		a := answer{question: q, CheckResult: *q.first}
		r.certain(a.doubted(a.Outcome == gateway.CheckRefused))
	}
	r.held, r.silent, r.repeats = nil, nil, nil
}

// doubted gives the answer, or that nobody can tell.
func (a answer) doubted(doubt bool) answer {
	if doubt {
		a.Outcome, a.Reason = gateway.CheckInconclusive, reasonEverybody
	}
	return a
}
