package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/gofrs/flock"

	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/storage/sqlstore"
)

// Names inside the data directory while a backup is restored. The first holds
// what is being unpacked and counts for nothing; by its renaming to the second
// the backup takes the store's place, and whoever holds the data directory next
// ends what is left to do.
const (
	restorePart  = "restore.part"
	restoreReady = "restore.ready"
	replacedName = "replaced" // in restoreReady, and the beginning of where it ends up
)

// ErrStoreThere says that a backup would replace a store.
var ErrStoreThere = errors.New("there is a store already")

// RestoreOptions say how to restore.
type RestoreOptions struct {
	Force    bool             // move a store that is there aside
	Progress func(done int64) // bytes unpacked; called now and then; may be nil
}

// Restored is what a restoration did.
type Restored struct {
	Manifest Manifest
	Aside    string // the directory that holds what was there before, "" if nothing was
}

// Restore puts a backup in the place of the data directory's store and admin
// token. It checks everything first: after an error nothing has changed, and
// after a kill there is either what was or what the backup holds. It fails with
// ErrHeld while an instance runs there, and with ErrStoreThere, unless it is
// forced, where there is a store.
func Restore(ctx context.Context, cfg *config.Config, r io.Reader, o RestoreOptions) (done Restored, err error) {
	if err := notInDatabase(cfg); err != nil {
		return Restored{}, err
	}
	dir := cfg.DataDir
	_, err = os.Stat(dir)
	fresh := errors.Is(err, fs.ErrNotExist)
	lock, err := TakeDataDir(dir)
	if err != nil {
		return Restored{}, err
	}
	defer func() {
		err = errors.Join(err, lock.Release())
		if err != nil && fresh {
			_ = os.Remove(filepath.Join(dir, lockName))
			_ = os.Remove(dir) // only if nothing else is in it
		}
	}()
	if exists(StorePath(dir)) && !o.Force {
		return Restored{}, fmt.Errorf("%w in %s", ErrStoreThere, dir)
	}
	part := filepath.Join(dir, restorePart)
	if err := os.Mkdir(part, 0o700); err != nil {
		return Restored{}, fmt.Errorf("make %s: %w", part, plainCause(err))
	}
	m, err := prepareRestore(ctx, cfg, r, part, o.Progress)
	if err != nil {
		return Restored{}, errors.Join(err, os.RemoveAll(part))
	}
	if err := os.Rename(part, filepath.Join(dir, restoreReady)); err != nil {
		return Restored{}, errors.Join(fmt.Errorf("put the backup in place: %w", err), os.RemoveAll(part))
	}
	// From here on the backup counts, whatever happens.
	if err := syncDir(dir); err != nil {
		return Restored{}, err
	}
	aside, err := finishRestore(dir)
	return Restored{Manifest: m, Aside: aside}, err
}

// notInDatabase refuses to restore into a database.
func notInDatabase(cfg *config.Config) error {
	if !InDatabase(cfg) {
		return nil
	}
	return errors.New("a backup is restored into a data directory, not into a database: restore it with DATABASE_URL unset into an empty DATA_DIR, and copy that with 'ollama-api-pool migrate --from DATA_DIR --to DATABASE_URL'")
}

// prepareRestore unpacks a backup into part and makes sure that this program,
// with these settings, can serve from it.
func prepareRestore(ctx context.Context, cfg *config.Config, r io.Reader, part string, progress func(int64)) (Manifest, error) {
	m, err := unpack(ctx, r, part, progress)
	if err != nil {
		return m, err
	}
	path := filepath.Join(part, storeName)
	if err := examine(ctx, path, &m); err != nil {
		return m, err
	}
	if why := misfit(ctx, cfg, path); why != nil {
		return m, why
	}
	// The real opening brings the tables up to date as the next start would.
	store, err := sqlstore.Open(ctx, sqlstore.Options{Path: path, EncryptionKey: rawKey(cfg.EncryptionKey)})
	if err != nil {
		return m, inBackup(err)
	}
	// Who has logged out since the backup must not be in again.
	if err := errors.Join(store.EndSessions(ctx), store.Close()); err != nil {
		return m, inBackup(err)
	}
	for _, f := range m.Files {
		if err := syncFile(filepath.Join(part, f.Name)); err != nil {
			return m, err
		}
	}
	return m, syncDir(part)
}

// examine looks for damage in an unpacked store and compares it with what its
// manifest says.
func examine(ctx context.Context, path string, m *Manifest) error {
	held, err := sqlstore.Examine(ctx, path)
	if err != nil {
		return inBackup(err)
	}
	same := held.Encrypted == m.Encrypted && held.Tokens == m.Tokens && len(held.Keys) == len(m.Keys)
	for p, n := range held.Keys {
		same = same && m.Keys[p] == n
	}
	if !same {
		return errors.New("the backup is not sound: its store does not hold what its manifest says")
	}
	return nil
}

// misfit says why the settings' ENCRYPTION_KEY is not the one that an unpacked
// store needs, nil if it is.
func misfit(ctx context.Context, cfg *config.Config, path string) error {
	s, err := sqlstore.Inspect(ctx, path, rawKey(cfg.EncryptionKey))
	switch {
	case err != nil:
		return inBackup(err)
	case s.Fits:
		return nil
	case !s.Encrypted:
		return errors.New("the keys in the backup are stored plain and ENCRYPTION_KEY is set: unset it to restore them, then set it again and run 'encryption on'")
	case cfg.EncryptionKey == "":
		return errors.New("the keys in the backup are encrypted and ENCRYPTION_KEY is not set: set it to the key that they were encrypted with")
	}
	return errors.New("the keys in the backup are not encrypted with this ENCRYPTION_KEY: set it to the key that they were encrypted with")
}

