package cli

import (
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
)

// keyRow is a key as commands show it and as the admin API lists it.
type keyRow struct {
	ID                  gateway.KeyID     `json:"id"`
	Masked              string            `json:"api_key"`
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
	TotalRequests       int64             `json:"total_requests"`
	SuccessCount        int64             `json:"success_count"`
	FailureCount        int64             `json:"failure_count"`
	LastUsed            *time.Time        `json:"last_used"`
}

// keyPage is a part of the keys.
type keyPage struct {
	Keys  []keyRow
	Total int // on all pages
}

func rowOfKey(k *gateway.Key, now time.Time) keyRow {
	row := keyRow{
		ID: gateway.IDOfKey(k.Secret), Masked: gateway.MaskKey(k.Secret), Username: k.Username,
		Status: k.State.StatusAt(now, k.ExpiresAt), Category: k.Category,
		CreatedAt: orNil(k.CreatedAt), ExpiresAt: orNil(k.ExpiresAt),
		FailedUntil: orNil(k.State.FailedUntil), DisabledUntil: orNil(k.State.DisabledUntil), RestsUntil: orNil(k.State.RestsUntil),
		ConsecutiveFailures: k.State.ConsecutiveFailures, LastError: textOrNil(k.State.LastError),
		TotalRequests: k.Counts.Total, SuccessCount: k.Counts.Success, FailureCount: k.Counts.Failure, LastUsed: orNil(k.Counts.LastUsed),
	}
	if row.Status == gateway.KeyDisabled {
		row.DisabledReason = textOrNil(string(k.State.Disabled))
	}
	return row
}

// until is when a key that does not serve comes back by itself; nil and false
// for never.
func (r *keyRow) until() (t *time.Time, waits bool) {
	switch r.Status {
	case gateway.KeyResting:
		return r.RestsUntil, true
	case gateway.KeyFailed:
		return r.FailedUntil, true
	case gateway.KeyDisabled:
		return r.DisabledUntil, true
	default:
		return nil, false
	}
}

// tokenRow is a client token as commands show it and as the admin API lists it.
type tokenRow struct {
	ID           string                 `json:"id"`
	Masked       string                 `json:"token"`
	Name         string                 `json:"name"`
	Providers    []gateway.ProviderName `json:"providers"`
	CreatedAt    *time.Time             `json:"createdAt"`
	ExpiresAt    *time.Time             `json:"expires_at"`
	RequestCount int64                  `json:"requestCount"`
	LastUsed     *time.Time             `json:"lastUsed"`
	Limits       *limits                `json:"limits"` // null: none
	Used         *used                  `json:"used"`   // null: nothing is known
}

// newToken is a client token at the one moment at which it is shown whole.
type newToken struct {
	ID        string                 `json:"id"`
	Token     string                 `json:"token"`
	Name      string                 `json:"name"`
	Providers []gateway.ProviderName `json:"providers"`
	CreatedAt *time.Time             `json:"createdAt"`
	ExpiresAt *time.Time             `json:"expiresAt"`
	Limits    *limits                `json:"limits"` // null: none
}

func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func textOrNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// idOfKey is the public name of a key that is given by itself or by that name.
// A text that can be either is taken for the name.
func idOfKey(ref string) gateway.KeyID {
	ref = strings.TrimSpace(ref)
	if len(ref) == gateway.KeyIDLen && strings.Trim(strings.ToLower(ref), "0123456789abcdef") == "" {
		return gateway.KeyID(strings.ToLower(ref))
	}
	return gateway.IDOfKey(gateway.Secret(ref))
}
