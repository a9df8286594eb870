package sqlstore

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
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
	t.Parallel()
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
	d := sqliteFile{path: "/data/pool.db"}
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
	t.Parallel()
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
