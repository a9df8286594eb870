package gateway

import (
	"net/netip"
	"strings"
)

// Limits bound what a client token may do. The zero value bounds nothing.
type Limits struct {
	Models            []string       // patterns of model names, * for any run of characters; none: all
	RequestsPerMinute int            // 0: unbounded, as below
	RequestsPerDay    int            // days begin at 00:00 UTC
	TokensPerDay      int64          // model tokens, in and out
	Concurrent        int            // requests at the same time
	Networks          []netip.Prefix // from which it may be used; none: all
}

// Any reports whether there is a limit at all.
func (l *Limits) Any() bool {
	return len(l.Models) > 0 || l.RequestsPerMinute > 0 || l.RequestsPerDay > 0 ||
		l.TokensPerDay > 0 || l.Concurrent > 0 || len(l.Networks) > 0
}

// AllowsModel reports whether a model may be used. A request that names no
// model is bound by none.
func (l *Limits) AllowsModel(model string) bool {
	if len(l.Models) == 0 || model == "" {
		return true
	}
	for _, pattern := range l.Models {
		if matches(strings.ToLower(pattern), strings.ToLower(model)) {
			return true
		}
	}
	return false
}

// AllowsClient reports whether the token may be used from an address.
func (l *Limits) AllowsClient(ip netip.Addr) bool {
	if len(l.Networks) == 0 {
		return true
	}
	ip = ip.Unmap()
	for _, n := range l.Networks {
		if n.Contains(ip) {
			return true
		}
	}
	return false
}

// matches compares a name with a pattern in which * stands for any run of
// characters. It looks at each character a bounded number of times for each
// star, however the pattern is made.
func matches(pattern, name string) bool {
	head, rest, starred := strings.Cut(pattern, "*")
	if !starred {
		return pattern == name
	}
	if !strings.HasPrefix(name, head) {
		return false
	}
	name = name[len(head):]
	for {
		part, next, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(name, part)
		}
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name, rest = name[i+len(part):], next
	}
}

// TokenUsage is what a client token has used of its limits.
type TokenUsage struct {
	Requests, Tokens int64 // since 00:00 UTC
	Running          int   // requests under way
}
