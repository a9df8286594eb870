package gateway

import "time"

// Scope is whose fault an outcome was.
type Scope uint8

// Scopes of a verdict.
const (
	ScopeNone     Scope = iota // nobody's: it worked
	ScopeRequest               // what the client asked for
	ScopeModel                 // the model, whichever key asks
	ScopeKeyModel              // this key for this model: its plan lacks it
	ScopeKey                   // the key
	ScopeAccount               // the account: all keys of one owner
	ScopeProvider              // the upstream service
	ScopeClient                // the client went away
	ScopeUnknown               // no rule knows it
)

var scopeNames = [...]string{"none", "request", "model", "key+model", "key", "account", "provider", "client", "unknown"}

// String names the scope as logs and pages do.
func (s Scope) String() string { return scopeNames[s] }

// Action is what is done about an outcome.
type Action uint8

// Actions of a verdict.
const (
	ActionNothing  Action = iota
	ActionRest            // the account rests until a time
	ActionRestKey         // this key alone rests until a time
	ActionFail            // the key is marked failed, and disabled after several in a row
	ActionPassOver        // the key is not tried for this model for a day
	ActionStrike          // the provider's breaker takes note
)

var actionNames = [...]string{"nothing", "rest account", "rest key", "fail key", "pass over for model", "strike breaker"}

// String names the action as logs and pages do.
func (a Action) String() string { return actionNames[a] }

// Next is what happens to the client's request after an outcome.
type Next uint8

// What comes next.
const (
	NextDeliver    Next = iota // pass this answer on
	NextKey                    // try another key at once
	NextKeyOnce                // try one other key, then pass the answer on
	NextAfterPause             // try again after a short wait: the upstream is at fault
	NextStop                   // nobody is waiting any more
)

var nextNames = [...]string{"deliver", "next key", "one more key", "retry after a pause", "stop"}

// String names the step as logs and pages do.
func (n Next) String() string { return nextNames[n] }

// Verdict is what one attempt proved.
type Verdict struct {
	Scope  Scope
	Action Action
	Next   Next
	Reason string        // short and safe to show, such as "quota: hourly"
	Until  time.Time     // the end of a rest where the upstream told it
	For    time.Duration // the length of a rest where the rule fixes it
	OK     bool          // the attempt succeeded
}

// RefusesKey reports whether the verdict speaks against the credential, so
// that the upstream's own words must not reach the client.
func (v *Verdict) RefusesKey() bool {
	return v.Next != NextDeliver && (v.Action == ActionFail || v.Scope == ScopeKey || v.Scope == ScopeUnknown)
}

// OutOfQuota reports whether the verdict says that an account has used up its quota.
func (v *Verdict) OutOfQuota() bool { return v.Action == ActionRest || v.Action == ActionRestKey }
