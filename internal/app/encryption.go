package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"

	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/sqlstore"
)

// ErrNoStore says that a data directory holds no store yet.
var ErrNoStore = errors.New("there is no store yet")

// Encryption tells how the store keeps upstream keys, and whether the
// ENCRYPTION_KEY of the settings fits. It changes nothing, and an instance may
// run meanwhile. It fails with ErrNoStore where there is none.
func Encryption(ctx context.Context, cfg *config.Config) (sqlstore.Sealing, error) {
	if InDatabase(cfg) {
		return sqlstore.InspectDatabase(ctx, storeOptions(cfg, "", nil))
	}
	path, err := storeOf(cfg)
	if err != nil {
		return sqlstore.Sealing{}, err
	}
	return sqlstore.Inspect(ctx, path, rawKey(cfg.EncryptionKey))
}

// Reencrypt changes the key with which the store's upstream keys are encrypted;
// "" stands for storing them as they are. It holds the data directory
// meanwhile: it fails with ErrHeld while an instance runs there, and with
// ErrNoStore where there is no store. In a database it refuses while instances
// work on it. progress is called now and then and at the end.
func Reencrypt(ctx context.Context, cfg *config.Config, from, to gateway.Secret, progress func(done, total int)) (err error) {
	if InDatabase(cfg) {
		o := storeOptions(cfg, "", nil)
		o.EncryptionKey = rawKey(from)
		return sqlstore.ReencryptDatabase(ctx, o, rawKey(to), progress)
	}
	path, err := storeOf(cfg)
	if err != nil {
		return err
	}
	lock, err := TakeDataDir(cfg.DataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	return sqlstore.Reencrypt(ctx, path, rawKey(from), rawKey(to), progress)
}

// StoreName says where the settings keep the data, without credentials.
func StoreName(cfg *config.Config) string {
	if !InDatabase(cfg) {
		return StorePath(cfg.DataDir)
	}
	store, err := sqlstore.New(storeOptions(cfg, "", nil))
	if err != nil {
		return "the database"
	}
	return store.Place()
}

// storeOf is where the store lies, if there is one.
func storeOf(cfg *config.Config) (string, error) {
	path := StorePath(cfg.DataDir)
	_, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", noStore(cfg.DataDir)
	case err != nil:
		return "", fmt.Errorf("look for the store: %w", err)
	}
	return path, nil
}

// noStore says where there is no store, whole: a short name depends on where the
// program was started.
func noStore(dir string) error {
	if whole, err := filepath.Abs(dir); err == nil {
		dir = whole
	}
	return fmt.Errorf("%w in %s", ErrNoStore, dir)
}

// FindStore fails with ErrNoStore where the data directory holds no store and
// nobody is about to make one there. It changes nothing.
func FindStore(cfg *config.Config) error {
	if InDatabase(cfg) {
		return nil // it shows when it is opened
	}
	_, err := storeOf(cfg)
	if !errors.Is(err, ErrNoStore) {
		return err
	}
	// A restoration that was cut off is ended when the directory is taken.
	if exists(filepath.Join(cfg.DataDir, restoreReady)) {
		return nil
	}
	path := filepath.Join(cfg.DataDir, lockName)
	if !exists(path) {
		return err
	}
	file := flock.New(path, flock.SetPermissions(0o600))
	ok, failed := file.TryLock()
	switch {
	case failed != nil:
		return err
	case !ok: // an instance is starting
		return nil
	}
	return errors.Join(err, file.Unlock())
}

// rawKey is an ENCRYPTION_KEY as the store takes it: nil for none.
func rawKey(s gateway.Secret) []byte {
	if s == "" {
		return nil
	}
	return []byte(s.Reveal())
}
