package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"ollama-api-pool/internal/gateway"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// versionTable is where goose notes which migrations were done.
const versionTable = "pool_schema"

// migrate brings the tables up to date. Several processes may do so at once:
// every step looks, under the write lock, whether it is still to be done.
func migrate(ctx context.Context, d dialect, db *sql.DB) error {
	notes, err := database.NewStore(database.Dialect(gooseDialect), versionTable)
	if err != nil {
		return err
	}
	steps, err := migrations(d, notes)
	if err != nil {
		return err
	}
	if err := createNotes(ctx, d, db, notes); err != nil {
		return fmt.Errorf("prepare the migration of tables: %w", err)
	}
	provider, err := goose.NewProvider(gooseDialect, db, nil,
		goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true), goose.WithGoMigrations(steps...))
	if err != nil {
		return err
	}
	done, known, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("look which tables there are: %w", err)
	}
	if done > known {
		return &Fault{
			Did: "open the store", Path: d.path,
			Cause: fmt.Sprintf("a newer version of this program has changed its tables (step %d, known here are %d)", done, known),
			Cure:  "use that version or restore a backup",
		}
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("bring the tables up to date: %w", err)
	}
	return nil
}

// migrations makes a step of every file. The file's name begins with its number.
func migrations(d dialect, notes database.Store) ([]*goose.Migration, error) {
	files, err := migrationFiles.ReadDir("migrations")
	if err != nil {
		return nil, err
	}
	var steps []*goose.Migration
	for _, f := range files {
		version, err := goose.NumericComponent(f.Name())
		if err != nil {
			return nil, err
		}
		text, err := migrationFiles.ReadFile(path.Join("migrations", f.Name()))
		if err != nil {
			return nil, err
		}
		steps = append(steps, goose.NewGoMigration(version, &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
			_, err := notes.GetMigration(ctx, tx, version)
			if !errors.Is(err, database.ErrVersionNotFound) {
				return err // done by another process while we waited for the lock
			}
			return runStep(ctx, d, tx, string(text))
		}}, nil))
	}
	return steps, nil
}

// createNotes makes goose's table under the write lock; goose itself looks
// first and locks later, so that two first starts at once would clash.
func createNotes(ctx context.Context, d dialect, db *sql.DB, notes database.Store) error {
	if has, err := d.hasColumn(ctx, db, versionTable, "version_id"); err != nil || has {
		return err
	}
	return inTx(ctx, db, nil, func(ctx context.Context, tx *sql.Tx) error {
		has, err := d.hasColumn(ctx, tx, versionTable, "version_id")
		if err != nil || has {
			return err
		}
		if err := notes.CreateVersionTable(ctx, tx); err != nil {
			return err
		}
		return notes.Insert(ctx, tx, database.InsertRequest{Version: 0})
	})
}

// runStep runs the statements of one file, those with {p} for each provider.
func runStep(ctx context.Context, d dialect, tx *sql.Tx, text string) error {
	for _, stmt := range strings.Split(dropComments(text), ";") {
		stmt = strings.TrimSpace(stmt)
		if stmt == "" {
			continue
		}
		for _, p := range gateway.Providers() {
			rendered := tables{p}.sql(stmt)
			if err := d.migrate(ctx, tx, rendered); err != nil {
				return fmt.Errorf("%.60s…: %w", rendered, err)
			}
			if rendered == stmt {
				break // belongs to no provider
			}
		}
	}
	return nil
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
