package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

func TestConformanceOfSQLite(t *testing.T) {
	// Making the tables takes longer than most tests; each gets a copy of them.
	empty := filepath.Join(t.TempDir(), "empty.db")
	mustClose(t, mustOpen(t, Options{Path: empty}))
	tables := mustRead(t, empty)
	runConformance(t, func(t *testing.T) openStore {
		path := filepath.Join(t.TempDir(), "pool.db")
		mustWrite(t, path, tables)
		return func(o Options) *Store {
			t.Helper()
			o.Path = path
			return mustOpen(t, o)
		}
	})
}

func mustOpen(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// mustClose closes a store whose file is looked at next: opening the file in
// this process while a store is open would drop the store's locks.
func mustClose(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// wantLine checks that an error is one line that names the file and has all the
// words.
func wantLine(t *testing.T, err error, path string, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", words)
		return
	}
	line := err.Error()
	if strings.Contains(line, "\n") || !strings.Contains(line, path) {
		t.Errorf("error %q is not one line that names %s", line, path)
	}
	for _, w := range words {
		if !strings.Contains(line, w) {
			t.Errorf("error %q lacks %q", line, w)
		}
	}
}

func TestFilesArePrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "odd name?#%20&mode=ro.db")
	check := func() {
		t.Helper()
		for _, suffix := range []string{"", "-wal", "-shm"} {
			info, err := os.Stat(path + suffix)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %v", info.Name(), info.Mode().Perm())
			}
		}
	}
	s := mustOpen(t, Options{Path: path})
	add(t, s, gateway.Ollama, someKeys(0, 1)...)
	check()
	mustClose(t, s)
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(left) != 1 {
		t.Errorf("after closing there are %q", left)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, Options{Path: path})
	add(t, s, gateway.Ollama, someKeys(1, 2)...)
	check()
}

func TestOpenAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pool.db")
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			s, err := Open(t.Context(), Options{Path: path, EncryptionKey: masterKey(1)})
			if err != nil {
				t.Error(err)
				return
			}
			_, _, err = s.AddKeys(t.Context(), gateway.Ollama, yield(someKeys(0, 10), nil), nil)
			if err := errors.Join(err, s.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(all(t, mustOpen(t, Options{Path: path, EncryptionKey: masterKey(1)}), gateway.Ollama)); n != 10 {
		t.Errorf("%d keys, want 10", n)
	}
}

func TestPlacesThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, words := range map[string][]string{
		filepath.Join(dir, "missing", "pool.db"): {"does not exist", "create the directory"},
		filepath.Join(file, "pool.db"):           {"does not exist", "create the directory"},
		dir:                                      {"not a file"},
	} {
		_, err := Open(t.Context(), Options{Path: path})
		wantLine(t, err, path, append(words, "DATA_DIR")...)
	}
	_, err := Open(t.Context(), Options{})
	wantKind(t, "no path", err, gateway.KindInvalid)
	_, err = Open(t.Context(), Options{Path: filepath.Join(dir, "new.db"), EncryptionKey: []byte("short")})
	wantKind(t, "a short key", err, gateway.KindInvalid)
	if _, err := os.Stat(filepath.Join(dir, "new.db")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a file was made for a key that makes no sense")
	}
}

func TestErrorsOfTheSystem(t *testing.T) {
	d := dialect{path: "/data/pool.db"}
	for _, c := range []struct {
		err   error
		words []string
	}{
		{fs.ErrPermission, []string{"cannot be written", "writable"}},
		{syscall.EROFS, []string{"cannot be written", "writable"}},
		{syscall.ENOSPC, []string{"disk is full", "free"}},
		{syscall.ENOTDIR, []string{"does not exist", "create"}},
	} {
		err := d.placeFault("open the store", &fs.PathError{Op: "open", Path: d.path, Err: c.err})
		wantLine(t, err, d.path, c.words...)
		if !errors.Is(err, c.err) {
			t.Errorf("%v is not in %v", c.err, err)
		}
	}
	if err := d.fault("x", context.Canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("the end of a context became %v", err)
	}
}

