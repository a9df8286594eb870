package sqlstore

import (
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit/servers"
)

// formerRows are what the former system has left in its tables. Times without a
// zone are UTC; the server is told to think otherwise.
var formerRows = []string{
	`insert into {p}keys (api_key, username, created_at, note) values ('former-key-active', 'anna', '2029-01-02T03:04:05.678Z', 'mine')`,
	`insert into {p}keys (api_key, status, created_at, disabled_until) values ('former-key-auto', 'disabled', '2029-01-02 03:04:05', '2030-06-01T13:00:00+00:00')`,
	`insert into {p}keys (api_key, status, created_at) values ('former-key-manual', 'disabled', '2028-12-31')`,
	`insert into {p}keys (api_key, status, failed_until) values ('former-key-failed', 'failed', '2030-06-01 13:00:00')`,
	`insert into {p}keys (api_key, status, expires_at) values ('former-key-expired', 'active', '2030-06-01T11:59:59Z')`,
	`insert into {p}key_stats (api_key, total_requests, success_count, failure_count, last_used) values ('former-key-active', 7, 5, null, '2030-06-01T03:04:05Z')`,
	`insert into {p}client_tokens (token, name, created_at) values ('sk-former-token', 'old', '2029-01-02')`,
}

// formerSums are for the tables that only one provider has.
var formerSums = []string{
	`insert into {p}global_stats (id, total_requests, success_count) values ('global', 70, null) on conflict (id) do update set total_requests = 70, success_count = null`,
	`insert into {p}model_stats (provider, model, total_requests) values ('{provider}', 'kimi', 3)`,
	`insert into {p}model_hourly (provider, model, hour, requests) values ('{provider}', 'kimi', '2030-06-01 12:00:00', 3)`,
}

