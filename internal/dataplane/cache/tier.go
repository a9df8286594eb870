package cache

import (
	"context"
	"time"
)

// Tier is a cache behind this one that several instances share. Who asks it
// waits for no longer than a fraction of a second. All methods may be called
// concurrently.
type Tier interface {
	// Find gives what is kept in a cache under a name; nil: nothing, or nobody
	// could be asked.
	Find(ctx context.Context, cache, name string) []byte
	// Keep keeps a value, which nobody changes any more, for a time. It does not
	// wait, and drops what is too much.
	Keep(cache, name string, value []byte, ttl time.Duration)
	// Drop forgets the values of a cache whose first bytes, as many as head, are
	// chosen, and returns how many it found at once; nil chooses all. It looks for
	// some seconds at most. What it could not look at is not found any more until
	// that was done.
	Drop(cache string, head int, chosen func(head []byte) bool) int
}
