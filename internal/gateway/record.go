package gateway

import "time"

// End says how a client's request ended.
type End uint8

// Ends of a request.
const (
	EndDone         End = iota // answered in full
	EndClientClosed            // the client went away first
	EndCut                     // the upstream's answer broke off
)

var endNames = [...]string{"done", "client closed", "cut"}

// String names the end as logs and pages do.
func (e End) String() string { return endNames[e] }

// Usage is what a request consumed: tokens of the model, and what the upstream
// charged where it tells.
type Usage struct {
	Input, Output int64
	Cost          Cost
}

// Add adds other to u.
func (u *Usage) Add(other Usage) {
	u.Input += other.Input
	u.Output += other.Output
	u.Cost += other.Cost
}

// Attempt is one try with one key.
type Attempt struct {
	Key      KeyID
	Status   int // the upstream's, 0 if none came
	Verdict  Verdict
	Began    time.Duration // after the request's start
	Duration time.Duration // until the verdict
	Until    time.Time     // when the key returns that is out by the verdict; zero: it is not, or nobody knows
}

// Record is what is remembered of one client request.
type Record struct {
	Provider  ProviderName
	Model     string // as the client wrote it, shortened; "" where it named none
	TokenHash string
	Stream    bool   // the answer was a stream of events
	Cache     string // what X-Cache said, "" where no cache was asked
	Sent      int64  // bytes of the request's body
	Error     string // what the error made here says, "" where none was
	Status    int    // as the client saw it
	End       End
	Attempts  []Attempt
	Usage     Usage
	StartedAt time.Time
	FirstByte time.Duration // until the first byte to the client
	Duration  time.Duration
	Counted   bool // authenticated and well formed: part of the totals
}

// Outcome tells success from failure; of what the client broke off it is neither.
func (r *Record) Outcome() (success, failure bool) {
	switch {
	case r.End == EndClientClosed:
		return false, false
	case r.End == EndDone && r.Status >= 200 && r.Status < 300:
		return true, false
	}
	return false, true
}

// Counts are totals of client requests.
type Counts struct {
	Requests, Success, Failure int64
	Usage                      Usage
}

// Add adds other to c.
func (c *Counts) Add(other Counts) {
	c.Requests += other.Requests
	c.Success += other.Success
	c.Failure += other.Failure
	c.Usage.Add(other.Usage)
}

// Delta is what happened to one provider's numbers and keys since it was last
// written down. It is added to what is stored, except the states, which replace.
// Log and Events are lists to which it is appended.
type Delta struct {
	Provider ProviderName
	Global   Counts
	Models   []ModelDelta
	Tokens   []TokenDelta
	Keys     []KeyDelta
	States   []StateChange
	Refusals []Refusal
	Tallies  []TallyDelta
	Log      []LogEntry
	Events   []KeyEvent
}

// Empty reports whether there is nothing to write.
func (d *Delta) Empty() bool {
	return d.Global == (Counts{}) && len(d.Models)+len(d.Tokens)+len(d.Keys)+len(d.States)+
		len(d.Refusals)+len(d.Tallies)+len(d.Log)+len(d.Events) == 0
}

// ModelDelta counts requests for one model in one hour.
type ModelDelta struct {
	Model    string
	Hour     time.Time // its beginning, UTC
	LastUsed time.Time
	Counts   Counts
}

// TokenDelta counts requests made with one client token.
type TokenDelta struct {
	Hash     string
	LastUsed time.Time
	Counts   Counts
}

// KeyDelta counts attempts made with one key; its times are the latest ones.
type KeyDelta struct {
	Key    KeyID
	Counts KeyCounts
}

// StateChange is a key's new state. It is written only over the version that it
// was made from: of two instances that learn something about a key at the same
// time, one is told to look again. What an operator does is Forced: it is
// written over any version.
type StateChange struct {
	Key     KeyID
	State   KeyState
	Version int64 // of the key's state in the store, before the change
	Forced  bool
}
