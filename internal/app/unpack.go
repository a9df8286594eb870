package app

import (
	"archive/tar"
	"bufio"
	"compress/flate"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"ollama-api-pool/internal/gateway"
)

// Bounds of what a backup may hold, in bytes. A backup may come from anywhere.
const (
	maxManifest   = 1 << 20
	maxStoreSize  = 64 << 30
	maxAdminToken = 4 << 10
	maxPadding    = 1 << 20 // behind the last file
)

// A store of more than inflateFloor bytes must have taken at least one byte in
// inflateMost of the backup: what inflates further is made to fill the disk.
const (
	inflateFloor = 1 << 30
	inflateMost  = 200
)

// backupFiles are the files that a backup may hold, with the most bytes of each.
var backupFiles = map[string]int64{storeName: maxStoreSize, adminName: maxAdminToken}

// gzipMagic begins everything that gzip writes (RFC 1952, 2.3.1).
const gzipMagic = "\x1f\x8b"

// unpack checks a backup's form, its sizes and its checksums while it writes its
// files, and no others, into dir, which is empty.
func unpack(ctx context.Context, r io.Reader, dir string, progress func(done int64)) (Manifest, error) {
	in := &tallied{r: &watched{ctx: ctx, r: r}}
	packed := bufio.NewReaderSize(in, 64<<10)
	if begin, err := packed.Peek(len(gzipMagic)); string(begin) != gzipMagic && (err == nil || errors.Is(err, io.EOF)) {
		return Manifest{}, notSound("it is not a backup of this program")
	}
	gz, err := gzip.NewReader(packed)
	if err != nil {
		return Manifest{}, readFault(ctx, err)
	}
	tr := tar.NewReader(gz)
	m, err := readManifest(tr)
	if err != nil {
		return Manifest{}, readFault(ctx, err)
	}
	var before int64
	for _, f := range m.Files {
		out := &bounded{packed: in, progress: progress, before: before}
		if err := unpackFile(tr, f, dir, out); err != nil {
			return Manifest{}, readFault(ctx, err)
		}
		before += f.Size
	}
	if _, err := tr.Next(); !errors.Is(err, io.EOF) {
		if err == nil {
			err = notSound("there is more in it than its manifest names")
		}
		return Manifest{}, readFault(ctx, err)
	}
	// Only at its end does gzip know whether all of it came as it was sent.
	n, err := io.Copy(io.Discard, io.LimitReader(gz, maxPadding))
	if err == nil && n == maxPadding {
		err = notSound("something follows its end")
	}
	if err != nil {
		return Manifest{}, readFault(ctx, err)
	}
	return m, nil
}

// unsound is what is wrong with a backup itself.
type unsound struct{ what string }

func (e *unsound) Error() string { return "the backup is not sound: " + e.what }

func notSound(format string, args ...any) error { return &unsound{fmt.Sprintf(format, args...)} }

// readFault says what an error met while reading a backup means.
func readFault(ctx context.Context, err error) error {
	var known *unsound
	var path *os.PathError
	var corrupt flate.CorruptInputError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &known):
		return err
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, io.EOF), errors.Is(err, tar.ErrHeader):
		return notSound("it is not a backup of this program")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return notSound("it ends too early")
	case errors.Is(err, gzip.ErrChecksum), errors.As(err, &corrupt):
		return notSound("it has changed since it was written")
	case errors.As(err, &path):
		return fmt.Errorf("unpack the backup: %w", err)
	}
	return fmt.Errorf("read the backup: %w", err)
}

// readManifest reads and checks what comes first in a backup.
func readManifest(tr *tar.Reader) (Manifest, error) {
	var m Manifest
	h, err := tr.Next()
	if err != nil {
		return m, err
	}
	if h.Name != manifestName || h.Typeflag != tar.TypeReg || h.Size > maxManifest {
		return m, notSound("it is not a backup of this program")
	}
	text, err := io.ReadAll(io.LimitReader(tr, maxManifest))
	if err != nil {
		return m, err
	}
	var form struct {
		Format  int    `json:"format"`
		Program string `json:"program"`
		Version string `json:"version"`
	}
	if json.Unmarshal(text, &form) != nil || form.Program != backupProgram || form.Format < 1 {
		return m, notSound("it is not a backup of this program")
	}
	if form.Format > backupFormat {
		return m, notSound("a newer version of this program (%s) wrote it: restore it with that one", gateway.Clip(form.Version, 40))
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, notSound("its manifest cannot be read")
	}
	return m, checkManifest(&m)
}

// checkManifest refuses what no backup of ours says.
func checkManifest(m *Manifest) error {
	seen := map[string]bool{}
	for _, f := range m.Files {
		most, known := backupFiles[f.Name]
		switch {
		case !known:
			return notSound("it names a file that does not belong there: %q", gateway.Clip(f.Name, 40))
		case seen[f.Name]:
			return notSound("it names %s twice", f.Name)
		case f.Size <= 0 || f.Size > most:
			return notSound("its %s cannot be %d bytes large", f.Name, f.Size)
		}
		seen[f.Name] = true
	}
	if !seen[storeName] {
		return notSound("there is no store in it")
	}
	return nil
}

// unpackFile writes the next file, which must be the one that the manifest names.
func unpackFile(tr *tar.Reader, want ManifestFile, dir string, bound io.Writer) error {
	h, err := tr.Next()
	if errors.Is(err, io.EOF) {
		return notSound("%s is missing", want.Name)
	}
	if err != nil {
		return err
	}
	if h.Name != want.Name || h.Typeflag != tar.TypeReg || h.Size != want.Size {
		return notSound("%q is not the file that its manifest names", gateway.Clip(h.Name, 40))
	}
	f, err := os.OpenFile(filepath.Join(dir, want.Name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // one of two names
	if err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(bound, f, sum), tr) // as much as the header says at most
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if n != want.Size || hex.EncodeToString(sum.Sum(nil)) != want.SHA256 {
		return notSound("%s has changed since it was written", want.Name)
	}
	return nil
}

// tallied counts what is read.
type tallied struct {
	r io.Reader
	n int64
}

// Read reads.
func (t *tallied) Read(b []byte) (int, error) {
	n, err := t.r.Read(b)
	t.n += int64(n)
	return n, err
}

// bounded stops what inflates too far, and tells how much was unpacked.
type bounded struct {
	packed   *tallied
	progress func(done int64) // may be nil
	before   int64            // of the files before this one
	n        int64
}

// Write counts.
func (b *bounded) Write(p []byte) (int, error) {
	b.n += int64(len(p))
	if b.n > inflateFloor && b.n/inflateMost > b.packed.n {
		return 0, notSound("it inflates to far more than a store does")
	}
	if b.progress != nil {
		b.progress(b.before + b.n)
	}
	return len(p), nil
}
