package servers

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// superuser is who owns a cluster.
const superuser = "postgres"

// PostgresOptions say how a PostgreSQL is set up.
type PostgresOptions struct {
	Password string            // everybody logs in with it; "": nobody needs any
	TLS      bool              // encrypted connections are taken too, see CAFile
	Settings map[string]string // further ones of postgresql.conf
}

// Postgres is a PostgreSQL cluster of its own.
type Postgres struct {
	*Server
	password string
	ca       string
	made     atomic.Int64 // databases, for their names
}

// StartPostgres makes a cluster in a directory of its own below dir ("": one
// that is removed at the end) and starts it. The directory has to be within
// reach of the user as whom the server runs.
func StartPostgres(dir string, o PostgresOptions) (*Postgres, error) {
	path, err := findProgram("postgres", "postgresql")
	if err != nil {
		return nil, err
	}
	if dir, err = home.directory(dir, "postgres"); err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	if err := initdb(dir, o.Password); err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	port, err := home.port()
	if err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	p := &Postgres{password: o.Password}
	args := []string{"-D", filepath.Join(dir, "data")}
	set := func(name, value string) { args = append(args, "-c", name+"="+value) }
	for name, value := range map[string]string{
		"listen_addresses": "127.0.0.1", "port": fmt.Sprint(port), "unix_socket_directories": dir,
		"max_connections": "200", "shared_buffers": "16MB", "dynamic_shared_memory_type": "mmap",
		// What was committed is with the kernel, and outlives a kill.
		"fsync": "off", "full_page_writes": "off", "autovacuum_naptime": "1d", "log_timezone": "UTC", "timezone": "UTC",
	} {
		set(name, value)
	}
	if o.TLS {
		certificate, key, err := writeCertificate(dir)
		if err != nil {
			return nil, fmt.Errorf("start postgres: %w", err)
		}
		p.ca = certificate
		set("ssl", "on")
		set("ssl_cert_file", certificate)
		set("ssl_key_file", key)
	}
	for name, value := range o.Settings {
		set(name, value)
	}
	p.Server = &Server{
		name: "postgres", dir: dir, path: path, args: args, port: port,
		orderly: syscall.SIGINT, hurry: syscall.SIGQUIT, // "fast" and "immediate" shutdown
		answers: func(ctx context.Context) error { return p.exec(ctx, superuser, "select 1") },
	}
	return p, p.Start()
}

// initdb makes the cluster's files.
func initdb(dir, password string) error {
	path, err := findProgram("initdb", "postgresql")
	if err != nil {
		return err
	}
	args := []string{
		"-D", filepath.Join(dir, "data"), "-U", superuser, "--encoding=UTF8", "--locale=C",
		"--no-sync", "--no-instructions", "--auth=trust",
	}
	if password != "" {
		file := filepath.Join(dir, "password")
		if err := write(file, password+"\n"); err != nil {
			return err
		}
		args[len(args)-1] = "--auth=scram-sha-256"
		args = append(args, "--pwfile="+file)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...) //nolint:gosec // of this package
	cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC", "HOME=" + dir}
	if cmd.SysProcAttr, err = attributes(false); err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

// URL is the address of a database over TCP, without encryption.
func (p *Postgres) URL(db string) string { return p.at(p.Addr(), db, "sslmode=disable") }

// TLSURL is the address of a database over TCP with encryption and a
// certificate that is checked.
func (p *Postgres) TLSURL(db string) string {
	return p.at(p.Addr(), db, "sslmode=verify-full&sslrootcert="+url.QueryEscape(p.ca))
}

// SocketURL is the address of a database over the unix socket.
func (p *Postgres) SocketURL(db string) string {
	return p.at("", db, fmt.Sprintf("host=%s&port=%d", url.QueryEscape(p.dir), p.port))
}

// CAFile is the authority of the server's certificate; "" without TLS.
func (p *Postgres) CAFile() string { return p.ca }

func (p *Postgres) at(host, db, query string) string {
	user := url.User(superuser)
	if p.password != "" {
		user = url.UserPassword(superuser, p.password)
	}
	u := url.URL{Scheme: "postgres", User: user, Host: host, Path: "/" + db, RawQuery: query}
	return u.String()
}

// Database makes an empty database that is dropped, whoever uses it, at the end
// of the test, and returns its address.
func (p *Postgres) Database(tb testing.TB) string {
	tb.Helper()
	return p.URL(p.CreateDatabase(tb))
}

// CreateDatabase makes such a database and returns its name.
func (p *Postgres) CreateDatabase(tb testing.TB) string {
	tb.Helper()
	name := fmt.Sprintf("test_%d", p.made.Add(1))
	if err := p.exec(tb.Context(), superuser, "create database "+name); err != nil {
		tb.Fatalf("make a database: %v", err)
	}
	tb.Cleanup(func() {
		if !p.Running() {
			return // it goes with the cluster
		}
		ctx, cancel := context.WithTimeout(context.Background(), stopTime)
		defer cancel()
		if err := p.exec(ctx, superuser, "drop database if exists "+name+" with (force)"); err != nil {
			tb.Errorf("drop the database: %v", err)
		}
	})
	return name
}

// exec runs one statement on a connection of its own.
func (p *Postgres) exec(ctx context.Context, db, sql string) (err error) {
	conn, err := pgx.Connect(ctx, p.URL(db))
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		err = errors.Join(err, conn.Close(ctx))
	}()
	_, err = conn.Exec(ctx, sql)
	return err
}
