package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit/servers"
)

// failing is a PostgreSQL that a test may stop, and a store on it.
type failing struct {
	*servers.Postgres
	address gateway.Secret
}

func startFailing(t *testing.T, o servers.PostgresOptions) failing {
	t.Helper()
	p, err := servers.StartPostgres("", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return failing{p, gateway.Secret(p.Database(t)) + "&connect_timeout=1"}
}

func (f failing) start(t *testing.T) {
	t.Helper()
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
}

func (f failing) stop(t *testing.T) {
	t.Helper()
	if err := f.Stop(); err != nil {
		t.Fatal(err)
	}
}

// countOne writes and reads: each call counts one request.
func countOne(ctx context.Context, s *Store) (int64, error) {
	if err := s.Apply(ctx, []gateway.Delta{{Provider: gateway.Ollama, Global: gateway.Counts{Requests: 1}}}); err != nil {
		return 0, err
	}
	c, err := s.Totals(ctx, gateway.Ollama)
	return c.Requests, err
}

func mustCount(t *testing.T, s *Store, what string, want int64) {
	t.Helper()
	if n, err := countOne(t.Context(), s); err != nil || n != want {
		t.Fatalf("%s: %d requests, %v; want %d", what, n, err, want)
	}
}

// wantAway checks that an error says that the database is out of reach, to a
// program and to people, and nothing of the password.
func wantAway(t *testing.T, what string, err error) {
	t.Helper()
	if !Unavailable(err) {
		t.Errorf("%s: error %v, want one that is Unavailable", what, err)
		return
	}
	e := gateway.AsError(err)
	if e.Kind != gateway.KindUnavailable || !strings.Contains(e.Message, "out of reach") || e.RetryAfter <= 0 {
		t.Errorf("%s: people are told %+v", what, e)
	}
	if line := err.Error(); strings.Contains(line, canary) || strings.Contains(line, "\n") {
		t.Errorf("%s: error %q has the password or several lines", what, line)
	}
}

func TestServerThatComesAndGoes(t *testing.T) {
	t.Parallel()
	f := startFailing(t, servers.PostgresOptions{Password: canary, Settings: map[string]string{"synchronous_commit": "on"}})
	f.stop(t)
	s, err := New(Options{URL: f.address, patience: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	_, err = s.Tokens(t.Context())
	wantAway(t, "a call before the store is open", err)
	wantAway(t, "opening without a server", s.Open(t.Context()))
	f.start(t)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustCount(t, s, "at first", 1)

	f.stop(t)
	_, err = s.Totals(t.Context(), gateway.Ollama)
	wantAway(t, "reading without a server", err)
	_, err = countOne(t.Context(), s)
	wantAway(t, "writing without a server", err)
	f.start(t)
	mustCount(t, s, "after a stop", 2)
	f.stop(t)
	f.start(t)
	mustCount(t, s, "after connections died while they were idle", 3)
	f.Kill()
	f.start(t)
	mustCount(t, s, "after a kill", 4)

	many := s.dialect.atOnce()
	keys := func(yield func(gateway.Key, error) bool) {
		for n := range 3 * many {
			if n == 2*many {
				f.Kill()
			}
			if !yield(gateway.Key{Secret: secretOf(n)}, nil) {
				return
			}
		}
	}
	_, _, err = s.AddKeys(t.Context(), gateway.Ollama, keys, nil)
	wantAway(t, "killed in the middle of an import", err)
	f.start(t)
	if n := len(all(t, s, gateway.Ollama)); n != 0 {
		t.Errorf("%d keys of an import that was cut off", n)
	}
}

func TestServerThatStandsStill(t *testing.T) {
	t.Parallel()
	f := startFailing(t, servers.PostgresOptions{Password: canary})
	s := mustOpen(t, Options{URL: f.address, patience: time.Second})
	fresh, err := New(Options{URL: f.address, patience: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	mustCount(t, s, "at first", 1)
	f.Freeze()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = s.Totals(ctx, gateway.Ollama)
	wantAway(t, "a call with a deadline", err)
	if took := time.Since(began); took > 3*time.Second || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a call with a deadline of 300 ms took %v and said %v", took, err)
	}
	gone, leave := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, leave)
	if _, err := s.Totals(gone, gateway.Ollama); !errors.Is(err, context.Canceled) || Unavailable(err) {
		t.Errorf("a caller that left is told %v", err)
	}
	wantAway(t, "opening", fresh.Open(t.Context()))
	_, err = s.Totals(t.Context(), gateway.Ollama)
	wantAway(t, "a call without a deadline", err)
	f.Thaw()
	mustCount(t, s, "awake again", 2)
	mustCount(t, s, "and again", 3)
}

func TestLockThatOthersKeep(t *testing.T) {
	t.Parallel()
	address := emptyDatabase(t)
	s, other := mustOpen(t, Options{URL: address}), mustOpen(t, Options{URL: address})
	tx, err := other.writer.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err = countOne(ctx, s)
	wantAway(t, "a write while another is under way", err)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it waited for %v", took)
	}
	if _, err := s.Totals(t.Context(), gateway.Ollama); err != nil {
		t.Errorf("a read while another writes: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	mustCount(t, s, "afterwards", 1)
}

func TestFaultsOfPostgreSQL(t *testing.T) {
	t.Parallel()
	p, err := servers.StartPostgres("", servers.PostgresOptions{Password: canary, TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	pooler, err := servers.StartPgbouncer("", p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pooler.Kill)
	onServer(t, p, "create database pool", "create role poor login password '"+canary+"'", "create role crowded login password '"+canary+"' connection limit 0")
	inDatabase(t, p.URL("pool"), "revoke create on schema public from public")
	with := func(user, password string) gateway.Secret {
		u, err := url.Parse(p.URL("pool"))
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(user, password)
		return gateway.Secret(u.String())
	}
	port := fmt.Sprint(p.Port())
	for what, c := range map[string]struct {
		address gateway.Secret
		words   string
		away    bool
	}{
		"a wrong password":      {with("poor", canary+"-wrong"), "password is wrong", false},
		"no such user":          {with("nobody", canary), "password is wrong", false},
		"no such database":      {gateway.Secret(p.URL("missing")), "no such database", false},
		"no right to tables":    {with("poor", canary), "right to create", false},
		"too many connections":  {with("crowded", canary), "too many connections", true},
		"no such schema":        {gateway.Secret(p.URL("pool")) + "&schema=missing", "schema", false},
		"an unknown authority":  {gateway.Secret(strings.Replace(p.URL("pool"), "sslmode=disable", "sslmode=verify-full", 1)), "certificate", false},
		"nobody there":          {gateway.Secret(strings.Replace(p.URL("pool"), port, "1", 1)), "nothing answers", true},
		"an unknown machine":    {"postgres://u:" + canary + "@nobody.invalid/pool", "name of its machine", true},
		"no database by pooler": {gateway.Secret(pooler.URL("missing")), "no such database", false},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := Open(t.Context(), Options{URL: c.address})
			if err == nil || !strings.Contains(err.Error(), c.words) || strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one with %q and without the password", err, c.words)
			}
			if Unavailable(err) != c.away {
				t.Errorf("Unavailable is %t of %v", Unavailable(err), err)
			}
		})
	}
	trusted := gateway.Secret(p.TLSURL("pool"))
	mustClose(t, mustOpen(t, Options{URL: trusted}))

	onServer(t, p, "create role known superuser login password '"+canary+"'")
	known := mustOpen(t, Options{URL: with("known", canary)})
	mustCount(t, known, "at first", 1)
	onServer(t, p, "alter role known password 'another'", "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'known'")
	_, err = known.Totals(t.Context(), gateway.Ollama)
	wantAway(t, "a password that was changed", err)
	if err == nil || !strings.Contains(err.Error(), "password is wrong") {
		t.Errorf("a password that was changed: %v", err)
	}

	s := mustOpen(t, Options{URL: gateway.Secret(pooler.URL("pool")), patience: 2 * time.Second})
	mustCount(t, s, "through the pooler", 2)
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err = countOne(ctx, s)
	wantAway(t, "a pooler without a server", err)
	pooler.Freeze()
	ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = countOne(ctx, s)
	wantAway(t, "a frozen pooler", err)
	pooler.Kill()
	_, err = s.Totals(t.Context(), gateway.Ollama)
	wantAway(t, "no pooler", err)
}

func TestServerWithoutTLS(t *testing.T) {
	t.Parallel()
	p := servers.SharedPostgres(t)
	_, err := Open(t.Context(), Options{URL: gateway.Secret(strings.Replace(p.URL("postgres"), "sslmode=disable", "sslmode=require", 1))})
	if err == nil || !strings.Contains(err.Error(), "does not encrypt") || Unavailable(err) {
		t.Errorf("error %v, want one about encryption", err)
	}
	mustClose(t, mustOpen(t, Options{URL: gateway.Secret(p.SocketURL(p.CreateDatabase(t)))}))
}

func TestWhatStatesMean(t *testing.T) {
	for _, c := range []struct {
		code, message, cause, cure string
		away                       bool
	}{
		{"57P03", "the database system is shutting down", "it is being stopped", pgCureAway, true},
		{"57P03", "the database system is starting up", "it is starting", pgCureAway, true},
		{"42P05", `prepared statement "stmtcache_1" already exists`, pgPooled[0], pgPooled[1], false},
		{"26000", `prepared statement "stmtcache_1" does not exist`, pgPooled[0], pgPooled[1], false},
	} {
		cause, cure, away := (&postgres{}).explain(fmt.Errorf("asked: %w", &pgconn.PgError{Code: c.code, Message: c.message}))
		if cause != c.cause || cure != c.cure || away != c.away {
			t.Errorf("%s %s: %q, %q, %t", c.code, c.message, cause, cure, away)
		}
	}
}

func TestWhatIsTriedAgain(t *testing.T) {
	d := &postgres{}
	for err, want := range map[error]bool{
		&pgconn.PgError{Code: "40001"}: true,
		&pgconn.PgError{Code: "40P01"}: true,
		&pgconn.PgError{Code: "0A000", Message: "cached plan must not change result type"}: true,
		&pgconn.PgError{Code: "0A000", Message: "something else"}:                          false,
		&pgconn.PgError{Code: "23505"}:                                                     false,
		context.DeadlineExceeded:                                                           false,
	} {
		if d.again(fmt.Errorf("in a transaction: %w", err)) != want {
			t.Errorf("%v: tried again is not %t", err, want)
		}
	}
	address := emptyDatabase(t)
	s, tries := mustOpen(t, Options{URL: address}), 0
	err := s.write(t.Context(), "try", func(ctx context.Context, _ *sql.Tx) error {
		if tries++; tries < 3 {
			return &pgconn.PgError{Code: "40P01"}
		}
		return nil
	})
	if err != nil || tries != 3 {
		t.Errorf("tried %d times: %v", tries, err)
	}
}

func TestPlaceholders(t *testing.T) {
	for text, want := range map[string]string{
		"select ? where a = '?' and \"?\" = ? || '''?'": "select $1 where a = '?' and \"?\" = $2 || '''?'",
		"select 1": "select 1",
	} {
		if got := numberPlaceholders(text); got != want {
			t.Errorf("%s became %s", text, got)
		}
	}
	if got := (&postgres{}).numbered("order by name collate binary limit ?"); got != `order by name collate "C" limit $1` {
		t.Error(got)
	}
}

func TestSeveralMachines(t *testing.T) {
	t.Parallel()
	standby, err := servers.StartPostgres("", servers.PostgresOptions{Settings: map[string]string{"default_transaction_read_only": "on"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(standby.Kill)
	p := servers.SharedPostgres(t)
	name := p.CreateDatabase(t)
	inDatabase(t, standby.URL("postgres"), "set default_transaction_read_only = off", "create database "+name)
	for what, hosts := range map[string]string{
		"nothing at the first": "127.0.0.1:1," + p.Addr(), "a standby first": standby.Addr() + "," + p.Addr(),
	} {
		s, err := Open(t.Context(), Options{URL: gateway.Secret(strings.Replace(p.URL(name), p.Addr(), hosts, 1))})
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if _, err := countOne(t.Context(), s); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		mustClose(t, s)
	}
	_, err = Open(t.Context(), Options{URL: gateway.Secret(standby.URL(name)) + "&target_session_attrs=read-write"})
	wantAway(t, "a standby alone", err)
}

// TestNothingIsCancelledThroughPooler gives a question up while the server
// stands still: what asks pgbouncer 1.18 to cancel it may end pgbouncer.
func TestNothingIsCancelledThroughPooler(t *testing.T) {
	t.Parallel()
	f := startFailing(t, servers.PostgresOptions{})
	pooler, err := servers.StartPgbouncer("", f.Postgres)
	if err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, Options{URL: gateway.Secret(pooler.Database(t)), patience: 300 * time.Millisecond})
	mustCount(t, s, "at first", 1)
	f.Freeze()
	_, err = s.Totals(t.Context(), gateway.Ollama)
	wantAway(t, "a question to a server that stands still", err)
	f.Thaw()
	mustCount(t, s, "awake again", 2)
	if said := pooler.LogTail(); bytes.Contains(said, []byte("cancel request")) || !pooler.Running() {
		t.Errorf("the pooler was asked to cancel something:\n%s", said)
	}
}
