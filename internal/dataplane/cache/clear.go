package cache

import (
	"strings"

	"ollama-api-pool/internal/gateway"
)

// chosen reports whether a pattern means an entry that is known by a provider,
// a path and maybe a model. Nothing means all; a word means those in whose
// provider/path/model it occurs; with a * in it, all of that or one of the three
// must fit. Letters' case does not matter.
func chosen(pattern string, provider gateway.ProviderName, path, model string) bool {
	whole := string(provider) + path
	if model != "" {
		whole += "/" + model
	}
	switch {
	case pattern == "":
		return true
	case !strings.Contains(pattern, "*"):
		return strings.Contains(strings.ToLower(whole), strings.ToLower(pattern))
	}
	for _, name := range [...]string{whole, string(provider), path, model} {
		if gateway.MatchesPattern(pattern, name) {
			return true
		}
	}
	return false
}
