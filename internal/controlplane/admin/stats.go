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

var showStatsDoc = operation{
	summary: "Totals of a provider", group: "Statistics", query: providerQuery{}, answer: statsAnswer{},
}

// showStats shows the totals of a provider.
func (a *API) showStats(w http.ResponseWriter, r *http.Request) error {
	var f faults
	p := f.provider(r, "")
	if err := f.err(); err != nil {
		return err
	}
	counts, err := a.stats.Totals(r.Context(), p)
	if err != nil {
		return err
	}
	tokens, err := a.countTokens(r.Context(), p)
	if err != nil {
		return err
	}
	keys := a.keys.CountKeys(p)
	return httpkit.WriteJSON(w, http.StatusOK, statsAnswer{
		TotalAPIKeys:      sum(keys),
		ActiveKeys:        keys[gateway.KeyActive],
		RestingKeys:       keys[gateway.KeyResting],
		FailedKeys:        keys[gateway.KeyFailed] + keys[gateway.KeyDisabled] + keys[gateway.KeyExpired],
		TotalClientTokens: tokens,
		TotalRequests:     counts.Requests,
		SuccessCount:      counts.Success,
		FailureCount:      counts.Failure,
		SuccessRate:       rate(counts.Success, counts.Failure),
		Storage:           a.opt.Storage,
		Timestamp:         a.opt.Now().UTC(),
	})
}

func sum(byStatus map[gateway.KeyStatus]int) (n int) {
	for _, of := range byStatus {
		n += of
	}
	return n
}
