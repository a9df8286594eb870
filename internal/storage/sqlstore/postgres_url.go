package sqlstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"ollama-api-pool/internal/gateway"
)

// pgAddress is what a DATABASE_URL says.
type pgAddress struct {
	config      *pgx.ConnConfig
	pooler      bool     // statements of one session may come to different sessions of the server
	searchPath  string   // "": the server's own
	ignored     []string // names of parameters that mean nothing here
	place       string   // where it is, without user and password
	fingerprint string
	password    string // to keep it out of messages
}

// Times and limits of connections.
const (
	pgConnectSeconds = 5
	pgMaxConnect     = 3600
	pgStatements     = 256 // prepared ones that a connection remembers
	pgApplication    = "ollama-api-pool"
)

// Values of parameters that are checked here, as the driver's own words repeat
// the whole address.
var (
	pgSSLModes = []string{"disable", "allow", "prefer", "require", "verify-ca", "verify-full", "no-verify"}
	pgTargets  = []string{"any", "read-write", "read-only", "primary", "standby", "prefer-standby"}
	// pgDriver are the parameters that are handed to the driver as they are,
	// see https://www.postgresql.org/docs/current/libpq-connect.html
	pgDriver = []string{
		"sslmode", "sslcert", "sslkey", "sslrootcert", "sslpassword", "sslsni", "sslnegotiation", "sslcertmode",
		"target_session_attrs", "connect_timeout", "passfile", "service", "servicefile", "channel_binding", "require_auth",
		"min_protocol_version", "max_protocol_version", "krbsrvname", "krbspn",
	}
)

const pgWanted = "it must be postgres://user:password@host:5432/database or postgresql://…, with special characters of the password percent-encoded" //nolint:gosec // an example

func badURL(format string, args ...any) error {
	return gateway.Errorf(gateway.KindInvalid, "DATABASE_URL "+format, args...)
}

// parsePostgresURL reads the address of a database, as people have it from
// PostgreSQL's own tools, Node, Prisma or a provider of databases. An error
// repeats nothing of it but names of parameters and values that are no secret.
func parsePostgresURL(secret gateway.Secret) (*pgAddress, error) {
	text := strings.TrimSpace(secret.Reveal())
	_, rest, ok := strings.Cut(text, "://")
	if scheme := strings.ToLower(text[:len(text)-len(rest)]); !ok || scheme != "postgres://" && scheme != "postgresql://" {
		return nil, badURL("is no address of a PostgreSQL database: %s", pgWanted)
	}
	if strings.ContainsAny(rest, "\x00\r\n\t") {
		return nil, badURL("holds a control character: %s", pgWanted)
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, database, _ := strings.Cut(rest, "/")
	if strings.Contains(query, "@") || strings.ContainsAny(database, "@/") {
		return nil, badURL("cannot be read: %s", pgWanted)
	}
	p := pgParts{set: map[string]string{}}
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		user, password, has := strings.Cut(authority[:at], ":")
		p.put("user", user)
		if has {
			p.put("password", password)
		}
		authority = authority[at+1:]
	}
	p.put("dbname", database)
	p.hosts(authority)
	p.query(query)
	if p.err != nil {
		return nil, p.err
	}
	return p.address()
}

// pgParts are the parts of an address, decoded.
type pgParts struct {
	set     map[string]string
	ignored []string
	pooler  bool
	err     error
}

func (p *pgParts) fail(err error) { p.err = cmp.Or(p.err, err) }

// put decodes a part and keeps it, unless it is empty.
func (p *pgParts) put(name, encoded string) {
	value, err := url.PathUnescape(encoded)
	if err != nil || strings.ContainsRune(value, 0) {
		p.fail(badURL("has a part (%s) whose percent signs cannot be read: %s", name, pgWanted))
		return
	}
	if value != "" {
		p.set[name] = value
	}
}

// hosts reads the machines: one or several, each with or without a port.
func (p *pgParts) hosts(list string) {
	if list == "" {
		return
	}
	var hosts, ports []string
	for _, one := range strings.Split(list, ",") {
		host, port := one, ""
		if inner, after, ok := strings.Cut(strings.TrimPrefix(one, "["), "]"); ok && strings.HasPrefix(one, "[") {
			host, port = inner, strings.TrimPrefix(after, ":")
			if after != "" && !strings.HasPrefix(after, ":") || net.ParseIP(host) == nil {
				p.fail(badURL("names a machine that cannot be read: %s", pgWanted))
			}
		} else if i := strings.LastIndexByte(one, ':'); i >= 0 {
			host, port = one[:i], one[i+1:]
			if strings.Contains(host, ":") {
				p.fail(badURL("names a machine with several colons: an IPv6 address stands in square brackets, and special characters of the password are percent-encoded"))
			}
		}
		host, err := url.PathUnescape(host)
		if err != nil || strings.ContainsAny(host, ", '\\\x00") {
			p.fail(badURL("names a machine that cannot be read: %s", pgWanted))
		}
		p.fail(checkPort(port))
		hosts, ports = append(hosts, host), append(ports, port)
	}
	p.set["host"], p.set["port"] = strings.Join(hosts, ","), strings.Join(ports, ",")
	if strings.Trim(p.set["port"], ",") == "" {
		delete(p.set, "port")
	}
}

