package usage

import (
	"strings"
	"sync"
	"time"

	"ollama-api-pool/internal/gateway"
)

// What a Trail holds between two drains at most. What comes beyond is dropped
// and counted: the log is there to look at, the counts are the Ledger's.
const (
	maxEntries = 2000
	maxEvents  = 10_000
)

// The lengths, in bytes, to which foreign text is cut that is kept.
const (
	maxAgent  = 200
	maxPath   = 300
	maxName   = 200
	maxReason = 300
	maxID     = 128
)

// TrailMode is which requests a Trail keeps.
type TrailMode uint8

// The modes. In each the events of keys are noted.
const (
	TrailOff TrailMode = iota
	// TrailFailures keeps what failed, and what went well only after a failed
	// attempt: that one is worth looking at. What the client broke off has not
	// failed.
	TrailFailures
	TrailAll
)

// TrailOptions say what a Trail keeps.
type TrailOptions struct {
	Mode TrailMode
}

// Trail keeps what became of single requests, and what happened to keys in
// them, until a writer takes it down. Of the requests only counted ones are
// kept: strangers must not be able to fill the log. It is safe for concurrent
// use.
type Trail struct {
	mode TrailMode

	mu      sync.Mutex // guards the rest
	deltas  []gateway.Delta
	entries int // in all deltas together
	events  int
	dropped int64
}

// NewTrail makes an empty Trail.
func NewTrail(o TrailOptions) *Trail { return &Trail{mode: o.Mode} }

// Add notes one request that has ended, if it is one to be kept, and what it
// meant for keys. It copies what it needs of x. For a request that went well
// with its first key it does nothing, unless all are kept or its client asked
// for a trace.
func (t *Trail) Add(x *gateway.Exchange) {
	keep, events := t.keeps(x), countEvents(x.Record.Attempts)
	if !keep && events == 0 {
		return
	}
	// Most of the work is done without the lock.
	var log []gateway.LogEntry
	if keep {
		log = []gateway.LogEntry{entryOf(x)}
	}
	var noted []gateway.KeyEvent
	if events > 0 {
		noted = eventsOf(x, make([]gateway.KeyEvent, 0, events))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.append(x.Record.Provider, log, noted)
}

// Drain returns what came since the last one, in the Log and Events of a Delta
// for each provider, in the order in which it came.
func (t *Trail) Drain() []gateway.Delta {
	t.mu.Lock()
	defer t.mu.Unlock()
	deltas := t.deltas
	t.deltas, t.entries, t.events = nil, 0, 0
	return deltas
}

// Restore takes back what Drain gave and could not be written, so that the next
// Drain gives it again, before what came meanwhile. What finds no room any more
// is dropped, the latest first.
func (t *Trail) Restore(deltas []gateway.Delta) {
	t.mu.Lock()
	defer t.mu.Unlock()
	meanwhile := t.deltas
	t.deltas, t.entries, t.events = nil, 0, 0
	for _, list := range [][]gateway.Delta{deltas, meanwhile} {
		for i := range list {
			t.append(list[i].Provider, list[i].Log, list[i].Events)
		}
	}
}

// Dropped is how many requests and events found no room, since the beginning.
func (t *Trail) Dropped() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.dropped
}

// append takes in as much as there is room for. The caller holds the lock.
func (t *Trail) append(p gateway.ProviderName, log []gateway.LogEntry, events []gateway.KeyEvent) {
	n, m := min(len(log), maxEntries-t.entries), min(len(events), maxEvents-t.events)
	t.dropped += int64(len(log) - n + len(events) - m)
	if n+m == 0 {
		return
	}
	d := t.delta(p)
	d.Log = append(d.Log, log[:n]...)
	d.Events = append(d.Events, events[:m]...)
	t.entries += n
	t.events += m
}

// delta is where a provider's entries go.
func (t *Trail) delta(p gateway.ProviderName) *gateway.Delta {
	for i := range t.deltas {
		if t.deltas[i].Provider == p {
			return &t.deltas[i]
		}
	}
	t.deltas = append(t.deltas, gateway.Delta{Provider: p})
	return &t.deltas[len(t.deltas)-1]
}

// keeps reports whether a request belongs into the log.
func (t *Trail) keeps(x *gateway.Exchange) bool {
	r := &x.Record
	if t.mode == TrailOff || !r.Counted {
		return false
	}
	_, failure := r.Outcome()
	return t.mode == TrailAll || x.Trace || failure || len(r.Attempts) > 1
}

