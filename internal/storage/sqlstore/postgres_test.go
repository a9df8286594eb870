package sqlstore

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit/servers"
)

func TestConformanceOfPostgreSQL(t *testing.T) {
	t.Parallel()
	runConformance(t, func(t *testing.T) openStore {
		return onPostgres(t, servers.SharedPostgres(t).URL(madeTables(t)))
	})
}

func TestConformanceThroughPooler(t *testing.T) {
	t.Parallel()
	runConformance(t, func(t *testing.T) openStore {
		return onPostgres(t, servers.SharedPgbouncer(t).URL(madeTables(t)))
	})
}

// onPostgres opens stores on one database.
func onPostgres(t *testing.T, url string) openStore {
	return func(o Options) *Store {
		t.Helper()
		o.URL = gateway.Secret(url)
		return mustOpen(t, o)
	}
}

// databases are those with empty tables that no test uses now. To empty the
// tables again takes far less time than to make a database.
var databases struct {
	template sync.Once
	made     atomic.Int64
	mu       sync.Mutex // guards free
	free     []string
}

const templateDatabase = "with_tables"

// emptyTables deletes every row but those that say which tables there are.
const emptyTables = `do $$
declare name text;
begin
	for name in select tablename from pg_tables where schemaname = 'public' and tablename <> 'pool_schema' loop
		execute 'delete from ' || quote_ident(name);
	end loop;
end $$`

// madeTables gives a database with empty tables, by its name, until the test ends.
// Its stores must be closed by then.
func madeTables(t testing.TB) string {
	t.Helper()
	p := servers.SharedPostgres(t)
	databases.template.Do(func() {
		onServer(t, p, "create database "+templateDatabase+" template template0 encoding 'UTF8' locale_provider icu icu_locale 'en-US' locale 'C.UTF-8'")
		mustClose(t, mustOpen(t, Options{URL: gateway.Secret(p.URL(templateDatabase))}))
	})
	databases.mu.Lock()
	name := ""
	if n := len(databases.free); n > 0 {
		name, databases.free = databases.free[n-1], databases.free[:n-1]
	}
	databases.mu.Unlock()
	if name == "" {
		name = fmt.Sprintf("copy_%d", databases.made.Add(1))
		onServer(t, p, "create database "+name+" template "+templateDatabase)
	}
	t.Cleanup(func() {
		if t.Failed() {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		conn, err := pgx.Connect(ctx, p.URL(name))
		if err == nil {
			_, err = conn.Exec(ctx, emptyTables)
			_ = conn.Close(ctx)
		}
		if err != nil {
			t.Errorf("empty the tables: %v", err)
			return
		}
		databases.mu.Lock()
		defer databases.mu.Unlock()
		databases.free = append(databases.free, name)
	})
	return name
}

func emptyDatabase(t testing.TB) gateway.Secret {
	t.Helper()
	return gateway.Secret(servers.SharedPostgres(t).Database(t))
}

// onServer runs statements as the superuser, beside any store.
func onServer(t testing.TB, p *servers.Postgres, texts ...string) {
	t.Helper()
	inDatabase(t, p.URL("postgres"), texts...)
}

func inDatabase(t testing.TB, address string, texts ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, text := range texts {
		if _, err := conn.PgConn().Exec(ctx, text).ReadAll(); err != nil {
			t.Fatalf("%.80s: %v", text, err)
		}
	}
}

func TestFirstStartsAtOnce(t *testing.T) {
	t.Parallel()
	address := emptyDatabase(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s, err := Open(t.Context(), Options{URL: address, EncryptionKey: masterKey(1)})
			if err != nil {
				t.Error(err)
				return
			}
			if _, _, err = s.AddKeys(t.Context(), gateway.Ollama, yield(someKeys(0, 10), nil), nil); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s := mustOpen(t, Options{URL: address, EncryptionKey: masterKey(1)})
	if n := len(all(t, s, gateway.Ollama)); n != 10 {
		t.Errorf("%d keys, want 10", n)
	}
	if s.Engine() != EnginePostgreSQL || !s.Shared() || !s.Opened() {
		t.Errorf("the store says it is %s, shared %t, opened %t", s.Engine(), s.Shared(), s.Opened())
	}
}