// inBackup words a fault of an unpacked store, whose path means nothing to
// anybody.
func inBackup(err error) error {
	var f *sqlstore.Fault
	if errors.As(err, &f) {
		return fmt.Errorf("the store in the backup cannot be used: %s", f.Cause)
	}
	return fmt.Errorf("the store in the backup cannot be used: %w", err)
}

// finishRestore ends a restoration that counts, wherever it was cut off: what
// was there before is moved away and what was unpacked into its place. What does
// not count yet is removed. It says where what was there before is now, "" if
// there was nothing. The caller holds the data directory.
func finishRestore(dir string) (aside string, err error) {
	if err := os.RemoveAll(filepath.Join(dir, restorePart)); err != nil {
		return "", fmt.Errorf("remove what a broken off restoration left: %w", err)
	}
	ready := filepath.Join(dir, restoreReady)
	if !exists(ready) {
		return "", nil
	}
	old := filepath.Join(ready, replacedName)
	if err := os.MkdirAll(old, 0o700); err != nil {
		return "", fmt.Errorf("restore: %w", err)
	}
	// A store and its log belong together: both go before the new one comes.
	for _, step := range [][]string{{storeName, storeName + "-wal", storeName + "-shm"}, {adminName}} {
		if err := swap(dir, ready, old, step); err != nil {
			return "", fmt.Errorf("restore: %w", err)
		}
	}
	if err := syncDir(dir); err != nil {
		return "", err
	}
	if err := os.Remove(old); err != nil { // it holds something
		if aside, err = freeName(dir, replacedName+"-"+time.Now().UTC().Format("20060102-150405")); err != nil {
			return "", err
		}
		if err := os.Rename(old, aside); err != nil {
			return "", fmt.Errorf("restore: %w", err)
		}
	}
	if err := os.RemoveAll(ready); err != nil {
		return aside, fmt.Errorf("restore: %w", err)
	}
	return aside, syncDir(dir)
}

// swap moves files of dir into old and the first of them from ready into dir,
// unless that was done before.
func swap(dir, ready, old string, names []string) error {
	fresh := filepath.Join(ready, names[0])
	if !exists(fresh) {
		return nil
	}
	for _, name := range names {
		err := os.Rename(filepath.Join(dir, name), filepath.Join(old, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.Rename(fresh, filepath.Join(dir, names[0]))
}

// freeName is a path in dir, of that name or one like it, at which there is
// nothing.
func freeName(dir, name string) (string, error) {
	for n := 1; n < 1000; n++ {
		path := filepath.Join(dir, name)
		if n > 1 {
			path = fmt.Sprintf("%s-%d", path, n)
		}
		if !exists(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("no name is free beside %s", filepath.Join(dir, name))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // a file of our own
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err != nil {
		return fmt.Errorf("write down what was unpacked: %w", err)
	}
	return nil
}

// syncDir makes the names in a directory durable, where the system can.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(path) //nolint:gosec // a directory of our own
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err != nil {
		return fmt.Errorf("write down %s: %w", path, err)
	}
	return nil
}

// BackupReport says what a backup holds and what would keep it from being
// restored.
type BackupReport struct {
	Manifest Manifest
	Held     bool   // an instance or a command holds the data directory
	Replaces bool   // there is a store, which would be moved aside
	Misfit   string // why ENCRYPTION_KEY does not fit, "" if it does
}

// ReadBackup checks a backup as Restore does, and changes nothing.
func ReadBackup(ctx context.Context, cfg *config.Config, r io.Reader, progress func(done int64)) (report BackupReport, err error) {
	if err := notInDatabase(cfg); err != nil {
		return BackupReport{}, err
	}
	dir, err := roomFor(cfg.DataDir)
	if err != nil {
		return BackupReport{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	m, err := unpack(ctx, r, dir, progress)
	if err != nil {
		return BackupReport{}, err
	}
	path := filepath.Join(dir, storeName)
	if err := examine(ctx, path, &m); err != nil {
		return BackupReport{}, err
	}
	report = BackupReport{Manifest: m, Held: held(cfg.DataDir), Replaces: exists(StorePath(cfg.DataDir))}
	if why := misfit(ctx, cfg, path); why != nil {
		report.Misfit = why.Error()
	}
	return report, nil
}

// roomFor makes a directory in which a backup can be unpacked to look at it: in
// the data directory, where there is room for it, or without one elsewhere.
func roomFor(dataDir string) (string, error) {
	if info, err := os.Stat(dataDir); err == nil && info.IsDir() {
		return workDir(dataDir)
	}
	dir, err := os.MkdirTemp("", backupProgram+"-")
	if err != nil {
		return "", fmt.Errorf("make a working directory: %w", err)
	}
	return dir, nil
}

// held reports whether somebody holds a data directory, and leaves that as it is.
func held(dir string) bool {
	path := filepath.Join(dir, lockName)
	if !exists(path) {
		return false
	}
	lock := flock.New(path)
	free, err := lock.TryLock()
	if free {
		_ = lock.Unlock()
	}
	return err == nil && !free
}
