package app

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"ollama-api-pool/internal/config"
)

// Where somebody holds the directory a store may be in the making; so it is
// where a restoration was cut off. Looking changes nothing.
func TestFindStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	cfg := &config.Config{DataDir: dir}
	want := func(what string, err error) {
		t.Helper()
		if got := FindStore(cfg); !errors.Is(got, err) {
			t.Errorf("%s: %v, want %v", what, got, err)
		}
	}
	want("no directory", ErrNoStore)
	if exists(dir) {
		t.Error("a directory was made")
	}
	lock, err := TakeDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	want("held", nil)
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	want("let go", ErrNoStore)
	if err := os.Mkdir(filepath.Join(dir, restoreReady), 0o700); err != nil {
		t.Fatal(err)
	}
	want("half restored", nil)
	if err := os.Remove(filepath.Join(dir, restoreReady)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(StorePath(dir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want("there", nil)
	if err := os.Remove(StorePath(dir)); err != nil {
		t.Fatal(err)
	}
	cfg.DatabaseURL = "postgres://db.example"
	want("in a database", nil)
}
