package check

import (
	"iter"

	"ollama-api-pool/internal/gateway"
)

// Checked is a key of the pool that was checked, as it is afterwards.
type Checked struct {
	gateway.CheckResult
	Masked string
	State  gateway.KeyStatus // "" if it is not in the pool any more
}

// Import is a list of new keys that are to be checked before they are added.
// They are added together at the end, or none of them is.
type Import struct {
	Source string // in words; never a secret
	// Keys gives the keys, each once, always in the same order: the list is gone
	// through several times.
	Keys     func() iter.Seq2[gateway.Key, error]
	Line     func(n int) int  // where the key with a number, from 0, came from
	Existing int              // repeats that Keys leaves out
	Bad      []gateway.BadKey // the first lines without a key
	BadLines int              // how many there are in all
	// IncludeInconclusive adds also those of which the upstream would not say
	// whether they are good.
	IncludeInconclusive bool
	// Each is told what came of each key that was checked, one after the other,
	// in no particular order. May be nil.
	Each func(Tried)
	// Close is called when nothing is needed any more, whatever happens.
	Close func()
}

// Tried is a key of an Import that was checked.
type Tried struct {
	gateway.CheckResult
	Line   int
	Masked string
}

// Names under which a job counts what came of keys and lines.
const (
	CountHealthy      = "healthy"
	CountUnhealthy    = "unhealthy"
	CountInconclusive = "inconclusive"
	CountMissing      = "missing" // keys that went before they were checked
	CountValid        = "valid"
	CountInvalid      = "invalid"
	CountBad          = "bad" // lines that hold no key that can be used
	CountExisting     = "existing"
	CountAdded        = "added"
)
