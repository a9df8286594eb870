package gateway

import "time"

// Sliding is a limit on requests in every span of time. Requests of the same
// grain share a mark that counts as its latest; 0: each has its own.
type Sliding struct {
	Limit       int
	Span, Grain time.Duration
}

// TokenCount is what one instance has counted of a client token. All its numbers
// are sums since the beginning of that count, so that it may be told any number
// of times, in any order: of two, the later one holds.
type TokenCount struct {
	Hash             string
	Life             int64 // tells apart counts of the same token that one instance began
	Number           int64 // grows from count to count of an instance
	Day              int64 // since the epoch, UTC: that of the requests and tokens
	Requests, Tokens int64 // let in and used here on that day
	Running          int   // requests under way here
	// What was used on that day before anybody counted it together, as far as this
	// instance knows. Of several instances the first one's word is taken.
	RequestsBefore, TokensBefore int64
	PerDay, Concurrent           bool // which of the numbers anybody is interested in
}

// TokenDemand asks for one request of a client token. The count includes it.
type TokenDemand struct {
	Count        TokenCount
	Minute       Sliding // Limit 0: unbounded, as below
	PerDay       int
	TokensPerDay int64
	Concurrent   int
	Midnight     time.Duration // until the day ends
}

// TokenShare is what all instances together know of a token, with the request in
// it, if it was let in. What is not limited is 0.
type TokenShare struct {
	Admitted         bool
	At               int64 // when, as TakeBack wants it
	PerMinute        int   // requests of the last minute
	MinuteWait       time.Duration
	Requests, Tokens int64 // of the day
	Running          int
}
