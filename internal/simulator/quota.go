package simulator

import (
	"hash/fnv"
	"math"
	"net/http"
	"strconv"
	"time"

	"ollama-api-pool/internal/gateway"
)

// quota is how often an account may ask until it has to wait.
type quota struct {
	requests int // served before one is refused
	windows  int // how many windows the account waits then
	// What it is told: Ollama Cloud's words, and OpenRouter's status.
	words  string
	status int
}

// quotas are those of the fates that have one.
var quotas = map[Fate]quota{
	FateHourly:  {3, 1, "you've reached your hourly usage limit, please wait or upgrade to continue", http.StatusTooManyRequests},
	FateSession: {5, 3, "you have reached your session usage limit, upgrade for higher limits: https://ollama.com/upgrade", http.StatusPaymentRequired},
}

// spending is how an account stands with its quota.
type spending struct {
	used  int
	until time.Time // when it may ask again; in the past where it may
}

// spend counts a request against the quota of the key's account. It returns when
// the account may ask again, the zero time where it may now.
func (s *Simulator) spend(key string, q quota) time.Time {
	account := s.accounts[key]
	if account == "" {
		account = key
	}
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.spent[account]
	if now.Before(a.until) {
		return a.until
	}
	if a.used++; a.used > q.requests {
		a = spending{until: now.Add(time.Duration(q.windows) * s.window)}
	}
	s.spent[account] = a
	if now.Before(a.until) {
		return a.until
	}
	return time.Time{}
}

// refuseQuota tells that a quota is used up, and until when. Ollama Cloud says
// the latter in words only, those of an hour or a session: as the windows are
// shorter here, Retry-After is sent as well.
func (c *call) refuseQuota(q quota, until time.Time) {
	switch {
	case c.provider == gateway.Ollama:
		c.w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(until.Sub(c.now()).Seconds()))))
		c.refuse(http.StatusTooManyRequests, q.words)
	case q.status == http.StatusPaymentRequired:
		c.refuseWith(q.status, "Key limit exceeded. Manage it using https://openrouter.ai/settings/keys",
			map[string]any{"limit_source": "openrouter_key_limit", "resets_at": until.UTC().Format(time.RFC3339)})
	default:
		c.refuseRate("Rate limit exceeded: free-models-per-min.", 20, until)
	}
}

// refuseRate answers as OpenRouter does to too many requests
// (https://openrouter.ai/docs/api-reference/limits).
func (c *call) refuseRate(message string, limit int, reset time.Time) {
	limits := map[string]string{
		"X-RateLimit-Limit": strconv.Itoa(limit), "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": strconv.FormatInt(reset.UnixMilli(), 10),
	}
	for name, value := range limits {
		c.w.Header().Set(name, value)
	}
	c.refuseWith(http.StatusTooManyRequests, message, map[string]any{"headers": limits})
}

// fate returns the fate that a key has by now.
func (s *Simulator) fate(key string) Fate {
	f, known := s.keys[key]
	switch {
	case !known:
		return FateRevoked
	case f == FateLeaving && s.taken(key) >= leavesAfter(key):
		return FateRevoked
	}
	return f
}

// leavesAfter is how many requests a key with FateLeaving serves: of many keys
// some leave soon and some late.
func leavesAfter(key string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	return 1 + int(h.Sum32()%12)
}

// turn counts a request of a key and gives its number, from 1.
func (s *Simulator) turn(key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turns[key]++
	return s.turns[key]
}

// taken is how many turns a key has had.
func (s *Simulator) taken(key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.turns[key]
}

// flakes counts a request of a flaky key and says whether it is one that fails.
func (s *Simulator) flakes(key string) bool { return s.turn(key)%flakyEvery == 0 }
