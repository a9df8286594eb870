package e2e

import (
	"bytes"
	"crypto/sha256"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
)

// Two keys for ENCRYPTION_KEY.
var (
	encryptionKey = "ENCRYPTION_KEY=" + strings.Repeat("0f", 32)
	anotherKey    = "ENCRYPTION_KEY=" + strings.Repeat("1e", 32)
)

// TestRefusesToStart starts the program where it cannot work. It must say why
// in one line that names the cure, and leave everything as it was.
func TestRefusesToStart(t *testing.T) {
	t.Parallel()
	plainStore, sealedStore := filledStore(t), filledStore(t, encryptionKey)
	taken := listen(t)
	for _, tt := range []struct {
		name     string
		store    string // copied to the data directory; "": none
		damage   func(t *testing.T, i *Instance)
		settings []string
		want     []string
	}{
		{"port taken", plainStore, nil, []string{"LISTEN_ADDR=" + taken}, []string{taken, "taken", "LISTEN_ADDR"}},
		{"address of another machine", plainStore, nil, []string{"LISTEN_ADDR=192.0.2.1:9"}, []string{"192.0.2.1:9", "LISTEN_ADDR"}},
		{"file in place of the directory", "", dataIsFile, nil, []string{"data", "DATA_DIR"}},
		{"file above the directory", "", dataIsFile, []string{"DATA_DIR=data/below"}, []string{"data/below", "DATA_DIR"}},
		{"directory that cannot be made", "", nil, []string{"DATA_DIR=/proc/no-such-place/data"}, []string{"/proc/no-such-place", "DATA_DIR"}},
		{"directory in place of the store", "", storeIsDirectory, nil, []string{"pool.db", "DATA_DIR"}},
		{"damaged header", plainStore, damage(0, 64), nil, []string{"pool.db", "backup"}},
		{"damaged middle", plainStore, damage(1, 2), nil, []string{"pool.db", "backup"}},
		{"cut in half", plainStore, cutInHalf, nil, []string{"pool.db", "backup"}},
		{"setting out of range", plainStore, nil, []string{"MAX_RETRIES=-1"}, []string{"MAX_RETRIES=-1", "environment"}},
		{"setting that is no duration", plainStore, nil, []string{"SHUTDOWN_GRACE=soon"}, []string{"SHUTDOWN_GRACE=soon"}},
		{"placeholder for the admin token", plainStore, nil, []string{"ADMIN_TOKEN=your-admin-token"}, []string{"ADMIN_TOKEN"}},
		{"encrypted store without its key", sealedStore, nil, nil, []string{"pool.db", "ENCRYPTION_KEY"}},
		{"encrypted store with another key", sealedStore, nil, []string{anotherKey}, []string{"pool.db", "ENCRYPTION_KEY"}},
		{"plain store with a key", plainStore, nil, []string{encryptionKey}, []string{"pool.db", "encryption on"}},
		{"key that is too short", plainStore, nil, []string{"ENCRYPTION_KEY=0f0f"}, []string{"ENCRYPTION_KEY", "32 bytes"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := newInstance(t, tt.settings...)
			if tt.store != "" {
				copyDir(t, tt.store, i.Data)
			}
			if tt.damage != nil {
				tt.damage(t, i)
			}
			refuses(t, i, tt.want...)
		})
	}
}

// refuses starts an instance that must not start.
func refuses(t *testing.T, i *Instance, want ...string) {
	t.Helper()
	before := contents(t, i.Home)
	got := i.Run("serve")
	said := withoutWarnings(got.Err)
	if got.Code != 1 || got.Out != "" {
		t.Errorf("exit code %d, output %q", got.Code, got.Out)
	}
	if strings.Count(said, "\n") != 1 || !strings.HasPrefix(said, "ollama-api-pool: ") || len(said) > 500 {
		t.Errorf("not one line of words:\n%s", got.Err)
	}
	for _, w := range want {
		if !strings.Contains(said, w) {
			t.Errorf("without %q: %s", w, said)
		}
	}
	after := contents(t, i.Home)
	for path, sum := range after {
		if was, ok := before[path]; ok && was != sum || !ok && !harmless(path, sum) {
			t.Errorf("%s has changed", path)
		}
		delete(before, path)
	}
	for path := range before {
		t.Errorf("%s is gone", path)
	}
}

// withoutWarnings strikes the lines that warn of settings.
func withoutWarnings(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "warning: ") {
			out.WriteString(line)
		}
	}
	return out.String()
}

// harmless says whether a file that was not there before may be: what a first
// start makes, and what SQLite makes to read, with nothing in its log.
func harmless(path string, sum [sha256.Size]byte) bool {
	switch filepath.Base(path) {
	case "lock", "admin-token", "pool.db-shm":
		return true
	case "pool.db-wal":
		return sum == sha256.Sum256(nil)
	}
	return false
}

