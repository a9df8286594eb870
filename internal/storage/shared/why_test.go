package shared

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
)

func TestWhy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		url     string
		err     error
		untried bool
		want    string
	}{
		{"redis://h", errors.New("WRONGPASS invalid username-password pair"), true, refusedLogin},
		{"redis://h", errors.New("NOAUTH Authentication required."), true, "it wants a password: set the user and password in REDIS_URL"},
		{"redis://h", errors.New("LOADING Redis is loading the dataset in memory"), false, "it is starting"},
		{"redis://h", errors.New("ERR DB index is out of range"), true, "it has no database of the number in REDIS_URL"},
		{"redis://h", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, true, "nothing answers at its address"},
		{"redis://h", &net.DNSError{Err: "no such host", Name: "canary"}, true, "the name of its machine is not known"},
		{"redis://h", fmt.Errorf("asked: %w", context.DeadlineExceeded), true, "no answer in time"},
		{"rediss://h", fmt.Errorf("asked: %w", context.DeadlineExceeded), true, "no answer in time (rediss:// is for servers that speak TLS)"},
		{"rediss://h", fmt.Errorf("asked: %w", context.DeadlineExceeded), false, "no answer in time"},
		{"rediss://h", tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, true, "it does not encrypt connections: use redis:// where the network is your own"},
		{"redis://h", &net.OpError{Op: "read", Err: syscall.ECONNRESET}, false, "the connection was lost"},
		{"redis://h", errors.New("ERR canary"), false, "it cannot be used"},
	} {
		a, err := parseAddress(c.url)
		if err != nil {
			t.Fatal(err)
		}
		got := (&Redis{address: a}).why(c.err, c.untried)
		if got != c.want || strings.Contains(got, "canary") {
			t.Errorf("%s, %v: %q, want %q", c.url, c.err, got, c.want)
		}
	}
}
