package gateway

import "time"

// Batch is deltas that are written down together, and however often they are
// sent, once: a store remembers of every writer the number of the last batch
// that it took. A writer sends its batches in the order of their numbers.
type Batch struct {
	Writer string // who writes, unique to one run of the program; "": not remembered
	Number int64  // from 1
	Deltas []Delta
}

// ChangeKind says what a change concerns.
type ChangeKind string

// What instances tell each other.
const (
	ChangeKeys   ChangeKind = "keys"   // keys came, went or have another state
	ChangeTokens ChangeKind = "tokens" // client tokens came, went or changed
	ChangeCache  ChangeKind = "cache"  // the caches are to be cleared
	ChangeJob    ChangeKind = "job"    // a job is to be cancelled
)

// Change is something that one instance did and the others have to follow.
type Change struct {
	Origin   string // the instance that did it
	Kind     ChangeKind
	Provider ProviderName // of keys
	Keys     []KeyID      // nil: any of them
	Detail   string       // of a cache the pattern, of a job its ID
}

// Instance is a process that works on a store together with others.
type Instance struct {
	ID        string // unique to one run of the program
	Name      string // of the machine
	Version   string
	StartedAt time.Time
	SeenAt    time.Time // when it last said that it is there
}

// KeyMark is how the state of a key is stored.
type KeyMark struct {
	Key       KeyID
	State     KeyState
	ExpiresAt time.Time // zero: never
	Version   int64
	Forced    int64 // the version that the last act of an operator made, see StateChange; 0: there was none
}
