package sqlstore

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// The migration writes out a column for each bucket.
func TestTallyColumns(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, Options{Path: filepath.Join(t.TempDir(), "pool.db")})
	for _, p := range gateway.Providers() {
		for per := gateway.PerMinute; per <= gateway.Ever; per++ {
			table := tables{p}.sql(tallyTable(per))
			has := func(column string) bool {
				t.Helper()
				is, err := s.dialect.hasColumn(t.Context(), s.reader, table, column)
				if err != nil {
					t.Fatal(err)
				}
				return is
			}
			for _, c := range tallyColumns {
				if !has(c) {
					t.Errorf("%s has no column %s", table, c)
				}
			}
			for _, h := range []string{"d", "f"} {
				if c := fmt.Sprintf("%s%02d", h, gateway.HistogramBuckets); has(c) {
					t.Errorf("%s has a column %s beyond the last bucket", table, c)
				}
			}
		}
	}
	var one gateway.Tally
	if all, some := len(tallyParts(&one, false)), len(tallyParts(&one, true)); all != len(tallyColumns) || some != len(countedColumns) {
		t.Errorf("%d and %d numbers for %d and %d columns", all, some, len(tallyColumns), len(countedColumns))
	}
}

// TestFormerTallies opens a store of the version before there were tallies: what
// was counted until then is where ever begins.
func TestFormerTallies(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pool.db")
	s := mustOpen(t, Options{Path: path})
	hash := gateway.HashToken("sk-fake-one-00000000000")
	counts := func(n int64) gateway.Counts {
		return gateway.Counts{Requests: 10 * n, Success: 8 * n, Failure: n, Usage: gateway.Usage{Input: 1000 * n, Output: 100 * n}}
	}
	if err := s.AddToken(t.Context(), gateway.Token{Hash: hash, Providers: gateway.Providers()}); err != nil {
		t.Fatal(err)
	}
	for i, p := range gateway.Providers() {
		n := int64(i + 1)
		apply(t, s, gateway.Delta{
			Provider: p, Global: counts(3 * n),
			Models: []gateway.ModelDelta{{Model: "kimi", Hour: noon, LastUsed: noon, Counts: counts(n)}, {Model: "llama", LastUsed: noon.Add(-time.Hour), Counts: counts(2 * n)}},
			Tokens: []gateway.TokenDelta{{Hash: hash, LastUsed: noon, Counts: counts(n)}},
		})
	}
	undoTallies(t, s)
	mustClose(t, s)

	for range 2 { // the second start adds nothing
		s = mustOpen(t, Options{Path: path})
		for i, p := range gateway.Providers() {
			n := int64(i + 1)
			for of, want := range map[gateway.Subject][]gateway.NamedTally{
				gateway.OfModel: {
					{Name: "llama", LastUsed: noon.Add(-time.Hour), Tally: gateway.Tally{Counts: counts(2 * n)}},
					{Name: "kimi", LastUsed: noon, Tally: gateway.Tally{Counts: counts(n)}},
				},
				gateway.OfToken: {{Name: hash, LastUsed: noon, Tally: gateway.Tally{Counts: gateway.Counts{Requests: 10 * n, Usage: counts(n).Usage}}}},
				gateway.OfKey:   nil,
			} {
				got, err := s.Tallies(t.Context(), p, gateway.TallyQuery{Of: of, Per: gateway.Ever})
				if err != nil {
					t.Fatal(err)
				}
				wantEqual(t, fmt.Sprint(p, " ", of), got, want)
			}
			got, err := s.Tallies(t.Context(), p, gateway.TallyQuery{Of: gateway.OfProvider, Per: gateway.Ever})
			if err != nil || len(got) != 1 || got[0].Tally.Counts != counts(3*n) {
				t.Errorf("%s: %+v, %v", p, got, err)
			}
		}
		mustClose(t, s)
	}
}

// undoTallies takes away what the migration to tallies makes.
func undoTallies(t *testing.T, s *Store) {
	t.Helper()
	var undo []string
	for _, p := range gateway.Providers() {
		for per := gateway.PerMinute; per <= gateway.Ever; per++ {
			undo = append(undo, tables{p}.sql("drop table "+tallyTable(per)))
		}
		undo = append(undo, tables{p}.sql("drop index {p}model_hourly_hour"))
	}
	for _, stmt := range append(undo, "delete from pool_schema where version_id >= 5") {
		if _, err := s.writer.ExecContext(t.Context(), stmt); err != nil {
			t.Fatal(stmt, err)
		}
	}
}

