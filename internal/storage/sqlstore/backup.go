package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Backup writes the whole database, as it is at one moment, into a new file at
// path, with mode 0600. Nobody waits for it: other calls and other processes
// read and write meanwhile. Keys stay encrypted where they are; counts that are
// yet to be added up are copied as such. The file is there when it is whole and
// on the disk, and after an error not at all. A file that is there is not
// touched.
func (s *Store) Backup(ctx context.Context, path string) error {
	return s.dialect.backup(ctx, "back up the store", path)
}

// backup makes the copy under a name of its own, looks whether it is sound
// and then gives it its name.
func (d sqliteFile) backup(ctx context.Context, did, to string) (err error) {
	to, err = filepath.Abs(to)
	if err != nil {
		return fmt.Errorf("%s to %s: %w", did, to, err)
	}
	if _, err := os.Lstat(to); err == nil {
		return copyPlaceFault(did, to, fs.ErrExist)
	}
	part, err := os.CreateTemp(filepath.Dir(to), filepath.Base(to)+".*.part") // with mode 0600
	if err != nil {
		return copyPlaceFault(did, to, err)
	}
	defer func() {
		_ = part.Close()
		_ = os.Remove(part.Name())
		_ = os.Remove(part.Name() + "-journal")
	}()
	if err := d.copy(ctx, part.Name()); err != nil {
		return d.copyFault(ctx, did, to, err)
	}
	copied := sqliteFile{path: part.Name(), busy: d.busy}
	look := copied.open(forLooking)
	err = errors.Join(copied.check(ctx, look), look.Close())
	if err == nil {
		err = part.Sync()
	}
	if err != nil {
		return d.copyFault(ctx, did, to, err)
	}
	if err := giveName(part.Name(), to); err != nil {
		return copyPlaceFault(did, to, err)
	}
	return nil
}

// giveName gives a file its name, unless something has it, and has both noted on
// the disk. Not every file system has links.
func giveName(from, to string) error {
	err := os.Link(from, to)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		if _, there := os.Lstat(to); there == nil {
			return fs.ErrExist
		}
		err = os.Rename(from, to)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return nil // what cannot be opened cannot be flushed; the file is there
	}
	defer func() { _ = dir.Close() }()
	_ = dir.Sync() // some file systems refuse it
	return nil
}

// copyFault tells what is wrong with the copy from what is wrong with the store.
func (d sqliteFile) copyFault(ctx context.Context, did, to string, err error) error {
	if ended := ctx.Err(); ended != nil {
		return fmt.Errorf("%s to %s: %w", did, to, ended)
	}
	if diskFull(err) {
		return &Fault{Did: did + " to", Path: to, Cause: "the disk is full", Cure: "free some space or give another place, and try again", Err: err}
	}
	return d.fault(did, err)
}

// copyPlaceFault says what the operating system has against the place of a copy.
func copyPlaceFault(did, to string, err error) error {
	f := &Fault{Did: did + " to", Path: to, Err: err}
	switch {
	case errors.Is(err, fs.ErrExist):
		f.Cause, f.Cure = "there is something of that name already", "give another name or move it away"
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		f.Cause, f.Cure = "its directory does not exist", "create the directory or give another place"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		f.Cause, f.Cure = "its directory cannot be written", "make the directory writable for this user or give another place"
	case errors.Is(err, syscall.ENOSPC):
		f.Cause, f.Cure = "the disk is full", "free some space or give another place, and try again"
	default:
		return fmt.Errorf("%s to %s: %w", did, to, err)
	}
	return f
}