// entryOf writes a request down.
func entryOf(x *gateway.Exchange) gateway.LogEntry {
	r := &x.Record
	e := gateway.LogEntry{
		ID:                plain(x.RequestID, maxID),
		UpstreamRequestID: plain(x.UpstreamRequestID, maxID),
		Provider:          r.Provider,
		Model:             plain(r.Model, maxName),
		Path:              plain(x.Path, maxPath),
		TokenHash:         r.TokenHash,
		Client:            x.ClientIP,
		Agent:             plain(x.Agent, maxAgent),
		Status:            r.Status,
		End:               r.End,
		Error:             plain(whyFailed(r), maxReason),
		Stream:            r.Stream,
		Cache:             r.Cache,
		Sent:              r.Sent,
		Usage:             r.Usage,
		StartedAt:         r.StartedAt.Round(0).UTC(),
		FirstByte:         r.FirstByte,
		Duration:          r.Duration,
	}
	if x.Principal != nil {
		e.TokenName = plain(x.Principal.Name, maxName)
	}
	if len(r.Attempts) > 0 {
		e.Trail = make([]gateway.TrailStep, len(r.Attempts))
	}
	for i := range r.Attempts {
		a := &r.Attempts[i]
		e.Trail[i] = gateway.TrailStep{
			Key: a.Key, Status: a.Status,
			Scope: a.Verdict.Scope, Action: a.Verdict.Action, Next: a.Verdict.Next, OK: a.Verdict.OK,
			Reason: plain(a.Verdict.Reason, maxReason), Until: outUntil(r, a),
			Began: a.Began, Duration: a.Duration,
		}
	}
	return e
}

// whyFailed says why a request failed: in the words that the client got from
// us, else in those of the last verdict.
func whyFailed(r *gateway.Record) string {
	success, _ := r.Outcome()
	switch n := len(r.Attempts); {
	case success:
		return ""
	case r.Error != "":
		return r.Error
	case n > 0 && r.Attempts[n-1].Verdict.Reason != "":
		return r.Attempts[n-1].Verdict.Reason
	case r.End == gateway.EndClientClosed:
		return "the client went away"
	case r.Status == 0:
		return "internal error"
	}
	return ""
}

// outUntil is when the key of an attempt returns that is out by its verdict,
// zero where it is not or that is not known.
func outUntil(r *gateway.Record, a *gateway.Attempt) time.Time {
	switch v := &a.Verdict; {
	case eventKind(v.Action) == "":
	case !a.Until.IsZero():
		return a.Until.Round(0).UTC()
	case v.Action == gateway.ActionFail:
	case !v.Until.IsZero():
		return v.Until.Round(0).UTC()
	case v.For > 0:
		return endOf(r, a).Add(v.For)
	}
	return time.Time{}
}

// endOf is when an attempt was judged.
func endOf(r *gateway.Record, a *gateway.Attempt) time.Time {
	return r.StartedAt.Add(a.Began + a.Duration).Round(0).UTC()
}

// eventKind is what an action means for the key, "" for nothing.
func eventKind(a gateway.Action) gateway.KeyEventKind {
	switch a {
	case gateway.ActionRest, gateway.ActionRestKey:
		return gateway.EventRested
	case gateway.ActionFail:
		return gateway.EventRefused
	case gateway.ActionPassOver:
		return gateway.EventPassed
	default:
		return ""
	}
}

func countEvents(attempts []gateway.Attempt) (n int) {
	for i := range attempts {
		if eventKind(attempts[i].Verdict.Action) != "" {
			n++
		}
	}
	return n
}

// eventsOf appends what a request's attempts meant for their keys.
func eventsOf(x *gateway.Exchange, events []gateway.KeyEvent) []gateway.KeyEvent {
	r := &x.Record
	for i := range r.Attempts {
		a := &r.Attempts[i]
		what := eventKind(a.Verdict.Action)
		if what == "" {
			continue
		}
		events = append(events, gateway.KeyEvent{
			Key: a.Key, At: endOf(r, a), What: what, Detail: plain(a.Verdict.Reason, maxReason), Until: outUntil(r, a),
			RequestID: plain(x.RequestID, maxID), Attempt: i + 1, Model: plain(r.Model, maxName),
		})
	}
	return events
}

// plain makes foreign text fit to be stored and shown: one line of valid UTF-8
// without control characters, cut to at most n bytes and an ellipsis. Text that
// is so already is not copied.
func plain(s string, n int) string {
	s = gateway.Clip(s, n)
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f || s[i] >= 0x80 {
			return strings.Map(func(r rune) rune {
				if r < ' ' || r == 0x7f {
					return ' '
				}
				return r // what is no UTF-8 comes as U+FFFD
			}, s)
		}
	}
	return s
}
