package kv

import (
	"strings"

	"ollama-api-pool/internal/gateway"
)

// Lengths from which something is taken for a credential.
const (
	minToken = 16 // characters behind sk-
	minKey   = 16
)

// isToken reports whether a text looks like a client token: sk- and letters and
// digits, or its hash. Keys of OpenRouter begin with sk-or-.
func isToken(s string) bool {
	if gateway.IsTokenHash(s) {
		return true
	}
	rest, is := strings.CutPrefix(s, "sk-")
	if !is || strings.HasPrefix(rest, "or-") || len(rest) < minToken || len(rest) > gateway.MaxKeyLen {
		return false
	}
	return strings.Trim(rest, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") == ""
}

// looksLikeKey reports whether a text can be an upstream key, and is none of the
// words and names that stand in the same place.
func looksLikeKey(s string) bool {
	return len(s) >= minKey && gateway.CheckKey(s) == "" && !strings.ContainsAny(s, `@"'{}[]<>,`) && !strings.HasPrefix(s, "http") && moment(s).IsZero()
}

// isMark reports whether a value says no more than that the pair is there.
func isMark(s string) bool {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "", "1", "0", "true", "false", "active", "ok", "valid", "null", "{}":
		return true
	}
	return !moment(s).IsZero()
}

// providerOf is what fields say about the provider.
func providerOf(fields map[string]any, otherwise gateway.ProviderName) gateway.ProviderName {
	if p, err := gateway.ParseProvider(strings.ToLower(textIn(fields, "provider", "providers"))); err == nil && textIn(fields, "provider", "providers") != "" {
		return p
	}
	return otherwise
}

// ordinary are words of names that tell nothing. All others may be secrets.
var ordinary = func() map[string]bool {
	words := map[string]bool{}
	for _, w := range strings.Fields(`a account accounts active admin all analytics api apikey apikeys app auth backup balance blacklist bot by cache cached cf client
		clients config consecutive cooldown count counter counts created cron current daily data date day default deleted disabled done email enabled error errors
		expired expires failed failure failures flag flags for global health history hour hourly id ids import index info ip item job jobs key keys kv last limit limits
		list lock log logs map meta metadata metrics migration minute minutely model models monthly name names no of ollama old on openrouter or pool prefix provider
		providers queue rate ratelimit recent refresh request requests reset rest resting result results role rotation round robin schedule schema secret sequence
		session sessions set settings state statistics stat stats status success system temp test time timestamp tmp to token tokens top total totals ttl until update
		updated usage used user username users v v1 v2 v3 valid validation version week weekly worker`) {
		words[w] = true
	}
	return words
}()

// patternOf makes of a pair's name what is common to its kind: parts that hold
// anything but ordinary words become …, numbers #.
func patternOf(name string) string {
	if name == "" {
		return "(without a name)"
	}
	var b strings.Builder
	part := func(text string) {
		switch {
		case text == "":
		case len(text) <= 13 && strings.Trim(text, "0123456789-") == "" && len(b.String()) > 0:
			b.WriteByte('#')
		case isOrdinary(text):
			b.WriteString(text)
		default:
			b.WriteString("…")
		}
	}
	rest := name
	for n := 0; n < 6; n++ {
		i := strings.IndexAny(rest, ":/|")
		if i < 0 {
			part(rest)
			return b.String()
		}
		part(rest[:i])
		b.WriteByte(rest[i])
		rest = rest[i+1:]
	}
	b.WriteString("…")
	return b.String()
}

func isOrdinary(text string) bool {
	if len(text) > 60 || strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.") != "" {
		return false
	}
	words := wordsOf(text)
	for _, w := range words {
		if !ordinary[w] {
			return false
		}
	}
	return len(words) > 0
}