// TestFormerDatabaseTallies does the same with a database of other programs.
func TestFormerDatabaseTallies(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pool.db")
	former(t, path)
	s := mustOpen(t, Options{Path: path, Now: func() time.Time { return noon }})
	for of, want := range map[gateway.Subject]gateway.NamedTally{
		gateway.OfProvider: {Tally: gateway.Tally{Counts: gateway.Counts{Requests: 70}}},
		gateway.OfModel:    {Name: "kimi", Tally: gateway.Tally{Counts: gateway.Counts{Requests: 3}}},
	} {
		wantTallies(t, s, string(of), gateway.TallyQuery{Of: of, Per: gateway.Ever}, want)
	}
	wantTallies(t, s, "plain tokens", gateway.TallyQuery{Of: gateway.OfToken, Per: gateway.Ever})
}

// TestStatisticsPlans holds the statements of statistics to indexes: none may go
// through a table.
func TestStatisticsPlans(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, Options{Path: filepath.Join(t.TempDir(), "pool.db")})
	texts := map[string]string{
		"key hours": keyHoursOf, "old key hours": pruneKeyHours, "old model hours": pruneModelHours,
		"a model's hours":   "select 1 from {p}model_hourly where provider = ? and hour >= ?",
		"a deleted key":     "delete from {p}tally_ever where subject = 'key' and name = ?",
		"a deleted token":   forgetDeleted,
		"keys not folded":   strings.ReplaceAll(freshKeys, "{ids}", valueLists(1, 3)),
		"a key's hour":      withRows(s.dialect, addHours, 3),
		"a key's attempts":  withRows(s.dialect, addAttempts, 3),
		"a hashed token":    seedHashed,
		"a key's own hours": "delete from {p}key_hourly where key_id = ?",
	}
	texts["a key's tally"], texts["a key's new tally"] = addKeyTally(func(int) bool { return true })
	for per := gateway.PerMinute; per <= gateway.Ever; per++ {
		texts[fmt.Sprint("add, period ", per)] = addTally[per]
		if per != gateway.Ever {
			texts[fmt.Sprint("prune, period ", per)] = pruneTallies(per)
		}
		for _, names := range [][]string{nil, {"a"}, {"a", "b", "c", "d", "e"}} {
			for _, sums := range []bool{true, false} {
				q := gateway.TallyQuery{Of: gateway.OfModel, Per: per, Since: noon, Counted: len(names) > 1}
				texts[fmt.Sprint("select, period ", per, " of ", names, sums)] = tallySelect(&q, names, sums, noon).text
			}
			q := gateway.TallyQuery{Of: gateway.OfModel, Per: per, Since: noon, Limit: 10}
			texts[fmt.Sprint("count, period ", per, " of ", names)] = "select count(*)" + tallyWhere(&q, names, noon).text
			for column := range countedColumns {
				texts[fmt.Sprint("page, period ", per, " by ", column)] = tallyPage(&q, tallyOrder{column, true}, noon).text
			}
		}
	}
	for what, text := range texts {
		plan := planOf(t, s, text)
		for _, step := range plan {
			if strings.HasPrefix(step, "SCAN") && !strings.Contains(step, "CONSTANT ROW") && step != "SCAN d" { // a list of values
				t.Errorf("%s: %q", what, plan)
			}
		}
	}
}

// withRows is a statement for so many rows.
func withRows(d dialect, text string, n int) string {
	before, after, types := splitRows(text)
	rows, _ := d.rows(types, n)
	return before + rows + after
}

func planOf(t *testing.T, s *Store, text string) (steps []string) {
	t.Helper()
	text = tables{gateway.Ollama}.sql(text)
	args := make([]any, strings.Count(text, "?"))
	rows, err := s.writer.QueryContext(t.Context(), "explain query plan "+text, args...)
	if err != nil {
		t.Fatal(text, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id, parent, unused int
		var step string
		if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, step)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return steps
}
