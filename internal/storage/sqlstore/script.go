package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"slices"
	"strings"

	goosedb "github.com/pressly/goose/v3/database"

	"ollama-api-pool/internal/storage/postgrest"
)

// restSchema is the schema that PostgREST serves and that the tables are in.
const restSchema = "public"

const scriptHead = `-- Ollama API Pool: the tables, columns and indexes that this version of the
-- program needs in a PostgreSQL database. It brings any older state up to date,
-- also the tables of the former system, which are used as they are: nothing is
-- taken away. It may be run again; what is done already is left alone.
`

const scriptHeadREST = `--
-- For Supabase and for any other PostgREST:
--   1. Open the SQL editor of the project (as the user postgres, which is the
--      default), paste all of this and run it.
--   2. Set SUPABASE_REST_URL to the project's address (https://abc.supabase.co)
--      and SUPABASE_SERVICE_ROLE_KEY to its service_role or secret key.
--   3. Start the program. After an update of the program that needs further
--      columns it says so at its start: print this anew and run it again.
--
-- The tables hold upstream keys, so the roles of browsers (anon, authenticated)
-- lose their rights to them; service_role keeps what it needs. At the end are the
-- two functions that the program calls. Whoever may call them can run any
-- statement that service_role can run: nobody else gets that right.
`

const scriptHeadSQL = `--
-- For a database whose user in DATABASE_URL may not create or change tables: run
-- it once as a user who may, for example
--   psql "$DATABASE_URL_OF_THE_OWNER" -1 -f this-file.sql
-- Where the program may make its tables itself, it does so at its start.
`

// Script is the SQL by which an operator makes the tables of this version, or
// brings older ones up to date. It can be run again. For PostgREST it comes with
// the functions and the rights that are needed there.
func Script(forREST bool) (string, error) {
	notes, err := goosedb.NewStore(goosedb.DialectPostgres, versionTable)
	if err != nil {
		return "", err
	}
	steps, err := migrations()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(scriptHead)
	if forREST {
		b.WriteString(scriptHeadREST)
	} else {
		b.WriteString(scriptHeadSQL)
	}
	b.WriteString("\nbegin;\n\n")
	if forREST {
		b.WriteString("set local search_path = " + restSchema + ";\n")
	}
	fmt.Fprintf(&b, "select pg_advisory_xact_lock(%d); -- instances that start meanwhile wait\n\n", int64(pgWriteLock))
	notesText, err := recordText(notes)
	if err != nil {
		return "", err
	}
	b.WriteString(notesText)
	for _, s := range steps {
		s.write(&b)
	}
	if forREST {
		b.WriteString(restRights(steps))
		b.WriteString("\n" + postgrest.Functions(restSchema))
		b.WriteString("\n-- PostgREST looks what there is now.\nnotify pgrst, 'reload schema';\n")
	}
	b.WriteString("\ncommit;\n")
	return b.String(), nil
}

// write writes a step that is left out where it was done before.
func (s step) write(b *strings.Builder) {
	fmt.Fprintf(b, "\ndo $step$\nbegin\nif not exists (select 1 from %s where version_id = %d and is_applied) then\n\n", versionTable, s.version)
	for _, stmt := range statementsOf(s.text) {
		b.WriteString(pgStep(stmt) + ";\n")
	}
	fmt.Fprintf(b, "\ninsert into %s (version_id, is_applied) values (%d, true);\nend if;\nend\n$step$;\n", versionTable, s.version)
}

// recordText is the statement by which the migration library makes its table,
// where it is missing.
func recordText(notes goosedb.Store) (string, error) {
	var r recorder
	if err := notes.CreateVersionTable(context.Background(), &r); err != nil {
		return "", err
	}
	text := strings.Replace(strings.TrimRight(strings.TrimSpace(r.text), ";"), "CREATE TABLE ", "create table if not exists ", 1)
	return text + ";\ninsert into " + versionTable + " (version_id, is_applied) select 0, true where not exists (select 1 from " + versionTable + ");\n", nil
}

// recorder is a database that only listens.
type recorder struct{ text string }

// ExecContext notes the statement.
func (r *recorder) ExecContext(_ context.Context, text string, _ ...any) (sql.Result, error) {
	r.text = text
	return nil, nil
}

// QueryContext is not used.
func (*recorder) QueryContext(context.Context, string, ...any) (*sql.Rows, error) { return nil, nil }

// QueryRowContext is not used.
func (*recorder) QueryRowContext(context.Context, string, ...any) *sql.Row { return nil }

var createTable = regexp.MustCompile(`(?m)^create table if not exists (\S+) \(`)

// restRights gives the service role the tables of the steps, and nobody else
// whom PostgREST serves.
func restRights(steps []step) string {
	names := []string{"'" + versionTable + "'"}
	for _, s := range steps {
		for _, stmt := range statementsOf(s.text) {
			if m := createTable.FindStringSubmatch(stmt); m != nil {
				names = append(names, "'"+m[1]+"'")
			}
		}
	}
	slices.Sort(names)
	return `
do $rights$
declare
    who text;
    what text;
    names text[] := array[
        ` + strings.Join(names, ",\n        ") + `
    ];
begin
    foreach what in array names loop
        for who in select rolname from pg_roles where rolname in ('anon', 'authenticated') loop
            execute format('revoke all on table ` + restSchema + `.%I from %I', what, who);
        end loop;
        if exists (select 1 from pg_roles where rolname = 'service_role') then
            execute format('grant select, insert, update, delete on table ` + restSchema + `.%I to service_role', what);
        end if;
    end loop;
    if exists (select 1 from pg_roles where rolname = 'service_role') then
        for what in select s.relname from pg_class s
            join pg_depend d on d.objid = s.oid and d.classid = 'pg_class'::regclass and d.deptype in ('a', 'i')
            join pg_class t on t.oid = d.refobjid
            where s.relkind = 'S' and t.relnamespace = '` + restSchema + `'::regnamespace and t.relname = any (names) loop
            execute format('grant usage, select on sequence ` + restSchema + `.%I to service_role', what);
        end loop;
    end if;
end
$rights$;
`
}
