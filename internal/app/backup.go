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
	"os"
	"path/filepath"
	"strings"
	"time"

	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/sqlstore"
)

// backupFormat is the version of the form in which backups are written: a
// gzipped tar with the manifest first, then the files that it names.
const backupFormat = 1

// backupProgram says in a manifest whose backup it is.
const backupProgram = "ollama-api-pool"

const manifestName = "manifest.json"

// Manifest is the first thing in a backup: what it holds, in JSON.
type Manifest struct {
	Format    int                          `json:"format"`
	Program   string                       `json:"program"`
	Version   string                       `json:"version"` // of the program that wrote it
	Created   time.Time                    `json:"created"`
	Encrypted bool                         `json:"encrypted"` // upstream keys are stored encrypted
	Keys      map[gateway.ProviderName]int `json:"keys"`
	Tokens    int                          `json:"client_tokens"`
	Files     []ManifestFile               `json:"files"`
}

// ManifestFile is one file of a backup.
type ManifestFile struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // in hex
}

// BackupOptions say more about a backup.
type BackupOptions struct {
	Version  string                  // of this program
	Progress func(done, total int64) // bytes; called now and then; may be nil
}

// Backup writes the store, as it is at one moment, and the admin token that the
// program made into w. Instances may serve meanwhile: what they have counted in
// the last second is not in their store yet. Upstream keys stay as they are
// stored, encrypted or not; ENCRYPTION_KEY is never in a backup. A database is
// written in the form of a file. It fails with ErrNoStore where there is no
// store.
func Backup(ctx context.Context, cfg *config.Config, w io.Writer, o BackupOptions) (m Manifest, err error) {
	if InDatabase(cfg) {
		return backupDatabase(ctx, cfg, w, o)
	}
	// A restoration that was cut off is ended when the directory is taken.
	if _, err := storeOf(cfg); err != nil && !exists(filepath.Join(cfg.DataDir, restoreReady)) {
		return Manifest{}, err
	}
	release, err := holdStill(ctx, cfg.DataDir)
	if err != nil {
		return Manifest{}, err
	}
	defer func() { err = errors.Join(err, release()) }()
	path, err := storeOf(cfg)
	if err != nil {
		return Manifest{}, err
	}
	dir, err := workDir(cfg.DataDir)
	if err != nil {
		return Manifest{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := sqlstore.Snapshot(ctx, path, filepath.Join(dir, storeName)); err != nil {
		return Manifest{}, err
	}
	return packUp(ctx, cfg, w, dir, o)
}

// backupDatabase is Backup for a database.
func backupDatabase(ctx context.Context, cfg *config.Config, w io.Writer, o BackupOptions) (m Manifest, err error) {
	dir, err := roomFor(cfg.DataDir)
	if err != nil {
		return Manifest{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := copyDatabase(ctx, cfg, filepath.Join(dir, storeName)); err != nil {
		return Manifest{}, err
	}
	return packUp(ctx, cfg, w, dir, o)
}

// copyDatabase copies the database of the settings into a new file.
func copyDatabase(ctx context.Context, cfg *config.Config, path string) (err error) {
	from, err := sqlstore.OpenSource(ctx, storeOptions(cfg, "", nil))
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }() // nothing was changed
	to, err := sqlstore.Open(ctx, sqlstore.Options{Path: path, EncryptionKey: rawKey(cfg.EncryptionKey)})
	if err != nil {
		return err
	}
	_, err = sqlstore.Copy(ctx, from, to, sqlstore.CopyOptions{})
	return errors.Join(err, to.Close())
}

// packUp describes and writes what was copied into dir.
func packUp(ctx context.Context, cfg *config.Config, w io.Writer, dir string, o BackupOptions) (Manifest, error) {
	m, err := collect(ctx, cfg, dir)
	if err != nil {
		return Manifest{}, err
	}
	m.Version = o.Version
	if err := pack(ctx, w, dir, &m, o.Progress); err != nil {
		return Manifest{}, fmt.Errorf("write the backup: %w", err)
	}
	return m, nil
}

// How long a backup waits for a command that holds the data directory, or for
// an instance that is starting.
const (
	stillPatience = 10 * time.Second
	stillPause    = 50 * time.Millisecond
)

// holdStill makes sure that nobody moves the store's files: it takes the data
// directory, or finds that an instance serves from it. That one may be read
// from beside it: SQLite lets several processes share a file, and a copy is of
// one moment.
func holdStill(ctx context.Context, dir string) (release func() error, err error) {
	deadline := time.Now().Add(stillPatience)
	for {
		lock, err := TakeDataDir(dir)
		if err == nil {
			return lock.Release, nil
		}
		if !errors.Is(err, ErrHeld) {
			return nil, err
		}
		if _, missing := ReadInstance(dir); missing == nil {
			return func() error { return nil }, nil
		}
		if time.Now().After(deadline) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(stillPause):
		}
	}
}

// collect copies what a backup holds besides the store, which is there already,
// into dir and describes all of it.
func collect(ctx context.Context, cfg *config.Config, dir string) (Manifest, error) {
	to := filepath.Join(dir, storeName)
	held, err := sqlstore.Examine(ctx, to)
	if err != nil {
		return Manifest{}, err
	}
	m := Manifest{
		Format: backupFormat, Program: backupProgram, Created: time.Now().UTC().Truncate(time.Second),
		Encrypted: held.Encrypted, Keys: held.Keys, Tokens: held.Tokens,
	}
	names := []string{storeName}
	token, err := os.ReadFile(AdminTokenPath(cfg.DataDir))
	switch {
	case err == nil:
		names = append(names, adminName)
		if err := os.WriteFile(filepath.Join(dir, adminName), token, 0o600); err != nil { //nolint:gosec // a directory of our own
			return Manifest{}, fmt.Errorf("copy the admin token: %w", err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return Manifest{}, fmt.Errorf("copy the admin token: %w", err)
	}
	for _, name := range names {
		f, err := describe(ctx, filepath.Join(dir, name))
		if err != nil {
			return Manifest{}, err
		}
		m.Files = append(m.Files, f)
	}
	return m, nil
}

// describe reads a file for the manifest.
func describe(ctx context.Context, path string) (ManifestFile, error) {
	f, err := os.Open(path) //nolint:gosec // a file of our own
	if err != nil {
		return ManifestFile{}, fmt.Errorf("read the copy: %w", err)
	}
	defer func() { _ = f.Close() }()
	sum := sha256.New()
	n, err := io.Copy(sum, &watched{ctx: ctx, r: f})
	if err != nil {
		return ManifestFile{}, fmt.Errorf("read the copy: %w", err)
	}
	return ManifestFile{Name: filepath.Base(path), Size: n, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// pack writes the manifest and the files that it names, from dir, into w.
func pack(ctx context.Context, w io.Writer, dir string, m *Manifest, progress func(done, total int64)) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	gz := gzip.NewWriter(w)
	tw := tar.NewWriter(gz)
	if err := packFile(tw, manifestName, int64(len(text)), m.Created, bytes.NewReader(text)); err != nil {
		return err
	}
	var done, total int64
	for _, f := range m.Files {
		total += f.Size
	}
	for _, f := range m.Files {
		if err := func() error {
			in, err := os.Open(filepath.Join(dir, f.Name)) //nolint:gosec // a file of our own
			if err != nil {
				return err
			}
			defer func() { _ = in.Close() }()
			return packFile(tw, f.Name, f.Size, m.Created, &watched{ctx: ctx, r: in, read: func(n int) {
				if done += int64(n); progress != nil {
					progress(done, total)
				}
			}})
		}(); err != nil {
			return err
		}
	}
	return errors.Join(tw.Close(), gz.Close())
}

func packFile(tw *tar.Writer, name string, size int64, at time.Time, from io.Reader) error {
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: at}); err != nil {
		return err
	}
	_, err := io.Copy(tw, from)
	return err
}

// watched reads until a context ends and tells how much was read.
type watched struct {
	ctx  context.Context
	r    io.Reader
	read func(n int) // may be nil
}

// Read reads.
func (w *watched) Read(b []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.r.Read(b)
	if w.read != nil {
		w.read(n)
	}
	return n, err
}

// workPrefix begins the names of directories inside the data directory in which
// backups are put together and looked at.
const workPrefix = "backup-work-"

// workStale is the age from which such a directory is one that a killed command
// left behind.
const workStale = 6 * time.Hour

// workDir makes a directory for files that only the owner may see, in dir, where
// there is room for a store, and removes what killed commands left there.
func workDir(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("look into %s: %w", dir, plainCause(err))
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && e.IsDir() && strings.HasPrefix(e.Name(), workPrefix) && time.Since(info.ModTime()) > workStale {
			_ = os.RemoveAll(filepath.Join(dir, e.Name())) // tried again next time
		}
	}
	made, err := os.MkdirTemp(dir, workPrefix)
	if err != nil {
		return "", fmt.Errorf("make a working directory in %s: %w", dir, plainCause(err))
	}
	return made, nil
}
