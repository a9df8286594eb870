package app

import (
	"context"
	"fmt"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/sqlstore"
)

// seedLimits tells the limits what tokens have used since midnight, so that
// neither a restart nor a new limit gives anything back. Tokens that are counted
// already are left alone, and those without limits forgotten. It comes before
// the tokens are lent their limits: what is used from then on is counted.
func (r *Roster) seedLimits(ctx context.Context, from *sqlstore.Store, tokens ...gateway.Token) error {
	var hashes []string
	for i := range tokens {
		switch _, known := r.limits.Usage(tokens[i].Hash); {
		case !tokens[i].Limits.Any():
			r.limits.Forget(tokens[i].Hash)
		case !known:
			hashes = append(hashes, tokens[i].Hash)
		}
	}
	if len(hashes) == 0 {
		return nil
	}
	now := r.now()
	used := map[string]*gateway.Tally{}
	for name := range r.pools {
		tallies, err := from.Tallies(ctx, name, gateway.TallyQuery{
			Of: gateway.OfToken, Names: hashes, Per: gateway.PerDay, Since: now.UTC().Truncate(24 * time.Hour), Counted: true,
		})
		if err != nil {
			return fmt.Errorf("look up what the client tokens have used today: %w", err)
		}
		for i := range tallies {
			if used[tallies[i].Name] == nil {
				used[tallies[i].Name] = &gateway.Tally{}
			}
			used[tallies[i].Name].Add(&tallies[i].Tally)
		}
	}
	for hash, t := range used {
		r.limits.Seed(hash, letIn(t), t.Usage.Input+t.Usage.Output, now)
	}
	return nil
}

// letIn estimates how many of a token's requests were let in. A tally counts
// those as well that a limit refused; of these nobody was asked, and none was a
// success.
func letIn(t *gateway.Tally) int64 { return min(t.Requests, max(t.Success, t.Attempts)) }

// TokenUsage tells what limited tokens have used today, by hash; tokens of which
// nothing is known are left out.
func (r *Roster) TokenUsage(tokens []gateway.Token) map[string]gateway.TokenUsage {
	used := map[string]gateway.TokenUsage{}
	for i := range tokens {
		if u, known := r.limits.Usage(tokens[i].Hash); known {
			used[tokens[i].Hash] = u
		}
	}
	return used
}

// Refusals count the requests that were turned away before anything was done,
// by what turned them away: a limit of their token, the limit per address, the
// blocking of agents. What refused nothing is left out.
func (a *App) Refusals() map[string]int64 {
	counts := a.limits.Refused()
	if n := a.window.Refused(); n > 0 {
		counts["address"] = n
	}
	if n := a.agents.Blocked(); n > 0 {
		counts["agent"] = n
	}
	return counts
}

// Agents counts the requests of suspicious agents by name.
func (a *App) Agents() map[string]int64 { return a.agents.Counts() }
