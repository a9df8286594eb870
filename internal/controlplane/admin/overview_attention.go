package admin

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Kinds of what needs attention.
const (
	attentionDown        = "provider_down"
	attentionRefused     = "keys_refused"
	attentionResting     = "keys_resting"
	attentionExpired     = "keys_expired"
	attentionUnencrypted = "store_unencrypted"
)

const (
	maxAttention = 5
	maxRefused   = 2 // groups of refused keys, so that other kinds find room
	expiresSoon  = 7 * 24 * time.Hour
)

// attentionAnswer is something that an operator should look at.
type attentionAnswer struct {
	Kind     string        `json:"kind" enum:"provider_down,keys_refused,keys_resting,keys_expired,store_unencrypted"`
	Provider *string       `json:"provider"`
	Reason   *string       `json:"reason" description:"What the upstream said, in short."`
	Keys     int           `json:"keys"`
	Accounts int           `json:"accounts" description:"How many user names they belong to, 0 where it is not known."`
	Soon     int           `json:"soon" description:"Keys that expire within seven days."`
	Since    *time.Time    `json:"since" description:"Of provider_down since when it is; of keys_refused when the earliest of the refusals was by which these keys are out. It follows from when they return and how long a refusal counts, so after a change of KEY_FAILED_SECONDS or KEY_DISABLED_SECONDS it is off by as much for earlier ones; of a key that was refused again meanwhile the last time counts. Null where it is not known."`
	Until    *time.Time    `json:"until" description:"When the first of the keys returns by itself."`
	Filter   *filterAnswer `json:"filter" description:"What shows just these keys in GET /admin/api-keys; null where it is not about keys."`
}

type filterAnswer struct {
	Provider gateway.ProviderName `json:"provider"`
	Status   gateway.KeyStatus    `json:"status"`
	Reason   *string              `json:"reason"`
}

// groups are the keys that are out, by provider.
type groups struct {
	rests []restOf
	outs  []outOf
	soon  []int // keys that expire within a week, in the order of the providers
}

type restOf struct {
	provider gateway.ProviderName
	gateway.RestGroup
}

type outOf struct {
	provider gateway.ProviderName
	gateway.OutGroup
}

// groups reads which keys are out and why.
func (a *API) groups(ctx context.Context, chosen []gateway.ProviderName, now time.Time) (g groups, err error) {
	for _, p := range chosen {
		rests, outs := a.figures.Groups(p)
		for _, r := range rests {
			g.rests = append(g.rests, restOf{p, r})
		}
		for _, o := range outs {
			g.outs = append(g.outs, outOf{p, o})
		}
		soon, err := a.figures.ExpiringKeys(ctx, p, now, now.Add(expiresSoon))
		if err != nil {
			return g, err
		}
		g.soon = append(g.soon, soon)
	}
	return g, nil
}

// attention lists what needs attention, five things at most: what stops
// everything, then what can be mended, then what is good to know.
func (a *API) attention(chosen []gateway.ProviderName, standings []Standing, g *groups, now time.Time) []attentionAnswer {
	out := []attentionAnswer{}
	for i, p := range chosen {
		if s := &standings[i]; s.Open && s.Enabled {
			name := string(p)
			out = append(out, attentionAnswer{
				Kind: attentionDown, Provider: &name, Reason: textOrNull(s.Refusal), Since: orNull(s.OpenedAt), Keys: sum(s.Keys),
			})
		}
	}
	out = append(out, refusedGroups(g.outs, now)...)
	out = append(out, longRests(g.rests)...)
	for i, p := range chosen {
		expired, soon := standings[i].Keys[gateway.KeyExpired], g.soon[i]
		if expired+soon == 0 {
			continue
		}
		one := concerns(attentionExpired, p, gateway.KeyExpired)
		one.Keys, one.Soon = expired, soon
		out = append(out, one)
	}
	if !a.opt.Encrypted && slices.ContainsFunc(standings, func(s Standing) bool { return sum(s.Keys) > 0 }) {
		out = append(out, attentionAnswer{Kind: attentionUnencrypted})
	}
	return out[:min(len(out), maxAttention)]
}

