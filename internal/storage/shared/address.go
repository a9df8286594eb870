package shared

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Mode is how a Redis is reached.
type Mode string

// The modes.
const (
	ModeSingle   Mode = "single"
	ModeSentinel Mode = "sentinel" // Sentinels know which of several is the master
	ModeCluster  Mode = "cluster"  // keys are spread over several masters
)

// address is where a Redis is, read from its URL.
type address struct {
	mode     Mode
	shown    string // without user, password and parameters
	single   *redis.Options
	sentinel *redis.FailoverOptions
	cluster  *redis.ClusterOptions
	ignored  []string // parameters without effect here
	secrets  []string // what must never be shown
}

// Parameters by what is made of them. The names are go-redis' own
// (https://pkg.go.dev/github.com/redis/go-redis/v9#ParseURL). What would let a
// call last longer than it may, or read from where nothing can be counted, has
// no effect.
var (
	everywhere = []string{
		"protocol", "client_name", "pool_fifo", "pool_size", "max_idle_conns", "max_active_conns", "max_concurrent_dials",
		"pipeline_pool_size", "pipeline_read_buffer_size", "pipeline_write_buffer_size",
		"conn_max_idle_time", "conn_max_lifetime", "conn_max_lifetime_jitter",
	}
	only = map[Mode][]string{
		ModeSingle:   {"db", "idle_timeout", "max_conn_age"},
		ModeSentinel: {"db", "master_name", "addr", "username", "password"},
		ModeCluster:  {"addr", "max_redirects", "failing_timeout_seconds"},
	}
	without = []string{
		"max_retries", "min_retry_backoff", "max_retry_backoff", "dial_timeout", "dialer_retries", "dialer_retry_timeout",
		"read_timeout", "write_timeout", "pool_timeout", "context_timeout_enabled", "min_idle_conns",
		"route_by_latency", "route_by_latency_tolerance", "route_randomly", "read_only", "replica_only", "use_disconnected_replicas",
		"disableIdentity", "identitySuffix", "unstable_resp3",
	}
)

// numbers are the parameters that go-redis allocates by.
var numbers = []string{
	"pool_size", "max_idle_conns", "max_active_conns", "max_concurrent_dials",
	"pipeline_pool_size", "pipeline_read_buffer_size", "pipeline_write_buffer_size",
}

const maxNumber = 1 << 20

var (
	errForm     = errors.New("REDIS_URL is not of the form redis://user:password@host:port/db or rediss://…; special characters of the password must be percent-encoded")
	errDatabase = errors.New("REDIS_URL: the database is not a number from 0")
	errCluster  = errors.New("REDIS_URL: a cluster has no database but 0")
)

// parseAddress reads
//
//	redis://user:password@host:port/db              one server
//	redis://host:26379,host:26379/db?master_name=m  Sentinels, also with &addr=host:port for each further one
//	redis://host,host,host                          a cluster, also with ?addr=host:port, or ?cluster=true for one host
//
// and rediss:// for TLS. With Sentinels the user and password in front of the @
// are theirs; those of Redis are the parameters username and password.
func parseAddress(text string) (address, error) {
	var a address
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || scheme != "redis" && scheme != "rediss" || strings.ContainsAny(rest, "# \t\r\n") {
		return a, errForm
	}
	end := strings.IndexAny(rest+"/", "/?")
	authority, tail := rest[:end], rest[end:]
	at := strings.LastIndexByte(authority, '@')
	hosts := strings.Split(authority[at+1:], ",")
	if at < 0 && strings.Contains(tail, "@") {
		return a, errForm // a character of the password has cut the address in the wrong place
	}
	// All but the first host are put back as parameters, since a URL has one.
	u, err := url.Parse(scheme + "://" + authority[:at+1] + hosts[0] + tail)
	if err != nil { // its text repeats the address
		return a, errForm
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return a, errForm
	}
	a.hide(u, query)
	query["addr"] = append(hosts[1:len(hosts):len(hosts)], query["addr"]...)
	if err := a.read(u, query); err != nil {
		return a, err
	}
	return a, nil
}

