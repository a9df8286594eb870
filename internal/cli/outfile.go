package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// outFile is a file that appears whole or not at all, readable by its owner
// alone. Until it is kept it lies beside its place under another name.
type outFile struct {
	*os.File
	path  string
	force bool
}

// createOut begins to write what is to become the file at path. One that is
// there is replaced only if force says so.
func createOut(path string, force bool) (*outFile, error) {
	info, err := os.Lstat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file (- is the standard output)", path)
	case err == nil && !force:
		return nil, fmt.Errorf("%s is there already: --force replaces it", path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".part-*") // with mode 0600
	if err != nil {
		return nil, err
	}
	return &outFile{f, path, force}, nil
}

// keep puts the file in its place.
func (o *outFile) keep() error {
	err := errors.Join(o.Sync(), o.Close())
	if err == nil {
		err = o.move()
	}
	if err != nil {
		_ = os.Remove(o.Name())
	}
	return err
}

func (o *outFile) move() error {
	if o.force {
		return os.Rename(o.Name(), o.path)
	}
	// Of two that write at once one is first; a link, unlike a renaming, fails then.
	err := os.Link(o.Name(), o.path)
	switch {
	case err == nil:
		return os.Remove(o.Name())
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s is there already: --force replaces it", o.path)
	}
	if _, there := os.Lstat(o.path); there == nil { // a file system without links
		return fmt.Errorf("%s is there already: --force replaces it", o.path)
	}
	return os.Rename(o.Name(), o.path)
}

// drop removes what was written, unless it was kept.
func (o *outFile) drop() {
	if o.Close() == nil { // else it was closed, and kept or removed
		_ = os.Remove(o.Name())
	}
}

// writeOut calls write with the file at path, or with the standard output for -,
// and keeps the file if all of it was written.
func (p *program) writeOut(path string, force bool, write func(w io.Writer) error) error {
	if path == "-" {
		return write(p.Out)
	}
	out, err := createOut(path, force)
	if err != nil {
		return err
	}
	defer out.drop()
	if err := write(out); err != nil {
		return err
	}
	return out.keep()
}
