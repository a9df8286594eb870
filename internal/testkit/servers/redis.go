package servers

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// RedisOptions say how a Redis is set up.
type RedisOptions struct {
	User     string   // with the password; "": the default user
	Password string   // "": nobody needs any
	TLS      bool     // encrypted connections only, see CAFile
	Settings []string // further ones: name, value, name, value, …
}

// Redis is a Redis of its own. It keeps its data when it is stopped or killed.
type Redis struct {
	*Server
	options RedisOptions
	ca      string
}

// StartRedis starts a Redis, its files below dir as with StartPostgres.
func StartRedis(dir string, o RedisOptions) (*Redis, error) {
	port, err := home.port()
	if err != nil {
		return nil, fmt.Errorf("start redis: %w", err)
	}
	return startRedis(dir, "redis", port, o)
}

func startRedis(dir, name string, port int, o RedisOptions) (*Redis, error) {
	path, err := findProgram("redis-server", "redis-server")
	if err != nil {
		return nil, err
	}
	if dir, err = home.directory(dir, name); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	r := &Redis{options: o}
	args := []string{
		"--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "yes", "--appendfsync", "no",
		"--databases", "16", "--daemonize", "no",
	}
	switch {
	case o.User != "":
		args = append(args, "--user", "default", "off", "--user", o.User, "on", ">"+o.Password, "~*", "&*", "+@all")
	case o.Password != "":
		args = append(args, "--requirepass", o.Password, "--masterauth", o.Password)
	}
	if o.TLS {
		certificate, key, err := writeCertificate(dir)
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", name, err)
		}
		r.ca = certificate
		args = append(args, "--port", "0", "--tls-port", strconv.Itoa(port), "--tls-cert-file", certificate,
			"--tls-key-file", key, "--tls-ca-cert-file", certificate, "--tls-auth-clients", "no")
	} else {
		args = append(args, "--port", strconv.Itoa(port))
	}
	for i := 0; i+1 < len(o.Settings); i += 2 {
		args = append(args, "--"+o.Settings[i], o.Settings[i+1])
	}
	r.Server = &Server{
		name: name, dir: dir, path: path, args: args, port: port, orderly: syscall.SIGTERM, hurry: syscall.SIGKILL,
		answers: func(ctx context.Context) error {
			answer, err := r.Do(ctx, "PING")
			if err == nil && answer != "PONG" {
				err = errors.New(answer)
			}
			return err
		},
	}
	return r, r.Start()
}

// URL is the address of the server's database 0.
func (r *Redis) URL() string {
	u := url.URL{Scheme: "redis", Host: r.Addr(), Path: "/0"}
	if r.options.TLS {
		u.Scheme = "rediss"
	}
	if r.options.Password != "" {
		u.User = url.UserPassword(r.options.User, r.options.Password)
	}
	return u.String()
}

// CAFile is the authority of the server's certificate; "" without TLS.
func (r *Redis) CAFile() string { return r.ca }

// Do runs one command, its words without blanks, on a connection of its own,
// and returns the answer as text: of a list its parts, one a line.
func (r *Redis) Do(ctx context.Context, words ...string) (answer string, err error) {
	conn, err := r.dial(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if until, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(until); err != nil {
			return "", err
		}
	}
	in := bufio.NewReader(conn)
	if r.options.Password != "" {
		user := r.options.User
		if user == "" {
			user = "default"
		}
		if _, err := ask(conn, in, "AUTH", user, r.options.Password); err != nil {
			return "", err
		}
	}
	return ask(conn, in, words...)
}

func (r *Redis) dial(ctx context.Context) (net.Conn, error) {
	if r.ca == "" {
		return new(net.Dialer).DialContext(ctx, "tcp", r.Addr())
	}
	certificate, err := os.ReadFile(r.ca)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certificate)
	d := tls.Dialer{Config: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	return d.DialContext(ctx, "tcp", r.Addr())
}

// ask sends a command in one line, as Redis takes it too, and reads the answer;
// see https://redis.io/docs/latest/develop/reference/protocol-spec/.
func ask(out io.Writer, in *bufio.Reader, words ...string) (string, error) {
	if _, err := io.WriteString(out, strings.Join(words, " ")+"\r\n"); err != nil {
		return "", err
	}
	return readAnswer(in)
}

func readAnswer(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", errors.New("redis: an empty answer")
	}
	kind, rest := line[0], line[1:]
	switch kind {
	case '+', ':':
		return rest, nil
	case '-':
		return "", errors.New("redis: " + rest)
	}
	n, err := strconv.Atoi(rest)
	if err != nil || n < 0 {
		return "", err // -1 is nothing
	}
	switch kind {
	case '$':
		text := make([]byte, n+2)
		_, err := io.ReadFull(in, text)
		return string(text[:n]), err
	case '*':
		var all []string
		for range n {
			one, err := readAnswer(in)
			if err != nil {
				return "", err
			}
			all = append(all, one)
		}
		return strings.Join(all, "\n"), nil
	default:
		return "", fmt.Errorf("redis: an answer of the kind %q", kind)
	}
}
