package shared

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// refusals are the words with which a Redis begins what it has against a call,
// and what they mean for whoever runs it
// (https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors).
var refusals = []struct{ words, why string }{
	{"WRONGPASS", refusedLogin},
	{"NOAUTH", "it wants a password: set the user and password in REDIS_URL"},
	{"ERR AUTH", refusedLogin},
	{"ERR invalid password", refusedLogin},
	{"ERR Client sent AUTH", "it has no password: take the one in REDIS_URL out"},
	{"NOPERM", "the user of REDIS_URL may not use a command that is needed"},
	{"DENIED", "it takes connections of its own machine only (protected-mode)"},
	{"LOADING", "it is starting"},
	{"READONLY", "it may only be read: it is a replica"},
	{"MASTERDOWN", "it is a replica without its master"},
	{"CLUSTERDOWN", "its cluster is incomplete"},
	{"OOM", "its memory is full, see maxmemory-policy"},
	{"MISCONF", "it takes no writes as it cannot save its data"},
	{"ERR max number of clients", "it has too many connections"},
	{"ERR DB index", "it has no database of the number in REDIS_URL"},
}

const refusedLogin = "it refuses the user or the password in REDIS_URL"

// why says in a few words what an error of the driver comes from, without an
// address and without what a server said. untried: it has never answered.
func (r *Redis) why(err error, untried bool) string {
	for _, known := range refusals {
		if strings.HasPrefix(err.Error(), known.words) {
			return known.why
		}
	}
	var dns *net.DNSError
	var untrusted *tls.CertificateVerificationError
	var host x509.HostnameError
	var record tls.RecordHeaderError
	var network net.Error
	switch {
	case errors.As(err, &untrusted), errors.As(err, &host):
		return "its certificate cannot be trusted"
	case errors.As(err, &record):
		return "it does not encrypt connections: use redis:// where the network is your own"
	case errors.As(err, &dns):
		return "the name of its machine is not known"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing answers at its address"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &network) && network.Timeout():
		if untried && strings.HasPrefix(r.address.shown, "rediss:") {
			return "no answer in time (rediss:// is for servers that speak TLS)"
		}
		return "no answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return "the connection was lost"
	}
	return "it cannot be used"
}
