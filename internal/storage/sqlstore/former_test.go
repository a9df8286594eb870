package sqlstore

import (
	"database/sql"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// TestCrashedBefore opens what a program without a write-ahead log leaves when
// it is killed while it writes: its journal has to be rolled back first.
func TestCrashedBefore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, killed := filepath.Join(dir, "former.db"), filepath.Join(dir, "killed.db")
	former(t, path)
	db, err := sql.Open("sqlite", path+"?_pragma=cache_size(1)") // no room: pages are written before the end
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 500 {
		if _, err := tx.ExecContext(t.Context(), "insert into ollama_api_keys (api_key) values (?)", secretOf(n).Reveal()); err != nil {
			t.Fatal(err)
		}
	}
	mustWrite(t, killed, mustRead(t, path))
	mustWrite(t, killed+"-journal", mustRead(t, path+"-journal"))
	if err := errors.Join(tx.Rollback(), db.Close()); err != nil {
		t.Fatal(err)
	}
	if leaks(t, killed, "fake-key-") == 0 {
		t.Fatal("the file has nothing to be rolled back")
	}
	if n := len(all(t, mustOpen(t, Options{Path: killed}), gateway.Ollama)); n != 5 {
		t.Errorf("%d keys, want the 5 that were committed", n)
	}
}

