package config

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"
)

// check runs a parser over texts; refused marks those that must not be taken.
const refused = "REFUSED"

func check[T any](t *testing.T, what string, parse func(string) (T, bool), cases map[string]string) {
	t.Helper()
	for text, want := range cases {
		got := refused
		if v, ok := parse(text); ok {
			got = fmt.Sprint(v)
		}
		if got != want {
			t.Errorf("%s %q: got %s, want %s", what, text, got, want)
		}
	}
}

// through parses by way of a rule, and gives what it stored.
func through[T any](c *Config, r rule, field *T) func(string) (T, bool) {
	return func(s string) (T, bool) {
		ok := r.set(c, s)
		return *field, ok
	}
}

func TestSwitches(t *testing.T) {
	check(t, "switch", parseSwitch, map[string]string{
		"true": "true", "TRUE": "true", "1": "true", "Yes": "true", "oN": "true",
		"false": "false", "False": "false", "0": "false", "NO": "false", "off": "false",
		"t": refused, "2": refused, "enabled": refused, "true false": refused,
	})
}

func TestDurations(t *testing.T) {
	check(t, "duration", parseDuration, map[string]string{
		"300s": "5m0s", "1h": "1h0m0s", "500ms": "500ms", "1h30m": "1h30m0s", "90": "1m30s", "0": "0s", "0.25": "250ms", "1.5h": "1h30m0s",
		"-1s": refused, "-1": refused, "+1": refused, "1e3": refused, "0x10": refused, "inf": refused, "NaN": refused, ".": refused,
		"1.2.3": refused, "soon": refused, "5 s": refused, "99999999999999": refused, "10d": refused, "9223372036.9": refused,
	})
	var c Config
	r := duration(time.Second, time.Hour, func(c *Config) *time.Duration { return &c.ShutdownGrace })
	check(t, "duration in range", through(&c, r, &c.ShutdownGrace), map[string]string{
		"1": "1s", "1h": "1h0m0s", "999ms": refused, "0": refused, "3601": refused,
	})
	check(t, "short duration", func(s string) (string, bool) { d, err := time.ParseDuration(s); return short(d), err == nil }, map[string]string{
		"24h": "24h", "90m": "1h30m", "300s": "5m", "1s": "1s", "0s": "0s", "500ms": "500ms", "1h0m1s": "1h0m1s", "10s": "10s",
	})
}

func TestSizes(t *testing.T) {
	check(t, "size", parseSize, map[string]string{
		"1": "1", "0": "0", "33554432": "33554432", "512B": "512", "32MiB": "33554432", "256MB": "256000000", "1GiB": "1073741824",
		"1gib": "1073741824", "1 KiB": "1024", "1k": "1024", "2M": "2097152", "1kb": "1000", "1.5KiB": "1536", "1TiB": "1099511627776", "1Mi": "1048576",
		"": refused, "MiB": refused, "-1": refused, "1.5": refused, "1XB": refused, "1MiBs": refused, "1e3": refused, "1 2": refused,
		"9999999999999999999": refused, "1MiB2": refused, "1é": refused,
	})
	var c Config
	check(t, "size in range", through(&c, size(gib, func(c *Config) *int64 { return &c.MaxBodyBytes }), &c.MaxBodyBytes), map[string]string{
		"1": "1", "1GiB": "1073741824", "0": refused, "1073741825": refused,
	})
}

func TestNumbersAndRates(t *testing.T) {
	var c Config
	check(t, "number", through(&c, number(0, 10, func(c *Config) *int { return &c.MaxRetries }), &c.MaxRetries), map[string]string{
		"0": "0", "10": "10", "11": refused, "-1": refused, "1.5": refused, "x": refused, "99999999999999999999": refused,
	})
	check(t, "rate", through(&c, rate(func(c *Config) *float64 { return &c.StatsSampleRate }), &c.StatsSampleRate), map[string]string{
		"0": "0", "1": "1", "1.0": "1", "0.05": "0.05", ".5": "0.5", "1.01": refused, "-0.1": refused, "NaN": refused, "50%": refused,
	})
}

func TestAddressesToListenOn(t *testing.T) {
	check(t, "listen address", parseListen, map[string]string{
		":8787": ":8787", "8787": ":8787", "0": ":0", "127.0.0.1:80": "127.0.0.1:80", "localhost:1": "localhost:1", "[::1]:443": "[::1]:443",
		"[fe80::1%eth0]:1": "[fe80::1%eth0]:1", "my_host:1": "my_host:1",
		"localhost": refused, "127.0.0.1": refused, ":": refused, ":65536": refused, ":http": refused, "::1": refused, "::1:80": refused,
		"http://h:1": refused, "a b:1": refused, "1.2.3:80": refused, "-h:1": refused, ":-1": refused, "*:80": refused, ":+80": refused,
	})
}

