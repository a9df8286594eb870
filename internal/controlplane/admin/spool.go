package admin

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"time"

	"ollama-api-pool/internal/controlplane/importer"
	"ollama-api-pool/internal/gateway"
)

// spoolMemory is how many bytes of keys and user names an import keeps in
// memory: more than 100,000 lines have as a rule.
const spoolMemory = 8 << 20

// spool holds what was read of an import until all of it is there. What is
// more than some megabytes goes to a file, encrypted with a key that only this
// value knows, so that neither the memory nor the disk is left with keys.
type spool struct {
	dir    string // "": all stays in memory
	limit  int
	count  int          // of entries
	memory bytes.Buffer // what is not in the file yet
	file   *os.File
	block  cipher.Block
	start  [aes.BlockSize]byte // of its counter
	out    io.Writer           // encrypts into the file
}

// spoolPattern is how the files are named.
const spoolPattern = "import-*.tmp"

// RemoveSpools removes what a program that was killed may have left of large
// imports in a directory. Nobody can read it any more. It is called before the
// first import.
func RemoveSpools(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look for what is left of large imports: %w", err)
	}
	for _, e := range entries {
		if mine, _ := filepath.Match(spoolPattern, e.Name()); !mine || !e.Type().IsRegular() {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove what is left of a large import: %w", err)
		}
	}
	return nil
}

func newSpool(dir string) *spool { return &spool{dir: dir, limit: spoolMemory} }

// add appends an entry.
func (s *spool) add(e importer.Entry) error {
	for _, text := range [...]string{e.Secret.Reveal(), e.Username} {
		var length [binary.MaxVarintLen64]byte
		s.memory.Write(length[:binary.PutUvarint(length[:], uint64(len(text)))])
		s.memory.WriteString(text)
	}
	s.count++
	if s.dir == "" || s.memory.Len() < s.limit {
		return nil
	}
	return s.spill()
}

// spill moves what is in memory to the file.
func (s *spool) spill() error {
	if s.file == nil {
		if err := s.open(); err != nil {
			return fmt.Errorf("make a file for a large import: %w", err)
		}
	}
	if _, err := s.memory.WriteTo(s.out); err != nil {
		return fmt.Errorf("write a large import to its file: %w", err)
	}
	return nil
}

func (s *spool) open() (err error) {
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails since Go 1.24
	_, _ = rand.Read(s.start[:])
	if s.block, err = aes.NewCipher(key[:]); err != nil {
		return err
	}
	if s.file, err = os.CreateTemp(s.dir, spoolPattern); err != nil {
		return err
	}
	// Where an open file can lose its name it does, and leaves nothing behind
	// even if the process dies. Elsewhere close removes it.
	_ = os.Remove(s.file.Name())
	s.out = cipher.StreamWriter{S: s.stream(), W: s.file}
	return nil
}

// stream begins the key stream anew.
func (s *spool) stream() cipher.Stream { return cipher.NewCTR(s.block, s.start[:]) }

// keys gives all entries as keys that are made now, in the order in which they
// were added.
func (s *spool) keys(now time.Time) iter.Seq2[gateway.Key, error] {
	return func(yield func(gateway.Key, error) bool) {
		in := io.Reader(bytes.NewReader(s.memory.Bytes()))
		if s.file != nil {
			if _, err := s.file.Seek(0, io.SeekStart); err != nil {
				yield(gateway.Key{}, fmt.Errorf("read the file of a large import: %w", err))
				return
			}
			in = io.MultiReader(cipher.StreamReader{S: s.stream(), R: s.file}, in)
		}
		text := bufio.NewReaderSize(in, 64<<10)
		for range s.count {
			secret, err := readText(text)
			var username string
			if err == nil {
				username, err = readText(text)
			}
			if err != nil {
				yield(gateway.Key{}, fmt.Errorf("read a large import back: %w", err))
				return
			}
			if !yield(gateway.Key{Secret: gateway.Secret(secret), Username: username, CreatedAt: now}, nil) {
				return
			}
		}
	}
}

var errDamaged = errors.New("its file was damaged")

// readText reads a text with its length in front.
func readText(in *bufio.Reader) (string, error) {
	n, err := binary.ReadUvarint(in)
	if err != nil {
		return "", err
	}
	if n > importer.MaxLine {
		return "", errDamaged
	}
	b := make([]byte, n)
	_, err = io.ReadFull(in, b)
	return string(b), err
}

// close forgets everything.
func (s *spool) close() {
	s.memory.Reset()
	if s.file != nil {
		_ = s.file.Close()
		_ = os.Remove(s.file.Name()) // it is gone already on most systems
	}
}
