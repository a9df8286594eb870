package app

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"

	"ollama-api-pool/internal/controlplane/admin"
	"ollama-api-pool/internal/gateway"
)

// Names inside the data directory.
const (
	lockName     = "lock"
	instanceName = "instance.json"
	adminName    = "admin-token"
	storeName    = "pool.db"
)

// StorePath is where the embedded store of a data directory lies.
func StorePath(dataDir string) string { return filepath.Join(dataDir, storeName) }

// AdminTokenPath is where the admin token of a data directory lies, if it was
// made by the program.
func AdminTokenPath(dataDir string) string { return filepath.Join(dataDir, adminName) }

// Lock is one process's hold on a data directory.
type Lock struct{ file *flock.Flock }

// ErrHeld says that another process holds the data directory.
var ErrHeld = errors.New("another instance holds the data directory")

// TakeDataDir makes the data directory if need be and takes hold of it. Only
// one process can.
func TakeDataDir(dir string) (*Lock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory %s cannot be made: %w: choose another with DATA_DIR", dir, plainCause(err))
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", dir, plainCause(err))
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory needs its x bit
			return nil, fmt.Errorf("data directory %s is open to others and cannot be closed: %w: chmod 700 it", dir, plainCause(err))
		}
	}
	file := flock.New(filepath.Join(dir, lockName), flock.SetPermissions(0o600))
	ok, err := file.TryLock()
	if err != nil {
		return nil, fmt.Errorf("data directory %s cannot be written: %w: give it to the user who runs this, or choose another with DATA_DIR", dir, plainCause(err))
	}
	if !ok {
		return nil, fmt.Errorf("%w %s%s: stop it, or choose another directory with DATA_DIR (two instances on one machine need two)", ErrHeld, dir, holder(dir))
	}
	if err := removeInstance(dir); err != nil { // of one that was killed: nobody must be sent there
		_ = file.Unlock()
		return nil, fmt.Errorf("data directory %s: %w", dir, plainCause(err))
	}
	if _, err := finishRestore(dir); err != nil { // of one that was killed, too
		_ = file.Unlock()
		return nil, fmt.Errorf("data directory %s: %w", dir, err)
	}
	if err := admin.RemoveSpools(dir); err != nil { // likewise
		_ = file.Unlock()
		return nil, fmt.Errorf("data directory %s: %w", dir, err)
	}
	return &Lock{file}, nil
}

// Release lets go of the directory.
func (l *Lock) Release() error { return l.file.Unlock() }

// plainCause strips the path that the message has already.
func plainCause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// Instance says where the process that holds a data directory listens.
type Instance struct {
	PID  int    `json:"pid"`
	Addr string `json:"addr"` // host:port that reaches it on this machine
	// Store is the fingerprint of the database on which it works, "" for the
	// file in the data directory.
	Store string `json:"store,omitempty"`
}

func holder(dir string) string {
	i, err := ReadInstance(dir)
	if err != nil {
		return ""
	}
	return fmt.Sprintf(" (process %d, %s)", i.PID, i.Addr)
}

// ReadInstance finds the running instance of a data directory.
func ReadInstance(dir string) (Instance, error) {
	var i Instance
	b, err := os.ReadFile(filepath.Join(dir, instanceName)) //nolint:gosec // the operator's own directory
	if err != nil {
		return i, fmt.Errorf("find the running instance: %w", err)
	}
	if err := json.Unmarshal(b, &i); err != nil {
		return i, fmt.Errorf("read %s: %w", instanceName, err)
	}
	return i, nil
}

func writeInstance(dir string, i Instance) error {
	b, err := json.Marshal(i)
	if err != nil {
		return fmt.Errorf("encode %s: %w", instanceName, err)
	}
	return writeFile(filepath.Join(dir, instanceName), append(b, '\n'))
}

func removeInstance(dir string) error {
	if err := os.Remove(filepath.Join(dir, instanceName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// writeFile replaces a file of the data directory in one step.
func writeFile(path string, b []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, plainCause(err))
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write %s: %w", path, plainCause(err))
	}
	return nil
}

// AdminToken reads the admin token that was made at an earlier start.
func AdminToken(dataDir string) (gateway.Secret, error) {
	path := AdminTokenPath(dataDir)
	b, err := os.ReadFile(path) //nolint:gosec // the operator's own directory
	if err != nil {
		return "", fmt.Errorf("read the admin token: %w", err)
	}
	s := strings.TrimSpace(string(b))
	if s == "" {
		return "", fmt.Errorf("the admin token in %s is empty: delete the file and start again to have one made, or set ADMIN_TOKEN", path)
	}
	return gateway.Secret(s), nil
}

// ensureAdminToken reads the admin token, or makes one at first start.
func ensureAdminToken(dataDir string) (gateway.Secret, error) {
	s, err := AdminToken(dataDir)
	if !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	var b [24]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	made := "admin-" + hex.EncodeToString(b[:])
	if err := writeFile(AdminTokenPath(dataDir), []byte(made+"\n")); err != nil {
		return "", err
	}
	return gateway.Secret(made), nil
}
