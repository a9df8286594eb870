package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// plain is the client of calls that need no SDK.
var plain = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: patience}

// do sends one request and reads the whole answer. The body is sent as it is
// where it is text, else as JSON.
func do(ctx context.Context, method, url, token string, body any) (status int, answer []byte, err error) {
	var content io.Reader
	kind := "application/json"
	switch body := body.(type) {
	case nil:
	case string:
		content, kind = strings.NewReader(body), "text/plain"
	default:
		b, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, content)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", kind)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := plain.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// Admin makes a call to the admin API that must succeed, and decodes its answer.
func Admin[T any](tb testing.TB, i *Instance, method, path string, body any) T {
	tb.Helper()
	out, err := tryAdmin[T](tb.Context(), i, method, path, body)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// tryAdmin is Admin for calls that may fail, as to a process that is killed.
func tryAdmin[T any](ctx context.Context, i *Instance, method, path string, body any) (out T, err error) {
	status, answer, err := do(ctx, method, i.URL()+path, i.AdminToken(), body)
	if err != nil {
		return out, err
	}
	if status != http.StatusOK && status != http.StatusCreated {
		return out, fmt.Errorf("%s %s: %d %s", method, path, status, answer)
	}
	if err := json.Unmarshal(answer, &out); err != nil {
		return out, fmt.Errorf("%s %s: %w in %s", method, path, err, answer)
	}
	return out, nil
}

type keyEntry struct {
	ID             string     `json:"id"`
	APIKey         string     `json:"api_key"`
	Username       string     `json:"username"`
	Status         string     `json:"status"`
	DisabledReason string     `json:"disabled_reason"`
	DisabledUntil  *time.Time `json:"disabled_until"`
	LastError      string     `json:"last_error"`
}

type keyNumbers struct {
	ID            string `json:"id"`
	TotalRequests int    `json:"totalRequests"`
	SuccessCount  int    `json:"successCount"`
	FailureCount  int    `json:"failureCount"`
}

type totals struct {
	TotalKeys     int `json:"total_api_keys"`
	ActiveKeys    int `json:"active_keys"`
	TotalTokens   int `json:"total_client_tokens"`
	TotalRequests int `json:"total_requests"`
	SuccessCount  int `json:"success_count"`
	FailureCount  int `json:"failure_count"`
}

type tokenEntry struct {
	ID           string `json:"id"`
	Token        string `json:"token"`
	Name         string `json:"name"`
	RequestCount int    `json:"requestCount"`
}

// AddKeys puts keys into a provider's pool. They are planted secrets from now on.
func (i *Instance) AddKeys(p gateway.ProviderName, secrets ...string) {
	i.tb.Helper()
	i.secrets.plant(secrets...)
	type answer struct{ Added, Total int }
	got := Admin[answer](i.tb, i, "POST", "/admin/api-keys/import?provider="+string(p), map[string]any{"keys": secrets})
	if got.Added != len(secrets) {
		i.tb.Fatalf("of %d keys %d were added", len(secrets), got.Added)
	}
}

// Keys lists a provider's keys by id.
func (i *Instance) Keys(p gateway.ProviderName) map[string]keyEntry {
	i.tb.Helper()
	type answer struct {
		Keys  []keyEntry `json:"api_keys"`
		Total int
	}
	got := Admin[answer](i.tb, i, "GET", "/admin/api-keys?fetch=all&provider="+string(p), nil)
	out := map[string]keyEntry{}
	for _, k := range got.Keys {
		out[k.ID] = k
	}
	if len(out) != got.Total {
		i.tb.Fatalf("the list holds %d keys and says that there are %d", len(out), got.Total)
	}
	return out
}

// KeyNumbers lists what was counted for a provider's keys, by id.
func (i *Instance) KeyNumbers(p gateway.ProviderName) map[string]keyNumbers {
	i.tb.Helper()
	type answer struct{ Stats []keyNumbers }
	out := map[string]keyNumbers{}
	for _, k := range Admin[answer](i.tb, i, "GET", "/admin/keys/stats?fetch=all&provider="+string(p), nil).Stats {
		out[k.ID] = k
	}
	return out
}

// Totals returns the sums over a provider's pool.
func (i *Instance) Totals(p gateway.ProviderName) totals {
	i.tb.Helper()
	return Admin[totals](i.tb, i, "GET", "/admin/stats?provider="+string(p), nil)
}

// CreateToken makes a client token for a provider, or for "all". It is a
// planted secret from now on.
func (i *Instance) CreateToken(name, provider string) string {
	i.tb.Helper()
	got := Admin[tokenEntry](i.tb, i, "POST", "/admin/tokens", map[string]any{"name": name, "provider": provider})
	i.secrets.plant(got.Token)
	return got.Token
}

// Tokens lists the client tokens by id.
func (i *Instance) Tokens() map[string]tokenEntry {
	i.tb.Helper()
	type answer struct{ Tokens []tokenEntry }
	out := map[string]tokenEntry{}
	for _, t := range Admin[answer](i.tb, i, "GET", "/admin/tokens", nil).Tokens {
		out[t.ID] = t
	}
	return out
}
