package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"ollama-api-pool/internal/app"
)

func (p *program) migrateSQLCommand() *cobra.Command {
	rest := false
	cmd := &cobra.Command{
		Use:   "sql [--rest]",
		Short: "Print the SQL that makes the tables, to be run by hand",
		Long: `Sql prints the SQL that makes the tables, columns and indexes which this version
needs in a PostgreSQL database, or brings those of an older version and of the
former system up to date. It takes nothing away and may be run again. What to do
with it stands at its beginning.

With DATABASE_URL the program does the same by itself at its start, unless its
user may not create or change tables. Over SUPABASE_REST_URL it cannot: there the
output of --rest is to be run once in the SQL editor, and again after an update
that needs more. It also makes the functions that the program calls, and takes
the rights to the tables from the roles of browsers.

Nothing is read and nothing is connected to.`,
		Example: `  ollama-api-pool migrate sql --rest > supabase.sql
  ollama-api-pool migrate sql | psql -1 "$OWNER_DATABASE_URL"`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			script, err := app.Script(rest)
			if err != nil {
				return fmt.Errorf("make the script: %w", err)
			}
			if _, err := io.WriteString(p.Out, script); err != nil {
				return fmt.Errorf("print the result: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&rest, "rest", false, "for Supabase and any other PostgREST: with the functions and the rights")
	return cmd
}
