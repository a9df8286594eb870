package sqlstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// errSilent is the end of our patience with a database that does not answer.
var errSilent = errors.New("no answer in time")

func (d *postgres) fault(did string, err error) error { return faultOf(d, did, d.discreet(err)) }

// discreet makes an error that cannot repeat the password, whatever its text
// quotes. Its causes stay.
func (d *postgres) discreet(err error) error {
	secret := d.address.password
	if err == nil || secret == "" || !strings.Contains(err.Error(), secret) {
		return err
	}
	return &discreetError{strings.ReplaceAll(err.Error(), secret, "***"), err}
}

type discreetError struct {
	text string
	err  error
}

func (e *discreetError) Error() string { return e.text }
func (e *discreetError) Unwrap() error { return e.err }

// pgAway are the states that pass: the server starts or stops, has too many
// connections, or lost them; or the lock on writing was not given in time. Those
// that begin with 08 are the pooler's and the server's about connections.
var pgAway = map[string]string{
	"57P01": "it is being stopped",
	"57P02": "it has crashed and recovers",
	"57P03": "it is starting",
	"57P05": "it has ended a connection that was idle",
	"25P03": "it has ended a transaction that stood still",
	"25006": "it may only be read: it is a standby",
	"53300": "it has too many connections",
	"53400": "it has too many connections",
	"55P03": "another process has kept it locked for too long",
	"57014": "it has given up a statement that took too long",
}

const pgCureAway = "try again when it answers"

// pgPooled is about prepared statements that are not where they were made.
var pgPooled = [2]string{"a pooler in front of it gives connections out by transaction", "add ?pgbouncer=true to DATABASE_URL (&pgbouncer=true behind other parameters)"}

// pgFaults are the states that somebody has to do something about.
var pgFaults = map[string][2]string{
	"28P01": {"the password is wrong, or there is no such user", "set the right user and password in DATABASE_URL"},
	"28000": {"the server does not let this user in from here", "look at the user in DATABASE_URL, at sslmode and at the server's pg_hba.conf"},
	"3D000": {"there is no such database", "create the database, or set another one in DATABASE_URL"},
	"3F000": {"there is no such schema", "create the schema, or set another one in DATABASE_URL (search_path)"},
	"42501": {"this user may not do that", "give the user of DATABASE_URL the right to create and to change tables in the schema"},
	"42P01": {"a table is missing", "start again, which makes the tables, or restore a backup"},
	"42703": {"a column is missing", "start again, which adds the columns, or restore a backup"},
	"26000": pgPooled,
	"42P05": pgPooled,
	"53100": {"the server's disk is full", "free some space on the server and try again"},
	"53200": {"the server is out of memory", "give the server more memory and try again"},
	"22001": {"a text is too long for its column", "make the column a text without a limit"},
	"22P05": {"the database cannot hold a character", "use a database with the encoding UTF8"},
	"XX001": {"its data are damaged", "restore a backup"},
	"XX002": {"an index is damaged", "rebuild the index with REINDEX"},
}

// pgLogin are the words of poolers about what the server would have said itself.
var pgLogin = []struct {
	words string
	state string
}{
	{"no such database", "3D000"},
	{"does not exist", "3D000"},
	{"password authentication failed", "28P01"},
	{"no such user", "28P01"},
	{"auth failed", "28P01"},
}

func (d *postgres) explain(err error) (cause, cure string, away bool) {
	var e *pgconn.PgError
	var place *pgconn.ConnectError
	connecting := errors.As(err, &place)
	if errors.As(err, &e) {
		cause, cure, away = d.explainState(e)
		// Where a connection came about before, a refusal may pass: somebody is
		// changing the password, the rights or the certificate.
		return cause, cure, away || cause != "" && connecting && d.worked.Load()
	}
	if cause, cure := explainTLS(err); cause != "" {
		return cause, cure, connecting && d.worked.Load()
	}
	switch {
	case errors.Is(err, errNotOpen), errors.Is(err, context.Canceled) && !errors.Is(err, errSilent):
		return "", "", false
	case errors.Is(err, errSilent), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "the database gave no answer in time", pgCureAway, true
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return "nothing answers at its address", "start the database, or set its address in DATABASE_URL", true
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed), strings.Contains(err.Error(), "conn closed"):
		return "the connection was lost", pgCureAway, true
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return "the name of its machine is not known", "look at the address in DATABASE_URL and at the name server", true
	}
	var network net.Error
	if connecting || errors.As(err, &network) || pgconn.SafeToRetry(err) || pgconn.Timeout(err) {
		return "it is out of reach", "start the database, or set its address in DATABASE_URL", true
	}
	return "", "", false
}

// explainState explains what the server or the pooler said.
func (d *postgres) explainState(e *pgconn.PgError) (cause, cure string, away bool) {
	state, text := e.Code, strings.ToLower(e.Message)
	if strings.HasPrefix(state, "08") || state == "" {
		for _, l := range pgLogin {
			if strings.Contains(text, l.words) {
				state = l.state
			}
		}
	}
	// It refuses those that come in the state of a server that starts, also
	// while it is being stopped.
	if state == "57P03" && strings.Contains(text, "shutting down") {
		state = "57P01"
	}
	if known, ok := pgFaults[state]; ok {
		return known[0], known[1], false
	}
	if cause, ok := pgAway[state]; ok {
		return cause, pgCureAway, true
	}
	// Poolers have no states of their own for these.
	passing := []string{"server login", "server conn", "query_wait_timeout", "shutting down", "no more connections", "max clients", "server_login_retry"}
	if strings.HasPrefix(state, "08") || slices.ContainsFunc(passing, func(words string) bool { return strings.Contains(text, words) }) {
		return "it is out of reach", pgCureAway, true
	}
	return "", "", false
}

// refused goes by the classes of states: those that are about values, constraints,
// names and rights, and what a trigger raises.
func (d *postgres) refused(err error) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) || len(e.Code) != 5 {
		return false
	}
	return slices.Contains([]string{"22", "23", "42", "44", "54", "P0"}, e.Code[:2]) && pgFaults[e.Code] != pgPooled
}

// explainTLS explains why an encrypted connection did not come about.
func explainTLS(err error) (cause, cure string) {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verify *tls.CertificateVerificationError
	switch {
	case errors.As(err, &host):
		return "its certificate is for another name", "use the name that the certificate has, or sslmode=verify-ca"
	case errors.As(err, &unknown), errors.As(err, &invalid), errors.As(err, &verify):
		return "its certificate cannot be trusted", "give the certificate of its authority with sslrootcert, or use sslmode=require"
	case strings.Contains(err.Error(), "server refused TLS connection"):
		return "it does not encrypt connections", "turn TLS on at the server, or use sslmode=disable where the network is your own"
	}
	return "", ""
}
