package app

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"ollama-api-pool/internal/controlplane/importer/kv"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/sqlstore"
)

// MigrateOptions say what is copied where.
type MigrateOptions struct {
	From, To     Place
	DryRun       bool
	Merge, Again bool
	Provider     gateway.ProviderName // of what an export of KV does not say
	Log          *slog.Logger
	Progress     func(string)                                 // may be nil; what is being done
	Confirm      func(ctx context.Context, m Migration) error // asked before anything is written; nil: nobody
}

// Migration is what was found, and what was done.
type Migration struct {
	From, To  string // as they may be shown
	Found     []sqlstore.Held
	Export    *kv.Export // where the source is one of KV
	FromInUse int        // instances that were there in the last moments
	ToInUse   int
	Report    sqlstore.CopyReport
}

// Why nothing was copied, see package sqlstore.
type (
	TargetHolds  = sqlstore.ErrTargetHolds
	CopiedBefore = sqlstore.ErrCopiedBefore
)

// ErrSourceSealed says that the encryption key of a source is missing or wrong.
var ErrSourceSealed = sqlstore.ErrSourceSealed

// Holding names what the source holds, in one line; "" for an empty one.
func (m *Migration) Holding() string { return sqlstore.HeldText(m.Found) }

// inUse is how recently an instance must have said that it is there.
const inUse = 30 * time.Second

// ErrSame says that source and target are one database.
var ErrSame = errors.New("the source and the target are the same database")

// Migrate copies everything from one database into another, see sqlstore.Copy.
// It holds the data directories of both sides and fails with ErrHeld while an
// instance runs there. A target that is a new file is made; after an error it is
// gone again. The source is not changed.
func Migrate(ctx context.Context, o MigrateOptions) (m Migration, err error) {
	m = Migration{From: o.From.Name, To: o.To.Name}
	release, err := holdBoth(o.From, o.To, o.DryRun)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, release()) }()
	copyOptions := sqlstore.CopyOptions{DryRun: o.DryRun, Merge: o.Merge, Again: o.Again, Progress: o.copied}
	from, end, err := o.openSource(ctx, &m, &copyOptions)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, end()) }()
	if m.Found, err = from.Contents(ctx); err != nil {
		return m, err
	}
	if err := o.lookAtTarget(ctx, &m, from); err != nil {
		return m, err
	}
	if o.Confirm != nil && !o.DryRun {
		if err := o.Confirm(ctx, m); err != nil {
			return m, err
		}
	}
	if o.DryRun {
		m.Report, err = sqlstore.Copy(ctx, from, nil, copyOptions)
		return m, err
	}
	fresh := o.To.Path != "" && !exists(o.To.Path)
	to, err := sqlstore.Open(ctx, o.To.options(o.Log))
	if err != nil {
		return m, err
	}
	m.Report, err = sqlstore.Copy(ctx, from, to, copyOptions)
	if err == nil && to.Engine() == sqlstore.EngineSQLite {
		err = to.Fold(ctx)
	}
	err = errors.Join(err, to.Close())
	if err != nil && fresh {
		err = errors.Join(err, removeStore(o.To.Path))
	}
	return m, err
}