func TestDamagedFiles(t *testing.T) {
	dir := t.TempDir()
	sound := filepath.Join(dir, "sound.db")
	s := mustOpen(t, Options{Path: sound})
	add(t, s, gateway.Ollama, someKeys(0, 1000)...)
	mustClose(t, s)
	whole := mustRead(t, sound)
	s = mustOpen(t, Options{Path: sound})
	add(t, s, gateway.Ollama, someKeys(1000, 1010)...)
	log := mustRead(t, sound+"-wal") // as a killed process would leave it
	mustClose(t, s)

	const page = 4096
	middle := len(whole) / 2 / page * page
	for name, c := range map[string]struct {
		spoil func([]byte) []byte
		log   []byte
	}{
		"the header":             {func(b []byte) []byte { return slices.Concat([]byte("not SQLite at all"), b[17:]) }, nil},
		"a page in the middle":   {func(b []byte) []byte { return slices.Replace(b, middle, middle+page, make([]byte, page)...) }, nil},
		"a page beside a log":    {func(b []byte) []byte { return slices.Replace(b, middle, middle+page, make([]byte, page)...) }, log},
		"cut off":                {func(b []byte) []byte { return b[:middle] }, nil},
		"text":                   {func([]byte) []byte { return bytes.Repeat([]byte("This is a letter.\n"), 1000) }, nil},
		"text shorter than page": {func([]byte) []byte { return []byte("ollama.txt?\n") }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "pool.db")
			before := c.spoil(bytes.Clone(whole))
			mustWrite(t, path, before)
			if c.log != nil {
				mustWrite(t, path+"-wal", c.log)
			}
			_, err := Open(t.Context(), Options{Path: path})
			wantLine(t, err, path, "damaged", "restore a backup", "move it", "left as it is")
			wantLine(t, Reencrypt(t.Context(), path, nil, masterKey(1), nil), path, "damaged")
			if !bytes.Equal(mustRead(t, path), before) {
				t.Error("the damaged file was changed")
			}
			if c.log != nil && !bytes.Equal(mustRead(t, path+"-wal"), c.log) {
				t.Error("the log of the damaged file was changed")
			}
		})
	}
	path := filepath.Join(dir, "killed.db")
	mustWrite(t, path, whole)
	mustWrite(t, path+"-wal", log)
	if n := len(all(t, mustOpen(t, Options{Path: path}), gateway.Ollama)); n != 1010 {
		t.Errorf("%d keys in a sound file with its log, want 1010", n)
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustWrite(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestCrashedBefore opens what a program without a write-ahead log leaves when
// it is killed while it writes: its journal has to be rolled back first.
func TestCrashedBefore(t *testing.T) {
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

func TestErrorsOfCallers(t *testing.T) {
	s := mustOpen(t, Options{Path: filepath.Join(t.TempDir(), "pool.db")})
	lost := &fs.PathError{Op: "open", Path: "keys.txt", Err: fs.ErrNotExist}
	_, _, err := s.AddKeys(t.Context(), gateway.Ollama, yield(someKeys(0, 1), lost), nil)
	var fault *Fault
	if !errors.Is(err, fs.ErrNotExist) || errors.As(err, &fault) {
		t.Errorf("an error of the caller's became %v", err)
	}
}

func TestNewerTables(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pool.db")
	s := mustOpen(t, Options{Path: path})
	if _, err := s.writer.ExecContext(t.Context(), "insert into pool_schema (version_id, is_applied) values (999, true)"); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	_, err := Open(t.Context(), Options{Path: path})
	wantLine(t, err, path, "newer version", "restore a backup")
}

// lockOut takes the write lock as another process would, until it is called again.
func lockOut(t *testing.T, s *Store) (release func()) {
	t.Helper()
	db := s.dialect.open(forWriting)
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return func() { _ = errors.Join(tx.Rollback(), db.Close()) }
}

func TestLongWriterElsewhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pool.db")
	s := mustOpen(t, Options{Path: path, busyTimeout: 20 * time.Millisecond})
	release := lockOut(t, s)
	_, _, err := s.AddKeys(t.Context(), gateway.Ollama, yield(someKeys(0, 1), nil), nil)
	wantLine(t, err, path, "add keys", "another process", "stop it")
	if n := len(all(t, s, gateway.Ollama)); n != 0 {
		t.Errorf("%d keys", n)
	}
	patient := mustOpen(t, Options{Path: path})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	_, _, err = patient.AddKeys(ctx, gateway.Ollama, yield(someKeys(0, 1), nil), nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for the lock does not end with the context: %v", err)
	}
	time.AfterFunc(20*time.Millisecond, release)
	add(t, patient, gateway.Ollama, someKeys(0, 1)...)
}

func TestFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pool.db")
	s := mustOpen(t, Options{Path: path})
	add(t, s, gateway.Ollama, someKeys(0, 3)...)
	if _, err := s.writer.ExecContext(t.Context(), "pragma max_page_count = 80"); err != nil {
		t.Fatal(err)
	}
	_, _, err := s.AddKeys(t.Context(), gateway.Ollama, yield(someKeys(3, 5000), nil), nil)
	wantLine(t, err, path, "add keys", "disk is full", "free some space")
	if n := len(all(t, s, gateway.Ollama)); n != 3 {
		t.Errorf("%d keys, want the 3 from before", n)
	}
	if _, err := s.writer.ExecContext(t.Context(), "pragma max_page_count = 100000"); err != nil {
		t.Fatal(err)
	}
	add(t, s, gateway.Ollama, someKeys(3, 5000)...)
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
		found, total, err := s.Keys(t.Context(), p, KeyQuery{Status: want, Search: secret.Reveal()})
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
	if err := s.reader.QueryRowContext(t.Context(), tables{p}.sql("select note from {p}keys where api_key = 'former-key-active'")).Scan(&note); err != nil || note != "mine" {
		t.Errorf("%s: a column of others says %q, %v", p, note, err)
	}
}