// TestStartsAfterRefusal mends what was wrong, and finds everything in place.
func TestStartsAfterRefusal(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ made, wrong []string }{
		"plain":     {nil, []string{encryptionKey}},
		"encrypted": {[]string{encryptionKey}, []string{anotherKey}},
		"key lost":  {[]string{encryptionKey}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, i, token := serving(t, healthy, tt.made...)
			keys := i.Keys(gateway.Ollama)
			i.Stop()
			right := i.Env
			i.Env = append(slices.Clone(right[:len(right)-len(tt.made)]), tt.wrong...)
			refuses(t, i, "ENCRYPTION_KEY")
			i.Env = right
			i.Start()
			if got := i.Keys(gateway.Ollama); !maps.Equal(got, keys) {
				t.Errorf("keys %v, before %v", got, keys)
			}
			if status, answer, err := do(t.Context(), "POST", i.URL()+"/v1/chat/completions", token, chatBody); err != nil || status != 200 {
				t.Errorf("it answers %d %s %v", status, answer, err)
			}
			i.Stop()
		})
	}
}

// TestManySettingsWrong expects all of them at once, a line each.
func TestManySettingsWrong(t *testing.T) {
	t.Parallel()
	i := newInstance(t, "MAX_RETRIES=many", "LISTEN_ADDR=nowhere", "STATS_SAMPLE_RATE=2", "OLLAMA_BASE_URL=ftp://x")
	got := i.Run("serve")
	if lines := strings.Count(withoutWarnings(got.Err), "\n"); got.Code == 0 || lines != 5 {
		t.Errorf("exit code %d, %d lines, want a heading and 4:\n%s", got.Code, lines, got.Err)
	}
	if _, err := os.Stat(i.Data); err == nil {
		t.Error("it made the data directory all the same")
	}
}

// TestDirectoryHeld starts a second instance on the directory of a first one,
// which must go on unharmed, also after it was killed and is started anew.
func TestDirectoryHeld(t *testing.T) {
	t.Parallel()
	_, first, token := serving(t, healthy)
	second := newInstance(t, "DATA_DIR="+first.Data)
	second.Data = first.Data
	got := second.Run("serve")
	for _, want := range []string{"another instance", strings.TrimPrefix(first.URL(), "http://"), "DATA_DIR"} {
		if said := withoutWarnings(got.Err); !strings.Contains(said, want) || got.Code != 1 || strings.Count(said, "\n") != 1 {
			t.Errorf("exit code %d, without %q: %s", got.Code, want, got.Err)
		}
	}
	if status, answer, err := do(t.Context(), "POST", first.URL()+"/v1/chat/completions", token, chatBody); err != nil || status != 200 {
		t.Errorf("the first one answers %d %s %v", status, answer, err)
	}
	first.Kill()
	second.Start() // a killed process holds nothing
	second.Stop()
}

// filledStore makes a data directory with a store of some size in it.
func filledStore(t *testing.T, settings ...string) (dir string) {
	t.Helper()
	i := newInstance(t, settings...)
	i.Start()
	var keys []string
	for n := range 3000 {
		keys = append(keys, fakeKey(gateway.Ollama, n))
	}
	i.AddKeys(gateway.Ollama, keys...)
	i.CreateToken("e2e", "all")
	i.Stop()
	return i.Data
}

// listen takes a port until the test ends.
func listen(t *testing.T) (addr string) {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func dataIsFile(t *testing.T, i *Instance) {
	t.Helper()
	write(t, i.Data, []byte("something of somebody\n"))
}

func storeIsDirectory(t *testing.T, i *Instance) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(i.Data, "pool.db", "inside"), 0o700); err != nil {
		t.Fatal(err)
	}
}

// damage writes over a 64th part of the store, from a fraction of it on.
func damage(part, of int) func(t *testing.T, i *Instance) {
	return func(t *testing.T, i *Instance) {
		t.Helper()
		path := filepath.Join(i.Data, "pool.db")
		b := read(t, path)
		from := len(b) / of * part
		copy(b[from:], bytes.Repeat([]byte("damage"), len(b)/64/6))
		write(t, path, b)
	}
}

func cutInHalf(t *testing.T, i *Instance) {
	t.Helper()
	path := filepath.Join(i.Data, "pool.db")
	b := read(t, path)
	write(t, path, b[:len(b)/2])
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// contents sums up every file below a directory.
func contents(t *testing.T, dir string) map[string][sha256.Size]byte {
	t.Helper()
	out := map[string][sha256.Size]byte{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			out[path] = sha256.Sum256(read(t, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