// removeStore deletes a file that was made a moment ago, with its logs.
func removeStore(path string) error {
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// copied tells how far the copy is.
func (o *MigrateOptions) copied(p sqlstore.CopyProgress) {
	if o.Progress == nil {
		return
	}
	share := 100.0
	if p.Total > 0 {
		share = 100 * float64(p.Done) / float64(p.Total)
	}
	what := p.What
	if p.Provider != "" {
		what += " of " + string(p.Provider)
	}
	o.Progress(fmt.Sprintf("%3.0f%%  %d of %d rows  %s", share, p.Done, p.Total, what))
}

// openSource opens the source, which end closes.
func (o *MigrateOptions) openSource(ctx context.Context, m *Migration, c *sqlstore.CopyOptions) (s *sqlstore.Store, end func() error, err error) {
	if o.From.Export {
		return o.openExport(ctx, m, c)
	}
	opts := o.From.options(o.Log)
	opts.EncryptionKey = nil // whether it is needed is seen in the source
	s, err = sqlstore.OpenSource(ctx, opts)
	if err != nil {
		return nil, nil, err
	}
	sealed, err := s.Sealed(ctx)
	if err != nil || !sealed {
		if err == nil {
			m.FromInUse, err = s.SeenSince(ctx, time.Now().Add(-inUse))
		}
		if err != nil {
			return nil, nil, errors.Join(err, s.Close())
		}
		return s, s.Close, nil
	}
	if err := s.Close(); err != nil {
		return nil, nil, err
	}
	if s, err = sqlstore.OpenSource(ctx, o.From.options(o.Log)); err != nil {
		return nil, nil, err
	}
	if err = s.Fits(ctx); err == nil {
		m.FromInUse, err = s.SeenSince(ctx, time.Now().Add(-inUse))
	} else {
		err = fmt.Errorf("%s: %w", o.From.Name, sqlstore.ErrSourceSealed)
	}
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	return s, s.Close, nil
}

// lookAtTarget finds out whether the target can take the source, and changes nothing.
func (o *MigrateOptions) lookAtTarget(ctx context.Context, m *Migration, from *sqlstore.Store) error {
	if o.To.Path != "" && !exists(o.To.Path) {
		return nil
	}
	if o.To.Path != "" && o.From.Path != "" {
		a, errA := os.Stat(o.From.Path)
		b, errB := os.Stat(o.To.Path)
		if errA == nil && errB == nil && os.SameFile(a, b) {
			return ErrSame
		}
	}
	to, err := sqlstore.OpenSource(ctx, o.To.options(o.Log))
	if err != nil {
		return err
	}
	defer func() { _ = to.Close() }()
	if from.Fingerprint() != "" && from.Fingerprint() == to.Fingerprint() {
		return ErrSame
	}
	if err := to.Fits(ctx); err != nil {
		return err
	}
	held, err := to.Contents(ctx)
	if err != nil {
		return err
	}
	if len(held) > 0 && !o.Merge {
		return sqlstore.ErrTargetHolds{Held: held}
	}
	m.ToInUse, err = to.SeenSince(ctx, time.Now().Add(-inUse))
	return err
}

// openExport reads an export of KV into a database of its own, which is encrypted
// with a key that nobody knows and is gone at the end.
func (o *MigrateOptions) openExport(ctx context.Context, m *Migration, c *sqlstore.CopyOptions) (s *sqlstore.Store, end func() error, err error) {
	file, err := os.Open(o.From.Path)
	if err != nil {
		return nil, nil, fmt.Errorf("read the export: %w", err)
	}
	defer func() { _ = file.Close() }()
	sum := sha256.New()
	m.Export, err = kv.Read(io.TeeReader(file, sum), kv.Options{Provider: o.Provider, Progress: func(pairs int) {
		if o.Progress != nil {
			o.Progress(fmt.Sprintf("%d pairs read", pairs))
		}
	}})
	if err != nil {
		return nil, nil, err
	}
	c.Source = "kv:" + hex.EncodeToString(sum.Sum(nil))
	dir, err := os.MkdirTemp("", "ollama-api-pool-")
	if err != nil {
		return nil, nil, fmt.Errorf("read the export: %w", err)
	}
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails since Go 1.24
	remove := func() error { return os.RemoveAll(dir) }
	s, err = sqlstore.Open(ctx, sqlstore.Options{Path: filepath.Join(dir, storeName), EncryptionKey: key[:]})
	if err != nil {
		return nil, nil, errors.Join(err, remove())
	}
	end = func() error { return errors.Join(s.Close(), remove()) }
	if err := fillFrom(ctx, s, m.Export); err != nil {
		return nil, nil, errors.Join(err, end())
	}
	return s, end, nil
}

// fillFrom puts what an export holds into an empty store.
func fillFrom(ctx context.Context, s *sqlstore.Store, e *kv.Export) error {
	for _, p := range gateway.Providers() {
		keys := e.Keys[p]
		_, _, err := s.AddKeys(ctx, p, func(yield func(gateway.Key, error) bool) {
			for _, k := range keys {
				if !yield(k, nil) {
					return
				}
			}
		}, nil)
		if err != nil {
			return err
		}
		if err := s.SetKeyCounts(ctx, p, keys); err != nil {
			return err
		}
	}
	for i := range e.Tokens {
		if err := s.AddToken(ctx, e.Tokens[i]); err != nil {
			return err
		}
	}
	var deltas []gateway.Delta
	for _, p := range gateway.Providers() {
		deltas = append(deltas, deltaOf(p, e))
	}
	return s.Apply(ctx, deltas)
}

// deltaOf is what an export counted, which belongs to no time.
func deltaOf(p gateway.ProviderName, e *kv.Export) gateway.Delta {
	counts := func(c kv.Counts) gateway.Counts {
		return gateway.Counts{Requests: c.Requests, Success: c.Success, Failure: c.Failure}
	}
	total := counts(e.Totals[p])
	d := gateway.Delta{Provider: p, Global: total}
	if total != (gateway.Counts{}) {
		d.Tallies = append(d.Tallies, gateway.TallyDelta{Of: gateway.OfProvider, Tally: gateway.Tally{Counts: total}})
	}
	for model, c := range e.Models[p] {
		d.Models = append(d.Models, gateway.ModelDelta{Model: model, LastUsed: c.LastUsed, Counts: counts(c)})
		d.Tallies = append(d.Tallies, gateway.TallyDelta{Of: gateway.OfModel, Name: model, Tally: gateway.Tally{Counts: counts(c)}})
	}
	for i := range e.Tokens {
		if t := &e.Tokens[i]; t.RequestCount > 0 && t.ValidFor(p) {
			d.Tallies = append(d.Tallies, gateway.TallyDelta{
				Of: gateway.OfToken, Name: t.Hash, Tally: gateway.Tally{Counts: gateway.Counts{Requests: t.RequestCount}},
			})
		}
	}
	return d
}