// hide remembers what must never be shown.
func (a *address) hide(u *url.URL, query url.Values) {
	secrets := slices.Clone(query["password"])
	if p, ok := u.User.Password(); ok {
		secrets = append(secrets, p)
	} else if u.User != nil {
		secrets = append(secrets, u.User.Username()) // a name alone may be the credential itself
	}
	for _, s := range secrets {
		for _, form := range []string{s, url.QueryEscape(s), url.PathEscape(s), strings.TrimPrefix(url.UserPassword("", s).String(), ":")} {
			if form != "" && !slices.Contains(a.secrets, form) {
				a.secrets = append(a.secrets, form)
			}
		}
	}
	// The longest first, so that no part of one is left over.
	slices.SortFunc(a.secrets, func(x, y string) int { return len(y) - len(x) })
}

// read finds out the mode and has go-redis read the parameters.
func (a *address) read(u *url.URL, query url.Values) error {
	cluster, err := take(query, "cluster")
	if err != nil {
		return err
	}
	insecure, err := take(query, "skip_verify")
	if err != nil {
		return err
	}
	switch {
	case query.Get("master_name") != "":
		a.mode = ModeSentinel
	case cluster || len(query["addr"]) > 0:
		a.mode = ModeCluster
	default:
		a.mode = ModeSingle
		delete(query, "addr")
	}
	if cluster && a.mode == ModeSentinel {
		return errors.New("REDIS_URL: master_name means Sentinels and cluster=true a cluster; it cannot be both")
	}
	if err := a.sift(query); err != nil {
		return err
	}
	if err := a.database(u, query); err != nil {
		return err
	}
	if err := a.hosts(u, query); err != nil {
		return err
	}
	u.RawQuery = query.Encode()
	return a.options(u.String(), insecure)
}

// take removes a switch from a query and returns its value.
func take(query url.Values, name string) (on bool, err error) {
	values, there := query[name]
	delete(query, name)
	if !there {
		return false, nil
	}
	switch values[len(values)-1] {
	case "true", "1", "":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, fmt.Errorf("REDIS_URL: the parameter %s must be true or false", name)
}

// sift refuses unknown parameters and leaves out those without effect.
func (a *address) sift(query url.Values) error {
	var unknown []string
	for name := range query {
		switch {
		case slices.Contains(everywhere, name) || slices.Contains(only[a.mode], name):
		case slices.Contains(without, name):
			a.ignored = append(a.ignored, name)
			delete(query, name)
		default:
			unknown = append(unknown, strconv.QuoteToASCII(a.hidden(name)))
		}
	}
	slices.Sort(a.ignored)
	for _, name := range numbers {
		if text := query.Get(name); text != "" {
			if n, err := strconv.Atoi(text); err != nil || n < -1 || n > maxNumber {
				return fmt.Errorf("REDIS_URL: the parameter %s must be a number from 0 to %d", name, maxNumber)
			}
		}
	}
	if p := query.Get("protocol"); p != "" && p != "2" && p != "3" {
		return errors.New("REDIS_URL: the parameter protocol must be 2 or 3")
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return fmt.Errorf("REDIS_URL: unknown parameter %s for the mode %s", strings.Join(unknown, ", "), a.mode)
	}
	return nil
}

// database checks its number, in the path or as the parameter db.
func (a *address) database(u *url.URL, query url.Values) error {
	number := strings.Trim(u.Path, "/")
	if v, ok := query["db"]; ok {
		number = v[len(v)-1]
	}
	n := 0
	if number != "" {
		var err error
		if n, err = strconv.Atoi(number); err != nil || n < 0 {
			return errDatabase
		}
	}
	if a.mode == ModeCluster {
		u.Path = ""
		if n != 0 {
			return errCluster
		}
	}
	return nil
}

// hosts checks them and gives those a port that have none.
func (a *address) hosts(u *url.URL, query url.Values) error {
	port := "6379"
	if a.mode == ModeSentinel {
		port = "26379"
	}
	all := append([]string{u.Host}, query["addr"]...)
	for i, h := range all {
		host, err := hostPort(h, port)
		if err != nil {
			return fmt.Errorf("REDIS_URL: host %d of %d: %w", i+1, len(all), err)
		}
		all[i] = host
	}
	u.Host = all[0]
	if len(all) > 1 {
		query["addr"] = all[1:]
	}
	a.shown = u.Scheme + "://" + strings.Join(all, ",")
	return nil
}

var errHost = errors.New("not a name or an address, with a port from 1 to 65535")

// hostPort reads host, host:port, [address] or [address]:port. Its errors repeat
// nothing: it may be a part of a password.
func hostPort(text, defaultPort string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"), defaultPort
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", errHost
	}
	if _, err := netip.ParseAddr(host); err != nil {
		if host == "" || strings.Trim(strings.ToLower(host), "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
			return "", errHost
		}
	}
	return net.JoinHostPort(host, port), nil
}

