package sqlstore

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"ollama-api-pool/internal/gateway"
)

func TestDamagedFiles(t *testing.T) {
	t.Parallel()
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
