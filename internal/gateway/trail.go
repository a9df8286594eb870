package gateway

import (
	"net/netip"
	"time"
)

// LogEntry is what the request log keeps of one client request. It holds
// neither bodies nor credentials.
type LogEntry struct {
	ID                string // the X-Request-Id
	UpstreamRequestID string
	Provider          ProviderName
	Model             string
	Path              string // without a token
	TokenHash         string
	TokenName         string
	Client            netip.Addr
	Agent             string // User-Agent, shortened
	Status            int    // as the client saw it, 0 if it saw none
	End               End
	Error             string // why it failed, in our words or the last verdict's; "" for a success
	Stream            bool
	Cache             string // HIT, MISS, BYPASS or ""
	Sent              int64  // bytes of the request's body
	Usage             Usage
	StartedAt         time.Time
	FirstByte         time.Duration
	Duration          time.Duration
	Trail             []TrailStep
}

// Failed reports whether the request belongs among the failures.
func (e *LogEntry) Failed() bool {
	return e.End == EndCut || e.End == EndDone && (e.Status < 200 || e.Status >= 300)
}

// TrailStep is one attempt as the request log keeps it.
type TrailStep struct {
	Key      KeyID
	Status   int // the upstream's, 0 if none came
	Scope    Scope
	Action   Action
	Next     Next
	Reason   string
	Until    time.Time // when the key returns that is out by it; zero: it is not, or nobody knows
	OK       bool
	Began    time.Duration // after the request's start
	Duration time.Duration // until the verdict
}

// LogQuery asks for a page of the request log, the newest first.
type LogQuery struct {
	Provider ProviderName  // "": all
	Failed   bool          // only failures
	Retried  bool          // only those with more than one attempt
	Slow     time.Duration // only those that took at least this long; 0: all
	Model    string
	Token    string // hash, "": all
	Key      KeyID  // only those that tried it
	Status   int    // as the client saw it; 0: all
	Before   string // the cursor of the page before, "": from the newest on
	After    string // the cursor up to which the log is known: only newer ones
	Limit    int
}

// LogPage is a page of the request log.
type LogPage struct {
	Entries []LogEntry
	Newest  string // cursor of the first entry, for After; as asked where there is none
	Next    string // cursor for Before; "" at the end
}

// LogFigures tell how much the log holds.
type LogFigures struct {
	Entries, Bytes int64
	Oldest         time.Time
}

// KeyEvent is something that happened to a key.
type KeyEvent struct {
	Key       KeyID
	At        time.Time
	What      KeyEventKind
	Detail    string    // the reason, in words; never a secret
	Until     time.Time // until when it is out; zero: not said
	RequestID string    // of the client request in which it happened
	Attempt   int       // which attempt of it, from 1
	Model     string
}

// KeyEventKind says what happened.
type KeyEventKind string

// What can happen to a key. Added and returned are not stored: they follow from
// the key's own record and from when it was out.
const (
	EventAdded     KeyEventKind = "added"
	EventRested    KeyEventKind = "rested"      // out of quota
	EventRefused   KeyEventKind = "refused"     // the upstream refused it
	EventPassed    KeyEventKind = "passed over" // may not use a model
	EventReturned  KeyEventKind = "returned"    // its time was over
	EventEnabled   KeyEventKind = "enabled"
	EventDisabled  KeyEventKind = "disabled"
	EventCheckedOK KeyEventKind = "checked" // found good
	EventCleared   KeyEventKind = "cleared" // its rest was ended by hand
)