func checkPort(port string) error {
	if n, err := strconv.Atoi(port); port != "" && (err != nil || n < 1 || n > 65535) {
		return badURL("has a port that is no number from 1 to 65535: %s", pgWanted)
	}
	return nil
}

// query reads the parameters.
func (p *pgParts) query(text string) {
	params := map[string]string{}
	var names []string
	for pair := range strings.SplitSeq(text, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		if !isParameter(name) {
			p.fail(badURL("has a parameter without a sensible name: %s", pgWanted))
			return
		}
		value, err := url.PathUnescape(value)
		if err != nil || strings.ContainsAny(value, "\x00\r\n") {
			p.fail(badURL("has a parameter %s whose percent signs cannot be read", name))
			return
		}
		if _, twice := params[name]; !twice {
			names = append(names, name)
		}
		params[name] = value
	}
	for _, name := range names {
		p.parameter(name, params[name])
	}
	slices.Sort(p.ignored)
}

// isParameter tells whether a text can be the name of a parameter, and not a
// piece of a password with a question mark.
func isParameter(name string) bool {
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return name != "" && len(name) <= 40
}

// parameter takes one parameter.
func (p *pgParts) parameter(name, value string) {
	switch name {
	case "host", "hostaddr":
		p.set["host"] = value
	case "user", "password", "application_name":
		p.set[name] = value
	case "dbname", "database":
		p.set["dbname"] = value
	case "port":
		for port := range strings.SplitSeq(value, ",") {
			p.fail(checkPort(port))
		}
		p.set["port"] = value
	case "pgbouncer":
		p.pooler = isOn(value)
	case "ssl":
		p.ssl(value)
	case "schema", "currentSchema":
		if _, has := p.set["search_path"]; !has {
			p.set["search_path"] = pgIdent(value)
		}
	case "search_path":
		p.set[name] = value
	case "options":
		if path, ok := strings.CutPrefix(strings.Join(strings.Fields(value), ""), "-csearch_path="); ok && !strings.Contains(path, "-c") {
			p.set["search_path"] = path
			return
		}
		p.ignored = append(p.ignored, name)
	default:
		if slices.Contains(pgDriver, name) {
			p.set[name] = value
			return
		}
		p.ignored = append(p.ignored, name)
	}
}

// ssl reads the parameter of Node's driver.
func (p *pgParts) ssl(value string) {
	if p.set["sslmode"] != "" {
		return
	}
	switch strings.ToLower(value) {
	case "no-verify":
		p.set["sslmode"] = "no-verify"
	case "false", "0", "off", "no", "disable":
		p.set["sslmode"] = "disable"
	case "", "true", "1", "on", "yes", "require":
		p.set["sslmode"] = "require"
	default:
		p.fail(badURL("has a parameter ssl that is none of true, false, no-verify"))
	}
}

func isOn(value string) bool {
	return slices.Contains([]string{"true", "1", "yes", "on"}, strings.ToLower(value))
}

