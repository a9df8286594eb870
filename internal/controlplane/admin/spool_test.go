package admin

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"ollama-api-pool/internal/controlplane/importer"
	"ollama-api-pool/internal/gateway"
)

func TestSpool(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		dir     string
		entries int
		file    bool
	}{
		"nothing":               {t.TempDir(), 0, false},
		"small":                 {t.TempDir(), 10, false},
		"large":                 {t.TempDir(), 1000, true},
		"large, no disk":        {"", 1000, false},
		"what stays in between": {t.TempDir(), 77, true},
	} {
		s := newSpool(c.dir)
		s.limit = 1000
		var want []gateway.Key
		for i := range c.entries {
			e := importer.Entry{Secret: gateway.Secret(fmt.Sprintf("fake-spool-key-%04d", i)), Username: fmt.Sprintf("user-%d", i%7)}
			if i%3 == 0 {
				e.Username = ""
			}
			if err := s.add(e); err != nil {
				t.Fatal(err)
			}
			want = append(want, gateway.Key{Secret: e.Secret, Username: e.Username, CreatedAt: now})
		}
		if (s.file != nil) != c.file {
			t.Errorf("%s: has a file: %v", name, s.file != nil)
		}
		if c.file {
			lookIntoFile(t, s)
		}
		for range 2 { // it can be read again
			var got []gateway.Key
			for k, err := range s.keys(now) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, k)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: %d keys came back of %d", name, len(got), len(want))
			}
		}
		s.close()
		if c.dir != "" {
			if left, err := os.ReadDir(c.dir); err != nil || len(left) != 0 {
				t.Errorf("%s: left behind: %v, %v", name, left, err)
			}
		}
	}
}

// lookIntoFile makes sure that nobody can read keys from the file.
func lookIntoFile(t *testing.T, s *spool) {
	t.Helper()
	if names, err := filepath.Glob(filepath.Join(s.dir, "*")); runtime.GOOS == "linux" && (err != nil || len(names) != 0) {
		t.Errorf("the file has a name: %v", names)
	}
	info, err := s.file.Stat()
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	b := make([]byte, info.Size())
	if _, err := s.file.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if len(b) < 1000 || bytes.Contains(b, []byte("fake")) || bytes.Contains(b, []byte("user")) {
		t.Errorf("%d bytes, in which keys can be read", len(b))
	}
}

func TestSpoolWithoutAPlace(t *testing.T) {
	s := newSpool(filepath.Join(t.TempDir(), "nowhere"))
	defer s.close()
	s.limit = 10
	if err := s.add(importer.Entry{Secret: "fake-spool-key-0001"}); err == nil {
		t.Error("a directory that is not there was written to")
	}
}

func TestSpoolWhoseFileIsDamaged(t *testing.T) {
	s := newSpool(t.TempDir())
	defer s.close()
	s.limit = 100
	for i := range 50 {
		if err := s.add(importer.Entry{Secret: gateway.Secret(fmt.Sprintf("fake-spool-key-%04d", i))}); err != nil {
			t.Fatal(err)
		}
	}
	s.memory.Reset()
	for _, size := range []int64{105, 104, 0} { // five entries, a part of the fifth, none
		if err := s.file.Truncate(size); err != nil {
			t.Fatal(err)
		}
		var last error
		for _, err := range s.keys(time.Now()) {
			last = err
		}
		if last == nil {
			t.Errorf("%d bytes of a file were taken for all of it", size)
		}
	}
}

func TestRemoveSpools(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"import-1.tmp", "import-23.tmp", "important.tmp", "import-1.tmp.txt", "pool.db"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "import-dir.tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := RemoveSpools(dir); err != nil {
		t.Fatal(err)
	}
	var left []string
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if want := []string{"import-1.tmp.txt", "import-dir.tmp", "important.tmp", "pool.db"}; err != nil || !slices.Equal(left, want) {
		t.Errorf("left are %v, want %v; %v", left, want, err)
	}
	if err := RemoveSpools(filepath.Join(dir, "none")); err == nil {
		t.Error("a directory that is not there is no error")
	}
}