// formerPostgres makes the former system's tables and returns the address of
// their database.
func formerPostgres(t *testing.T) string {
	t.Helper()
	p := servers.SharedPostgres(t)
	name := p.CreateDatabase(t)
	onServer(t, p, "alter database "+name+" set timezone to 'America/New_York'")
	schema, err := os.ReadFile("testdata/former_schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{"set timezone to 'UTC'", string(schema)}
	for _, provider := range gateway.Providers() {
		rows := formerRows
		if provider == gateway.Ollama {
			rows = append(rows[:len(rows):len(rows)], formerSums...)
		}
		for _, text := range rows {
			texts = append(texts, strings.ReplaceAll(tables{provider}.sql(text), "{provider}", string(provider)))
		}
	}
	inDatabase(t, p.URL(name), texts...)
	return name
}

func TestFormerPostgreSQL(t *testing.T) {
	t.Parallel()
	for what, url := range map[string]func(name string) string{
		"direct": func(name string) string { return servers.SharedPostgres(t).URL(name) },
		"pooler": func(name string) string { return servers.SharedPgbouncer(t).URL(name) },
	} {
		for form, key := range map[string][]byte{"plain": nil, "encrypted": masterKey(1)} {
			t.Run(what+", "+form, func(t *testing.T) {
				t.Parallel()
				o := Options{URL: gateway.Secret(url(formerPostgres(t))), Now: func() time.Time { return noon }}
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
}

// checkFormerOf is checkFormer for each provider; what only one has is asked of
// that one.
func checkFormerOf(t *testing.T, s *Store, round int64) {
	t.Helper()
	if round == 0 {
		err := s.Apply(t.Context(), []gateway.Delta{{
			Provider: gateway.OpenRouter, Global: gateway.Counts{Requests: 70},
			Models: []gateway.ModelDelta{{Model: "kimi", Hour: noon, Counts: gateway.Counts{Requests: 3}}},
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range gateway.Providers() {
		checkFormer(t, s, p, round)
	}
	if err := s.Fold(t.Context()); err != nil {
		t.Error(err)
	}
	hours, err := s.ModelHours(t.Context(), gateway.Ollama, noon)
	if err != nil || len(hours) != 1 || hours[0].Counts.Requests != 4+round || !hours[0].Hour.Equal(noon) {
		t.Errorf("hours of models: %+v, %v", hours, err)
	}
	ids, err := s.KeyIDs(t.Context(), gateway.Ollama, gateway.KeyFilter{Search: "ANNA"})
	if err != nil || len(ids) != 1 {
		t.Errorf("found %v, %v", ids, err)
	}
	if page, total, err := s.KeyRanks(t.Context(), gateway.Ollama, "requests", false, 0, 10); err != nil || total != 5 || len(page) != 5 {
		t.Errorf("ranks: %d of %d, %v", len(page), total, err)
	}
}

func TestReencryptPostgreSQL(t *testing.T) {
	t.Parallel()
	address := gateway.Secret(servers.SharedPostgres(t).URL(madeTables(t)))
	s := mustOpen(t, Options{URL: address, Instance: "here"})
	add(t, s, gateway.Ollama, someKeys(0, 3*s.dialect.atOnce()/2)...)
	ids := []gateway.KeyID{gateway.IDOfKey(secretOf(1)), gateway.IDOfKey(secretOf(2))}
	apply(t, s, used(ids, noon))
	if err := s.SayHere(t.Context(), gateway.Instance{ID: "here", Name: "here", StartedAt: time.Now()}); err != nil {
		t.Fatal(err)
	}
	err := ReencryptDatabase(t.Context(), Options{URL: address}, masterKey(1), nil)
	if err == nil || !strings.Contains(err.Error(), "1 instances of this program work on it") {
		t.Errorf("while another instance is there: %v", err)
	}
	inDatabase(t, string(address), "update pool_instances set seen_at = now() - interval '1 minute'")
	last := 0
	if err := ReencryptDatabase(t.Context(), Options{URL: address}, masterKey(1), func(done, _ int) { last = done }); err != nil {
		t.Fatal(err)
	}
	if want := 3 * s.dialect.atOnce() / 2; last != want {
		t.Errorf("progress ended at %d of %d", last, want)
	}
	if _, _, err := s.AddKeys(t.Context(), gateway.Ollama, yield(someKeys(9000, 9001), nil), nil); err == nil {
		t.Error("a store that has not got the new key writes keys")
	}
	found, err := InspectDatabase(t.Context(), Options{URL: address, EncryptionKey: masterKey(1)})
	if err != nil || !found.Encrypted || !found.HasKeys || !found.Fits {
		t.Errorf("InspectDatabase = %+v, %v", found, err)
	}
	if _, err := Open(t.Context(), Options{URL: address}); err == nil || !strings.Contains(err.Error(), "ENCRYPTION_KEY is not set") {
		t.Errorf("opened without the key: %v", err)
	}
	s = mustOpen(t, Options{URL: address, EncryptionKey: masterKey(1)})
	if keys := all(t, s, gateway.Ollama); len(keys) != last || keys[secretOf(1)].Counts.Total == 0 {
		t.Errorf("%d keys, of the first %+v", len(keys), keys[secretOf(1)])
	}
	var plain int
	if err := s.reader.QueryRowContext(t.Context(), "select count(*) from ollama_api_keys where api_key not like 'enc:v1:%'").Scan(&plain); err != nil || plain != 0 {
		t.Errorf("%d keys are stored plain, %v", plain, err)
	}
}

func TestTimesWithoutEnd(t *testing.T) {
	t.Parallel()
	for what, address := range map[string]string{
		"direct": servers.SharedPostgres(t).URL(madeTables(t)), "pooler": servers.SharedPgbouncer(t).URL(madeTables(t)),
	} {
		inDatabase(t, strings.Replace(address, "&pgbouncer=true", "", 1),
			`insert into ollama_api_keys (api_key, status, disabled_until, expires_at, failed_until) values
				('former-key-for-good', 'disabled', 'infinity', 'infinity', '-infinity')`)
		s := mustOpen(t, Options{URL: gateway.Secret(address), Now: func() time.Time { return noon }})
		k := all(t, s, gateway.Ollama)["former-key-for-good"]
		if got := k.State.StatusAt(noon, k.ExpiresAt); got != gateway.KeyDisabled || !k.ExpiresAt.Equal(endOfTimes) || !k.State.FailedUntil.IsZero() {
			t.Errorf("%s: %s, expires %v, failed until %v", what, got, k.ExpiresAt, k.State.FailedUntil)
		}
		mustClose(t, s)
	}
}

func TestNewerPostgreSQL(t *testing.T) {
	t.Parallel()
	address := emptyDatabase(t)
	mustClose(t, mustOpen(t, Options{URL: address}))
	inDatabase(t, string(address), "insert into pool_schema (version_id, is_applied) values (99999, true)", "alter table ollama_api_keys add column later text default 'x'")
	var said strings.Builder
	s := mustOpen(t, Options{URL: address + "&pool_timeout=" + canary, Log: slog.New(slog.NewTextHandler(&said, nil))})
	add(t, s, gateway.Ollama, someKeys(0, 2)...)
	if n := len(all(t, s, gateway.Ollama)); n != 2 {
		t.Errorf("%d keys, want 2", n)
	}
	for _, words := range []string{"99999", "newer version", "pool_timeout"} {
		if !strings.Contains(said.String(), words) {
			t.Errorf("the log lacks %q: %s", words, said.String())
		}
	}
	if strings.Contains(said.String(), canary) {
		t.Errorf("the log shows values of parameters: %s", said.String())
	}
	err := s.Backup(t.Context(), t.TempDir()+"/copy.db")
	wantKind(t, "a backup", err, gateway.KindInvalid)
	if err == nil || !strings.Contains(err.Error(), "pg_dump") {
		t.Errorf("a backup: %v", err)
	}
}
