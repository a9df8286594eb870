package cli

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/simulator"
)

// simulated is the address of an upstream that knows the sample keys.
func simulated(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(simulator.New(simulator.Options{Keys: simulator.SampleFates()}))
	t.Cleanup(s.Close)
	return s.URL
}

// upstreamEnv makes an instance ask a simulated upstream.
func upstreamEnv(url string) []string {
	return []string{"OLLAMA_BASE_URL=" + url, "OPENROUTER_BASE_URL=" + url + simulator.OpenRouterPath}
}

// samples are import lines of the sample keys of a provider.
func samples(name gateway.ProviderName) string {
	var b strings.Builder
	for _, s := range simulator.SampleKeys(name) {
		b.WriteString(s.Username + "----" + s.Secret.Reveal() + "\n")
	}
	return b.String()
}

// sampleOf is the first sample key of a fate.
func sampleOf(t *testing.T, fate simulator.Fate) gateway.Secret {
	t.Helper()
	for _, s := range simulator.SampleKeys(gateway.Ollama) {
		if s.Fate == fate {
			return s.Secret
		}
	}
	t.Fatalf("no sample key is %s", fate)
	return ""
}

// chat makes one request with a client token and gives its status.
func chat(t *testing.T, url, token, model string) int {
	t.Helper()
	body := `{"model":"` + model + `","messages":[{"role":"user","content":"Hello"}]}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// makeToken makes a client token.
func (p place) makeToken(t *testing.T, args ...string) string {
	t.Helper()
	return strings.TrimSpace(p.ok(t, "", append([]string{"tokens", "create", "app"}, args...)...).out)
}
