package provider

import (
	"net/http"

	"ollama-api-pool/internal/gateway"
)

// Validity is what checking a key showed.
type Validity uint8

// Results of a check.
const (
	Inconclusive Validity = iota // the upstream did not say; the key stays as it is
	Valid
	Invalid
)

var validityNames = [...]string{"inconclusive", "valid", "invalid"}

// String names the result as logs and pages do.
func (v Validity) String() string { return validityNames[v] }

// Probe gives a request that shows whether a key is good without spending
// tokens or naming a model. The path is below the base address. Ollama checks
// the key before the body, so an empty request is enough; its model lists
// answer anybody and prove nothing. OpenRouter describes the key:
// https://openrouter.ai/docs/api_reference/limits
func (a *Adapter) Probe() (method, path string, body []byte) {
	if a.Name == gateway.OpenRouter {
		return http.MethodGet, "/v1/key", nil
	}
	return http.MethodPost, "/v1/chat/completions", []byte("{}")
}

// ProbeVerdict reads the answer to a Probe; body may be cut. A web page is
// somebody else's answer, whatever its status.
func (a *Adapter) ProbeVerdict(status int, body []byte) Validity {
	good := http.StatusBadRequest
	if a.Name == gateway.OpenRouter {
		good = http.StatusOK
	}
	switch {
	case readAnswer(&Answer{Status: status, Body: body}).page:
		return Inconclusive
	case status == good:
		return Valid
	case status == http.StatusUnauthorized:
		return Invalid
	}
	return Inconclusive
}
