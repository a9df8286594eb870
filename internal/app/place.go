package app

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/sqlstore"
)

// Place is where a database is, or an export of KV.
type Place struct {
	Name          string // as it may be shown
	Dir           string // the data directory that is to be held, "": none
	Path          string // of a file
	Export        bool   // the file is an export of KV
	URL           gateway.Secret
	REST          sqlstore.REST
	EncryptionKey gateway.Secret
}

// Words that stand for what is configured.
const (
	placeDatabase = "DATABASE_URL"
	placeDataDir  = "DATA_DIR"
	placeRest     = "SUPABASE_REST_URL"
)

// PlaceHelp says what a place can be.
const PlaceHelp = "a postgres:// address, a file of SQLite, a data directory, or one of the words DATABASE_URL, DATA_DIR and SUPABASE_REST_URL for what is configured"

// FindPlace finds out what a text names. As a source it may also be an export of
// KV. Errors do not repeat a text in which a password may be.
func FindPlace(cfg *config.Config, text string, source bool) (Place, error) {
	switch text {
	case "":
		return Place{}, errors.New("no place is given: it must be " + PlaceHelp)
	case placeDatabase:
		if cfg.DatabaseURL == "" {
			return Place{}, errors.New(placeDatabase + " is not set")
		}
		return addressPlace(cfg.DatabaseURL), nil
	case placeDataDir:
		return dirPlace(cfg.DataDir), nil
	case placeRest:
		if cfg.SupabaseRESTURL == "" {
			return Place{}, errors.New(placeRest + " is not set")
		}
		return Place{
			Name: config.HidePassword(cfg.SupabaseRESTURL), REST: sqlstore.REST{URL: cfg.SupabaseRESTURL, Key: cfg.SupabaseServiceRoleKey},
		}, nil
	}
	low := strings.ToLower(text)
	switch {
	case strings.HasPrefix(low, "postgres://"), strings.HasPrefix(low, "postgresql://"):
		return addressPlace(gateway.Secret(text)), nil
	case strings.HasPrefix(low, "http://"), strings.HasPrefix(low, "https://"):
		return Place{}, errors.New("a web address is given as the word " + placeRest + ": set " + placeRest + " and SUPABASE_SERVICE_ROLE_KEY to it")
	case strings.ContainsAny(text, "@") || strings.Contains(text, "://") || strings.HasPrefix(low, "postgres"):
		return Place{}, errors.New("an address that cannot be read (it is not repeated here, for it may hold a password): a place is " + PlaceHelp)
	}
	return filePlace(text, source)
}

func addressPlace(address gateway.Secret) Place {
	return Place{Name: config.HidePassword(address.Reveal()), URL: address}
}

func dirPlace(dir string) Place {
	return Place{Name: StorePath(dir), Dir: dir, Path: StorePath(dir)}
}

// filePlace looks what a path is, or is to be.
func filePlace(path string, source bool) (Place, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist) && source:
		return Place{}, fmt.Errorf("%s is not there", path)
	case errors.Is(err, os.ErrNotExist):
		switch strings.ToLower(filepath.Ext(path)) {
		case ".db", ".sqlite", ".sqlite3":
			return heldFile(path), nil
		case "":
			return dirPlace(path), nil
		}
		return Place{}, fmt.Errorf("%s is not there: a file that is to be made must end in .db, a data directory has no ending", path)
	case err != nil:
		return Place{}, err
	case info.IsDir():
		return dirPlace(path), nil
	case !info.Mode().IsRegular():
		return Place{}, fmt.Errorf("%s is neither a file nor a directory", path)
	}
	head, err := headOf(path)
	if err != nil {
		return Place{}, err
	}
	switch {
	case len(head) == 0 && !source, bytes.HasPrefix(head, []byte("SQLite format 3\x00")):
		return heldFile(path), nil
	case source && looksLikeExport(path, head):
		return Place{Name: path, Path: path, Export: true}, nil
	case !source && bytes.ContainsAny(head, "{["):
		return Place{}, fmt.Errorf("%s is no database: an export of KV can only be a source", path)
	}
	return Place{}, fmt.Errorf("%s is neither a database of SQLite nor the JSON of an export of KV", path)
}

// headOf reads a file's beginning.
func headOf(path string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the operator's own file
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, 4096)
	n, err := io.ReadFull(f, head)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return head[:n], err
}

// looksLikeExport reports whether a file can be JSON, maybe behind a few lines
// that wrangler says first.
func looksLikeExport(path string, head []byte) bool {
	if bytes.IndexByte(head, 0) >= 0 {
		return false
	}
	trimmed := bytes.TrimSpace(bytes.TrimPrefix(head, []byte("\ufeff")))
	return len(trimmed) > 0 && (trimmed[0] == '[' || trimmed[0] == '{') || strings.EqualFold(filepath.Ext(path), ".json")
}

// heldFile is a database file. Where its directory is a data directory that is
// held as well.
func heldFile(path string) Place {
	p := Place{Name: path, Path: path}
	if dir := filepath.Dir(path); exists(filepath.Join(dir, lockName)) {
		p.Dir = dir
	}
	return p
}

// options are those for opening the place.
func (p *Place) options(log *slog.Logger) sqlstore.Options {
	return sqlstore.Options{Path: p.Path, URL: p.URL, REST: p.REST, EncryptionKey: rawKey(p.EncryptionKey), Log: log}
}

// holdBoth takes hold of the data directories of two places. A dry run makes no
// directory.
func holdBoth(from, to Place, dryRun bool) (release func() error, err error) {
	var locks []*Lock
	release = func() error {
		var errs []error
		for _, l := range locks {
			errs = append(errs, l.Release())
		}
		return errors.Join(errs...)
	}
	held := map[string]bool{}
	for _, p := range []Place{from, to} {
		if p.Dir == "" || dryRun && !exists(p.Dir) {
			continue
		}
		if !exists(p.Dir) && p.Path == from.Path {
			return nil, noStore(p.Dir)
		}
		whole, err := filepath.Abs(p.Dir)
		if err != nil {
			return nil, errors.Join(err, release())
		}
		if resolved, err := filepath.EvalSymlinks(whole); err == nil {
			whole = resolved
		}
		if held[whole] {
			continue
		}
		held[whole] = true
		lock, err := TakeDataDir(p.Dir)
		if err != nil {
			return nil, errors.Join(err, release())
		}
		locks = append(locks, lock)
	}
	return release, nil
}
