package httpkit

import (
	"net/http"
	"net/netip"
	"strings"
)

// Clients tells the address of the client behind a request. It never changes
// and may be used concurrently.
type Clients struct {
	trusted []netip.Prefix
}

// NewClients makes a Clients that believes what these proxies say about who is
// behind them. IPv4 prefixes may be written in IPv6's mapped form.
func NewClients(trusted []netip.Prefix) *Clients {
	c := &Clients{trusted: make([]netip.Prefix, 0, len(trusted))}
	for _, p := range trusted {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		c.trusted = append(c.trusted, p.Masked())
	}
	return c
}

// IP is the address of the client: the peer's, unless the peer is a trusted
// proxy. Then it is the rightmost address of X-Forwarded-For that is not
// itself trusted, or, without that header, of CF-Connecting-IP.
// X-Forwarded-For goes first because every proxy, Cloudflare's included, adds
// to it, whereas CF-Connecting-IP passes most other proxies as the client
// wrote it. Nothing to the left of an entry that is no address is believed;
// when no untrusted address is found it is the furthest proxy's own.
//
// IPv4 in IPv6's mapped form comes unmapped, zones are dropped. The zero Addr
// means that the connection has no IP address.
func (c *Clients) IP(r *http.Request) netip.Addr {
	peer := parseHop(r.RemoteAddr)
	if !c.trusts(peer) {
		return peer
	}
	lines := r.Header["X-Forwarded-For"]
	if len(lines) == 0 {
		lines = r.Header["Cf-Connecting-Ip"]
	}
	return c.furthest(peer, lines)
}

// furthest walks the list of hops from the right, beginning behind a proxy
// that is trusted.
func (c *Clients) furthest(known netip.Addr, lines []string) netip.Addr {
	for i := len(lines) - 1; i >= 0; i-- {
		for rest, more := lines[i], true; more; {
			var entry string
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, entry = rest[:comma], rest[comma+1:]
			} else {
				entry, more = rest, false
			}
			if entry = strings.Trim(entry, " \t"); entry == "" {
				continue
			}
			hop := parseHop(entry)
			if !hop.IsValid() {
				return known
			}
			if !c.trusts(hop) {
				return hop
			}
			known = hop
		}
	}
	return known
}

func (c *Clients) trusts(ip netip.Addr) bool {
	for _, p := range c.trusted {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// parseHop reads an address with or without a port: 192.0.2.1, 192.0.2.1:80,
// 2001:db8::1, [2001:db8::1], [2001:db8::1]:80. Anything else gives the zero
// Addr.
func parseHop(s string) netip.Addr {
	host, port := s, ""
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 || strings.IndexByte(s[:end], ':') < 0 {
			return netip.Addr{}
		}
		host, port = s[1:end], s[end+1:]
	} else if colon := strings.IndexByte(s, ':'); colon >= 0 && strings.IndexByte(s[colon+1:], ':') < 0 {
		host, port = s[:colon], s[colon:]
	}
	if port != "" && !isPort(port) {
		return netip.Addr{}
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return ip.WithZone("").Unmap()
}

// isPort tells a colon and one to five digits.
func isPort(s string) bool {
	if len(s) < 2 || len(s) > 6 || s[0] != ':' {
		return false
	}
	for i := 1; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
