package sqlstore

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit/servers"
)

// existing are databases of the former system, as people may have made them: by
// the types of their columns and what holds the tables together.
var existing = map[string]struct {
	replace []string // in existingTables
	after   []string
	inPlace bool // the program works on them as they are
}{
	"as documented": {inPlace: true},
	"short texts, times without a zone, small numbers": {inPlace: true, replace: []string{
		"timestamptz", "timestamp", "bigint", "integer", " text", " varchar(255)", "numeric", "double precision", " references {p}keys (api_key) on delete cascade", "",
	}},
	"more columns, triggers and rights": {inPlace: true, after: []string{
		"alter table {p}keys add column note text default 'mine', add column updated_at timestamptz default now()",
		"alter table {p}keys enable row level security",
		"create index {p}old_status on {p}keys (status)",
		"create function {p}touch() returns trigger language plpgsql as $$ begin new.updated_at = now(); return new; end $$",
		"create trigger {p}touched before update on {p}keys for each row execute function {p}touch()",
	}},
	"numbers of any size, times with milliseconds": {inPlace: true, replace: []string{"bigint", "numeric", "timestamptz", "timestamptz(3)"}},
	"times as milliseconds, numbers as text":       {replace: []string{"timestamptz", "bigint", "{ms}", "{ms}", "bigint default 0", "text default '0'"}},
}

// existingTables are the tables of the former system and a thousand rows in each.
// {at x} is the time x seconds after noon.
var existingTables = []string{
	`create table {p}keys (api_key text primary key, username text, status text default 'active', created_at timestamptz, expires_at timestamptz,
		failed_until timestamptz, disabled_until timestamptz, consecutive_failures int default 0)`,
	`create table {p}key_stats (api_key text primary key references {p}keys (api_key) on delete cascade, total_requests bigint default 0, success_count bigint default 0,
		failure_count bigint default 0, success_rate numeric default 0, last_used timestamptz, last_success timestamptz, last_failure timestamptz,
		consecutive_failures int default 0, created_at timestamptz)`,
	`create table {p}client_tokens (token text primary key, name text, created_at timestamptz, expires_at timestamptz, request_count bigint default 0)`,
	`create table {p}global_stats (id text primary key default 'global', total_requests bigint default 0, success_count bigint default 0, failure_count bigint default 0,
		updated_at timestamptz)`,
	`create table {p}model_stats (id serial primary key, provider text, model text, total_requests bigint default 0, success_count bigint default 0,
		failure_count bigint default 0, last_used timestamptz, created_at timestamptz, unique (provider, model))`,
	`create table {p}model_hourly (id serial primary key, provider text, model text, hour timestamptz, requests bigint default 0, success bigint default 0,
		failure bigint default 0, created_at timestamptz, unique (provider, model, hour))`,
	`insert into {p}keys select 'former-key-{p}' || lpad(n::text, 8, '0'), case n % 3 when 0 then null else 'user' || n / 2 || '@example.com' end,
		case when n % 20 = 0 then 'failed' when n % 21 = 0 then 'disabled' else 'active' end, {at -n}, case n % 50 when 0 then {at 86400 + n} end,
		case n % 20 when 0 then {at 600} end, case n % 42 when 0 then {at 1200} end, n % 4 from generate_series(1, {n}) n`,
	`insert into {p}key_stats select api_key, 10 + length(username), 7, 3, 70, {at -60}, {at -60}, {at -61}, consecutive_failures, created_at from {p}keys`,
	`insert into {p}client_tokens select 'sk-former' || lpad(n::text, 40, '0'), 'client ' || n, {at -n}, case n % 10 when 0 then {at 864000} end, n
		from generate_series(1, {rows}) n`,
	`insert into {p}global_stats values ('global', 123456, 120000, 3456, {at 0})`,
	`insert into {p}model_stats (provider, model, total_requests, success_count, failure_count, last_used, created_at)
		select '{provider}', 'model-' || n, n, n - 1, 1, {at -n}, {at -n} from generate_series(1, {rows}) n`,
	`insert into {p}model_hourly (provider, model, hour, requests, success, failure, created_at)
		select '{provider}', 'model-' || n % 10, {at -3600 * (n / 10)}, n, n, 0, {at 0} from generate_series(1, {rows}) n`,
}

