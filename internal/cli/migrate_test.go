package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
)

const canary = "canary-7f3a-s3cret"

// filled is a data directory with keys and a token.
func filled(t *testing.T, env ...string) place {
	t.Helper()
	p := stopped(t)
	p.env = append(p.env, env...)
	p.ok(t, keyA+"\nanna@example.com----"+keyB+"\n", "keys", "import", "-")
	p.ok(t, "", "tokens", "create", "app", "--provider", "all")
	return p
}

func dataDir(p place) string { return strings.TrimPrefix(p.env[0], "DATA_DIR=") }

func TestMigrateBetweenDirectories(t *testing.T) {
	from := filled(t)
	to := stopped(t)
	from.ok(t, "", "migrate", "--from", "DATA_DIR", "--to", dataDir(to), "--dry-run")
	if _, err := os.Stat(dataDir(to)); !os.IsNotExist(err) {
		t.Error("a dry run made the target")
	}
	r := to.ok(t, "", "migrate", "--from", dataDir(from), "--to", "DATA_DIR", "--yes")
	wantAll(t, r.out, "keys           ollama      2     2    0", "yes", "rows and sums of both sides are the same")
	wantAll(t, r.err, "Next:", "selftest")
	wantText(t, "keys", to.ok(t, "", "keys", "export", "--reveal").out, from.ok(t, "", "keys", "export", "--reveal").out)
	wantText(t, "tokens", to.ok(t, "", "tokens", "list").out, from.ok(t, "", "tokens", "list").out)
	r = to.fails(t, exitFailed, "the target is not empty: it holds keys of ollama: 2", "", "migrate", "--from", dataDir(from), "--to", "DATA_DIR", "--yes")
	wantAll(t, r.err, "--merge")
	to.fails(t, exitFailed, "counted twice; --again", "", "migrate", "--from", dataDir(from), "--to", "DATA_DIR", "--yes", "--merge")
	out := fromJSON[migrationOut](t, to.ok(t, "", "migrate", "--from", dataDir(from), "--to", "DATA_DIR", "--yes", "--merge", "--again", "--json").out)
	if len(out.Tables) == 0 || out.Tables[0].Existing != 2 || out.Tables[0].Added != 0 || !out.Tables[0].Verified {
		t.Errorf("%+v", out)
	}
}

func TestMigrateEncrypted(t *testing.T) {
	one, two := strings.Repeat("01", 32), strings.Repeat("02", 32)
	from := filled(t, "ENCRYPTION_KEY="+one)
	to := stopped(t)
	to.fails(t, exitFailed, "FROM_ENCRYPTION_KEY", "", "migrate", "--from", dataDir(from), "--to", "DATA_DIR", "--yes")
	to.fails(t, exitUsage, "must be 32 bytes", "", "migrate", "--from", dataDir(from), "--to", "DATA_DIR", "--yes", "--from-encryption-key-file", writeTemp(t, "empty", "short"))
	if _, err := os.Stat(filepath.Join(dataDir(to), "pool.db")); !os.IsNotExist(err) {
		t.Error("a refused migration left a store")
	}
	file := writeTemp(t, "key", one+"\n")
	to.env = append(to.env, "TO_ENCRYPTION_KEY="+two)
	to.ok(t, "", "migrate", "--from", dataDir(from), "--to", "DATA_DIR", "--yes", "--from-encryption-key-file", file)
	b, err := os.ReadFile(filepath.Join(dataDir(to), "pool.db"))
	if err != nil || strings.Contains(string(b), keyA) {
		t.Errorf("the key stands in the target: %v", err)
	}
	sealed := place{env: []string{to.env[0], "ENCRYPTION_KEY=" + two}}
	wantAll(t, sealed.ok(t, "", "keys", "export", "--reveal").out, keyA, keyB)
}

