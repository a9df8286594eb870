package gateway

import "time"

// Cost is what an upstream charged, in billionths of its unit (OpenRouter's
// credit, which is a US dollar).
type Cost int64

// CostUnit is one whole unit.
const CostUnit Cost = 1e9

// Tally is everything that is added up about requests: of a provider, a model,
// a token or a key, over a period or ever.
type Tally struct {
	Counts
	Attempts  int64     // sent upstream for these requests
	Duration  Histogram // of requests that were answered, until their end
	FirstByte Histogram // of those that succeeded, until the first byte to the client
}

// Add adds other to t.
func (t *Tally) Add(other *Tally) {
	t.Counts.Add(other.Counts)
	t.Attempts += other.Attempts
	t.Duration.Add(&other.Duration)
	t.FirstByte.Add(&other.FirstByte)
}

// Subject is whose requests a tally adds up.
type Subject string

// The subjects. What stands beside them as a name: nothing, the model's name,
// the token's hash, the key's id.
const (
	OfProvider Subject = "provider"
	OfModel    Subject = "model"
	OfToken    Subject = "token"
	OfKey      Subject = "key" // added up over all time only; attempts by hour are in KeyHour
)

// TallyDelta is what happened to one subject in one minute.
type TallyDelta struct {
	Of     Subject
	Name   string
	Minute time.Time // its beginning, UTC; zero for OfKey
	Tally  Tally
}

// Period is a length of time over which tallies are kept.
type Period uint8

// The periods. Minutes are kept for a few hours, the others for the time that
// STATS_RETENTION_DAYS sets; ever is kept as long as its subject is.
const (
	PerMinute Period = iota
	PerHour
	PerDay // of UTC
	Ever
)

// Length of the period, 0 for Ever.
func (p Period) Length() time.Duration {
	return [...]time.Duration{time.Minute, time.Hour, 24 * time.Hour, 0}[p]
}

// TallyQuery asks for tallies of one provider.
type TallyQuery struct {
	Of      Subject
	Names   []string // only these; none: all
	Per     Period   // which records are read
	Since   time.Time
	Until   time.Time // not included; zero: now
	Counted bool      // counts and attempts are enough: the histograms stay empty
	// Sort is name, requests, success, failure, attempts, input_tokens,
	// output_tokens or cost, with "-" in front for descending; "": -requests. It,
	// Offset and Limit make pages of sums; a series has its own order.
	Sort   string
	Offset int
	Limit  int // 0: all
}

// NamedTally is the sum of one subject's tallies.
type NamedTally struct {
	Name     string
	LastUsed time.Time // the beginning of its last period, zero for Ever where unknown
	Tally    Tally
}

// TallyPoint is one subject's tally of one period.
type TallyPoint struct {
	Name  string
	At    time.Time // the period's beginning
	Tally Tally
}

// KeyHour is what a key did in one hour: attempts, not requests.
type KeyHour struct {
	Hour                    time.Time
	Total, Success, Failure int64
}
