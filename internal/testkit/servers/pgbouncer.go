package servers

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Pgbouncer is a pgbouncer in transaction mode before a PostgreSQL, for any of
// its databases. A PostgreSQL that was away is tried again every second;
// everything else is pgbouncer's default, so parameters of a connection that it
// does not know are refused.
type Pgbouncer struct {
	*Server
	postgres *Postgres
}

const pgbouncerSettings = `[databases]
* = host=127.0.0.1 port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
pool_mode = transaction
max_client_conn = 500
default_pool_size = 40
server_login_retry = 1
auth_type = %s
auth_file = %s
admin_users = %s
`

// StartPgbouncer starts a pgbouncer, its files below dir as with StartPostgres.
// Clients log in as they would to PostgreSQL itself.
func StartPgbouncer(dir string, p *Postgres) (*Pgbouncer, error) {
	path, err := findProgram("pgbouncer", "pgbouncer")
	if err != nil {
		return nil, err
	}
	if dir, err = home.directory(dir, "pgbouncer"); err != nil {
		return nil, fmt.Errorf("start pgbouncer: %w", err)
	}
	port, err := home.port()
	if err != nil {
		return nil, fmt.Errorf("start pgbouncer: %w", err)
	}
	auth, users, settings := "trust", filepath.Join(dir, "users.txt"), filepath.Join(dir, "pgbouncer.ini")
	if p.password != "" {
		auth = "scram-sha-256"
	}
	if err := write(users, fmt.Sprintf("%q %q\n", superuser, p.password)); err != nil {
		return nil, fmt.Errorf("start pgbouncer: %w", err)
	}
	if err := write(settings, fmt.Sprintf(pgbouncerSettings, p.port, port, auth, users, superuser)); err != nil {
		return nil, fmt.Errorf("start pgbouncer: %w", err)
	}
	b := &Pgbouncer{postgres: p}
	b.Server = &Server{
		name: "pgbouncer", dir: dir, path: path, args: []string{settings}, port: port,
		orderly: syscall.SIGTERM, hurry: syscall.SIGKILL, answers: b.answer,
	}
	return b, b.Start()
}

// answer asks pgbouncer itself, so that it may be started without a PostgreSQL.
func (b *Pgbouncer) answer(ctx context.Context) (err error) {
	config, err := pgx.ParseConfig(b.postgres.at(b.Addr(), "pgbouncer", "sslmode=disable"))
	if err != nil {
		return err
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		err = errors.Join(err, conn.Close(ctx))
	}()
	_, err = conn.Exec(ctx, "show version")
	return err
}

// URL is the address of a database through pgbouncer.
func (b *Pgbouncer) URL(db string) string {
	return b.postgres.at(b.Addr(), db, "sslmode=disable&pgbouncer=true")
}

// Database makes an empty database as Postgres.Database does, and returns its
// address through pgbouncer.
func (b *Pgbouncer) Database(tb testing.TB) string {
	tb.Helper()
	return b.URL(b.postgres.CreateDatabase(tb))
}