// pgIdent quotes a name for SQL.
func pgIdent(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// knownPooler tells whether a machine is a pooler that hands each transaction to
// any session: Supabase's and Neon's.
func knownPooler(host, port string) bool {
	host = strings.ToLower(host)
	return port == "6543" || strings.HasSuffix(host, ".pooler.supabase.com") ||
		strings.HasSuffix(host, ".neon.tech") && strings.Contains(host, "-pooler.")
}

// check says what makes no sense among the values.
func (p *pgParts) check() error {
	if mode, has := p.set["sslmode"]; has && !slices.Contains(pgSSLModes, mode) {
		return badURL("has an sslmode that is none of %s", strings.Join(pgSSLModes, ", "))
	}
	if target, has := p.set["target_session_attrs"]; has && !slices.Contains(pgTargets, target) {
		return badURL("has a target_session_attrs that is none of %s", strings.Join(pgTargets, ", "))
	}
	if timeout, has := p.set["connect_timeout"]; has {
		if n, err := strconv.Atoi(timeout); err != nil || n < 0 || n > pgMaxConnect {
			return badURL("has a connect_timeout that is no number of seconds up to %d", pgMaxConnect)
		}
	}
	hosts, ports := strings.Split(p.set["host"], ","), strings.Split(p.set["port"], ",")
	if len(ports) > 1 && len(ports) != len(hosts) {
		return badURL("has %d ports for %d machines", len(ports), len(hosts))
	}
	return nil
}

// address makes the driver's settings.
func (p *pgParts) address() (*pgAddress, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	if p.set["sslmode"] == "no-verify" {
		p.set["sslmode"] = "require"
		delete(p.set, "sslrootcert") // with which require would verify
	}
	if strings.Contains(p.set["host"], ",") && p.set["target_session_attrs"] == "" {
		p.set["target_session_attrs"] = "read-write" // of several, the one that can be written
	}
	if n, _ := strconv.Atoi(p.set["connect_timeout"]); n == 0 {
		p.set["connect_timeout"] = strconv.Itoa(pgConnectSeconds)
	}
	config, err := pgx.ParseConfig(p.conninfo())
	if err != nil {
		return nil, p.refused(err)
	}
	a := &pgAddress{config: config, pooler: p.pooler, searchPath: p.set["search_path"], ignored: p.ignored, password: config.Password}
	a.name(p)
	config.RuntimeParams = map[string]string{"client_encoding": "UTF8", "application_name": cmp.Or(p.set["application_name"], pgApplication)}
	config.DialFunc = (&net.Dialer{
		Timeout:         config.ConnectTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3},
	}).DialContext
	config.DefaultQueryExecMode, config.StatementCacheCapacity, config.DescriptionCacheCapacity = pgx.QueryExecModeCacheStatement, pgStatements, 0
	if a.pooler {
		// Without a name, a statement is parsed, bound and executed in one go.
		config.DefaultQueryExecMode, config.StatementCacheCapacity, config.DescriptionCacheCapacity = pgx.QueryExecModeCacheDescribe, 0, pgStatements
		config.DialFunc = dialToConnect(config.DialFunc)
	}
	return a, nil
}

type connectingKey struct{}

// connecting marks the context of a connection that is being opened.
func connecting(ctx context.Context) context.Context {
	return context.WithValue(ctx, connectingKey{}, true)
}

// dialToConnect dials for connections alone. The driver dials as well to ask for
// the end of a statement that was given up; of that pgbouncer 1.18 may die, when
// the one who asks leaves before the server was asked ("bad client state"). It
// gives a statement up anyway when its client is gone.
func dialToConnect(dial pgconn.DialFunc) pgconn.DialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if ctx.Value(connectingKey{}) == nil {
			return nil, errors.New("nothing is cancelled through a pooler")
		}
		return dial(ctx, network, addr)
	}
}

// name says where the database is, and tells it apart from others.
func (a *pgAddress) name(p *pgParts) {
	var places []string
	add := func(host string, port uint16) {
		number := strconv.Itoa(int(port))
		place := net.JoinHostPort(host, number)
		if !slices.Contains(places, place) {
			places = append(places, place)
		}
		a.pooler = a.pooler || knownPooler(host, number)
	}
	add(a.config.Host, a.config.Port)
	for _, f := range a.config.Fallbacks {
		add(f.Host, f.Port)
	}
	a.place = "PostgreSQL at " + gateway.Clip(clean(strings.Join(places, ",")+"/"+a.config.Database), 200)
	slices.Sort(places)
	parts := append(places, a.config.Database, a.config.User, p.set["search_path"])
	sum := sha256.Sum256([]byte(strings.ToLower(strings.Join(parts, "\x00"))))
	a.fingerprint = hex.EncodeToString(sum[:16])
}

// conninfo writes the settings in the form of keywords and values.
func (p *pgParts) conninfo() string {
	var b strings.Builder
	for name, value := range p.set {
		if name == "search_path" || name == "application_name" {
			continue
		}
		value = strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(value)
		b.WriteString(name + "='" + value + "' ")
	}
	return b.String()
}

// refused says what the driver has against the settings, without the address,
// which its own words repeat.
func (p *pgParts) refused(err error) error {
	reason := "it cannot be used"
	if cause := errors.Unwrap(err); cause != nil {
		reason = cause.Error()
	}
	for _, name := range []string{"password", "sslpassword"} {
		if secret := p.set[name]; secret != "" {
			reason = strings.ReplaceAll(reason, secret, "***")
		}
	}
	return badURL("makes no sense: %s", gateway.Clip(clean(reason), 200))
}