func TestWebAddresses(t *testing.T) {
	var c Config
	check(t, "base address", through(&c, baseAddress(func(c *Config) *string { return &c.OllamaBaseURL }), &c.OllamaBaseURL), map[string]string{
		"https://ollama.com": "https://ollama.com", "https://ollama.com/": "https://ollama.com", "http://127.0.0.1:11434": "http://127.0.0.1:11434",
		"https://openrouter.ai/api//": "https://openrouter.ai/api", "http://[::1]:8080/x": "http://[::1]:8080/x", "HTTPS://Ollama.com": "HTTPS://Ollama.com",
		"ollama.com": refused, "ftp://h": refused, "https://": refused, "https://u:p@h": refused, "https://h?a=b": refused, "https://h#a": refused,
		"https://h#": refused, "https://h?": refused, "https://h:99999": refused, "https://h:0": refused, "https://h:": refused, "https://exa mple": refused,
		"https:ollama.com": refused, "https://häuser.example": refused, "https://1.2.3": refused, "//h": refused, "https:///v1": refused,
	})
	check(t, "link", through(&c, link(func(c *Config) *string { return &c.OpenRouterAppURL }), &c.OpenRouterAppURL), map[string]string{
		"https://h.example/?a=b": "https://h.example/?a=b", "https://u@h": refused, "javascript:alert(1)": refused,
	})
	check(t, "title", through(&c, title(func(c *Config) *string { return &c.OpenRouterAppTitle }), &c.OpenRouterAppTitle), map[string]string{
		"My App (2)": "My App (2)", "a\r\nX: y": refused, "é": refused, strings.Repeat("x", 201): refused,
	})
}

func TestNetworks(t *testing.T) {
	var c Config
	check(t, "networks", through(&c, networks(field(&c)), &c.TrustedProxies), map[string]string{
		"127.0.0.1": "[127.0.0.1/32]", "10.1.2.3/8, ::1": "[10.0.0.0/8 ::1/128]", "2001:db8::/32,": "[2001:db8::/32]", ",": "[]",
		"::ffff:10.0.0.1": "[10.0.0.1/32]", "::ffff:10.0.0.1/104": "[10.0.0.0/8]",
		"10.0.0.300": refused, "10.0.0.0/33": refused, "fe80::1%eth0": refused, "localhost": refused, "10.0.0.1 10.0.0.2": refused, "::ffff:1.2.3.4/64": refused, "10.0.0.1:80": refused,
	})
}

func TestOrigins(t *testing.T) {
	var c Config
	check(t, "origins", through(&c, origins(func(c *Config) *[]string { return &c.CORSAllowedOrigins }), &c.CORSAllowedOrigins), map[string]string{
		"*": "[*]", "https://a.example, *": "[*]", "https://A.Example/": "[https://a.example]", "https://a.example:443": "[https://a.example]",
		"http://a.example:80,http://a.example:8080": "[http://a.example http://a.example:8080]", "tauri://localhost": "[tauri://localhost]", "http://[::1]:3000": "[http://[::1]:3000]",
		"a.example": refused, "https://a.example/path": refused, "null": refused, "https://*.example": refused, "https://u@a.example": refused, "https://a.example?": refused,
	})
}

