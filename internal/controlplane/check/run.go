// Package check is the step of the control plane that finds out which keys of
// a long list are good: it asks the upstream about one after the other, not
// too many at once and not too fast, and makes sure that a bad hour upstream
// is not taken for bad keys. How one key is asked about, and what is done with
// the results, is handed in.
package check

import (
	"context"
	"iter"
	"time"

	"ollama-api-pool/internal/gateway"
)

// What a run does unless its Options say otherwise, and what it does always.
const (
	defaultConcurrency = 16
	defaultPerSecond   = 200

	silenceAfter = 20               // answers in a row that show nothing are an outage
	doubtAfter   = 20               // refused accounts in a row are a reason to doubt the upstream
	firstWait    = time.Second      // before one key is asked whether an outage is over
	longestWait  = 15 * time.Second // between two such questions
	patience     = 2 * time.Minute  // of an outage, then the run stops

	batchSize = 256 // results that are settled at a time, at most
	batchTime = time.Second
)

// Target is one key of the list.
type Target struct {
	Number  int // its place in the list
	ID      gateway.KeyID
	Secret  gateway.Secret // "" where Probe knows the key by its ID
	Account uint64         // the same for all keys of an account; 0: none
	Good    bool           // in good standing until now: that it is refused is news
}

// Result is what the run says about a target.
type Result struct {
	Target
	gateway.CheckResult
}

// Options say how a run goes about it.
type Options struct {
	// Probe asks about one key. It is called concurrently, and gives up when
	// its context ends.
	Probe func(context.Context, Target) gateway.CheckResult
	// Settle takes results that are certain, in no particular order, each target
	// once. The run waits for it. Its context does not end with the run's.
	Settle func(context.Context, []Result) error
	// Progress is told how far the run is, after every answer and when it begins
	// or ends to wait. May be nil.
	Progress func(Summary)

	Concurrency int // probes at a time; 0: 16
	PerSecond   int // probes that begin in a second, at most; 0: 200, below 0: any number
}

// Summary is how far a run is, or how it ended.
type Summary struct {
	Asked        int // targets about which the upstream was asked
	Valid        int
	Refused      int
	Inconclusive int
	Categories   map[string]int // valid keys by family; not to be changed
	Waiting      string         // why the run pauses at present, "" while it does not
	// Stopped says why the run ended early, "" if it did not. Targets that were
	// not asked about then have no result.
	Stopped string
}

// Reasons for what a run says beyond the single answer.
const (
	reasonEverybody = "the upstream refuses every key, which speaks against the upstream"
	reasonSilent    = "the upstream gave no usable answer for two minutes"
	reasonRefusing  = "the upstream refused also keys that it had accepted before, for two minutes"
	waitsSilent     = "the upstream gives no usable answer at present"
	waitsRefusing   = "the upstream refuses also keys that it had accepted before"
)

// Run asks about all targets and settles what it learns. It returns when every
// target has its result, when the upstream is down for too long (see
// Summary.Stopped), or when ctx ends; then what is certain by that time is
// settled, and the error is the context's. No probe outlives it.
//
// Nothing that an upstream does as a whole is blamed on a key:
//
//   - Twenty answers in a row that show nothing (no answer, 429, 5xx, a web page)
//     are an outage. The run pauses and asks about one key at a time, after waits
//     that grow from one second to fifteen: about the last one that was valid, and
//     the next in the list. Once there is a usable answer, it goes on and asks again
//     about the twenty. After two minutes it stops.
//   - A refusal is held back until a valid key is seen after it, if there is any
//     reason to doubt it: a key was valid earlier in the run, or it is, or another
//     one held back is, a key in good standing.
//   - When refusals of twenty accounts are held back (a key without an account
//     counts as one), the last key that was valid is asked about again. If it still
//     is they are believed, but those of twenty accounts in good standing are asked
//     about again, once. Otherwise this is an outage as above, and at its end all of
//     them are.
//   - What ends a row of refusals, or of answers that show nothing, must have been
//     asked after the row: an answer on its way may be from before an outage.
//   - Where no key has been valid yet, the run goes on looking for one. If it finds
//     one, refusals that were held back are believed if those in good standing
//     belong to fewer than twenty accounts, else asked about again, once. If it finds
//     none, such refusals are reported as inconclusive at the end.
//
// It follows that targets in good standing should come first.
func Run(ctx context.Context, targets iter.Seq2[Target, error], o Options) (Summary, error) {
	if o.Concurrency <= 0 {
		o.Concurrency = defaultConcurrency
	}
	if o.PerSecond == 0 {
		o.PerSecond = defaultPerSecond
	}
	next, stop := iter.Pull2(targets)
	defer stop()
	inside, cancel := context.WithCancel(ctx)
	r := &run{
		o: o, ctx: inside, next: next, settledAt: time.Now(),
		answers: make(chan answer, o.Concurrency),
		sum:     Summary{Categories: map[string]int{}},
	}
	err := r.work()
	cancel()
	for r.flying > 0 {
		r.note(<-r.answers, ctx.Err() != nil)
	}
	r.conclude(ctx)
	if failed := r.settle(); err == nil {
		err = failed
	}
	return r.sum, err
}

