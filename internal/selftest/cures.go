package selftest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// unreachable is the fault of a request that got no answer, or half of one.
// The address comes without its query and the like: only the path was ours.
func (r *run) unreachable(c call, err error) *fault {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	f := &fault{cause: fmt.Sprintf("%s: %v", c.path, err)}
	var (
		name  *net.DNSError
		plain tls.RecordHeaderError
		cert  *tls.CertificateVerificationError
		dial  *net.OpError
	)
	switch {
	case errors.Is(err, context.Canceled):
		f.cause, f.cure = "it was interrupted", "Run it again."
	case errors.Is(err, context.DeadlineExceeded):
		f.cause = fmt.Sprintf("%s: no whole answer within %v", c.path, r.Timeout)
		f.cure = "Is the server overloaded, or its upstream? 'requests' shows where its time goes; --timeout waits longer."
	case errors.As(err, &name):
		f.cure = "Is the host in --url spelt right, and does this machine's DNS know it?"
	case errors.As(err, &cert):
		f.cure = "Mend the certificate of the server, or let this machine trust who signed it (SSL_CERT_FILE)."
	case errors.As(err, &plain), errors.Is(err, http.ErrSchemeMismatch):
		f.cure = "That port does not speak TLS: begin --url with http://, or use the port that does."
	case errors.As(err, &dial) && dial.Op == "dial":
		f.cure = "Does the server run, are host and port in --url right, and does a firewall let this machine through?"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.As(err, &dial):
		f.cure = "The connection broke: did the server stop, or a proxy in front of it?"
	default:
		f.cure = cureUnknown
	}
	return f
}

// refusal is the fault of an answer whose status is not the one that is wanted.
func (a *answer) refusal() *fault {
	f := &fault{cause: a.call.path + " gives " + a.excerpt(), cure: a.cure(), status: a.status}
	if id := a.header.Get("X-Request-Id"); id != "" {
		f.cause += " (request " + id + ")"
	}
	return f
}

// cure says what to do about an answer.
func (a *answer) cure() string {
	s := words(a.body)
	kind := s.Code
	if kind == "" {
		kind = s.Kind
	}
	switch {
	case a.status >= 300 && a.status < 400:
		return "It is moved: give --url the address that it leads to, " + place(a.header.Get("Location")) + "."
	case s.Message == "":
		return cureForeign(a.status)
	case a.status == http.StatusUnauthorized && a.call.as == asAdmin:
		return "It has another admin token: ADMIN_TOKEN in its settings, else the one in its DATA_DIR/admin-token."
	case a.status == http.StatusUnauthorized:
		return "The token is none of this deployment: 'tokens list' shows those that are, 'tokens create' makes one."
	case a.status == http.StatusForbidden:
		return "The token may not do this: 'tokens list' shows its providers and limits, 'tokens limit' changes them."
	case a.status == http.StatusTooManyRequests:
		return "A quota or a limit is used up: 'keys list --status resting' and 'tokens list' show whose, and until when."
	case kind == "provider_disabled":
		return "Its settings switch this provider off (DISABLE_OLLAMA, DISABLE_OPENROUTER): enable it, or leave it out with --provider."
	case a.status == http.StatusServiceUnavailable && strings.Contains(s.Message, "has no keys"):
		return "Fill the pool: 'keys import FILE'."
	case a.status == http.StatusServiceUnavailable:
		return "No key can serve: 'keys list' shows why they are out, 'keys check' asks the upstream about them."
	case a.status == http.StatusBadGateway || a.status == http.StatusGatewayTimeout:
		return "The server does not reach its upstream: has its machine a way out, and are OLLAMA_BASE_URL and OPENROUTER_BASE_URL right?"
	case a.status == http.StatusNotFound:
		return "Is the path in --url right, does a proxy in front pass every address on, and is the deployment of this version?"
	case a.status >= 500:
		return "Look into the log of the server, by the request."
	}
	return "If the message does not help: 'requests show ID' tells what the upstream said."
}

// cureForeign is for answers that are not in our words.
func cureForeign(status int) string {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return "A proxy or a firewall in front asks for something of its own: let this machine through."
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return "A proxy in front answers and does not reach the server: does that run, and where the proxy looks for it?"
	case http.StatusRequestEntityTooLarge:
		return "A proxy in front allows only small bodies: raise its limit (nginx: client_max_body_size)."
	}
	return "Something else answers at this address: are host, port and path in --url right?"
}

// place is an address without what may be secret in it.
func place(location string) string {
	u, err := url.Parse(location)
	if err != nil || u.Host == "" {
		return "another one"
	}
	return u.Scheme + "://" + u.Host
}