// former makes a database as it was before this program, with rows.
func former(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range gateway.Providers() {
		for _, stmt := range []string{
			`create table {p}keys (api_key text primary key, username text, status text default 'active', created_at timestamptz, expires_at timestamptz,
				failed_until timestamptz, disabled_until timestamptz, consecutive_failures int default 0, note text)`,
			`create table {p}key_stats (api_key text primary key references {p}keys (api_key) on delete cascade, total_requests bigint default 0,
				success_count bigint default 0, failure_count bigint default 0, success_rate numeric default 0, last_used timestamptz,
				last_success timestamptz, last_failure timestamptz, consecutive_failures int default 0, created_at timestamptz)`,
			`create table {p}client_tokens (token text primary key, name text, created_at timestamptz, expires_at timestamptz, request_count bigint default 0)`,
			`create table {p}global_stats (id text primary key default 'global', total_requests bigint default 0, success_count bigint default 0,
				failure_count bigint default 0, updated_at timestamptz)`,
			`create table {p}model_stats (id integer primary key, provider text, model text, total_requests bigint default 0, success_count bigint default 0,
				failure_count bigint default 0, last_used timestamptz, created_at timestamptz, unique (provider, model))`,
			`insert into {p}keys (api_key, username, created_at, note) values ('former-key-active', 'anna', '2029-01-02T03:04:05.678Z', 'mine')`,
			`insert into {p}keys (api_key, status, created_at, disabled_until) values ('former-key-auto', 'disabled', '2029-01-02 03:04:05', '2030-06-01T13:00:00+00:00')`,
			`insert into {p}keys (api_key, status, created_at) values ('former-key-manual', 'disabled', 1861930000000)`,
			`insert into {p}keys (api_key, status, failed_until, consecutive_failures) values ('former-key-failed', 'failed', '2030-06-01 15:00:00+02', null)`,
			`insert into {p}keys (api_key, status, expires_at) values ('former-key-expired', 'active', '2030-06-01T11:59:59Z')`,
			`insert into {p}key_stats (api_key, total_requests, success_count, failure_count, last_used) values ('former-key-active', 7, 5, null, '2030-06-01T03:04:05Z')`,
			`insert into {p}client_tokens (token, name, created_at) values ('sk-former-token', 'old', '2029-01-02')`,
			`insert into {p}global_stats (total_requests, success_count) values (70, null)`,
			`insert into {p}model_stats (provider, model, total_requests) values ('{p}', 'kimi', 3)`,
			`update {p}model_stats set provider = replace(provider, '_api_', '')`,
			`insert into {p}keys (api_key) select 'former-key-deleted-' || value from (with recursive n(value) as (select 1 union all select value + 1 from n where value < 500) select value from n)`,
			`delete from {p}keys where api_key like 'former-key-deleted-%'`,
		} {
			if _, err := db.ExecContext(t.Context(), tables{p}.sql(stmt)); err != nil {
				t.Fatal(stmt, err)
			}
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFormerDatabase(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pool.db")
	former(t, path)
	for round := range 2 {
		s := mustOpen(t, Options{Path: path, Now: func() time.Time { return noon }})
		for _, p := range gateway.Providers() {
			checkFormer(t, s, p, int64(round))
		}
		mustClose(t, s)
	}
}

func checkFormer(t *testing.T, s *Store, p gateway.ProviderName, round int64) {
	t.Helper()
	keys := all(t, s, p)
	if len(keys) != 5 {
		t.Errorf("%s: %d keys, want 5", p, len(keys))
	}
	for secret, want := range map[gateway.Secret]gateway.KeyStatus{
		"former-key-active": gateway.KeyActive, "former-key-auto": gateway.KeyDisabled, "former-key-manual": gateway.KeyDisabled,
		"former-key-failed": gateway.KeyFailed, "former-key-expired": gateway.KeyExpired,
	} {
		k := keys[secret]
		if got := k.State.StatusAt(noon, k.ExpiresAt); got != want || k.CreatedAt.IsZero() {
			t.Errorf("%s, %s: %s, want %s: %+v", p, secret.Reveal(), got, want, k)
		}
		found, total, err := s.Keys(t.Context(), p, gateway.KeyQuery{Status: want, Search: secret.Reveal()})
		if err != nil || total != 1 || !found[0].CreatedAt.Equal(k.CreatedAt) {
			t.Errorf("%s, %s is not listed as %s: %v", p, secret.Reveal(), want, err)
		}
	}
	active := keys["former-key-active"]
	if active.Username != "anna" || active.Counts.Total != 7+round || !active.CreatedAt.Equal(time.Date(2029, 1, 2, 3, 4, 5, 678e6, time.UTC)) {
		t.Errorf("%s: active key %+v", p, active)
	}
	if auto, manual := keys["former-key-auto"].State.Disabled, keys["former-key-manual"].State.Disabled; auto != gateway.DisabledAuto || manual != gateway.DisabledManual {
		t.Errorf("%s: disabled %q and %q", p, auto, manual)
	}
	tokens, err := s.Tokens(t.Context())
	if err != nil || len(tokens) != 1 || tokens[0].Plain != "sk-former-token" || !slices.Equal(tokens[0].Providers, gateway.Providers()) {
		t.Errorf("tokens %+v, %v", tokens, err)
	}
	if used := active.Counts.LastUsed; round > 0 && !used.Equal(noon) {
		t.Errorf("%s: last used %v, want noon", p, used)
	}
	apply(t, s, gateway.Delta{
		Provider: p, Global: gateway.Counts{Requests: 1, Success: 1, Usage: gateway.Usage{Input: 9}},
		Models: []gateway.ModelDelta{{Model: "kimi", Hour: noon, LastUsed: noon, Counts: gateway.Counts{Requests: 1}}},
		Keys:   []gateway.KeyDelta{{Key: gateway.IDOfKey("former-key-active"), Counts: gateway.KeyCounts{Total: 1, LastUsed: noon}}},
		Tokens: []gateway.TokenDelta{{Hash: tokens[0].Hash, Counts: gateway.Counts{Requests: 1}}},
	})
	total, err := s.Totals(t.Context(), p)
	if want := (gateway.Counts{Requests: 71 + round, Success: 1 + round, Usage: gateway.Usage{Input: 9 + 9*round}}); err != nil || total != want {
		t.Errorf("%s: totals %+v, %v; want %+v", p, total, err, want)
	}
	models, err := s.ModelTotals(t.Context(), p)
	if err != nil || len(models) != 1 || models[0].Counts.Requests != 4+round {
		t.Errorf("%s: models %+v, %v", p, models, err)
	}
	var note string
	if err := s.reader.QueryRowContext(t.Context(), tables{p}.sql("select note from {p}keys where key_id = ?"), string(gateway.IDOfKey("former-key-active"))).Scan(&note); err != nil || note != "mine" {
		t.Errorf("%s: a column of others says %q, %v", p, note, err)
	}
}
