package check

import (
	"context"
	"time"

	"ollama-api-pool/internal/gateway"
)

// pause waits until the upstream's answers can be trusted again, and reports
// whether the run is over instead.
func (r *run) pause() (over bool, err error) {
	for r.flying > 0 { // they may show that there is nothing to wait for
		if err := r.receive(nil); err != nil {
			return false, err
		}
	}
	if !r.inDoubt() {
		return false, nil
	}
	if err := r.settle(); err != nil { // the rest may take a while
		return false, err
	}
	r.outage = len(r.silent) >= silenceAfter
	if r.control != nil && r.askControl(true) {
		return false, nil
	}
	r.sum.Waiting = waitsRefusing
	if r.outage {
		r.sum.Waiting = waitsSilent
	}
	r.tell()
	defer func() {
		r.sum.Waiting = ""
		r.tell()
	}()
	began := time.Now()
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		if err := r.sleep(wait); err != nil {
			return false, err
		}
		if recovered, err := r.knock(); recovered || err != nil {
			return false, err
		}
		if time.Since(began) >= patience {
			break
		}
	}
	r.sum.Stopped = reasonRefusing
	if r.outage {
		r.sum.Stopped = reasonSilent
	}
	return true, nil
}

// knock asks whether an outage is over: the key that was valid last, and where
// the upstream is silent also the next one of the list.
func (r *run) knock() (recovered bool, err error) {
	if r.control != nil && r.askControl(false) {
		return true, nil
	}
	if err := context.Cause(r.ctx); err != nil || !r.outage {
		return false, err
	}
	q, err := r.peek()
	if err != nil {
		return false, err
	}
	if q == nil {
		q = r.oldestSilent()
	}
	if q == nil { // all were asked about twice
		r.heard(r.answered)
		return true, nil
	}
	r.begin(*q)
	err = r.receive(nil)
	return !r.outage && err == nil, err
}

// askControl asks about the key that was valid last and reports whether its
// answer ends the doubt. What everybody was refused with is believed if that
// key is valid at once; if it is only after a while, it was an outage.
func (r *run) askControl(atOnce bool) bool {
	switch r.o.Probe(r.ctx, *r.control).Outcome {
	case gateway.CheckValid:
		r.heard(r.answered)
		r.vouched(r.answered, atOnce)
		return true
	case gateway.CheckRefused:
		if r.outage && !r.accounts.many() {
			r.heard(r.answered)
			return true
		}
	}
	return false
}

// oldestSilent takes back the first of the silent answers to ask again, nil if
// all of them are second ones. It is not yet the second time: the upstream may
// still be silent.
func (r *run) oldestSilent() *question {
	for i, a := range r.silent {
		if a.first == nil {
			r.silent = append(r.silent[:i], r.silent[i+1:]...)
			r.sum.Asked--
			return &a.question
		}
	}
	return nil
}

func (r *run) sleep(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
}