func TestStoreAddresses(t *testing.T) {
	var c Config
	accepted := func(r rule) func(string) (bool, bool) {
		return func(s string) (bool, bool) { return true, r.set(&c, s) }
	}
	check(t, "database", accepted(databaseAddress(secretField)), map[string]string{
		"postgres://u:p@h:5432/db?sslmode=require": "true", "postgresql://h/db": "true", "postgres:///db?host=/run/pg": "true", "postgres://u:p%40%2F@h/db": "true",
		"postgres://u:p@h1:5432,h2:5433/db?target_session_attrs=read-write": "true", "postgres://u@h1,[::1]:5433/db": "true", "POSTGRES://u@h/db": "true",
		"postgres://u@%2Frun%2Fpostgresql/db": "true", "postgres://u.ref:p@aws-0-eu-central-1.pooler.supabase.com:6543/postgres?pgbouncer=true": "true",
		"postgres://u@h1,/db": refused, "postgres://u@h1:0,h2/db": refused, "postgres://u@h1,h2:port/db": refused, "postgres://u:12@h:99999/db": refused, "postgres:///db": refused,
		"mysql://u:p@h/db": refused, "host=h user=u": refused, "postgres://": refused, "postgres://u:12/3@h/db": refused, "postgres://u:12#3@h/db": refused,
		"postgres://u:12?3@h/db": refused, "postgres://u:%zz@h/db": refused, "postgres:u@h": refused, "postgres://u:a b@h/db": refused,
	})
	check(t, "redis", accepted(redisAddress(secretField)), map[string]string{
		"redis://h": "true", "rediss://:p@h:6380/1": "true", "redis://u:p@127.0.0.1:6379": "true",
		"redis://h1,h2:2,[::1]:3": "true", "redis://u:p@h1:1,h2:2/0?master_name=m": "true", "redis://u:p,q@h1?cluster=true": "true",
		"http://h": refused, "h:6379": refused, "redis://": refused, "redis://:12/3@h": refused, "unix:///run/redis": refused,
		"redis://h1,": refused, "redis://,h2": refused, "redis://h1,h2:0": refused, "redis://h1,h 2": refused, "redis://:12?3@h,h2": refused,
	})
}

func TestHidePassword(t *testing.T) {
	for address, want := range map[string]string{
		"postgres://u:canary@h:1/db?a=b":           "postgres://u:***@h:1/db?a=b",
		"postgres://canary@h/db":                   "postgres://***@h/db",
		"redis://:canary@h":                        "redis://***@h",
		"postgres://h/db?sslpassword=canary&x=1":   "postgres://h/db?sslpassword=***&x=1",
		"postgres:///db?host=/run/pg&PASSWORD=can": "postgres:///db?PASSWORD=***&host=%2Frun%2Fpg",
		"postgres://u:12/canary@h":                 "***",
		"postgres://u:%zz@h":                       "***",
		"host=h password=canary":                   "***",
		"u:canary@h":                               "***",
		"":                                         "***",
	} {
		if got := HidePassword(address); got != want {
			t.Errorf("HidePassword(%q) = %q, want %q", address, got, want)
		}
	}
}

func TestAdminTokens(t *testing.T) {
	r := adminToken(secretField)
	for token, want := range map[string]bool{
		"example-admin-token": true, "x": true, "with blanks in it": true, "geheim-ä": true, "yourself": true,
		"your-secret-admin-token": false, "your_token": false, "YOUR-TOKEN": false, "changeme": false, "ChangeMe123": false, "change-me": false,
		"change_me_please": false, "replace-me": false, "<token>": false, "a\x00b": false, "a\nb": false, "\xff": false, strings.Repeat("x", 1025): false,
	} {
		if got := r.set(&Config{}, token); got != want {
			t.Errorf("%q accepted: %v, want %v", token, got, want)
		}
	}
}

func TestEncryptionKeys(t *testing.T) {
	raw := make([]byte, 32)
	for i := range raw {
		raw[i] = byte(255 - 7*i)
	}
	b64 := base64.StdEncoding.EncodeToString(raw)
	for _, text := range []string{
		hex.EncodeToString(raw), strings.ToUpper(hex.EncodeToString(raw)), b64, strings.TrimRight(b64, "="),
		base64.URLEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw),
	} {
		if key, ok := parseEncryptionKey(text); !ok || key.Reveal() != string(raw) {
			t.Errorf("%q refused or misread", text)
		}
	}
	for _, text := range []string{
		"", "short", strings.Repeat("g", 64), strings.Repeat("a", 63), base64.StdEncoding.EncodeToString(raw[:31]),
		base64.StdEncoding.EncodeToString(append(raw, 1)), base64.StdEncoding.EncodeToString(append(raw, raw[:16]...)), b64[:20] + "\n" + b64[20:], b64 + "=",
	} {
		if _, ok := parseEncryptionKey(text); ok {
			t.Errorf("%q accepted", text)
		}
	}
}

func TestNearest(t *testing.T) {
	for name, want := range map[string]string{
		"MAX_RETRY": "MAX_RETRIES", "ADMIN_TOKN": "ADMIN_TOKEN", "DISABLE_OPEN_ROUTER": "DISABLE_OPENROUTER", "DATABASEURL": "DATABASE_URL", "SOMETHING_ELSE": "", "DEBUG": "",
	} {
		if got := nearest(name); got != want {
			t.Errorf("nearest(%s) = %q, want %q", name, got, want)
		}
	}
}
