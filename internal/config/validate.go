package config

import (
	"net/netip"
	"net/url"
	"strings"
	"unicode/utf8"
)

// shortToken is the length below which an admin token can be guessed.
const shortToken = 8

// conflicts finds settings that are right by themselves but not together.
// What was given counts, even where it is wrong in itself: one slip makes one
// problem.
func conflicts(c *Config, src *sources) Problems {
	var ps Problems
	need := func(setting, value, other, why string) {
		if !src.given(other) {
			_, from := src.value(setting)
			ps = append(ps, Problem{Setting: setting, Value: value, Source: from, Reason: "needs " + other + ", which is not set: " + why})
		}
	}
	if c.DisableKVStorage {
		if !src.given("SUPABASE_REST_URL") {
			need("DISABLE_KV_STORAGE", "true", "DATABASE_URL", "without the local disk there is nowhere else to keep keys")
		}
		need("DISABLE_KV_STORAGE", "true", "ADMIN_TOKEN", "one made at first start could not be kept")
	}
	if c.SupabaseRESTURL != "" {
		need("SUPABASE_REST_URL", c.SupabaseRESTURL, "SUPABASE_SERVICE_ROLE_KEY", "the address alone lets nobody in")
	}
	return ps
}

// doubts finds what is allowed but seldom meant. Each is one sentence without
// a secret.
func doubts(c *Config) []string {
	var ws []string
	warn := func(when bool, text string) {
		if when {
			ws = append(ws, text)
		}
	}
	token := c.AdminToken.Reveal()
	warn(token != "" && utf8.RuneCountInString(token) < shortToken, "ADMIN_TOKEN has fewer than 8 characters and can be guessed")
	warn(c.EncryptionKey == "", "ENCRYPTION_KEY is not set: upstream keys are stored unencrypted")
	warn(c.DisableOllama && c.DisableOpenRouter, "both providers are disabled: every request is answered 503")
	warn(strings.HasSuffix(c.OllamaBaseURL, "/v1"), "OLLAMA_BASE_URL ends in /v1, and /v1 is added to it: leave it out unless the upstream has it twice")
	warn(strings.HasSuffix(c.OpenRouterBaseURL, "/v1"), "OPENROUTER_BASE_URL ends in /v1, and /v1 is added to it: leave it out unless the upstream has it twice")
	warn(c.SupabaseServiceRoleKey != "" && c.SupabaseRESTURL == "", "SUPABASE_SERVICE_ROLE_KEY is set without SUPABASE_REST_URL and is not used")
	warn(inTheClear(c.SupabaseRESTURL), "SUPABASE_REST_URL begins with http:// and is not in a private network: the service key, which opens the whole database, can be read on the way")
	warn(c.SupabaseRESTURL != "" && c.DatabaseURL != "", "SUPABASE_REST_URL is set beside DATABASE_URL and is not used")
	for _, p := range c.TrustedProxies {
		warn(p.Bits() == 0, "TRUSTED_PROXIES trusts every address: any client can claim to be any other")
	}
	return ws
}

// inTheClear reports whether an address is http:// and its host is not on this
// machine or in a private network, as names without a dot and those of containers
// are.
func inTheClear(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" {
		return false
	}
	host := strings.ToLower(u.Hostname())
	if ip, err := netip.ParseAddr(host); err == nil {
		return !ip.IsLoopback() && !ip.IsPrivate() && !ip.IsLinkLocalUnicast()
	}
	for _, end := range []string{".localhost", ".local", ".internal"} {
		if strings.HasSuffix(host, end) {
			return false
		}
	}
	return strings.Contains(host, ".")
}
