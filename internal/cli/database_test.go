package cli

import (
	"os"
	"path/filepath"
	"testing"

	"ollama-api-pool/internal/testkit/servers"
)

func TestMain(m *testing.M) { servers.Main(m) }

// With DATABASE_URL commands work on the database, whether an instance runs or
// not; one that does follows.
func TestCommandsOnADatabase(t *testing.T) {
	url := servers.SharedPostgres(t).Database(t)
	p := stopped(t).with("DATABASE_URL=" + url)
	p.ok(t, keyA, "keys", "import", "-")
	wantAll(t, p.ok(t, "", "keys", "list").out, "fake-k…aaaa")
	wantAll(t, p.ok(t, "", "encryption", "status").out, "are plain")

	key := p.with("ENCRYPTION_KEY=" + testEncryptionKey)
	key.ok(t, "", "encryption", "on")
	key.ok(t, "", "tokens", "create", "app")
	file := filepath.Join(t.TempDir(), "pool.backup")
	wantAll(t, key.ok(t, "", "backup", file).out, "1 ollama key", "1 client token", "keys encrypted")
	key.fails(t, exitFailed, "migrate --from", "", "restore", file)
	restored := stopped(t).with("ENCRYPTION_KEY=" + testEncryptionKey)
	restored.ok(t, "", "restore", file)
	wantAll(t, restored.ok(t, "", "keys", "list").out, "fake-k…aaaa")

	_, stop := startAndStop(t, key)
	key.fails(t, exitFailed, "instance", "", "encryption", "off")
	elsewhere := stopped(t).with("DATABASE_URL="+url, "ENCRYPTION_KEY="+testEncryptionKey)
	elsewhere.ok(t, keyB, "keys", "import", "-")
	if _, err := os.Stat(elsewhere.dir()); !os.IsNotExist(err) {
		t.Errorf("a command on a database has made its data directory: %v", err)
	}
	wantAll(t, key.ok(t, "", "keys", "list").out, "fake-k…aaaa", "fake-k…bbbb")
	stop()
	key.ok(t, "", "encryption", "off")
	wantAll(t, p.ok(t, "", "keys", "list").out, "fake-k…aaaa", "fake-k…bbbb")
	start(t, p) // its local store was written with the key
}
