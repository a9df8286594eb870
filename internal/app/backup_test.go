package app

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/gateway"
)

const (
	backupKey      = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	otherBackupKey = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	fakeAdmin      = "admin-fake-0123456789"
	fakeCookie     = "fake-session-cookie"
)

// dirWith makes a data directory with n keys, a client token and an admin token.
func dirWith(t *testing.T, n int, env ...string) *config.Config {
	t.Helper()
	cfg := inDir(t, filepath.Join(t.TempDir(), "data"), env...)
	o, err := OpenOffline(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = o.AddKeys(t.Context(), gateway.Ollama, func(yield func(gateway.Key, error) bool) {
		for i := range n {
			if !yield(gateway.Key{Secret: gateway.Secret(fmt.Sprintf("fake-upstream-key-%06d", i)), CreatedAt: time.Now()}, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := o.CreateToken(t.Context(), "app", gateway.Providers(), 0); err != nil {
		t.Fatal(err)
	}
	login := gateway.Session{Hash: gateway.HashToken(fakeCookie), CSRF: "fake-csrf", CreatedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)}
	if err := o.store.AddSession(t.Context(), login); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(o.Close(t.Context()), os.WriteFile(AdminTokenPath(cfg.DataDir), []byte(fakeAdmin+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func inDir(t *testing.T, dir string, env ...string) *config.Config {
	t.Helper()
	cfg, _, err := config.Load(append([]string{"LISTEN_ADDR=127.0.0.1:0", "DATA_DIR=" + dir}, env...), "")
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func mustBackup(t *testing.T, cfg *config.Config) ([]byte, Manifest) {
	t.Helper()
	var b bytes.Buffer
	m, err := Backup(t.Context(), cfg, &b, BackupOptions{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), m
}

// keysIn counts the keys of a data directory.
func keysIn(t *testing.T, cfg *config.Config) int {
	t.Helper()
	o, err := OpenOffline(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	_, n, err := o.Keys(t.Context(), gateway.Ollama, gateway.KeyQuery{Limit: 1})
	if err := errors.Join(err, o.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	return n
}

// listDir names what is in a data directory.
func listDir(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestBackupAndRestore(t *testing.T) {
	for name, env := range map[string][]string{"plain": nil, "encrypted": {"ENCRYPTION_KEY=" + backupKey}} {
		t.Run(name, func(t *testing.T) {
			from := dirWith(t, 20, env...)
			before := listDir(t, from.DataDir)
			b, m := mustBackup(t, from)
			if got := listDir(t, from.DataDir); !slices.Equal(got, before) {
				t.Errorf("%v is left, there was %v", got, before)
			}
			if m.Format != 1 || m.Program != backupProgram || m.Version != "test" || m.Encrypted != (env != nil) || m.Tokens != 1 ||
				m.Keys[gateway.Ollama] != 20 || m.Keys[gateway.OpenRouter] != 0 || len(m.Files) != 2 || time.Since(m.Created) > time.Hour {
				t.Errorf("%+v", m)
			}

			to := inDir(t, filepath.Join(t.TempDir(), "deep", "data"), env...)
			report, err := ReadBackup(t.Context(), to, bytes.NewReader(b), nil)
			if err != nil || report.Held || report.Replaces || report.Misfit != "" || report.Manifest.Tokens != 1 {
				t.Errorf("%+v, %v", report, err)
			}
			if exists(to.DataDir) {
				t.Error("looking made the data directory")
			}
			var seen int64
			done, err := Restore(t.Context(), to, bytes.NewReader(b), RestoreOptions{Progress: func(n int64) { seen = n }})
			if err != nil || done.Aside != "" || done.Manifest.Keys[gateway.Ollama] != 20 {
				t.Fatalf("%+v, %v", done, err)
			}
			if want := m.Files[0].Size + m.Files[1].Size; seen != want {
				t.Errorf("progress ended at %d of %d", seen, want)
			}
			if got := listDir(t, to.DataDir); !slices.Equal(got, []string{adminName, lockName, storeName}) {
				t.Errorf("there is %v", got)
			}
			for _, name := range []string{adminName, storeName} {
				info, err := os.Stat(filepath.Join(to.DataDir, name))
				if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
					t.Errorf("%s: %v", name, err)
				}
			}
			if n := keysIn(t, to); n != 20 {
				t.Errorf("%d keys", n)
			}
			o, err := OpenOffline(t.Context(), to, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			if _, in, err := o.store.Session(t.Context(), gateway.HashToken(fakeCookie)); in || err != nil {
				t.Errorf("a session came back: %v, %v", in, err)
			}
			if err := o.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if s, err := AdminToken(to.DataDir); s.Reveal() != fakeAdmin || err != nil {
				t.Errorf("admin token %v, %v", s.Reveal() == fakeAdmin, err)
			}
		})
	}
}

func TestBackupThatFails(t *testing.T) {
	empty := inDir(t, filepath.Join(t.TempDir(), "data"))
	if _, err := Backup(t.Context(), empty, io.Discard, BackupOptions{}); !errors.Is(err, ErrNoStore) {
		t.Errorf("error %v", err)
	}
	if exists(empty.DataDir) {
		t.Error("a data directory was made")
	}
	cfg := dirWith(t, 3)
	before := listDir(t, cfg.DataDir)
	if _, err := Backup(t.Context(), cfg, failing{}, BackupOptions{}); !errors.Is(err, errFull) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Backup(ctx, cfg, io.Discard, BackupOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if got := listDir(t, cfg.DataDir); !slices.Equal(got, before) {
		t.Errorf("%v is left", got)
	}
	// What a killed backup left goes with the next one, a day later.
	left := filepath.Join(cfg.DataDir, workPrefix+"1")
	past := time.Now().Add(-2 * workStale)
	if err := errors.Join(os.MkdirAll(filepath.Join(left, "x"), 0o700), os.Chtimes(left, past, past)); err != nil {
		t.Fatal(err)
	}
	mustBackup(t, cfg)
	if exists(left) {
		t.Error("what a killed backup left is still there")
	}
}

var errFull = errors.New("full")

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errFull }

func TestRestoreOverAStore(t *testing.T) {
	b, _ := mustBackup(t, dirWith(t, 5))
	to := dirWith(t, 2)
	if err := os.WriteFile(AdminTokenPath(to.DataDir), []byte("admin-fake-former\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := listDir(t, to.DataDir)
	if _, err := Restore(t.Context(), to, bytes.NewReader(b), RestoreOptions{}); !errors.Is(err, ErrStoreThere) {
		t.Errorf("error %v", err)
	}
	report, err := ReadBackup(t.Context(), to, bytes.NewReader(b), nil)
	if err != nil || !report.Replaces {
		t.Errorf("%+v, %v", report, err)
	}
	if got := listDir(t, to.DataDir); !slices.Equal(got, before) {
		t.Errorf("there is %v", got)
	}
	done, err := Restore(t.Context(), to, bytes.NewReader(b), RestoreOptions{Force: true})
	if err != nil {
		t.Fatal(err)
	}
	if n := keysIn(t, to); n != 5 {
		t.Errorf("%d keys", n)
	}
	if got := listDir(t, done.Aside); !slices.Equal(got, []string{adminName, storeName}) {
		t.Errorf("aside is %v", got)
	}
	if n := keysIn(t, inDir(t, done.Aside)); n != 2 {
		t.Errorf("%d keys aside", n)
	}
	if s, _ := AdminToken(to.DataDir); s.Reveal() != fakeAdmin {
		t.Error("the admin token is not that of the backup")
	}
	again, err := Restore(t.Context(), to, bytes.NewReader(b), RestoreOptions{Force: true})
	if err != nil || again.Aside == done.Aside || again.Aside == "" {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestRestoreWhileHeld(t *testing.T) {
	b, _ := mustBackup(t, dirWith(t, 1))
	to := dirWith(t, 1)
	lock, err := TakeDataDir(to.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Release() }()
	if _, err := Restore(t.Context(), to, bytes.NewReader(b), RestoreOptions{Force: true}); !errors.Is(err, ErrHeld) {
		t.Errorf("error %v", err)
	}
	if report, err := ReadBackup(t.Context(), to, bytes.NewReader(b), nil); err != nil || !report.Held {
		t.Errorf("%+v, %v", report, err)
	}
}

func TestRestoreNeedsTheEncryptionKey(t *testing.T) {
	sealed, _ := mustBackup(t, dirWith(t, 2, "ENCRYPTION_KEY="+backupKey))
	plain, _ := mustBackup(t, dirWith(t, 2))
	for _, c := range []struct {
		backup []byte
		env    []string
		words  string
	}{
		{sealed, nil, "encrypted and ENCRYPTION_KEY is not set"},
		{sealed, []string{"ENCRYPTION_KEY=" + otherBackupKey}, "not encrypted with this ENCRYPTION_KEY"},
		{plain, []string{"ENCRYPTION_KEY=" + backupKey}, "stored plain and ENCRYPTION_KEY is set"},
	} {
		to := inDir(t, filepath.Join(t.TempDir(), "data"), c.env...)
		_, err := Restore(t.Context(), to, bytes.NewReader(c.backup), RestoreOptions{})
		if err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("error %v, want %q", err, c.words)
		}
		if exists(to.DataDir) {
			t.Errorf("%q: something was changed: %v", c.words, listDir(t, to.DataDir))
		}
		report, err := ReadBackup(t.Context(), to, bytes.NewReader(c.backup), nil)
		if err != nil || !strings.Contains(report.Misfit, c.words) {
			t.Errorf("%+v, %v", report, err)
		}
	}
}

// Wherever a restoration is killed, there is the former store or the one of the
// backup, whole, when somebody takes the data directory next.
func TestRestoreKilledAnywhere(t *testing.T) {
	b, _ := mustBackup(t, dirWith(t, 5))
	for step, killed := range map[string]func(t *testing.T, dir string) (keys int, token string){
		"while unpacking": func(t *testing.T, dir string) (int, string) {
			unpackInto(t, b, filepath.Join(dir, restorePart))
			return 2, "admin-fake-former"
		},
		"before anything was moved": func(t *testing.T, dir string) (int, string) {
			unpackInto(t, b, filepath.Join(dir, restoreReady))
			return 5, fakeAdmin
		},
		"after the former store was moved": func(t *testing.T, dir string) (int, string) {
			ready := filepath.Join(dir, restoreReady)
			unpackInto(t, b, ready)
			move(t, StorePath(dir), filepath.Join(ready, replacedName, storeName))
			return 5, fakeAdmin
		},
		"between the store and the admin token": func(t *testing.T, dir string) (int, string) {
			ready := filepath.Join(dir, restoreReady)
			unpackInto(t, b, ready)
			move(t, StorePath(dir), filepath.Join(ready, replacedName, storeName))
			move(t, filepath.Join(ready, storeName), StorePath(dir))
			return 5, fakeAdmin
		},
		"before the end": func(t *testing.T, dir string) (int, string) {
			ready := filepath.Join(dir, restoreReady)
			unpackInto(t, b, ready)
			move(t, StorePath(dir), filepath.Join(ready, replacedName, storeName))
			move(t, filepath.Join(ready, storeName), StorePath(dir))
			move(t, AdminTokenPath(dir), filepath.Join(ready, replacedName, adminName))
			move(t, filepath.Join(ready, adminName), AdminTokenPath(dir))
			return 5, fakeAdmin
		},
	} {
		t.Run(step, func(t *testing.T) {
			to := dirWith(t, 2)
			if err := os.WriteFile(AdminTokenPath(to.DataDir), []byte("admin-fake-former\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			wantKeys, wantToken := killed(t, to.DataDir)
			if n := keysIn(t, to); n != wantKeys {
				t.Errorf("%d keys, want %d", n, wantKeys)
			}
			if s, err := AdminToken(to.DataDir); s.Reveal() != wantToken || err != nil {
				t.Errorf("the admin token is another, %v", err)
			}
			var aside []string
			for _, name := range listDir(t, to.DataDir) {
				if strings.HasPrefix(name, "restore") {
					t.Errorf("%s is left", name)
				}
				if strings.HasPrefix(name, replacedName) {
					aside = listDir(t, filepath.Join(to.DataDir, name))
				}
			}
			if wantKeys == 5 && !slices.Equal(aside, []string{adminName, storeName}) {
				t.Errorf("aside is %v", aside)
			}
		})
	}
}

func unpackInto(t *testing.T, b []byte, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := unpack(t.Context(), bytes.NewReader(b), dir, nil); err != nil {
		t.Fatal(err)
	}
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o700), os.Rename(from, to)); err != nil {
		t.Fatal(err)
	}
}

// entry is one entry of an archive that a test makes up.
type entry struct {
	header tar.Header
	body   []byte
}

func file(name string, body []byte) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(body)), Mode: 0o600}, body}
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	gz := gzip.NewWriter(&b)
	tw := tar.NewWriter(gz)
	for _, e := range entries {
		if err := tw.WriteHeader(&e.header); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(tw.Flush(), tw.Close(), gz.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func manifestEntry(t testing.TB, change func(*Manifest), files ...entry) entry {
	t.Helper()
	m := Manifest{Format: 1, Program: backupProgram, Version: "test", Created: time.Now(), Keys: map[gateway.ProviderName]int{"ollama": 0, "openrouter": 0}}
	for _, f := range files {
		sum := sha256.Sum256(f.body)
		m.Files = append(m.Files, ManifestFile{f.header.Name, f.header.Size, hex.EncodeToString(sum[:])})
	}
	if change != nil {
		change(&m)
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return file(manifestName, text)
}

func TestHostileBackups(t *testing.T) {
	good, m := mustBackup(t, dirWith(t, 3))
	store := file(storeName, []byte("not SQLite at all, only its name"))
	link := func(kind byte) entry {
		e := store
		e.header.Typeflag, e.header.Linkname, e.header.Size, e.body = kind, "/etc/passwd", 0, nil
		return e
	}
	named := func(name string) []byte {
		f := file(name, []byte("x"))
		return archive(t, manifestEntry(t, nil, store, f), store, f)
	}
	spoilt := bytes.Clone(good)
	spoilt[len(spoilt)/2] ^= 1
	sums := bytes.Clone(good)
	sums[len(sums)-6] ^= 1 // of gzip itself
	_, other := mustBackup(t, dirWith(t, 4))
	for name, c := range map[string]struct {
		backup []byte
		words  string
	}{
		"nothing":               {nil, "not a backup of this program"},
		"text":                  {[]byte("This is a letter.\n"), "not a backup of this program"},
		"gzip of text":          {gzipped([]byte("This is a letter.\n")), "ends too early"},
		"another tar":           {archive(t, file("readme.txt", []byte("x"))), "not a backup of this program"},
		"another manifest":      {archive(t, file(manifestName, []byte(`{"format":1}`))), "not a backup of this program"},
		"a manifest of text":    {archive(t, file(manifestName, []byte(`hello`))), "not a backup of this program"},
		"a huge manifest":       {archive(t, file(manifestName, make([]byte, maxManifest+1))), "not a backup of this program"},
		"a list for a manifest": {archive(t, file(manifestName, []byte(`{"format":1,"program":"ollama-api-pool","keys":7}`))), "its manifest cannot be read"},
		"of a newer version":    {archive(t, manifestEntry(t, func(m *Manifest) { m.Format, m.Version = 2, "9.9" })), "a newer version of this program (9.9)"},
		"no store":              {archive(t, manifestEntry(t, nil)), "there is no store in it"},
		"a path upwards":        {named("../evil"), "does not belong there"},
		"an absolute path":      {named("/etc/evil"), "does not belong there"},
		"the lock":              {named("lock"), "does not belong there"},
		"a name twice":          {archive(t, manifestEntry(t, nil, store, store), store, store), "names pool.db twice"},
		"a missing file":        {archive(t, manifestEntry(t, nil, store)), "pool.db is missing"},
		"another file":          {archive(t, manifestEntry(t, nil, store), file("x", store.body)), "not the file that its manifest names"},
		"one file too many":     {archive(t, manifestEntry(t, nil, store), store, file("../x", []byte("x"))), "more in it than its manifest names"},
		"a symbolic link":       {archive(t, manifestEntry(t, nil, store), link(tar.TypeSymlink)), "not the file that its manifest names"},
		"a hard link":           {archive(t, manifestEntry(t, nil, store), link(tar.TypeLink)), "not the file that its manifest names"},
		"a directory":           {archive(t, manifestEntry(t, nil, store), link(tar.TypeDir)), "not the file that its manifest names"},
		"a link as manifest":    {archive(t, entry{tar.Header{Typeflag: tar.TypeSymlink, Name: manifestName, Linkname: "/etc/passwd"}, nil}), "not a backup of this program"},
		"a huge store":          {archive(t, manifestEntry(t, func(m *Manifest) { m.Files[0].Size = 1 << 50 }, store), store), "cannot be 1125899906842624 bytes large"},
		"a huge admin token":    {archive(t, manifestEntry(t, nil, store, file(adminName, make([]byte, maxAdminToken+1))), store), "its admin-token cannot be"},
		"a negative size":       {archive(t, manifestEntry(t, func(m *Manifest) { m.Files[0].Size = -1 }, store), store), "cannot be -1 bytes"},
		"another size":          {archive(t, manifestEntry(t, func(m *Manifest) { m.Files[0].Size++ }, store), store), "not the file that its manifest names"},
		"another checksum":      {archive(t, manifestEntry(t, func(m *Manifest) { m.Files[0].SHA256 = strings.Repeat("0", 64) }, store), store), "pool.db has changed"},
		"no SQLite":             {archive(t, manifestEntry(t, nil, store), store), "the store in the backup cannot be used: the file is damaged or is no SQLite database"},
		"another count":         {repacked(t, good, other), "does not hold what its manifest says"},
		"a changed byte":        {spoilt, "the backup is not sound"},
		"a changed checksum":    {sums, "has changed since it was written"},
		"something behind it":   {append(bytes.Clone(good), gzipped(make([]byte, maxPadding+1))...), "something follows its end"},
		"cut at the beginning":  {good[:5], "ends too early"},
		"cut in the middle":     {good[:len(good)/2], "ends too early"},
		"cut at the end":        {good[:len(good)-1], "ends too early"},
	} {
		t.Run(name, func(t *testing.T) {
			to := inDir(t, filepath.Join(t.TempDir(), "data"))
			for what, err := range map[string]error{
				"restore": func() error {
					_, err := Restore(t.Context(), to, bytes.NewReader(c.backup), RestoreOptions{})
					return err
				}(),
				"look": func() error {
					_, err := ReadBackup(t.Context(), to, bytes.NewReader(c.backup), nil)
					return err
				}(),
			} {
				if err == nil || !strings.Contains(err.Error(), c.words) {
					t.Errorf("%s: error %v, want %q", what, err, c.words)
				}
			}
			if exists(to.DataDir) {
				t.Errorf("there is %v", listDir(t, to.DataDir))
			}
		})
	}
	if len(m.Files) != 2 {
		t.Errorf("%+v", m.Files)
	}
}

// repacked is a backup with the counts of another's manifest.
func repacked(t *testing.T, b []byte, counts Manifest) []byte {
	t.Helper()
	dir := t.TempDir()
	m, err := unpack(t.Context(), bytes.NewReader(b), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.Keys = counts.Keys
	var out bytes.Buffer
	if err := pack(t.Context(), &out, dir, &m, nil); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	gz := gzip.NewWriter(&out)
	_, _ = gz.Write(b)
	_ = gz.Close()
	return out.Bytes()
}

// What inflates without end is stopped before it fills the disk.
func TestInflatingBackup(t *testing.T) {
	b := &bounded{packed: &tallied{n: 1 << 20}}
	piece := make([]byte, 1<<20)
	var written int64
	for written < 64<<30 {
		n, err := b.Write(piece)
		if err != nil {
			break
		}
		written += int64(n)
	}
	if written < inflateFloor || written > 2*inflateFloor {
		t.Errorf("stopped after %d bytes", written)
	}
	honest := &bounded{packed: &tallied{n: 100 << 20}}
	for range 10 << 10 { // 10 GiB of 100 MiB
		if _, err := honest.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRestoreCancelled(t *testing.T) {
	b, _ := mustBackup(t, dirWith(t, 3))
	ctx, cancel := context.WithCancel(t.Context())
	to := inDir(t, filepath.Join(t.TempDir(), "data"))
	_, err := Restore(ctx, to, &cancelling{bytes.NewReader(b), cancel}, RestoreOptions{})
	if !errors.Is(err, context.Canceled) || exists(to.DataDir) {
		t.Errorf("%v, and there is %v", err, listDir(t, to.DataDir))
	}
}

// cancelling cancels with its first piece.
type cancelling struct {
	r      *bytes.Reader
	cancel context.CancelFunc
}

func (c *cancelling) Read(b []byte) (int, error) {
	c.cancel()
	return c.r.Read(b[:min(len(b), 100)])
}

func FuzzUnpack(f *testing.F) {
	store := file(storeName, []byte("not SQLite at all, only its name"))
	f.Add(archive(f, manifestEntry(f, nil, store), store))
	f.Add(archive(f, manifestEntry(f, nil, store, file("../x", []byte("x"))), store))
	f.Add(archive(f, file(manifestName, []byte(`{"format":1}`))))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "in")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		m, err := unpack(t.Context(), bytes.NewReader(b), dir, nil)
		if got := listDir(t, outer); !slices.Equal(got, []string{"in"}) {
			t.Fatalf("there is %v", got)
		}
		for _, name := range listDir(t, dir) {
			if _, known := backupFiles[name]; !known {
				t.Fatalf("%q was unpacked", name)
			}
		}
		if err == nil && !slices.ContainsFunc(m.Files, func(f ManifestFile) bool { return f.Name == storeName }) {
			t.Fatal("no store in it")
		}
	})
}
