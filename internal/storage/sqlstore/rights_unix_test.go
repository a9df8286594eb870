//go:build unix

package sqlstore

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// TestPlacesWithoutRights opens stores as a user whom the rights on files bind:
// as root the test starts a process of another user.
func TestPlacesWithoutRights(t *testing.T) {
	dir := t.TempDir()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var user *syscall.Credential
	if os.Geteuid() == 0 {
		user = &syscall.Credential{Uid: 65534, Gid: 65534}
		copied := filepath.Join(dir, "sqlstore.test") // where that user may run it
		b := mustRead(t, program)
		program = copied
		if err := errors.Join(os.WriteFile(copied, b, 0o755), os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "place", "pool.db")
	for name, c := range map[string]struct {
		dirMode, fileMode os.FileMode
		words             string
	}{
		"no file in a closed directory":  {0o555, 0, "its directory cannot be written; make the directory writable"},
		"a file in a closed directory":   {0o555, 0o444, "cannot be written; make the file and its directory writable"},
		"a file for reading only":        {0o777, 0o444, "cannot be written; make the file and its directory writable"},
		"a file for others":              {0o777, 0o200, "cannot be opened; make the file and its directory readable"},
		"a directory that is not opened": {0o400, 0o666, "its directory cannot be written"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if c.fileMode != 0 {
				mustClose(t, mustOpen(t, Options{Path: path}))
				if err := os.Chmod(path, c.fileMode); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(filepath.Dir(path), c.dirMode); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), program)
			cmd.Env = append(os.Environ(), childPath+"="+path, childCount+"=1")
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: user}
			said, err := cmd.Output()
			var failed *exec.ExitError
			if !errors.As(err, &failed) {
				t.Fatalf("the other process says %q, %v", said, err)
			}
			wantLine(t, errors.New(string(said[:max(0, len(said)-1)])), path, c.words)
			if err := errors.Join(os.Chmod(filepath.Dir(path), 0o755), os.RemoveAll(filepath.Dir(path))); err != nil {
				t.Fatal(err)
			}
		})
	}
}