// question is a target on its way.
type question struct {
	Target
	first *gateway.CheckResult // of a target that is asked about again: what came before
	asked int                  // how many answers there were when it was asked about
}

type answer struct {
	question
	gateway.CheckResult
	number int // of all answers, in the order in which they came
}

// run is a run under way. It belongs to the goroutine that called Run; probes
// have goroutines of their own and hand their answers over in a channel.
type run struct {
	o         Options
	ctx       context.Context // ends with Run, at the latest
	next      func() (Target, error, bool)
	peeked    *question
	repeats   []question // to be asked about again
	answers   chan answer
	flying    int       // probes under way
	startAt   time.Time // of the next one, at the earliest
	answered  int       // how many answers there were
	silent    []answer  // inconclusive in a row
	outage    bool      // because the upstream is silent
	held      []answer  // refusals that are not believed yet
	accounts  accounts  // of those
	good      accounts  // of those in good standing
	control   *Target   // the last key that was valid
	ready     []Result
	settledAt time.Time
	sum       Summary
}

// work asks about everything. It returns early when ctx ends, when something
// fails, or when the upstream is down for too long.
func (r *run) work() error {
	for {
		if err := context.Cause(r.ctx); err != nil {
			return err
		}
		if r.inDoubt() {
			if over, err := r.pause(); over || err != nil {
				return err
			}
			continue
		}
		q, err := r.peek()
		wait := time.Until(r.startAt)
		switch {
		case err != nil:
			return err
		case q == nil && r.flying == 0:
			return nil
		case q == nil || r.flying >= r.o.Concurrency:
			err = r.receive(nil)
		case wait > 0:
			t := time.NewTimer(wait)
			err = r.receive(t.C)
			t.Stop()
		default:
			r.begin(*q)
		}
		if err != nil {
			return err
		}
	}
}

// inDoubt reports whether the upstream's answers are suspect now.
func (r *run) inDoubt() bool {
	return len(r.silent) >= silenceAfter || r.control != nil && r.accounts.many()
}

// peek gives what is to be asked next, nil if nothing is.
func (r *run) peek() (*question, error) {
	if r.peeked != nil {
		return r.peeked, nil
	}
	if n := len(r.repeats); n > 0 {
		q := r.repeats[n-1]
		r.peeked, r.repeats = &q, r.repeats[:n-1]
		return r.peeked, nil
	}
	t, err, ok := r.next()
	if !ok || err != nil {
		return nil, err
	}
	r.peeked = &question{Target: t}
	return r.peeked, nil
}

// begin sends a probe on its way.
func (r *run) begin(q question) {
	r.peeked = nil
	r.flying++
	if r.o.PerSecond > 0 {
		r.startAt = later(r.startAt, time.Now().Add(-time.Second/100)).Add(time.Second / time.Duration(r.o.PerSecond))
	}
	q.asked = r.answered
	go func() { r.answers <- answer{question: q, CheckResult: r.o.Probe(r.ctx, q.Target)} }()
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// receive waits for an answer, for a time, or for the end.
func (r *run) receive(until <-chan time.Time) error {
	select {
	case a := <-r.answers:
		r.note(a, false)
		if len(r.ready) >= batchSize || time.Since(r.settledAt) >= batchTime {
			return r.settle()
		}
	case <-until:
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
	return nil
}

// note takes an answer in. One that shows nothing because the run was broken
// off is no answer.
func (r *run) note(a answer, broken bool) {
	r.flying--
	if broken && a.Outcome == gateway.CheckInconclusive {
		return
	}
	if a.first == nil {
		r.sum.Asked++
	}
	r.answered++
	a.number = r.answered
	switch a.Outcome {
	case gateway.CheckValid:
		r.heard(a.asked)
		r.vouched(a.asked, r.control != nil || !r.good.many())
		r.control = &a.Target
		r.certain(a)
	case gateway.CheckRefused:
		r.heard(a.asked)
		r.refused(a)
	default:
		r.silent = append(r.silent, a)
	}
	r.tell()
}

func (r *run) tell() {
	if r.o.Progress != nil {
		r.o.Progress(r.sum)
	}
}

// settle hands over what is certain.
func (r *run) settle() error {
	r.settledAt = time.Now()
	if len(r.ready) == 0 {
		return nil
	}
	ready := r.ready
	r.ready = nil
	if err := r.o.Settle(context.WithoutCancel(r.ctx), ready); err != nil {
		return err
	}
	r.tell()
	return nil
}
