package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/shared"
	"ollama-api-pool/internal/storage/sqlstore"
)

// How long a start waits for a database that is out of reach: with a mirror of it
// on the local disk shortly, then clients are served from that.
const (
	openPatience   = 30 * time.Second
	mirrorPatience = 5 * time.Second
	openPause      = 500 * time.Millisecond
)

// localName is the store beside the database: its mirror, and what waits for it.
const localName = "local.db"

// LocalPath is where the local store of a data directory lies.
func LocalPath(dataDir string) string { return filepath.Join(dataDir, localName) }

// InDatabase reports whether the settings keep the data in a database that
// others may use as well, and not in the data directory.
func InDatabase(cfg *config.Config) bool { return cfg.DatabaseURL != "" || cfg.SupabaseRESTURL != "" }

// Fingerprint names the database of the settings, "" where there is none or its
// address makes no sense.
func Fingerprint(cfg *config.Config) string {
	if !InDatabase(cfg) {
		return ""
	}
	store, err := sqlstore.New(storeOptions(cfg, "", nil))
	if err != nil {
		return ""
	}
	return store.Fingerprint()
}

// sharedName is the fingerprint of a store that others may use as well.
func sharedName(store *sqlstore.Store) string {
	if !store.Shared() {
		return ""
	}
	return store.Fingerprint()
}

// storeOptions say where the settings keep the data.
func storeOptions(cfg *config.Config, instance string, log *slog.Logger) sqlstore.Options {
	o := sqlstore.Options{EncryptionKey: rawKey(cfg.EncryptionKey), Instance: instance, Log: log}
	switch {
	case cfg.DatabaseURL != "":
		o.URL = cfg.DatabaseURL
	case cfg.SupabaseRESTURL != "":
		o.REST = sqlstore.REST{URL: cfg.SupabaseRESTURL, Key: cfg.SupabaseServiceRoleKey}
	default:
		o.Path = StorePath(cfg.DataDir)
	}
	return o
}

// CheckAddresses says what is wrong with the addresses of the database and of
// Redis, as far as that shows without connecting to them.
func CheckAddresses(cfg *config.Config) error {
	_, err := sqlstore.New(storeOptions(cfg, "", nil))
	if err != nil || cfg.RedisURL == "" {
		return err
	}
	redis, err := shared.New(cfg.RedisURL, shared.Options{})
	if err != nil {
		return err
	}
	return redis.Close()
}

// openStores opens the store and, where that is a database and the local disk
// may be written, the local store beside it. It reports whether the database was
// out of reach and a mirror of it is there to serve from.
func (a *App) openStores(ctx context.Context) (fromMirror bool, err error) {
	if a.store, err = sqlstore.New(storeOptions(a.cfg, a.presence.self.ID, a.log)); err != nil {
		return false, err
	}
	a.standing = newStanding(a.store, a.log)
	if !a.store.Shared() {
		return false, a.store.Open(ctx)
	}
	a.warnOfFormer(ctx)
	mirrored, foreign := false, false
	if a.keepsLocal() {
		if foreign, err = a.foreignLocal(ctx); err == nil && !foreign {
			mirrored, err = a.openLocal(ctx)
		}
		if err != nil {
			return false, fmt.Errorf("the local store beside the database: %w", err)
		}
	}
	err = a.openDatabase(ctx, mirrored)
	switch {
	case err != nil && mirrored && sqlstore.Unavailable(err):
		a.standing.lost(ctx, err)
		return true, nil
	case err == nil && foreign:
		if err = a.putLocalAside(ctx); err == nil {
			_, err = a.openLocal(ctx)
		}
	}
	if err == nil && a.local != nil {
		err = a.local.BelongTo(ctx, a.store)
	}
	return false, err
}

func (a *App) localOptions() sqlstore.Options {
	return sqlstore.Options{Path: LocalPath(a.cfg.DataDir), EncryptionKey: rawKey(a.cfg.EncryptionKey), Instance: a.presence.self.ID, Log: a.log}
}

// openLocal opens the store beside the database, and reports whether it has a
// mirror of that database to serve from.
func (a *App) openLocal(ctx context.Context) (mirrored bool, err error) {
	if a.local, err = sqlstore.Open(ctx, a.localOptions()); err != nil {
		return false, err
	}
	of, compared, err := a.local.MirrorOf(ctx)
	return of == a.store.Fingerprint() && !compared.IsZero(), err
}

