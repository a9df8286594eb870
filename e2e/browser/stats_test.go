package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
)

// The public page shows what the public figures say, to everybody, and nothing
// that is secret.
func TestStats(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	p := NewPage(t, s)
	p.Open("/stats?provider=ollama")
	if got, want := p.Title(), "Statistics · Ollama API Pool"; got != want {
		t.Errorf("title %q, not %q", got, want)
	}
	figures := Admin[struct {
		Global struct {
			TotalAPIKeys int `json:"totalApiKeys"`
			ActiveKeys   int `json:"activeKeys"`
		} `json:"global"`
		TopModels []struct {
			Model string `json:"model"`
		} `json:"topModels"`
	}](t, s, "GET", "/admin/public-stats", nil)
	if figures.Global.TotalAPIKeys == 0 || len(figures.TopModels) == 0 {
		t.Fatalf("the server of the tests has nothing to show: %+v", figures)
	}
	p.WaitText("Requests, all time", "Last 24 hours", figures.TopModels[0].Model)
	text := p.Text()
	for _, key := range Admin[struct {
		Keys []struct {
			Username string `json:"username"`
			APIKey   string `json:"api_key"`
		} `json:"api_keys"`
	}](t, s, "GET", "/admin/api-keys", nil).Keys {
		if strings.Contains(text, key.APIKey) || key.Username != "" && strings.Contains(text, key.Username) {
			t.Errorf("the public page names %s of %s", key.APIKey, key.Username)
		}
	}

	p.Click("radio", "OpenRouter")
	p.WaitURL("/stats?provider=openrouter")
	p.Click("radio", "All")
	p.WaitURL("/stats")
	p.Back()
	p.WaitURL("/stats?provider=openrouter")
	if !p.Checked("OpenRouter") {
		t.Error("after going back the switch shows another provider than the address")
	}
}

// An empty pool and one whose keys are all out are told in words.
func TestStatsVerdicts(t *testing.T) {
	t.Parallel()
	s := Start(t)
	p := NewPage(t, s)
	p.Open("/stats")
	p.WaitText("Empty", "There are no keys in the pool yet.", "No requests yet")
	s.Import(t, gateway.Ollama, "lin.wei@example.com----ollama-key-that-is-fake-0001")
	awaitActive(t, s, 1)
	p.Reload()
	p.WaitText("Serving", "1 of 1 key active")
	Admin[json.RawMessage](t, s, "POST", "/admin/keys/disable", map[string]any{"filter": map[string]string{"status": "all"}, "expect": 1})
	awaitActive(t, s, 0)
	p.Reload()
	p.WaitText("Down", "0 of 1 key active")
}

// awaitActive waits until the public figures, which are kept for a moment, know
// of one key and whether it is active.
func awaitActive(t *testing.T, s *Server, active int) {
	t.Helper()
	err := until(t.Context(), func(context.Context) error {
		got, err := admin[struct {
			Global struct {
				TotalAPIKeys int `json:"totalApiKeys"`
				ActiveKeys   int `json:"activeKeys"`
			} `json:"global"`
		}](s, "GET", "/admin/public-stats?provider=all", nil)
		if err == nil && (got.Global.TotalAPIKeys != 1 || got.Global.ActiveKeys != active) {
			err = fmt.Errorf("the figures say %+v", got.Global)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
