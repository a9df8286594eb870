package sqlstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// resultCode gives SQLite's primary result code, 0 for an error that is not SQLite's.
func resultCode(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// readOnlyFails reports whether an error can come from having opened the file
// read-only, as with the journal of a crashed writer beside it.
func readOnlyFails(err error) bool {
	code := resultCode(err)
	return code == sqlite3.SQLITE_READONLY || code == sqlite3.SQLITE_CANTOPEN
}

// damaged reports whether an error tells of a file that is not sound.
func damaged(err error) bool {
	var found *damage
	code := resultCode(err)
	return code == sqlite3.SQLITE_CORRUPT || code == sqlite3.SQLITE_NOTADB || errors.As(err, &found)
}

// diskFull reports whether an error tells that there is no room left.
func diskFull(err error) bool {
	return resultCode(err) == sqlite3.SQLITE_FULL || errors.Is(err, syscall.ENOSPC)
}

// explain says in plain words what an error means and what helps; both are
// empty for an error that is not about the file.
func (d sqliteFile) explain(err error) (cause, cure string, away bool) {
	switch code := resultCode(err); {
	case damaged(err):
		return "the file is damaged or is no SQLite database", "restore a backup, or move it and its -wal file away to start empty", false
	case diskFull(err):
		return "the disk is full", "free some space and try again", false
	case code == sqlite3.SQLITE_BUSY, code == sqlite3.SQLITE_LOCKED:
		return fmt.Sprintf("another process has kept it locked for %s", d.busy), "wait for that process or stop it, and try again", false
	case code == sqlite3.SQLITE_READONLY, code == sqlite3.SQLITE_PERM, errors.Is(err, errReadOnly):
		return "it cannot be written", "make the file and its directory writable for this user", false
	case code == sqlite3.SQLITE_CANTOPEN:
		return "it cannot be opened", "make the file and its directory readable and writable for this user", false
	case code == sqlite3.SQLITE_IOERR:
		return "the disk reports an error", "look at the disk and at the system's log", false
	}
	return "", "", false
}

// create makes an empty file that only its owner can read, where there is
// none. It never opens one that is there: closing it again would drop the locks
// that this process holds on it (https://sqlite.org/howtocorrupt.html, 2.2).
func (d sqliteFile) create() (fresh bool, err error) {
	const did = "open the store"
	info, err := os.Stat(d.path)
	switch {
	case err == nil && info.Mode().IsRegular():
		return false, nil
	case err == nil:
		return false, &Fault{Did: did, Path: d.path, Cause: "it is not a file", Cure: "move it away or set another place (DATA_DIR)"}
	case !errors.Is(err, os.ErrNotExist):
		return false, d.placeFault(did, err)
	}
	f, err := os.OpenFile(d.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return false, nil // another process was faster
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return false, d.placeFault(did, err)
	}
	return true, nil
}

// restrict takes everybody else's rights away from the file and its log; new
// logs get the file's own mode. Where the file belongs to another user that
// cannot be done, and what its owner chose stays.
func restrict(path string) {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		_ = os.Chmod(path+suffix, 0o600)
	}
}

// mustBeThere is for what does not make a new file.
func (d sqliteFile) mustBeThere(did string) error {
	_, err := os.Stat(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return &Fault{Did: did, Path: d.path, Cause: "there is no store", Cure: "look where it is (DATA_DIR)"}
	}
	if err != nil {
		return d.placeFault(did, err)
	}
	return nil
}

// placeFault wraps what the operating system says about the place of the file.
func (d sqliteFile) placeFault(did string, err error) error {
	f := &Fault{Did: did, Path: d.path, Err: err}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		f.Cause, f.Cure = "its directory does not exist", "create the directory or set another one (DATA_DIR)"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		f.Cause, f.Cure = "its directory cannot be written", "make the directory writable for this user or set another one (DATA_DIR)"
	case errors.Is(err, syscall.ENOSPC):
		f.Cause, f.Cure = "the disk is full", "free some space and try again"
	default:
		return fmt.Errorf("%s: %w", did, err)
	}
	return f
}

// refused goes by result codes; SQLITE_ERROR is about names and what a trigger
// raises.
func (d sqliteFile) refused(err error) bool {
	switch resultCode(err) {
	case sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG:
		return true
	}
	return false
}