// foreignLocal reports whether the store beside the database is encrypted with
// another key than ours: after a change of the key, or because ENCRYPTION_KEY is
// not what it should be. The database knows which, so nothing is done about it
// before that has let us in: what waits in the store would be lost.
func (a *App) foreignLocal(ctx context.Context) (bool, error) {
	o := a.localOptions()
	if !exists(o.Path) {
		return false, nil
	}
	sealing, err := sqlstore.InspectDatabase(ctx, o)
	if err != nil || sealing.Fits {
		return false, err
	}
	a.log.LogAttrs(ctx, slog.LevelWarn, "the local store beside the database was written with another ENCRYPTION_KEY: it is not used", slog.String("file", o.Path))
	return true, nil
}

// putLocalAside makes room for a new store beside the database. Nobody here can
// read the one that there is.
func (a *App) putLocalAside(ctx context.Context) error {
	path := LocalPath(a.cfg.DataDir)
	aside, err := freeName(a.cfg.DataDir, "former-"+localName)
	if err != nil {
		return err
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Rename(path+suffix, aside+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	a.log.LogAttrs(ctx, slog.LevelWarn, "it is put aside, and a new one begun", slog.String("file", aside))
	return nil
}

// keepsLocal reports whether there is a local store beside the database.
func (a *App) keepsLocal() bool { return !a.cfg.DisableKVStorage && a.lock != nil }

// openDatabase tries to open the database for as long as that makes sense.
func (a *App) openDatabase(ctx context.Context, mirrored bool) error {
	patience := openPatience
	if mirrored {
		patience = mirrorPatience
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	said := ""
	for {
		err := a.store.Open(ctx)
		if err == nil {
			a.standing.answered()
			return nil
		}
		if !sqlstore.Unavailable(err) {
			return err
		}
		if cause := whyLost(err); cause != said {
			said = cause
			a.log.LogAttrs(ctx, slog.LevelWarn, "the database is out of reach, it is tried again",
				slog.String("database", a.store.Place()), slog.String("cause", cause), slog.Duration("for", patience))
		}
		select {
		case <-time.After(openPause):
			continue
		case <-ctx.Done():
		}
		return fmt.Errorf("the database (%s) was out of reach for %s: start it, or set the right address in DATABASE_URL: %w",
			a.store.Place(), time.Since(began).Round(time.Second), err)
	}
}

// warnOfFormer says so where the data directory holds keys that are not used,
// because a database is.
func (a *App) warnOfFormer(ctx context.Context) {
	if a.cfg.DisableKVStorage || a.lock == nil || !exists(StorePath(a.cfg.DataDir)) {
		return
	}
	held, err := sqlstore.Examine(ctx, StorePath(a.cfg.DataDir))
	n := 0
	for _, p := range gateway.Providers() {
		n += held.Keys[p]
	}
	if err == nil && n > 0 {
		a.log.LogAttrs(ctx, slog.LevelWarn, "the keys in the data directory are not used, since a database is: 'ollama-api-pool migrate' takes them there",
			slog.String("file", StorePath(a.cfg.DataDir)), slog.Int("keys", n))
	}
}

// reach looks after a database that is out of reach: it opens it, sends what
// waits for it, takes over what others did, and only then calls it back. While
// it is in reach it makes sure of that now and then.
func (a *App) reach(ctx context.Context) error {
	if !a.standing.shared() {
		return nil
	}
	if a.standing.up() {
		if err := a.standing.probe(ctx); err != nil && ctx.Err() == nil && sqlstore.Unavailable(err) {
			a.standing.doubt(ctx, err)
		}
		return nil
	}
	if err := a.recover(ctx); err != nil && !sqlstore.Unavailable(err) && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// recover brings everything up to date with a database that answers again.
func (a *App) recover(ctx context.Context) error {
	tried, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	if err := a.store.Open(tried); err != nil {
		return err
	}
	if err := a.standing.probe(ctx); err != nil {
		return err
	}
	if a.local != nil {
		if err := a.local.BelongTo(tried, a.store); err != nil {
			return err
		}
	}
	if err := a.writer.enter(ctx); err != nil {
		return err
	}
	defer a.writer.leave()
	if err := a.writer.flushNow(ctx); err != nil {
		return err
	}
	long, cancel := context.WithTimeout(ctx, followWithin)
	defer cancel()
	if err := a.follower.catchUp(long); err != nil {
		return err
	}
	a.standing.back(ctx)
	return nil
}
