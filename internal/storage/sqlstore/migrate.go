package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"strings"

	"github.com/pressly/goose/v3"
	goosedb "github.com/pressly/goose/v3/database"

	"ollama-api-pool/internal/gateway"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// versionTable is where goose notes which migrations were done.
const versionTable = "pool_schema"

// migrate brings the tables up to date. Several processes may do so at once:
// every step looks, under the write lock, whether it is still to be done.
func migrate(ctx context.Context, d dialect, reader, writer *sql.DB, log *slog.Logger) error {
	notes, err := goosedb.NewStore(d.notes(), versionTable)
	if err != nil {
		return err
	}
	steps, err := migrations()
	if err != nil {
		return err
	}
	done, err := lastStep(ctx, d, reader, notes)
	if err != nil {
		return fmt.Errorf("look which tables there are: %w", err)
	}
	known := steps[len(steps)-1].version
	if done > known && !d.acceptsNewer() {
		return &Fault{
			Did: "open the store", Path: d.place(),
			Cause: fmt.Sprintf("a newer version of this program has changed its tables (step %d, known here are %d)", done, known),
			Cure:  "use that version or restore a backup",
		}
	}
	if done > known {
		log.WarnContext(ctx, "a newer version of this program has added to the tables of the database; it is used as it is",
			"database", d.place(), "step", done, "known", known)
	}
	for _, step := range steps {
		if step.version <= done {
			continue
		}
		if err := step.run(ctx, d, writer, notes); err != nil {
			return fmt.Errorf("bring the tables up to date: %w", err)
		}
	}
	return nil
}

// step is a migration.
type step struct {
	version int64
	text    string
}

// migrations makes a step of every file, in their order. The file's name begins
// with its number.
func migrations() ([]step, error) {
	files, err := migrationFiles.ReadDir("migrations")
	if err != nil {
		return nil, err
	}
	var steps []step
	for _, f := range files {
		version, err := goose.NumericComponent(f.Name())
		if err != nil {
			return nil, err
		}
		text, err := migrationFiles.ReadFile(path.Join("migrations", f.Name()))
		if err != nil {
			return nil, err
		}
		steps = append(steps, step{version, string(text)})
	}
	return steps, nil
}

// lastStep tells which step was done last, 0 for none.
func lastStep(ctx context.Context, d dialect, db *sql.DB, notes goosedb.Store) (done int64, err error) {
	err = inTx(ctx, d, db, readOnly, func(ctx context.Context, tx *sql.Tx) error {
		has, err := d.hasColumn(ctx, tx, versionTable, "version_id")
		if err != nil || !has {
			return err
		}
		done, err = notes.GetLatestVersion(ctx, tx)
		if errors.Is(err, goosedb.ErrVersionNotFound) {
			err = nil
		}
		return err
	})
	return done, err
}

// run does the step, unless another process did while we waited for the lock.
func (s step) run(ctx context.Context, d dialect, db *sql.DB, notes goosedb.Store) error {
	return inTx(ctx, d, db, nil, func(ctx context.Context, tx *sql.Tx) error {
		has, err := d.hasColumn(ctx, tx, versionTable, "version_id")
		if err != nil {
			return err
		}
		if !has {
			if err := notes.CreateVersionTable(ctx, tx); err != nil {
				return err
			}
			if err := notes.Insert(ctx, tx, goosedb.InsertRequest{Version: 0}); err != nil {
				return err
			}
		}
		_, err = notes.GetMigration(ctx, tx, s.version)
		if !errors.Is(err, goosedb.ErrVersionNotFound) {
			return err
		}
		if err := runStep(ctx, d, tx, s.text); err != nil {
			return err
		}
		return notes.Insert(ctx, tx, goosedb.InsertRequest{Version: s.version})
	})
}

// runStep runs the statements of one file, those with {p} for each provider.
func runStep(ctx context.Context, d dialect, tx *sql.Tx, text string) error {
	for _, stmt := range statementsOf(text) {
		if err := d.migrate(ctx, tx, stmt); err != nil {
			return fmt.Errorf("%.60s…: %w", stmt, err)
		}
	}
	return nil
}

// statementsOf are the statements of a step's text, those with {p} for each
// provider.
func statementsOf(text string) (all []string) {
	for _, stmt := range strings.Split(dropComments(text), ";") {
		stmt = strings.TrimSpace(stmt)
		if stmt == "" {
			continue
		}
		for _, p := range gateway.Providers() {
			rendered := tables{p}.sql(stmt)
			all = append(all, rendered)
			if rendered == stmt {
				break // belongs to no provider
			}
		}
	}
	return all
}

func dropComments(text string) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "--") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}
