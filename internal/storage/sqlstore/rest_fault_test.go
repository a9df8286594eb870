package sqlstore

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit/rest"
	"ollama-api-pool/internal/testkit/servers"
)

// wantFault compares an error with what is to be told of it; the key is no part
// of that.
func wantFault(t *testing.T, what string, err error, away bool, words ...string) {
	t.Helper()
	var f *Fault
	if !errors.As(err, &f) || Unavailable(err) != away {
		t.Errorf("%s: away is %t, want %t: %v", what, Unavailable(err), away, err)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %q does not say %q", what, err, word)
		}
	}
	if strings.Contains(err.Error(), rest.ServiceKey) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%s: %q", what, err)
	}
}

func TestOptionsOfREST(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{
		{REST: REST{URL: "https://abc.example.com"}},
		{REST: REST{Key: rest.ServiceKey}},
		{REST: REST{URL: "postgres://abc.example.com", Key: rest.ServiceKey}},
		{REST: REST{URL: "https://abc.example.com", Key: rest.ServiceKey}, Path: "x.db"},
		{REST: REST{URL: "https://abc.example.com", Key: rest.ServiceKey}, URL: "postgres://h/d"},
	} {
		if _, err := New(o); err == nil || strings.Contains(err.Error(), rest.ServiceKey) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	s, err := New(Options{REST: REST{URL: "https://abc.example.com/rest/v1", Key: rest.ServiceKey}})
	if err != nil {
		t.Fatal(err)
	}
	same, err := New(Options{REST: REST{URL: "https://abc.example.com/", Key: "another"}})
	if err != nil {
		t.Fatal(err)
	}
	if s.Engine() != EnginePostgREST || !s.Shared() || s.Place() != "https://abc.example.com/rest/v1" || s.Fingerprint() != same.Fingerprint() {
		t.Errorf("engine %s, shared %t, place %s, fingerprints %s and %s", s.Engine(), s.Shared(), s.Place(), s.Fingerprint(), same.Fingerprint())
	}
	if err := s.Listen(t.Context(), func() {}); !errors.Is(err, ErrNoListen) {
		t.Errorf("Listen: %v", err)
	}
	_, err = s.Tokens(t.Context())
	wantFault(t, "before it is open", err, true)
}

func TestRESTWithoutTheScript(t *testing.T) {
	t.Parallel()
	server := rest.Start(t, servers.SharedPostgres(t).Database(t))
	open := func(key gateway.Secret) error {
		_, err := Open(t.Context(), Options{REST: REST{URL: server.URL, Key: key}})
		return err
	}
	wantFault(t, "an empty database", open(rest.ServiceKey), false, "migrate sql --rest", server.URL)
	script := mustScript(t, true)
	for range 2 {
		if err := server.Run(t.Context(), script); err != nil {
			t.Fatal(err)
		}
	}
	if err := open(rest.ServiceKey); err != nil {
		t.Errorf("after the script: %v", err)
	}
	wantFault(t, "a key that nobody knows", open("some-key"), false, "SUPABASE_SERVICE_ROLE_KEY")
	wantFault(t, "the key of a browser", open(rest.AnonKey), false, "SUPABASE_SERVICE_ROLE_KEY", "permission denied")
	for _, text := range []string{
		"select count(*) from ollama_api_keys", "select count(*) from pool_sessions", "delete from pool_schema",
		`select public.ollama_api_pool_sql('{"texts": ["delete from ollama_api_keys"], "run": [{"s": 0}], "commit": true}')`,
	} {
		for _, role := range []string{"anon", "authenticated"} {
			if err := server.Run(t.Context(), "set role "+role+"; "+text); err == nil || !strings.Contains(err.Error(), "permission denied") {
				t.Errorf("%s: %s: %v", role, text, err)
			}
			if err := server.Run(t.Context(), "reset role"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestRESTWithOlderTables: a new version finds the tables of an old one.
func TestRESTWithOlderTables(t *testing.T) {
	t.Parallel()
	server := startREST(t)
	steps, err := migrations()
	if err != nil {
		t.Fatal(err)
	}
	add(t, onREST(t, server)(Options{}), gateway.Ollama, someKeys(0, 3)...)
	err = server.Run(t.Context(), `delete from pool_schema where version_id >= 6; drop table pool_changes, pool_leases, pool_spool;
		alter table ollama_api_keys drop column state_version`)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), Options{REST: REST{URL: server.URL, Key: rest.ServiceKey}})
	wantFault(t, "older tables", err, false, "step 5", "migrate sql --rest", "SQL editor")
	if err := server.Run(t.Context(), mustScript(t, true)); err != nil {
		t.Fatal(err)
	}
	if n := len(all(t, onREST(t, server)(Options{}), gateway.Ollama)); n != 3 {
		t.Errorf("%d keys, want 3", n)
	}
	if _, err := server.Query(t.Context(), "insert into pool_schema (version_id, is_applied) values (1000, true)"); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, Options{REST: REST{URL: server.URL, Key: rest.ServiceKey}}) // a newer version has added something
	if got, err := server.Query(t.Context(), "select count(*) from pool_schema"); err != nil || got != int64(len(steps)+2) {
		t.Errorf("%v steps are noted, want %d; error %v", got, len(steps)+2, err)
	}
}

// TestScriptAndMigrationsAgree: the script makes what a store on PostgreSQL makes
// by itself, and each is content with the other's tables.
func TestScriptAndMigrationsAgree(t *testing.T) {
	t.Parallel()
	const columns = `select string_agg(concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default), e'\n' order by table_name, column_name)
		from information_schema.columns where table_schema = 'public'`
	const indexes = `select string_agg(indexdef, e'\n' order by indexname) from pg_indexes where schemaname = 'public'`
	bySelf, byScript, byOther := emptyDatabase(t), emptyDatabase(t), emptyDatabase(t)
	mustClose(t, mustOpen(t, Options{URL: bySelf}))
	inDatabase(t, byScript.Reveal(), mustScript(t, false))
	if err := rest.Setup(t.Context(), byOther.Reveal(), mustScript(t, true)); err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{columns, indexes} {
		want, err := rest.Start(t, bySelf.Reveal()).Query(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		for _, address := range []gateway.Secret{byScript, byOther} {
			got, err := rest.Start(t, address.Reveal()).Query(t.Context(), query)
			if err != nil {
				t.Fatal(err)
			}
			wantEqual(t, "what the script makes", got, want)
		}
	}
	for _, address := range []gateway.Secret{byScript, byOther} {
		mustClose(t, mustOpen(t, Options{URL: address}))
	}
	if err := rest.Setup(t.Context(), bySelf.Reveal(), mustScript(t, true)); err != nil {
		t.Errorf("the script where the tables are there: %v", err)
	}
	s := mustOpen(t, Options{REST: REST{URL: rest.Start(t, bySelf.Reveal()).URL, Key: rest.ServiceKey}})
	add(t, s, gateway.Ollama, someKeys(0, 1)...)
}

// TestRESTBesidePostgreSQL: instances that reach the same database in both ways
// follow each other.
func TestRESTBesidePostgreSQL(t *testing.T) {
	t.Parallel()
	server := startREST(t)
	over, direct := onREST(t, server)(Options{Instance: "rest"}), mustOpen(t, Options{URL: gateway.Secret(server.Database), Instance: "direct"})
	last, err := direct.LastChange(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	woken := make(chan struct{}, 100)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var listening sync.WaitGroup
	listening.Go(func() { _ = direct.Listen(ctx, func() { woken <- struct{}{} }) })
	<-woken // it listens
	add(t, over, gateway.Ollama, someKeys(0, 3)...)
	<-woken
	changes, _, whole, err := direct.Changes(t.Context(), last)
	if err != nil || !whole || len(changes) != 1 || changes[0].Origin != "rest" || len(changes[0].Keys) != 3 {
		t.Errorf("changes %+v, whole %t, error %v", changes, whole, err)
	}
	var wg sync.WaitGroup
	for _, s := range []*Store{over, direct} {
		wg.Go(func() {
			for range 10 {
				err := s.Apply(t.Context(), []gateway.Delta{{Provider: gateway.Ollama, Global: gateway.Counts{Requests: 1}}})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	total, err := over.Totals(t.Context(), gateway.Ollama)
	if err != nil || total.Requests != 20 {
		t.Errorf("%d requests, want 20; error %v", total.Requests, err)
	}
	cancel()
	listening.Wait()
}

// TestRESTBatchesOnce: a batch whose commit was cut off is sent again and
// arrives once, whether the database had carried it out or not.
func TestRESTBatchesOnce(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]bool{"before": false, "after": true} {
		t.Run(name, func(t *testing.T) {
			server := startREST(t)
			s := onREST(t, server)(Options{})
			add(t, s, gateway.Ollama, someKeys(0, 20)...)
			batch := gateway.Batch{Writer: "w", Number: 1, Deltas: []gateway.Delta{flushed()}}
			if _, err := s.ApplyBatch(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
			batch.Number++
			server.Before(func(c rest.Call) rest.Fault { return rest.Fault{Cut: c.Commit, After: after} })
			_, err := s.ApplyBatch(t.Context(), batch)
			wantFault(t, "cut off", err, true)
			server.Before(nil)
			for i := range 2 {
				done, err := s.ApplyBatch(t.Context(), batch)
				if err != nil || done.Again != (after || i > 0) {
					t.Errorf("sent again: %+v, error %v", done, err)
				}
			}
			total, err := s.Totals(t.Context(), gateway.Ollama)
			if want := 2 * batch.Deltas[0].Global.Requests; err != nil || total.Requests != want {
				t.Errorf("%d requests, want %d; error %v", total.Requests, want, err)
			}
		})
	}
}

// TestRESTFlush: what is written once a second costs one call.
func TestRESTFlush(t *testing.T) {
	t.Parallel()
	server := startREST(t)
	s := onREST(t, server)(Options{})
	add(t, s, gateway.Ollama, someKeys(0, 20)...)
	tok := gateway.Token{Hash: gateway.HashToken("sk-fake"), Providers: []gateway.ProviderName{gateway.Ollama}}
	if err := s.AddToken(t.Context(), tok); err != nil {
		t.Fatal(err)
	}
	batch := gateway.Batch{Writer: "w", Deltas: []gateway.Delta{flushed(), flushed()}}
	batch.Deltas[1].Keys, batch.Deltas[1].Tallies = nil, batch.Deltas[1].Tallies[:2]
	batch.Deltas[0].Tokens = []gateway.TokenDelta{{Hash: tok.Hash, LastUsed: noon, Counts: gateway.Counts{Requests: 50}}}
	batch.Deltas[1].Provider = gateway.OpenRouter
	for _, want := range []int{2, 1, 1} { // at first there are no tallies of these keys, which nobody could guess
		server.Calls()
		batch.Number++
		if _, err := s.ApplyBatch(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		if calls := server.Calls(); len(calls) != want {
			t.Errorf("batch %d took the calls %+v, want %d", batch.Number, calls, want)
		}
	}
}

func TestRESTOutOfReach(t *testing.T) {
	t.Parallel()
	server := startREST(t)
	var logged bytes.Buffer
	s := onREST(t, server)(Options{patience: 300 * time.Millisecond, Log: slog.New(slog.NewTextHandler(&logged, nil))})
	ask := func() error { _, err := s.Totals(t.Context(), gateway.Ollama); return err }
	write := func() error {
		return s.Apply(t.Context(), []gateway.Delta{{Provider: gateway.Ollama, Global: gateway.Counts{Requests: 1}}})
	}
	for what, f := range map[string]rest.Fault{
		"a gateway without PostgREST": {Status: 502, Body: "<html>"},
		"a paused project":            {Status: 540},
		"slowed down":                 {Status: 429, Body: `{"message":"slow down"}`},
		"a database that is away":     {Status: 503, Body: `{"code":"PGRST002","message":"Could not query the database for the schema cache. Retrying."}`},
		"a cut connection":            {Cut: true},
		"silence":                     {Wait: func(ctx context.Context) { <-ctx.Done() }},
	} {
		server.Before(func(rest.Call) rest.Fault { return f })
		wantFault(t, what+": reading", ask(), true)
		wantFault(t, what+": writing", write(), true)
		fresh, err := New(Options{REST: REST{URL: server.URL, Key: rest.ServiceKey}, patience: 300 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		wantFault(t, what+": opening", fresh.Open(t.Context()), true)
		server.Before(nil)
		if err := errors.Join(ask(), write(), fresh.Open(t.Context())); err != nil {
			t.Errorf("%s is over: %v", what, err)
		}
	}
	if strings.Contains(logged.String(), rest.ServiceKey) {
		t.Errorf("the key is in the log: %s", logged.String())
	}
}

// TestRESTTakesManyRowsIn: the keys of the former system become ours in a few
// calls, however many they are.
func TestRESTTakesManyRowsIn(t *testing.T) {
	t.Parallel()
	server := startREST(t)
	const rows = 5000
	_, err := server.Query(t.Context(), `insert into ollama_api_keys (api_key, username, created_at)
		select 'fake-key-of-the-former-system-' || n, 'user', now() from generate_series(1, 5000) n`)
	if err != nil {
		t.Fatal(err)
	}
	server.Calls()
	s := onREST(t, server)(Options{})
	if calls := server.Calls(); len(calls) > 21 {
		t.Errorf("opening took %d calls", len(calls))
	}
	if n := len(all(t, s, gateway.Ollama)); n != rows {
		t.Errorf("%d keys, want %d", n, rows)
	}
}

// TestRESTEncrypts: keys are encrypted, with another key, and plain again, in a
// few calls each.
func TestRESTEncrypts(t *testing.T) {
	t.Parallel()
	server := startREST(t)
	s := onREST(t, server)(Options{})
	add(t, s, gateway.Ollama, someKeys(0, 3000)...)
	apply(t, s, gateway.Delta{Provider: gateway.Ollama, Keys: []gateway.KeyDelta{{Key: gateway.IDOfKey(secretOf(0)), Counts: gateway.KeyCounts{Total: 1, Success: 1}}}})
	mustClose(t, s)
	var now []byte
	for _, next := range [][]byte{masterKey(1), masterKey(2), nil} {
		server.Calls()
		if err := ReencryptDatabase(t.Context(), Options{REST: REST{URL: server.URL, Key: rest.ServiceKey}, EncryptionKey: now}, next, nil); err != nil {
			t.Fatal(err)
		}
		if calls := server.Calls(); len(calls) > 30 {
			t.Errorf("it took %d calls", len(calls))
		}
		now = next
		sealed, err := server.Query(t.Context(), "select count(*) from ollama_api_keys where api_key like 'enc:v1:%'")
		want := int64(3000)
		if next == nil {
			want = 0
		}
		if err != nil || sealed != want {
			t.Errorf("%v keys are encrypted, want %d; error %v", sealed, want, err)
		}
		keys := all(t, onREST(t, server)(Options{EncryptionKey: now}), gateway.Ollama)
		if len(keys) != 3000 || keys[secretOf(0)].Counts.Total != 1 {
			t.Errorf("%d keys, the first with the counts %+v", len(keys), keys[secretOf(0)].Counts)
		}
	}
}

// TestFormerOverPostgREST: the former system's tables, after the script was run.
func TestFormerOverPostgREST(t *testing.T) {
	t.Parallel()
	for form, key := range map[string][]byte{"plain": nil, "encrypted": masterKey(1)} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			address := servers.SharedPostgres(t).URL(formerPostgres(t))
			if err := rest.Setup(t.Context(), address, mustScript(t, true)); err != nil {
				t.Fatal(err)
			}
			o := Options{REST: REST{URL: rest.Start(t, address).URL, Key: rest.ServiceKey}, Now: func() time.Time { return noon }}
			if key != nil {
				if err := ReencryptDatabase(t.Context(), o, key, nil); err != nil {
					t.Fatal(err)
				}
				o.EncryptionKey = key
			}
			for round := range 2 {
				s := mustOpen(t, o)
				checkFormerOf(t, s, int64(round))
				mustClose(t, s)
			}
		})
	}
}
