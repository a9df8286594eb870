package admin

import (
	"iter"
	"log/slog"
	"net/http"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// keyAnswer is a key as the list shows it.
type keyAnswer struct {
	ID                  gateway.KeyID     `json:"id"`
	APIKey              string            `json:"api_key"`
	Username            string            `json:"username"`
	Status              gateway.KeyStatus `json:"status"`
	Category            string            `json:"category"`
	DisabledReason      *string           `json:"disabled_reason"`
	CreatedAt           *time.Time        `json:"created_at"`
	ExpiresAt           *time.Time        `json:"expires_at"`
	FailedUntil         *time.Time        `json:"failed_until"`
	DisabledUntil       *time.Time        `json:"disabled_until"`
	RestsUntil          *time.Time        `json:"rests_until"`
	ConsecutiveFailures int               `json:"consecutive_failures"`
	LastError           *string           `json:"last_error"`
	TotalRequests       int64             `json:"total_requests" description:"Attempts; of them, what the client broke off is neither success nor failure."`
	SuccessCount        int64             `json:"success_count"`
	FailureCount        int64             `json:"failure_count"`
	SuccessRate         string            `json:"success_rate"`
	LastUsed            *time.Time        `json:"last_used"`
}

func newKeyAnswer(k *gateway.Key, now time.Time, reveal bool) keyAnswer {
	return keyAnswer{
		ID:                  gateway.IDOfKey(k.Secret),
		APIKey:              shown(k, reveal),
		Username:            k.Username,
		Status:              k.State.StatusAt(now, k.ExpiresAt),
		Category:            k.Category,
		DisabledReason:      disabledReason(k, now),
		CreatedAt:           orNull(k.CreatedAt),
		ExpiresAt:           orNull(k.ExpiresAt),
		FailedUntil:         orNull(k.State.FailedUntil),
		DisabledUntil:       orNull(k.State.DisabledUntil),
		RestsUntil:          orNull(k.State.RestsUntil),
		ConsecutiveFailures: k.State.ConsecutiveFailures,
		LastError:           textOrNull(k.State.LastError),
		TotalRequests:       k.Counts.Total,
		SuccessCount:        k.Counts.Success,
		FailureCount:        k.Counts.Failure,
		SuccessRate:         rate(k.Counts.Success, k.Counts.Failure),
		LastUsed:            orNull(k.Counts.LastUsed),
	}
}

// shown is a key as it is written in an answer.
func shown(k *gateway.Key, reveal bool) string {
	if reveal {
		return k.Secret.Reveal()
	}
	return gateway.MaskKey(k.Secret)
}

// disabledReason says who disabled a key, as long as it is disabled.
func disabledReason(k *gateway.Key, now time.Time) *string {
	s := &k.State
	if !s.DisabledUntil.IsZero() && !now.Before(s.DisabledUntil) {
		return nil
	}
	return textOrNull(string(s.Disabled))
}

// keysAnswer is a list of keys as writePage writes it.
type keysAnswer struct {
	APIKeys []keyAnswer `json:"api_keys"`
	paging
}

var listKeysDoc = operation{
	summary: "List keys", group: "Keys", query: keysQuery{}, answer: keysAnswer{},
}

// listKeys shows a page of keys.
func (a *API) listKeys(w http.ResponseWriter, r *http.Request) error {
	l, err := readListing(r)
	if err != nil {
		return err
	}
	keys, total, err := a.keys.Keys(r.Context(), l.provider, l.query)
	if err != nil {
		return err
	}
	if l.reveal {
		a.noteRevealed(r, l.provider, keys)
	}
	now := a.opt.Now()
	return writePage(w, "api_keys", &l, keys, total, func(k *gateway.Key) any { return newKeyAnswer(k, now, l.reveal) })
}

type createKeyRequest struct {
	APIKey      string `json:"api_key"`
	APIKeyAlias string `json:"apiKey"`
	Username    string `json:"username"`
	TTL         *int64 `json:"ttl"` // seconds; 0: for ever
	Provider    string `json:"provider"`
}

type createKeyAnswer struct {
	Success bool          `json:"success"`
	Message string        `json:"message"`
	ID      gateway.KeyID `json:"id"`
}

var createKeyDoc = operation{
	summary: "Add a key", group: "Keys", query: providerQuery{}, body: createKeyRequest{}, answer: createKeyAnswer{},
	about:    "One that is there already stays as it is.",
	example:  `{"api_key":"0123456789abcdef.fake","username":"anna@example.com"}`,
	tolerant: true,
}

// createKey adds one key. One that is there already stays as it is.
func (a *API) createKey(w http.ResponseWriter, r *http.Request) error {
	var in createKeyRequest
	if err := httpkit.DecodeJSON(w, r, maxBody, &in, httpkit.AllowUnknown); err != nil {
		return err
	}
	var f faults
	p := f.provider(r, in.Provider)
	entry := f.newKey("api_key", f.one("api_key", in.APIKey, "apiKey", in.APIKeyAlias))
	k := gateway.Key{Secret: entry.Secret, Username: f.text("username", in.Username, maxUsername), CreatedAt: a.opt.Now()}
	if k.Username == "" {
		k.Username = entry.Username
	}
	if ttl := f.seconds("ttl", in.TTL); ttl > 0 {
		k.ExpiresAt = k.CreatedAt.Add(ttl)
	}
	if err := f.err(); err != nil {
		return err
	}
	added, _, err := a.keys.AddKeys(r.Context(), p, oneKey(k))
	if err != nil {
		return err
	}
	out := createKeyAnswer{Success: true, Message: "Already exists", ID: gateway.IDOfKey(k.Secret)}
	if added > 0 {
		out.Message = "Added"
		a.noteKeys(r, "key added", p, slog.String("key", string(out.ID)))
	}
	return httpkit.WriteJSON(w, http.StatusOK, out)
}

func oneKey(k gateway.Key) iter.Seq2[gateway.Key, error] {
	return func(yield func(gateway.Key, error) bool) { yield(k, nil) }
}

// keyStatsAnswer is what was counted for a key.
type keyStatsAnswer struct {
	ID                  gateway.KeyID     `json:"id"`
	APIKey              string            `json:"apiKey"`
	Username            string            `json:"username"`
	TotalRequests       int64             `json:"totalRequests"`
	SuccessCount        int64             `json:"successCount"`
	FailureCount        int64             `json:"failureCount"`
	SuccessRate         string            `json:"successRate"`
	LastUsed            *time.Time        `json:"lastUsed"`
	LastSuccess         *time.Time        `json:"lastSuccess"`
	LastFailure         *time.Time        `json:"lastFailure"`
	ConsecutiveFailures int               `json:"consecutiveFailures"`
	Status              gateway.KeyStatus `json:"status"`
	DisabledReason      *string           `json:"disabledReason"`
}

// keyStatsPage is a list of counts as writePage writes it.
type keyStatsPage struct {
	Stats []keyStatsAnswer `json:"stats"`
	paging
}

var listKeyStatsDoc = operation{
	summary: "What was counted for each key", group: "Statistics", query: keysQuery{}, answer: keyStatsPage{},
	about: "Attempts, not requests: a request may take several.",
}

// listKeyStats shows a page of keys with their counts.
func (a *API) listKeyStats(w http.ResponseWriter, r *http.Request) error {
	l, err := readListing(r)
	if err != nil {
		return err
	}
	keys, total, err := a.keys.Keys(r.Context(), l.provider, l.query)
	if err != nil {
		return err
	}
	if l.reveal {
		a.noteRevealed(r, l.provider, keys)
	}
	now := a.opt.Now()
	return writePage(w, "stats", &l, keys, total, func(k *gateway.Key) any {
		c := &k.Counts
		return keyStatsAnswer{
			ID: gateway.IDOfKey(k.Secret), APIKey: shown(k, l.reveal), Username: k.Username,
			TotalRequests: c.Total, SuccessCount: c.Success, FailureCount: c.Failure, SuccessRate: rate(c.Success, c.Failure),
			LastUsed: orNull(c.LastUsed), LastSuccess: orNull(c.LastSuccess), LastFailure: orNull(c.LastFailure),
			ConsecutiveFailures: k.State.ConsecutiveFailures,
			Status:              k.State.StatusAt(now, k.ExpiresAt), DisabledReason: disabledReason(k, now),
		}
	})
}