// concerns is something about keys of one status.
func concerns(kind string, p gateway.ProviderName, status gateway.KeyStatus) attentionAnswer {
	name := string(p)
	return attentionAnswer{Kind: kind, Provider: &name, Filter: &filterAnswer{Provider: p, Status: status}}
}

// refusedGroups are the largest groups of keys that were refused. A key that
// the operator has disabled is out on purpose.
func refusedGroups(outs []outOf, now time.Time) []attentionAnswer {
	refused := slices.DeleteFunc(slices.Clone(outs), func(o outOf) bool {
		return o.Status == gateway.KeyExpired || o.Disabled == gateway.DisabledManual
	})
	slices.SortStableFunc(refused, func(x, y outOf) int { return cmp.Compare(y.Keys, x.Keys) })
	var out []attentionAnswer
	for _, o := range refused[:min(len(refused), maxRefused)] {
		one := concerns(attentionRefused, o.provider, o.Status)
		one.Reason, one.Keys, one.Accounts, one.Until = textOrNull(o.Reason), o.Keys, o.Accounts, orNull(o.Returns)
		one.Filter.Reason = one.Reason
		if o.Since.Before(now) { // else a setting has changed
			one.Since = orNull(o.Since)
		}
		out = append(out, one)
	}
	return out
}

// longRests are the keys that rest at a weekly or monthly limit, by provider
// and reason.
func longRests(rests []restOf) []attentionAnswer {
	var out []attentionAnswer
	for _, r := range rests {
		if !strings.Contains(r.Reason, "weekly") && !strings.Contains(r.Reason, "monthly") {
			continue
		}
		same := func(o attentionAnswer) bool { return *o.Provider == string(r.provider) && *o.Reason == r.Reason }
		if i := slices.IndexFunc(out, same); i >= 0 {
			out[i].Keys += r.Keys
			out[i].Accounts += r.Accounts
			continue
		}
		one := concerns(attentionResting, r.provider, gateway.KeyResting)
		one.Filter.Reason = &r.Reason
		one.Reason, one.Keys, one.Accounts, one.Until = &r.Reason, r.Keys, r.Accounts, orNull(r.Until)
		out = append(out, one)
	}
	return out
}

// maxRests is how many groups of resting keys the overview lists.
const maxRests = 8

// together is how far apart returns may be that are shown as one.
const together = 5 * time.Minute

// restAnswer is how many keys return when.
type restAnswer struct {
	Provider gateway.ProviderName `json:"provider"`
	Until    time.Time            `json:"until" description:"When the last of them returns."`
	Reason   string               `json:"reason"`
	Keys     int                  `json:"keys"`
	Share    float64              `json:"share" description:"Of all resting keys, in percent."`
}

// newRestAnswers shows the resting keys in groups, the soonest first. Those of
// one reason that return within the next five minutes, or within five minutes
// of each other, are one group. Of many groups the largest are shown.
func newRestAnswers(rests []restOf, now time.Time) []restAnswer {
	slices.SortStableFunc(rests, func(x, y restOf) int { return x.Until.Compare(y.Until) })
	out := []restAnswer{}
	began := []time.Time{} // of each group
	var total int64
	for _, r := range rests {
		total += int64(r.Keys)
		i := len(out) - 1
		for i >= 0 && (out[i].Provider != r.provider || out[i].Reason != r.Reason) {
			i--
		}
		if i >= 0 && (r.Until.Sub(now) <= together || r.Until.Sub(began[i]) < together) {
			out[i].Keys += r.Keys
			out[i].Until = r.Until
			continue
		}
		out = append(out, restAnswer{Provider: r.provider, Until: r.Until, Reason: r.Reason, Keys: r.Keys})
		began = append(began, r.Until)
	}
	if len(out) > maxRests {
		slices.SortStableFunc(out, func(x, y restAnswer) int { return cmp.Compare(y.Keys, x.Keys) })
		out = out[:maxRests]
	}
	slices.SortStableFunc(out, func(x, y restAnswer) int { return x.Until.Compare(y.Until) })
	for i := range out {
		out[i].Share = percent(int64(out[i].Keys), total)
	}
	return out
}
