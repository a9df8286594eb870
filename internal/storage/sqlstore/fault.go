package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"ollama-api-pool/internal/gateway"
)

// Fault is an error with the database itself, as opposed to what was asked of
// it. Its text is one line: what was tried, where, the cause and the cure.
type Fault struct {
	Did   string // what was tried, such as "open the store"
	Path  string
	Cause string
	Cure  string
	Err   error // what the engine or the system said, nil where we found it
}

// Error gives the whole line.
func (f *Fault) Error() string {
	line := f.Did + " " + f.Path + ": " + f.Cause + "; " + f.Cure
	if f.Err != nil {
		line += " (" + strings.Join(strings.Fields(f.Err.Error()), " ") + ")"
	}
	return line
}

// Unwrap gives what the engine or the system said.
func (f *Fault) Unwrap() error { return f.Err }

// fault wraps an error with what was tried. Errors that are meant for the
// caller, and the end of its context, keep their meaning.
func (d dialect) fault(did string, err error) error {
	if err == nil {
		return nil
	}
	var known *Fault
	var meant *gateway.Error
	if errors.As(err, &known) || errors.As(err, &meant) {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", did, err)
	}
	cause, cure := d.explain(err)
	if cause == "" {
		return fmt.Errorf("%s: %w", did, err)
	}
	return &Fault{Did: did, Path: d.path, Cause: cause, Cure: cure, Err: err}
}

// mustBeThere is for what does not make a new file.
func (d dialect) mustBeThere(did string) error {
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
func (d dialect) placeFault(did string, err error) error {
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
