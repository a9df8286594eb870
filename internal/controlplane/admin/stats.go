package admin

import (
	"net/http"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

type statsAnswer struct {
	TotalAPIKeys      int       `json:"total_api_keys"`
	ActiveKeys        int       `json:"active_keys"`
	RestingKeys       int       `json:"resting_keys"`
	FailedKeys        int       `json:"failed_keys"` // failed, disabled, expired
	TotalClientTokens int       `json:"total_client_tokens"`
	TotalRequests     int64     `json:"total_requests"`
	SuccessCount      int64     `json:"success_count"`
	FailureCount      int64     `json:"failure_count"`
	SuccessRate       string    `json:"success_rate"`
	Storage           string    `json:"storage"`
	Timestamp         time.Time `json:"timestamp"`
}

// statsQuery is the query of the totals.
type statsQuery struct {
	Provider string `query:"provider" enum:"all,ollama,openrouter" default:"ollama"`
}

var showStatsDoc = operation{
	summary: "Totals of a provider", group: "Statistics", query: statsQuery{}, answer: statsAnswer{},
}

// showStats shows the totals of a provider, or of all.
func (a *API) showStats(w http.ResponseWriter, r *http.Request) error {
	var f faults
	_, chosen := f.subjects(r, string(gateway.Ollama))
	if err := f.err(); err != nil {
		return err
	}
	now := a.opt.Now().UTC()
	out := statsAnswer{Storage: a.opt.Storage, Timestamp: now}
	for _, p := range chosen {
		counts, err := a.stats.Totals(r.Context(), p)
		if err != nil {
			return err
		}
		keys := a.keys.CountKeys(p)
		out.TotalAPIKeys += sum(keys)
		out.ActiveKeys += keys[gateway.KeyActive]
		out.RestingKeys += keys[gateway.KeyResting]
		out.FailedKeys += keys[gateway.KeyFailed] + keys[gateway.KeyDisabled] + keys[gateway.KeyExpired]
		out.TotalRequests += counts.Requests
		out.SuccessCount += counts.Success
		out.FailureCount += counts.Failure
	}
	tokens, err := a.tokensInUse(r.Context(), chosen, now)
	if err != nil {
		return err
	}
	out.TotalClientTokens = tokens.Total
	out.SuccessRate = rate(out.SuccessCount, out.FailureCount)
	return httpkit.WriteJSON(w, http.StatusOK, out)
}

func sum(byStatus map[gateway.KeyStatus]int) (n int) {
	for _, of := range byStatus {
		n += of
	}
	return n
}
