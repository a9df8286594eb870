package config

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"ollama-api-pool/internal/gateway"
)

// rule is how one setting is written and where it is kept.
type rule struct {
	allowed string                            // what a value may be, in words that follow "must be"
	set     func(c *Config, text string) bool // false: the text is not allowed
	list    bool                              // values are parted by commas
}

// ruleFor makes a rule of a parser and the field that takes what it read.
func ruleFor[T any](allowed string, field func(*Config) *T, parse func(string) (T, bool)) rule {
	return rule{allowed: allowed, set: func(c *Config, text string) bool {
		v, ok := parse(text)
		if ok {
			*field(c) = v
		}
		return ok
	}}
}

// toggle is a switch.
func toggle(field func(*Config) *bool) rule {
	return ruleFor("true or false (also 1/0, yes/no, on/off)", field, parseSwitch)
}

func parseSwitch(s string) (on, ok bool) {
	switch strings.ToLower(s) {
	case "true", "1", "yes", "on":
		return true, true
	case "false", "0", "no", "off":
		return false, true
	}
	return false, false
}

// number is a whole number within a range.
func number(low, high int, field func(*Config) *int) rule {
	return ruleFor(fmt.Sprintf("a whole number from %d to %d", low, high), field, func(s string) (int, bool) {
		n, err := strconv.Atoi(s)
		return n, err == nil && n >= low && n <= high
	})
}

// rate is a share from 0 to 1.
func rate(field func(*Config) *float64) rule {
	return ruleFor("a number from 0 to 1", field, func(s string) (float64, bool) {
		f, ok := parseDecimal(s)
		return f, ok && f <= 1
	})
}

// duration is a time span within a range.
func duration(low, high time.Duration, field func(*Config) *time.Duration) rule {
	allowed := fmt.Sprintf("a duration from %s to %s (such as 300s, 1h, 500ms or a bare number of seconds)", short(low), short(high))
	return ruleFor(allowed, field, func(s string) (time.Duration, bool) {
		d, ok := parseDuration(s)
		return d, ok && d >= low && d <= high
	})
}

// parseDuration reads 300s, 1h30m, 500ms or a bare number of seconds.
func parseDuration(s string) (time.Duration, bool) {
	if f, ok := parseDecimal(s); ok {
		f *= float64(time.Second)
		// 1<<63 is the first float that a Duration cannot hold.
		return time.Duration(math.Round(f)), f < 1<<63
	}
	d, err := time.ParseDuration(s)
	return d, err == nil && d >= 0
}