// options has go-redis read the rest.
func (a *address) options(text string, insecure bool) (err error) {
	var secure *tls.Config
	switch a.mode {
	case ModeSentinel:
		if a.sentinel, err = redis.ParseFailoverURL(text); err == nil {
			secure = a.sentinel.TLSConfig
		}
	case ModeCluster:
		if a.cluster, err = redis.ParseClusterURL(text); err == nil {
			secure = a.cluster.TLSConfig
		}
	default:
		if a.single, err = redis.ParseURL(text); err == nil {
			secure = a.single.TLSConfig
		}
	}
	if err != nil {
		return a.scrub("REDIS_URL", err)
	}
	if secure != nil {
		secure.MinVersion = tls.VersionTLS12
		secure.InsecureSkipVerify = insecure
	}
	return nil
}

// connections is how many there are to a server at most, unless the address says.
const connections = 64

// connect makes the client. It connects when it is first used. Its own tries and
// waits are shorter than the deadlines of the calls, or end with them.
func (a *address) connect(o Options) redis.UniversalClient {
	quietly := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	switch a.mode {
	case ModeSentinel:
		c := a.sentinel
		c.MaxRetries, c.DialerRetries, c.ContextTimeoutEnabled, c.DisableIdentity = -1, 1, true, true
		c.DialTimeout, c.ReadTimeout, c.WriteTimeout, c.PoolTimeout = patience, patience, patience, patience
		c.Protocol, c.PoolSize = cmp.Or(c.Protocol, 2), cmp.Or(max(c.PoolSize, 0), connections)
		trust(c.TLSConfig, o.RootCAs)
		return redis.NewFailoverClient(c)
	case ModeCluster:
		c := a.cluster
		c.MaxRetries, c.DialerRetries, c.ContextTimeoutEnabled, c.DisableIdentity = -1, 1, true, true
		c.DialTimeout, c.ReadTimeout, c.WriteTimeout, c.PoolTimeout = patience, patience, patience, patience
		c.Protocol, c.PoolSize = cmp.Or(c.Protocol, 2), cmp.Or(max(c.PoolSize, 0), connections)
		c.MaintNotificationsConfig = quietly
		trust(c.TLSConfig, o.RootCAs)
		return redis.NewClusterClient(c)
	default:
		c := a.single
		c.MaxRetries, c.DialerRetries, c.ContextTimeoutEnabled, c.DisableIdentity = -1, 1, true, true
		c.DialTimeout, c.ReadTimeout, c.WriteTimeout, c.PoolTimeout = patience, patience, patience, patience
		c.Protocol, c.PoolSize = cmp.Or(c.Protocol, 2), cmp.Or(max(c.PoolSize, 0), connections)
		c.MaintNotificationsConfig = quietly
		trust(c.TLSConfig, o.RootCAs)
		return redis.NewClient(c)
	}
}

// trust sets whose certificates are believed.
func trust(c *tls.Config, roots *x509.CertPool) {
	if c != nil {
		c.RootCAs = roots
	}
}

// scrubbed is an error whose text shows no password.
type scrubbed struct {
	text  string
	cause error
}

func (e *scrubbed) Error() string { return e.text }
func (e *scrubbed) Unwrap() error { return e.cause }

// scrub says what was tried and what went wrong, without a password: a server
// may repeat what it was sent.
func (a *address) scrub(tried string, err error) error {
	return &scrubbed{text: tried + ": " + a.hidden(err.Error()), cause: err}
}

func (a *address) hidden(text string) string {
	for _, s := range a.secrets {
		text = strings.ReplaceAll(text, s, "***")
	}
	return text
}
