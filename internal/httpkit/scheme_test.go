package httpkit

import (
	"crypto/tls"
	"net/http"
	"testing"
)

func TestSecure(t *testing.T) {
	c := NewClients(prefixes(t, "10.0.0.0/8"))
	for _, tt := range []struct {
		name, peer, proto string
		tls               bool
		want              bool
	}{
		{"plain", "198.51.100.7:1", "", false, false},
		{"TLS", "198.51.100.7:1", "", true, true},
		{"a stranger's word", "198.51.100.7:1", "https", false, false},
		{"a proxy's word", "10.0.0.1:1", "https", false, true},
		{"a proxy's word, large", "10.0.0.1:1", " HTTPS , http", false, true},
		{"a proxy without TLS", "10.0.0.1:1", "http", false, false},
		{"a proxy that says nothing", "10.0.0.1:1", "", false, false},
	} {
		r := &http.Request{RemoteAddr: tt.peer, Header: http.Header{}}
		if tt.tls {
			r.TLS = &tls.ConnectionState{}
		}
		if tt.proto != "" {
			r.Header.Set("X-Forwarded-Proto", tt.proto)
		}
		if got := c.Secure(r); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