// existingRows is how many tokens, models and hours there are, and in most tests
// keys.
const existingRows = 250

// makeExisting makes a database of the former system with n keys of each provider.
func makeExisting(t testing.TB, n int, replace, after []string) string {
	t.Helper()
	address := servers.SharedPostgres(t).Database(t)
	types := strings.NewReplacer(replace...)
	times := slices.Contains(replace, "{ms}")
	for _, p := range gateway.Providers() {
		fill := strings.NewReplacer("{p}", string(p)+"_api_", "{provider}", string(p), "{n}", fmt.Sprint(n), "{rows}", fmt.Sprint(existingRows))
		for _, text := range slices.Concat(existingTables, after) {
			if strings.HasPrefix(text, "create table") {
				text = types.Replace(text)
			}
			for strings.Contains(text, "{at ") {
				before, rest, _ := strings.Cut(text, "{at ")
				seconds, rest, _ := strings.Cut(rest, "}")
				at := "timestamptz '2030-06-01 12:00:00+00' + (" + seconds + ") * interval '1 second'"
				if times {
					at = "(extract(epoch from " + at + ") * 1000)::bigint"
				}
				text = before + "(" + at + ")" + rest
			}
			inDatabase(t, address, "set timezone = 'UTC'; "+fill.Replace(text))
		}
	}
	return address
}

// look reads everything about a database that another program can see: what
// tables there are, of what columns, how they hang together, and their rows.
func lookAt(t *testing.T, address string) map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	seen := map[string]string{}
	read := func(name, text string) (all []string) {
		rows, err := conn.Query(ctx, text)
		if err != nil {
			t.Fatal(text, err)
		}
		if all, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			t.Fatal(text, err)
		}
		seen[name] = strings.Join(all, "\n")
		return all
	}
	tables := read("tables", "select table_name::text from information_schema.tables where table_schema = 'public' order by 1")
	read("columns", `select c::text from information_schema.columns c where table_schema = 'public' order by table_name, ordinal_position`)
	read("indexes", "select indexdef from pg_indexes where schemaname = 'public' order by 1")
	read("constraints", "select conrelid::regclass || ' ' || pg_get_constraintdef(oid) from pg_constraint where connamespace = 'public'::regnamespace order by 1")
	read("sequences", "select sequencename || ' ' || coalesce(last_value::text, '') from pg_sequences where schemaname = 'public' order by 1")
	for _, table := range tables {
		read("rows of "+table, "select md5(coalesce(string_agg(r::text, '|' order by r::text), '')) from "+table+" r")
	}
	return seen
}

func TestCopyFromExistingDatabases(t *testing.T) {
	t.Parallel()
	for name, variant := range existing {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := makeExisting(t, existingRows, variant.replace, variant.after)
			before := lookAt(t, address)
			src, err := OpenSource(t.Context(), Options{URL: gateway.Secret(address), Now: atNoon})
			if err != nil {
				t.Fatal(err)
			}
			file := mustOpen(t, Options{Path: filepath.Join(t.TempDir(), "pool.db"), Now: atNoon, EncryptionKey: masterKey(1)})
			report := mustCopy(t, src, file, CopyOptions{})
			mustClose(t, src)
			wantEqual(t, "the source", lookAt(t, address), before)
			if report.Hashed != 2*existingRows {
				t.Errorf("%d tokens hashed", report.Hashed)
			}
			wantExisting(t, file)
			back := mustOpen(t, Options{URL: gateway.Secret(servers.SharedPostgres(t).URL(madeTables(t))), Now: atNoon})
			mustCopy(t, file, back, CopyOptions{})
			wantExisting(t, back)
			wantSame(t, rowsOf(t, back), rowsOf(t, file))
			if !variant.inPlace {
				return
			}
			there := mustOpen(t, Options{URL: gateway.Secret(address), Now: atNoon})
			wantExisting(t, there)
			got, want := rowsOf(t, there), rowsOf(t, file)
			for _, p := range gateway.Providers() {
				delete(want, tables{p}.sql("{p}client_tokens")) // there they become hashes when they are used
				delete(want, tables{p}.sql("{p}tally_ever"))    // likewise
				delete(want, tables{p}.sql("{p}keys"))          // the reason for being disabled is written when it changes
			}
			wantSame(t, got, want)
		})
	}
}

