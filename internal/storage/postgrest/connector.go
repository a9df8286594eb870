package postgrest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql/driver"
	_ "embed"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
)

//go:embed function.sql
var functions string

// Functions is the SQL that makes the two functions in a schema, or replaces
// them. The schema's name stands in it as it is.
func Functions(schema string) string { return strings.ReplaceAll(functions, "{schema}", schema) }

// Names of the functions.
const (
	runName  = "ollama_api_pool_sql"
	readName = "ollama_api_pool_read"
)

// restPath is where Supabase has PostgREST (https://supabase.com/docs/guides/api).
const restPath = "/rest/v1"

// Options say where PostgREST is.
type Options struct {
	// URL is the project's address, with or without /rest/v1.
	URL string
	// Key is the service key. It is sent as apikey, for Supabase's gateway, and
	// as the bearer token that names the role, for PostgREST.
	Key gateway.Secret
	// Lock, where it is not 0, is the number of the advisory lock that a
	// transaction which writes takes first.
	Lock int64
	// UserAgent is how the program names itself.
	UserAgent string
	// Timeout is how long a call of little text may take until it is answered;
	// 0: defaultTimeout. Large ones get largeTimes as long.
	Timeout time.Duration
	// Rewrite, which may be nil, puts the text of a statement into PostgreSQL's words.
	Rewrite func(text string) string
	// Transport carries the calls; nil is one of our own.
	Transport http.RoundTripper
}

const (
	defaultTimeout = 15 * time.Second
	largeTimes     = 5
	largeBody      = 256 << 10
)

// Connector makes connections, which are only a way to remember a transaction:
// all of them share one HTTP client. It may be used concurrently.
type Connector struct {
	address string // up to and with /rpc/
	key     gateway.Secret
	lock    int64
	agent   string
	timeout time.Duration
	rewrite func(text string) string
	client  http.Client
}

var (
	errAddress = errors.New("the address of PostgREST is not an http(s) address")
	errKey     = errors.New("there is no service key")
)

// New checks the options and connects to nothing.
func New(o Options) (*Connector, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errAddress
	}
	if o.Key == "" {
		return nil, errKey
	}
	base := strings.TrimSuffix(strings.TrimRight(o.URL, "/"), restPath)
	c := &Connector{
		address: base + restPath + "/rpc/", key: o.Key, lock: o.Lock, agent: o.UserAgent, timeout: o.Timeout, rewrite: o.Rewrite,
	}
	if c.rewrite == nil {
		c.rewrite = func(text string) string { return text }
	}
	if c.timeout == 0 {
		c.timeout = defaultTimeout
	}
	transport := o.Transport
	if transport == nil {
		transport = newTransport()
	}
	c.client = http.Client{
		Transport: transport,
		// The key goes to the address that it was given for, and nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// newTransport is for one host that is asked every second.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout: 5 * time.Second,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     time.Minute,
	}
}

// Address is the address that is called, without the functions' names.
func (c *Connector) Address() string { return strings.TrimSuffix(c.address, "/rpc/") }

// Connect implements driver.Connector. Nothing is sent.
func (c *Connector) Connect(context.Context) (driver.Conn, error) { return &conn{c: c}, nil }

// Driver implements driver.Connector.
func (c *Connector) Driver() driver.Driver { return noDriver{} }

// Close implements io.Closer: sql.DB calls it at its end.
func (c *Connector) Close() error {
	c.client.CloseIdleConnections()
	return nil
}

// noDriver opens nothing: connections come from a Connector.
type noDriver struct{}

// Open implements driver.Driver.
func (noDriver) Open(string) (driver.Conn, error) {
	return nil, errors.New("PostgREST is reached by a Connector only")
}

// digest names a statement with its values.
type digest = [sha256.Size]byte

// sumOf makes the name of a statement.
func sumOf(text string, args []byte) digest {
	return sha256.Sum256(bytes.Join([][]byte{[]byte(text), args}, []byte{0}))
}