// parseDecimal reads a number of digits with at most one point. It knows no
// sign, exponent, hexadecimal or infinity.
func parseDecimal(s string) (float64, bool) {
	if s == "" || strings.Trim(s, "0123456789.") != "" {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

// short writes a duration without the zero parts that Go appends.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// size is a number of bytes from 1 up to a bound.
func size(high int64, field func(*Config) *int64) rule {
	allowed := fmt.Sprintf("a size from 1 byte to %dGiB (bytes, or such as 32MiB, 256MB, 1GiB)", high>>30)
	return ruleFor(allowed, field, func(s string) (int64, bool) {
		n, ok := parseSize(s)
		return n, ok && n >= 1 && n <= high
	})
}

// units are the sizes of a unit's first letter: binary for Ki, Mi… and for the
// bare letter, decimal for KB, MB….
var units = map[byte]struct{ binary, decimal float64 }{
	'k': {1 << 10, 1e3},
	'm': {1 << 20, 1e6},
	'g': {1 << 30, 1e9},
	't': {1 << 40, 1e12},
}

// parseSize reads bytes, or a number with a unit in any case.
func parseSize(s string) (int64, bool) {
	end := strings.LastIndexAny(s, "0123456789.") + 1
	f, ok := parseDecimal(s[:end])
	if !ok {
		return 0, false
	}
	unit := strings.ToLower(strings.TrimSpace(s[end:]))
	if unit != "" && unit != "b" {
		u, known := units[unit[0]]
		switch unit[1:] {
		case "ib", "i", "":
			f *= u.binary
		case "b":
			f *= u.decimal
		default:
			return 0, false
		}
		if !known {
			return 0, false
		}
	}
	return int64(f), f == math.Trunc(f) && f < 1<<53
}

// choice is one of a few words, in any case.
func choice[T ~string](field func(*Config) *T, words ...T) rule {
	names := make([]string, len(words))
	for i, w := range words {
		names[i] = string(w)
	}
	return ruleFor("one of "+strings.Join(names, ", "), field, func(s string) (T, bool) {
		for _, w := range words {
			if strings.EqualFold(s, string(w)) {
				return w, true
			}
		}
		return "", false
	})
}

// logLevel is one of the four levels.
func logLevel(field func(*Config) *slog.Level) rule {
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}
	return ruleFor("one of debug, info, warn, error", field, func(s string) (slog.Level, bool) {
		l, ok := levels[strings.ToLower(s)]
		return l, ok
	})
}

// listenAddress is host:port, :port or a bare port.
func listenAddress(field func(*Config) *string) rule {
	return ruleFor("host:port, :port or a port from 0 to 65535, such as :8787 or 127.0.0.1:8787", field, parseListen)
}

func parseListen(s string) (string, bool) {
	if !strings.Contains(s, ":") {
		s = ":" + s
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || port == "" || strings.Trim(port, "0123456789") != "" {
		return "", false
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", false
	}
	if _, err := netip.ParseAddr(host); err != nil && !isHostName(host) && host != "" {
		return "", false
	}
	return net.JoinHostPort(host, port), true
}

// isHostName reports whether s can be a host's name. A name whose last label is
// a number is a mistyped address.
func isHostName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	labels := strings.Split(strings.TrimSuffix(s, "."), ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return false
		}
		for _, c := range []byte(l) {
			if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

// baseAddress is an http(s) address below which paths are added.
func baseAddress(field func(*Config) *string) rule {
	return ruleFor("an http:// or https:// address without user name, query or fragment", field, func(s string) (string, bool) {
		u, ok := parseHTTP(s)
		if !ok || u.RawQuery != "" || u.ForceQuery {
			return "", false
		}
		return strings.TrimRight(s, "/"), true
	})
}

// link is an http(s) address that is only shown to others.
func link(field func(*Config) *string) rule {
	return ruleFor("an http:// or https:// address without user name or fragment", field, func(s string) (string, bool) {
		_, ok := parseHTTP(s)
		return s, ok
	})
}

func parseHTTP(s string) (*url.URL, bool) {
	u, err := url.Parse(s)
	if err != nil || !visibleASCII(s) || strings.Contains(s, "#") || u.User != nil || u.Opaque != "" {
		return nil, false
	}
	return u, (u.Scheme == "http" || u.Scheme == "https") && validHost(u)
}

// validHost reports whether an address names a host and a port that can be.
func validHost(u *url.URL) bool {
	host := u.Hostname()
	if _, err := netip.ParseAddr(host); err != nil && !isHostName(host) {
		return false
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		return err == nil && n > 0
	}
	return !strings.HasSuffix(u.Host, ":")
}

// visibleASCII reports whether s is printable ASCII without blanks, as goes
// into a header.
func visibleASCII(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}

// title is text that may stand in a header.
func title(field func(*Config) *string) rule {
	return ruleFor("up to 200 printable ASCII characters", field, func(s string) (string, bool) {
		return s, len(s) <= 200 && visibleASCII(strings.ReplaceAll(s, " ", ""))
	})
}

// path is the name of a directory.
func path(field func(*Config) *string) rule {
	return ruleFor("the path of a directory", field, func(s string) (string, bool) {
		return s, len(s) <= 4096 && !strings.ContainsFunc(s, unicode.IsControl)
	})
}

// databaseAddress is where PostgreSQL is: one host, several with commas between
// them, or a socket's directory as the host or in the query.
func databaseAddress(field func(*Config) *gateway.Secret) rule {
	const allowed = "an address postgres://user:password@host:5432/database or postgresql://…, with special characters of the password percent-encoded"
	return ruleFor(allowed, field, func(s string) (gateway.Secret, bool) {
		// A directory as the host is percent-encoded, which net/url does not take.
		text, others := cutHosts(strings.NewReplacer("@%2F", "@socket/", "@%2f", "@socket/").Replace(s))
		u, ok := parseStore(text, "postgres", "postgresql")
		for _, host := range others {
			other, err := url.Parse("postgres://" + host)
			ok = ok && err == nil && other.Host == host && validHost(other)
		}
		return gateway.Secret(s), ok && (u.Host != "" && validHost(u) || u.Host == "" && len(others) == 0 && u.Query().Get("host") != "")
	})
}

// redisAddress is where Redis is: one host, or several with commas between them.
func redisAddress(field func(*Config) *gateway.Secret) rule {
	const allowed = "a redis:// or rediss:// address, with special characters of the password percent-encoded"
	return ruleFor(allowed, field, func(s string) (gateway.Secret, bool) {
		first, others := cutHosts(s)
		u, ok := parseStore(first, "redis", "rediss")
		ok = ok && validHost(u)
		for _, h := range others {
			ok = ok && validHost(&url.URL{Host: h}) && !strings.Contains(h, "@")
		}
		return gateway.Secret(s), ok
	})
}

// cutHosts takes all hosts but the first one out of an address.
func cutHosts(s string) (first string, others []string) {
	begin := strings.Index(s, "://") + len("://")
	end := begin + strings.IndexAny(s[min(begin, len(s)):]+"/", "/?#")
	if begin < len("://") || end > len(s) {
		return s, nil
	}
	begin += strings.LastIndexByte(s[begin:end], '@') + 1
	hosts := strings.Split(s[begin:end], ",")
	return s[:begin] + hosts[0] + s[end:], hosts[1:]
}

func parseStore(s string, schemes ...string) (*url.URL, bool) {
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" || u.Fragment != "" || strayAt(u) || strings.ContainsFunc(s, unicode.IsSpace) {
		return nil, false
	}
	for _, scheme := range schemes {
		if u.Scheme == scheme {
			return u, true
		}
	}
	return nil, false
}

// adminToken is the administrator's credential, chosen by the operator.
func adminToken(field func(*Config) *gateway.Secret) rule {
	const allowed = "a secret of your own in printable characters, not the placeholder of an example"
	return ruleFor(allowed, field, func(s string) (gateway.Secret, bool) {
		ok := utf8.ValidString(s) && len(s) <= 1024 && !strings.ContainsFunc(s, unicode.IsControl) && !isPlaceholder(s)
		return gateway.Secret(s), ok
	})
}

// isPlaceholder reports whether a secret was left as an example shows it.
func isPlaceholder(s string) bool {
	low := strings.NewReplacer("_", "-", " ", "-").Replace(strings.ToLower(s))
	for _, p := range []string{"your-", "changeme", "change-me", "replace-me", "replaceme", "placeholder", "<"} {
		if strings.HasPrefix(low, p) {
			return true
		}
	}
	return false
}

// credential is a secret that goes into a header.
func credential(field func(*Config) *gateway.Secret) rule {
	return ruleFor("printable ASCII characters without blanks", field, func(s string) (gateway.Secret, bool) {
		return gateway.Secret(s), len(s) <= 4096 && visibleASCII(s)
	})
}

// encryptionKey is 32 bytes.
func encryptionKey(field func(*Config) *gateway.Secret) rule {
	return ruleFor("32 bytes as 64 hex digits or as base64, such as openssl rand -hex 32 makes", field, parseEncryptionKey)
}

func parseEncryptionKey(s string) (gateway.Secret, bool) {
	const bytes = 32
	if len(s) == hex.EncodedLen(bytes) {
		b, err := hex.DecodeString(s)
		return gateway.Secret(b), err == nil
	}
	s = strings.NewReplacer("-", "+", "_", "/").Replace(s)
	enc := base64.StdEncoding
	if !strings.HasSuffix(s, "=") {
		enc = base64.RawStdEncoding
	}
	b, err := enc.Strict().DecodeString(s)
	return gateway.Secret(b), err == nil && len(b) == bytes && visibleASCII(s)
}
