package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Where there is no store, a command that reads or changes says so, also how to
// reach another, and makes nothing; one that adds makes it.
func TestNoStore(t *testing.T) {
	p := stopped(t)
	file := filepath.Join(t.TempDir(), "out")
	for _, args := range []string{
		"keys list", "keys list --json", "keys show 0123456789abcdef", "keys export", "keys export -o " + file,
		"keys enable --all --yes", "keys disable --all --yes", "keys delete --all --yes", "keys clear-rest --all --yes", "keys check --all",
		"stats", "stats --json", "requests", "requests show 0123456789abcdef",
		"jobs list", "jobs show 0123456789abcdef", "jobs watch 0123456789abcdef", "jobs cancel 0123456789abcdef",
		"tokens list", "tokens limit 0123456789abcdef --rpm 5", "tokens revoke 0123456789abcdef",
		"backup " + file, "encryption status", "encryption off",
	} {
		more := []string{}
		if strings.HasPrefix(args, "encryption off") {
			more = append(more, "ENCRYPTION_KEY="+testEncryptionKey)
		}
		r := p.with(more...).fails(t, exitFailed, "there is no store yet in "+p.dir(), "", strings.Fields(args)...)
		wantText(t, "standard output of "+args, r.out, "")
		if !strings.HasPrefix(args, "encryption off") {
			wantAll(t, r.err, "DATA_DIR chooses the directory")
		}
	}
	wantAll(t, p.run(t, "", "keys", "list").err, "--server=URL")
	wantNoFile(t, filepath.Dir(p.dir()))
	wantNoFile(t, filepath.Dir(file))

	// A directory that holds something else is no store, and stays as it is.
	if err := os.MkdirAll(p.dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.dir(), "lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p.fails(t, exitFailed, "there is no store yet", "", "keys", "list")
	if entries, err := os.ReadDir(p.dir()); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	p.ok(t, "", "keys", "add", keyA)
	wantAll(t, p.ok(t, "", "keys", "list").out, "fake-k…aaaa")
	stopped(t).ok(t, keyA, "keys", "import", "-")
	stopped(t).ok(t, "", "tokens", "create", "app")
}
