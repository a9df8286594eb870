package gateway

import "fmt"

// ProviderName names an upstream service.
type ProviderName string

// The providers this program forwards to.
const (
	Ollama     ProviderName = "ollama"     // Ollama Cloud
	OpenRouter ProviderName = "openrouter" // OpenRouter
)

// Providers lists every provider, in the order in which they are shown.
func Providers() []ProviderName { return []ProviderName{Ollama, OpenRouter} }

// ParseProvider reads a provider's name; nothing means Ollama. The error is
// fit for a client's eyes.
func ParseProvider(s string) (ProviderName, error) {
	switch p := ProviderName(s); p {
	case "":
		return Ollama, nil
	case Ollama, OpenRouter:
		return p, nil
	default:
		return "", fmt.Errorf("unknown provider %q: use %q or %q", Clip(s, 40), Ollama, OpenRouter)
	}
}

// Clip shortens foreign text to at most n bytes for a message, on a rune's
// border, with an ellipsis where something was cut.
func Clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n] + "…"
}
