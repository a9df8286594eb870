package httpkit

import (
	"net/http"
	"net/netip"
	"testing"
)

func prefixes(t testing.TB, list ...string) []netip.Prefix {
	t.Helper()
	out := make([]netip.Prefix, 0, len(list))
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func TestClientIP(t *testing.T) {
	c := NewClients(prefixes(t, "10.0.0.0/8", "::ffff:192.168.0.0/112", "2001:db8:ff::/48", "127.0.0.1/32"))
	for _, tt := range []struct {
		name, peer string
		xff, cf    []string
		want       string
	}{
		{"direct", "198.51.100.7:1234", nil, nil, "198.51.100.7"},
		{"direct IPv6", "[2001:db8::7]:1234", nil, nil, "2001:db8::7"},
		{"mapped peer", "[::ffff:198.51.100.7]:1234", nil, nil, "198.51.100.7"},
		{"zone", "[fe80::1%eth0]:1234", nil, nil, "fe80::1"},
		{"no port", "198.51.100.7", nil, nil, "198.51.100.7"},
		{"no address", "@", []string{"203.0.113.9"}, nil, "invalid IP"},
		{"headers of a stranger", "198.51.100.7:1", []string{"203.0.113.9"}, []string{"203.0.113.8"}, "198.51.100.7"},
		{"one hop", "10.0.0.1:1", []string{"203.0.113.9"}, nil, "203.0.113.9"},
		{"mapped proxy", "[::ffff:10.0.0.1]:1", []string{"203.0.113.9"}, nil, "203.0.113.9"},
		{"mapped prefix", "192.168.200.5:1", []string{"203.0.113.9"}, nil, "203.0.113.9"},
		{"two proxies", "10.0.0.1:1", []string{"203.0.113.9, 10.0.0.2"}, nil, "203.0.113.9"},
		{"forged on the left", "10.0.0.1:1", []string{"1.1.1.1, 203.0.113.9"}, nil, "203.0.113.9"},
		{"forged as trusted", "10.0.0.1:1", []string{"1.1.1.1, 10.9.9.9, 203.0.113.9"}, nil, "203.0.113.9"},
		{"several lines", "10.0.0.1:1", []string{"1.1.1.1", "203.0.113.9", "10.0.0.2, 127.0.0.1"}, nil, "203.0.113.9"},
		{"ports", "10.0.0.1:1", []string{"203.0.113.9:4711, 10.0.0.2:80"}, nil, "203.0.113.9"},
		{"brackets", "10.0.0.1:1", []string{"[2001:db8::9]:4711, [2001:db8:ff::1]"}, nil, "2001:db8::9"},
		{"bare IPv6", "10.0.0.1:1", []string{"2001:db8::9"}, nil, "2001:db8::9"},
		{"mapped hop", "10.0.0.1:1", []string{"::ffff:203.0.113.9"}, nil, "203.0.113.9"},
		{"blank entries", "10.0.0.1:1", []string{" , 203.0.113.9 ,\t, "}, nil, "203.0.113.9"},
		{"garbage stops", "10.0.0.1:1", []string{"203.0.113.9, unknown, 10.0.0.2"}, nil, "10.0.0.2"},
		{"garbage only", "10.0.0.1:1", []string{"unknown"}, nil, "10.0.0.1"},
		{"trusted only", "10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, nil, "10.0.0.3"},
		{"empty header", "10.0.0.1:1", []string{""}, nil, "10.0.0.1"},
		{"no header", "10.0.0.1:1", nil, nil, "10.0.0.1"},
		{"Cloudflare", "10.0.0.1:1", nil, []string{"203.0.113.8"}, "203.0.113.8"},
		{"Cloudflare IPv6", "10.0.0.1:1", nil, []string{"2001:db8::8"}, "2001:db8::8"},
		{"both agree", "10.0.0.1:1", []string{"1.1.1.1, 203.0.113.8"}, []string{"203.0.113.8"}, "203.0.113.8"},
		{"forged past a proxy that adds the real one", "10.0.0.1:1", []string{"203.0.113.9"}, []string{"1.1.1.1"}, "203.0.113.9"},
	} {
		r := &http.Request{RemoteAddr: tt.peer, Header: http.Header{}}
		r.Header["X-Forwarded-For"] = tt.xff
		r.Header["Cf-Connecting-Ip"] = tt.cf
		if got := c.IP(r).String(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestParseHopRefuses(t *testing.T) {
	for _, s := range []string{
		"", "1.2.3", "1.2.3.4:", "1.2.3.4:x", "1.2.3.4:123456", "1.2.3.4:-1", "[1.2.3.4]", "[1.2.3.4]:80",
		"[2001:db8::1", "2001:db8::1]", "[2001:db8::1]80", "[]", "[]:80", ":80", "example.com:80", "1.2.3.4 ",
	} {
		if ip := parseHop(s); ip.IsValid() {
			t.Errorf("%q was read as %s", s, ip)
		}
	}
}

func FuzzClientIP(f *testing.F) {
	f.Add("10.0.0.1:80", "203.0.113.9, 10.0.0.2", "203.0.113.8")
	f.Add("[::ffff:10.0.0.1]:80", "[2001:db8::9%x]:1,,unknown", "")
	f.Add("198.51.100.7", ",", "[::1]:1")
	f.Add("@", "1.2.3.4:5", "::ffff:1.2.3.4")
	proxies := NewClients(prefixes(f, "10.0.0.0/8", "2001:db8:ff::/48"))
	nobody := NewClients(nil)
	f.Fuzz(func(t *testing.T, peer, xff, cf string) {
		request := func(lines ...string) *http.Request {
			r := &http.Request{RemoteAddr: peer, Header: http.Header{"Cf-Connecting-Ip": {cf}}}
			if len(lines) > 0 {
				r.Header["X-Forwarded-For"] = lines
			}
			return r
		}
		direct := nobody.IP(request(xff))
		got := proxies.IP(request(xff))
		if got.Is4In6() || got.Zone() != "" {
			t.Fatalf("%s is not plain", got)
		}
		if got.IsValid() != direct.IsValid() {
			t.Fatalf("peer %s gave %s", direct, got)
		}
		if !proxies.trusts(direct) {
			if got != direct || proxies.IP(request()) != direct {
				t.Fatalf("an untrusted peer was believed: %s for %s", got, direct)
			}
			return
		}
		// Whatever the client sends, what a proxy adds behind it counts.
		seen := netip.MustParseAddr("203.0.113.9")
		if got := proxies.IP(request(xff + ", 203.0.113.9, 10.0.0.2")); got != seen {
			t.Fatalf("forged: %s", got)
		}
		if got := proxies.IP(request(xff, "203.0.113.9")); got != seen {
			t.Fatalf("forged in a line of its own: %s", got)
		}
	})
}

func BenchmarkClientIP(b *testing.B) {
	c := NewClients(prefixes(b, "10.0.0.0/8", "2001:db8:ff::/48"))
	for name, r := range map[string]*http.Request{
		"direct":  {RemoteAddr: "198.51.100.7:1234"},
		"proxied": {RemoteAddr: "10.0.0.1:1234", Header: http.Header{"X-Forwarded-For": {"203.0.113.9, 10.0.0.2"}}},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !c.IP(r).IsValid() {
					b.Fatal("no address")
				}
			}
		})
	}
}
