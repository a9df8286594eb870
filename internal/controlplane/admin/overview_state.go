package admin

import (
	"time"

	"ollama-api-pool/internal/gateway"
)

// The verdicts, in a word.
const (
	healthy  = "healthy"  // at least half of the keys serve, and no breaker is open
	strained = "strained" // fewer
	down     = "down"     // none serves, or a breaker is open
	empty    = "empty"    // there are no keys
)

// Why a verdict is what it is.
const (
	reasonServing     = "serving"
	reasonFewServe    = "fewer_than_half_serve"
	reasonNoneServes  = "no_key_serves"
	reasonUpstream    = "breaker_open"
	reasonAllRefused  = "all_refused"
	reasonNoKeys      = "no_keys"
	reasonSwitchedOff = "provider_disabled"
)

// poolVerdict says whether the pool is healthy.
type poolVerdict struct {
	Verdict    string     `json:"verdict" enum:"healthy,strained,down,empty"`
	Reason     string     `json:"reason" enum:"serving,fewer_than_half_serve,no_key_serves,breaker_open,all_refused,no_keys,provider_disabled"`
	Serving    int        `json:"serving" description:"Keys that can serve."`
	Total      int        `json:"total"`
	Returning  int        `json:"returning" description:"Keys that are out and return by themselves."`
	NextReturn *time.Time `json:"nextReturn" description:"When the next of them does."`
}

type statesAnswer struct {
	Active   int `json:"active"`
	Resting  int `json:"resting"`
	Failed   int `json:"failed"`
	Disabled int `json:"disabled"`
	Expired  int `json:"expired"`
	Total    int `json:"total"`
}

func newStatesAnswer(keys map[gateway.KeyStatus]int) statesAnswer {
	return statesAnswer{
		Active: keys[gateway.KeyActive], Resting: keys[gateway.KeyResting], Failed: keys[gateway.KeyFailed],
		Disabled: keys[gateway.KeyDisabled], Expired: keys[gateway.KeyExpired], Total: sum(keys),
	}
}

func (s *statesAnswer) add(other statesAnswer) {
	s.Active += other.Active
	s.Resting += other.Resting
	s.Failed += other.Failed
	s.Disabled += other.Disabled
	s.Expired += other.Expired
	s.Total += other.Total
}

// breakerAnswer is a provider's gate.
type breakerAnswer struct {
	Open    bool       `json:"open"`
	Since   *time.Time `json:"since"`
	Refusal *string    `json:"refusal" description:"What every account was refused with; null where the upstream just fails."`
}

func newBreakerAnswer(s *Standing) breakerAnswer {
	if !s.Open {
		return breakerAnswer{}
	}
	return breakerAnswer{Open: true, Since: orNull(s.OpenedAt), Refusal: textOrNull(s.Refusal)}
}

func (a *API) standings(chosen []gateway.ProviderName) []Standing {
	out := make([]Standing, 0, len(chosen))
	for _, p := range chosen {
		out = append(out, a.live.Standing(p))
	}
	return out
}

// judgeOne judges one provider.
func judgeOne(s *Standing) poolVerdict {
	v := poolVerdict{
		Serving: s.Keys[gateway.KeyActive], Total: sum(s.Keys), Returning: s.Returning, NextReturn: orNull(s.NextReturn),
	}
	switch {
	case v.Total == 0:
		v.Verdict, v.Reason = empty, reasonNoKeys
	case !s.Enabled:
		v.Verdict, v.Reason, v.Serving = down, reasonSwitchedOff, 0
	case s.Open && s.Refusal != "":
		v.Verdict, v.Reason = down, reasonAllRefused
	case s.Open:
		v.Verdict, v.Reason = down, reasonUpstream
	case v.Serving == 0:
		v.Verdict, v.Reason = down, reasonNoneServes
	case 2*v.Serving < v.Total:
		v.Verdict, v.Reason = strained, reasonFewServe
	default:
		v.Verdict, v.Reason = healthy, reasonServing
	}
	return v
}

// judgeAll judges some providers together and adds up the states of their keys.
// A provider that is switched off counts only where no other has keys.
func judgeAll(standings []Standing) (poolVerdict, statesAnswer) {
	all := Standing{Enabled: true, Keys: map[gateway.KeyStatus]int{}}
	var states statesAnswer
	var off *Standing
	for i := range standings {
		s := &standings[i]
		states.add(newStatesAnswer(s.Keys))
		if !s.Enabled {
			if sum(s.Keys) > 0 {
				off = s
			}
			continue
		}
		for status, n := range s.Keys {
			all.Keys[status] += n
		}
		all.Returning += s.Returning
		if !s.NextReturn.IsZero() && (all.NextReturn.IsZero() || s.NextReturn.Before(all.NextReturn)) {
			all.NextReturn = s.NextReturn
		}
		if s.Open && sum(s.Keys) > 0 && (!all.Open || s.Refusal == "") {
			all.Open, all.OpenedAt, all.Refusal = true, s.OpenedAt, s.Refusal
		}
	}
	if off != nil && sum(all.Keys) == 0 {
		return judgeOne(off), states
	}
	return judgeOne(&all), states
}
