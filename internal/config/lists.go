package config

import (
	"net/netip"
	"net/url"
	"strings"
)

// listRule is a rule for values parted by commas.
func listRule[T any](allowed string, field func(*Config) *[]T, parse func(string) (T, bool)) rule {
	r := ruleFor(allowed, field, func(s string) ([]T, bool) {
		var all []T
		for part := range strings.SplitSeq(s, ",") {
			if part = strings.TrimSpace(part); part == "" {
				continue
			}
			v, ok := parse(part)
			if !ok {
				return nil, false
			}
			all = append(all, v)
		}
		return all, true
	})
	r.list = true
	return r
}

// networks are addresses and CIDRs.
func networks(field func(*Config) *[]netip.Prefix) rule {
	return listRule("IP addresses and CIDRs parted by commas, such as 10.0.0.0/8, 2001:db8::1", field, parseNetwork)
}

// parseNetwork reads an address or a CIDR. IPv4 addresses in IPv6 form become
// plain ones, and bits behind the mask are cleared.
func parseNetwork(s string) (netip.Prefix, bool) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, false
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	if a := p.Addr(); a.Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, false
		}
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked(), true
}

// origins are the sites from which browsers may call.
func origins(field func(*Config) *[]string) rule {
	r := listRule("* or origins parted by commas, such as https://app.example.com", field, parseOrigin)
	set := r.set
	r.set = func(c *Config, text string) bool {
		if !set(c, text) {
			return false
		}
		for _, o := range *field(c) {
			if o == "*" {
				*field(c) = []string{"*"}
				break
			}
		}
		return true
	}
	return r
}

// parseOrigin reads an origin and gives it as browsers send it: lower case,
// without a path and without the scheme's own port.
func parseOrigin(s string) (string, bool) {
	if s == "*" {
		return s, true
	}
	u, err := url.Parse(s)
	if err != nil || !visibleASCII(s) || u.User != nil || strings.TrimRight(u.Path, "/") != "" || strings.ContainsAny(s, "?#") {
		return "", false
	}
	if u.Scheme == "" || !validHost(u) {
		return "", false
	}
	host := strings.ToLower(u.Host)
	switch {
	case u.Scheme == "http" && u.Port() == "80":
		host = strings.TrimSuffix(host, ":80")
	case u.Scheme == "https" && u.Port() == "443":
		host = strings.TrimSuffix(host, ":443")
	}
	return u.Scheme + "://" + host, true
}