func TestMigrateAsks(t *testing.T) {
	from, to := filled(t), stopped(t)
	to.fails(t, exitUsage, "say --yes where nobody can be asked", "", "migrate", "--from", dataDir(from), "--to", "DATA_DIR")
	to.fails(t, exitUsage, "no place is given", "", "migrate", "--from", dataDir(from))
	to.fails(t, exitUsage, "--again goes with --merge", "", "migrate", "--from", dataDir(from), "--to", "DATA_DIR", "--again")
	to.fails(t, exitUsage, "DATABASE_URL is not set", "", "migrate", "--from", "DATABASE_URL", "--to", "DATA_DIR")
	to.fails(t, exitUsage, "is not there", "", "migrate", "--from", "/nonexistent.db", "--to", "DATA_DIR")
	to.fails(t, exitUsage, "neither a database of SQLite nor", "", "migrate", "--from", writeTemp(t, "x.txt", "hello"), "--to", "DATA_DIR")
	to.fails(t, exitUsage, "can only be a source", "", "migrate", "--from", dataDir(from), "--to", writeTemp(t, "x.json", "{}"))
	from.fails(t, exitFailed, "the same database", "", "migrate", "--from", "DATA_DIR", "--to", filepath.Join(dataDir(from), "pool.db"), "--yes")
	to.fails(t, exitFailed, "there is no store", "", "migrate", "--from", t.TempDir(), "--to", "DATA_DIR", "--yes")
}

func TestMigrateWhileAnInstanceRuns(t *testing.T) {
	from := stopped(t)
	start(t, from)
	to := stopped(t)
	to.fails(t, exitFailed, "another instance holds the data directory", "", "migrate", "--from", dataDir(from), "--to", "DATA_DIR", "--yes")
	idle := filled(t)
	idle.fails(t, exitFailed, "another instance holds the data directory", "", "migrate", "--from", "DATA_DIR", "--to", filepath.Join(dataDir(from), "pool.db"), "--yes")
}

// Whatever goes wrong, no message repeats a password.
func TestMigrateShowsNoPassword(t *testing.T) {
	p := filled(t)
	for _, address := range []string{
		"postgres://user:" + canary + "@127.0.0.1:1/db", "postgresql://user:" + canary + "@127.0.0.1:1/db?sslmode=disable&password=" + canary,
		"postgres//user:" + canary + "@127.0.0.1/db", "mysql://user:" + canary + "@127.0.0.1/db", "https://user:" + canary + "@example.com",
		"postgres://user:" + canary + "#x@127.0.0.1:1/db", "postgres://%zz:" + canary + "@h", "user:" + canary + "@host", "postgres:user:" + canary,
	} {
		for _, args := range [][]string{{"--from", address, "--to", "DATA_DIR"}, {"--from", "DATA_DIR", "--to", address}} {
			for _, more := range []string{"--yes", "--dry-run"} {
				r := p.run(t, "", append([]string{"migrate", more}, args...)...)
				if r.code == 0 {
					t.Errorf("%v succeeds", args)
				}
				wantNone(t, r.out+r.err, canary)
			}
		}
	}
}

func TestMigrateExport(t *testing.T) {
	token := "sk-FAKEfakeFAKEfakeFAKEfakeFAKEfakeFAKEfakeFAKEfake"
	key := "0123456789abcdef0123456789abcdef.fakeFakeFakeFakeFakeFake"
	export := writeTemp(t, "keys.json", `[
		{"name":"apikey:`+key+`","value":"{\"username\":\"anna\",\"status\":\"disabled\",\"totalRequests\":7,\"successCount\":7}"},
		{"name":"token:`+token+`","value":"{\"name\":\"my app\"}","expiration":4000000000},
		{"name":"stats:global","value":"{\"totalRequests\":70,\"successCount\":60,\"failureCount\":10}"},
		{"name":"other:`+canary+`","value":"`+canary+`"}
	]`)
	p := stopped(t)
	r := p.part(t, "", "migrate", "--from", export, "--to", "DATA_DIR", "--dry-run")
	wantAll(t, r.out, "keys                ollama    1", "7 attempts", "70 requests", "Nothing was written")
	wantAll(t, r.err, "The export has 4 pairs.", "1  …:…: not understood", "not all of the export was taken: 1 of its 4 pairs")
	wantNone(t, r.out+r.err, canary, token, key)
	p.fails(t, exitPart, "not all of the export", "", "migrate", "--from", export, "--to", "DATA_DIR", "--yes")
	wantAll(t, p.ok(t, "", "keys", "export", "--reveal").out, key, "anna")
	wantAll(t, p.ok(t, "", "tokens", "list").out, "my app", "2096-10-02")
	b, err := os.ReadFile(filepath.Join(dataDir(p), "pool.db"))
	if err != nil || strings.Contains(string(b), token) || !strings.Contains(string(b), gateway.HashToken(gateway.Secret(token))) {
		t.Errorf("the token is not a hash: %v", err)
	}
	p.fails(t, exitFailed, "counted twice", "", "migrate", "--from", export, "--to", "DATA_DIR", "--yes", "--merge")
	wantAll(t, p.ok(t, "", "keys", "show", id(key)).out, "7")
}