// wantExisting looks whether what the former system kept is there.
func wantExisting(t *testing.T, s *Store) {
	t.Helper()
	for _, p := range gateway.Providers() {
		keys := all(t, s, p)
		if len(keys) != existingRows {
			t.Errorf("%s: %d keys", p, len(keys))
		}
		for n := 1; n <= existingRows; n++ {
			k, ok := keys[gateway.Secret(fmt.Sprintf("former-key-%s_api_%08d", p, n))]
			want := gateway.KeyActive
			switch {
			case n%20 == 0:
				want = gateway.KeyFailed
			case n%21 == 0:
				want = gateway.KeyDisabled
			}
			if !ok || k.State.StatusAt(noon, k.ExpiresAt) != want && n%42 != 0 || !k.CreatedAt.Equal(noon.Add(-time.Duration(n)*time.Second)) ||
				k.State.ConsecutiveFailures != n%4 || k.Counts.Success != 7 || !k.Counts.LastUsed.Equal(noon.Add(-time.Minute)) {
				t.Fatalf("%s: key %d is %+v", p, n, k)
			}
		}
		total, err := s.Totals(t.Context(), p)
		if err != nil || total.Requests != 123456 || total.Failure != 3456 {
			t.Errorf("%s: totals %+v, %v", p, total, err)
		}
		models, err := s.ModelTotals(t.Context(), p)
		if err != nil || len(models) != existingRows {
			t.Errorf("%s: %d models, %v", p, len(models), err)
		}
	}
	tokens, err := s.Tokens(t.Context())
	if err != nil || len(tokens) != existingRows {
		t.Fatalf("%d tokens, %v", len(tokens), err)
	}
	for _, tok := range tokens {
		var n int64
		if _, err := fmt.Sscanf(tok.Name, "client %d", &n); err != nil || len(tok.Providers) != 2 || tok.RequestCount != 2*n ||
			tok.Hash != gateway.HashToken(gateway.Secret(fmt.Sprintf("sk-former%040d", n))) {
			t.Fatalf("token %+v, %v", tok, err)
		}
	}
}

// What docs/moving-over.md says about going back works: the former system finds
// its tokens again.
func TestGoingBack(t *testing.T) {
	t.Parallel()
	page := string(mustRead(t, "../../../docs/moving-over.md"))
	var texts []string
	for _, block := range strings.Split(page, "```sql")[1:] {
		text, _, _ := strings.Cut(block, "```")
		texts = append(texts, text)
	}
	if len(texts) != 2 {
		t.Fatalf("%d pieces of SQL, want one for the copy and one for going back", len(texts))
	}
	address := makeExisting(t, 10, nil, nil)
	inDatabase(t, address, texts[0])
	s := mustOpen(t, Options{URL: gateway.Secret(address), Now: atNoon})
	tokens, err := s.Tokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, tok := range tokens[:20] {
		if err := s.HashPlainToken(t.Context(), tok); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, s)
	inDatabase(t, address, texts[1], strings.ReplaceAll(strings.ReplaceAll(texts[1], "ollama_api_", "openrouter_api_"), "before_ollama", "before_openrouter"))
	const columns = "select token || ' ' || name || ' ' || created_at::text || ' ' || request_count from %s order by 1"
	for _, p := range gateway.Providers() {
		got := queryTexts(t, address, fmt.Sprintf(columns, tables{p}.sql("{p}client_tokens")))
		want := queryTexts(t, address, fmt.Sprintf(columns, "tokens_before_"+string(p)))
		wantEqual(t, "tokens of "+string(p), got, want)
	}
}

func queryTexts(t *testing.T, address, text string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, text)
	if err != nil {
		t.Fatal(text, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(text, err)
	}
	return all
}
