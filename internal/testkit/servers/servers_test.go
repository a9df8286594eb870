package servers

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestMain(m *testing.M) { Main(m) }

// value runs a query on a connection of its own and returns what it gives.
func value(tb testing.TB, url, sql string) (string, error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 5*time.Second)
	defer cancel()
	config, err := pgx.ParseConfig(strings.Replace(url, "&pgbouncer=true", "", 1))
	if err != nil {
		tb.Fatal(err)
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(ctx) }()
	var got string
	err = conn.QueryRow(ctx, sql).Scan(&got)
	return got, err
}

func mustValue(tb testing.TB, url, sql string) string {
	tb.Helper()
	got, err := value(tb, url, sql)
	if err != nil {
		tb.Fatal(err)
	}
	return got
}

// try returns a func that must have done its work.
func try(tb testing.TB, f func() error) {
	tb.Helper()
	if err := f(); err != nil {
		tb.Fatal(err)
	}
}

func TestPostgresFailsAndComesBack(t *testing.T) {
	t.Parallel()
	p, err := StartPostgres("", PostgresOptions{Password: "fake-canary-password", TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	b, err := StartPgbouncer("", p)
	if err != nil {
		t.Fatal(err)
	}
	name := p.CreateDatabase(t)
	for _, url := range []string{p.URL(name), p.TLSURL(name), p.SocketURL(name), b.URL(name)} {
		mustValue(t, url, "select 'x'")
	}
	if _, err := value(t, strings.Replace(p.URL(name), "canary", "wrong", 1), "select 'x'"); err == nil {
		t.Error("a wrong password did")
	}
	faults := map[string]struct{ fail, heal func() error }{
		"stop":   {p.Stop, p.Start},
		"kill":   {func() error { p.Kill(); return nil }, p.Start},
		"freeze": {func() error { p.Freeze(); return nil }, func() error { p.Thaw(); return nil }},
		"pooler": {b.Stop, b.Start},
	}
	for fault, f := range faults {
		children := family(p.pid)
		try(t, f.fail)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if conn, err := pgx.Connect(ctx, b.URL(name)[:strings.Index(b.URL(name), "&")]); err == nil {
			if _, err := conn.Exec(ctx, "select 1"); err == nil {
				t.Errorf("%s: it answers", fault)
			}
		}
		cancel()
		if alive := anyAlive(children); alive != (fault == "freeze" || fault == "pooler") {
			t.Errorf("%s: processes alive: %v", fault, alive)
		}
		try(t, f.heal)
		try(t, func() error {
			return p.await(func(context.Context) error {
				_, err := value(t, b.URL(name), "select 'x'")
				return err
			})
		})
	}
}

func TestDatabasesAreDropped(t *testing.T) {
	t.Parallel()
	p := SharedPostgres(t)
	const all = "select count(*)::text from pg_database where datname like 'test_%'"
	t.Run("two", func(t *testing.T) {
		urls := []string{p.Database(t), SharedPgbouncer(t).Database(t)}
		conn, err := pgx.Connect(t.Context(), urls[0])
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
		if urls[0] == urls[1] || mustValue(t, p.URL(superuser), all) != "2" {
			t.Errorf("databases: %v", urls)
		}
	})
	if n := mustValue(t, p.URL(superuser), all); n != "0" {
		t.Errorf("%s databases are left", n)
	}
}

func TestRedisFailsAndComesBack(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]RedisOptions{
		"plain": {}, "password": {Password: "fake-password"}, "user, TLS": {User: "pool", Password: "fake-password", TLS: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := StartRedis("", o)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Do(t.Context(), "SET", "a", "b"); err != nil {
				t.Fatal(err)
			}
			for fault, f := range map[string]struct{ fail, heal func() error }{
				"stop":   {r.Stop, r.Start},
				"kill":   {func() error { r.Kill(); return nil }, r.Start},
				"freeze": {func() error { r.Freeze(); return nil }, func() error { r.Thaw(); return nil }},
			} {
				try(t, f.fail)
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				if answer, err := r.Do(ctx, "GET", "a"); err == nil {
					t.Errorf("%s: it answers %q", fault, answer)
				}
				cancel()
				try(t, f.heal)
				if answer, err := r.Do(t.Context(), "GET", "a"); err != nil || answer != "b" {
					t.Errorf("%s: %q %v", fault, answer, err)
				}
			}
		})
	}
}

func TestSentinelPutsTheReplicaInPlace(t *testing.T) {
	t.Parallel()
	s, err := StartSentinel("", RedisOptions{Password: "fake-password"})
	if err != nil {
		t.Fatal(err)
	}
	if master, err := s.Master(t.Context()); err != nil || master != s.Nodes[0].Addr() {
		t.Errorf("master %q %v", master, err)
	}
	s.Nodes[0].Kill()
	try(t, func() error {
		return s.Nodes[1].await(func(ctx context.Context) error {
			_, err := s.Nodes[1].Do(ctx, "SET", "a", "b") // a replica is for reading only
			return err
		})
	})
}

func TestClusterSharesTheSlots(t *testing.T) {
	t.Parallel()
	c, err := StartCluster("", RedisOptions{Password: "fake-password"})
	if err != nil {
		t.Fatal(err)
	}
	taken, moved := 0, 0
	for _, addr := range c.Nodes {
		_, err := addr.Do(t.Context(), "SET", "a", "b")
		switch {
		case err == nil:
			taken++
		case strings.Contains(err.Error(), "MOVED"):
			moved++
		default:
			t.Error(err)
		}
	}
	if taken != 1 || moved != len(c.Addresses())-1 {
		t.Errorf("%d nodes take a key, %d send on", taken, moved)
	}
}

func TestWhatIsNotInstalledIsNamed(t *testing.T) {
	t.Parallel()
	_, err := findProgram("no-such-server", "no-such-package")
	if err == nil || !strings.Contains(err.Error(), "Debian package: no-such-package") {
		t.Errorf("%v", err)
	}
}

func TestAPortStaysTheServersOwn(t *testing.T) {
	t.Parallel()
	r, err := StartRedis("", RedisOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(); err == nil {
		t.Error("it was started twice")
	}
	if r.Kill(); r.Running() {
		t.Error("it runs after it was killed")
	}
	if err := r.Stop(); err != nil {
		t.Error(err)
	}
	places, err := os.ReadFile(filepath.Join(home.dir, "places"))
	if err != nil || !strings.Contains(string(places), r.dir+"\n") {
		t.Errorf("the place is not noted for the one who cleans up: %v", err)
	}
	if info, err := os.Stat(r.dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", info, err)
	}
}
