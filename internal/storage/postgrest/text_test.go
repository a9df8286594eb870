package postgrest

import (
	"database/sql/driver"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		inputs, columns int
		reads, loose    bool
	}{
		"select 1": {0, 1, true, true},
		"select a, coalesce(b, ?), (select c, d from x) from t where a in (?, ?)": {3, 3, true, false},
		"select count(*) from t":                                   {0, 1, true, false},
		"select a * b, c from t":                                   {0, 2, true, false},
		"select case when a = ',' then 'from, ' else b end from t": {0, 1, true, false},
		"select max(a), min(b) over (order by c, d) from t order by a, b limit ? offset ?":                       {2, 2, true, false},
		"select a from t union select b from u":                                                                  {0, 1, true, false},
		"select extract(epoch from a), b from t":                                                                 {0, 2, true, false},
		`select "a,b", 'it''s, ?' from t -- c, ?`:                                                                {0, 2, true, false},
		"select a /* , ? */ from t":                                                                              {0, 1, true, false},
		"with d (a, b) as (values (?, ?)) select a, b from d":                                                    {2, 2, true, false},
		"with d as (delete from t returning a, b) select a, b, c from d":                                         {0, 3, false, false},
		"with d (a, b) as (values ($1, $2)) insert into t select a, b from d where $1 = 1 returning a":           {2, 1, false, false},
		"insert into t (a, b) values (?, ?) on conflict (a) do update set b = excluded.b where t.b < excluded.b": {2, 0, false, false},
		"update t set a = ?, b = ? from u where u.a = t.a returning t.a, t.b":                                    {2, 2, false, false},
		"delete from t where a = ?":                                                                              {1, 0, false, false},
		"select pg_notify('a', '')":                                                                              {0, 1, false, false},
		"select a from t for update":                                                                             {0, 1, false, false},
		"select nextval('s')":                                                                                    {0, 1, false, false},
		"select clock_timestamp(), ?":                                                                            {1, 2, true, true},
		"select a from t -- löschen ?":                                                                           {0, 1, true, false},
		"set constraints all deferred":                                                                           {0, 0, false, false},
	} {
		s, err := parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if s.inputs != want.inputs || s.columns != want.columns || s.reads != want.reads || s.loose != want.loose {
			t.Errorf("%s: %d values, %d columns, reads %t, loose %t; want %+v", text, s.inputs, s.columns, s.reads, s.loose, want)
		}
	}
	for _, text := range []string{"select * from t", "select t.* from t", "select a, * from t", "select 1; select 2", "select 'a", `select "a`, "select $x", "select $0", "insert into t values (1) returning *", "select " + strings.Repeat("a, ", 100) + "a"} {
		if s, err := parse(text); err == nil {
			t.Errorf("%s: %+v", text, s)
		}
	}
}

// FuzzParse: what a text is cut into is the text, and no value is cut off.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"select a, ? from t where b = $2", "insert into t values ('?', ?) returning a", "select '", "-- ?", "/*", "select é, ☃ from t", "$1$2?"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parse(text)
		if err != nil {
			return
		}
		if len(s.pieces) != len(s.args)+1 {
			t.Fatalf("%d pieces and %d placeholders", len(s.pieces), len(s.args))
		}
		size := 0
		for _, p := range s.pieces {
			size += len(p)
		}
		if size > len(strings.TrimSpace(text)) || size+7*len(s.args) < len(strings.TrimSpace(text)) {
			t.Fatalf("%q becomes %q", text, s.pieces)
		}
		for _, arg := range s.args {
			if arg < 0 || arg >= s.inputs {
				t.Fatalf("value %d of %d", arg, s.inputs)
			}
		}
	})
}

func TestRowsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "null", "{}", "[", "[[", `[["a"`, `[["a"]`, `[["a", 1]]`, `[[1],]`, `[[1] [2]]`, `[["a]]`, `[["\x"]]`, `[[x]]`, `[[1]]]`, `[[[1]]]`, `[[1]] 2`, `[[true1]]`, `[[]]`,
	} {
		rows, err := newRows(1, &result{Count: 1, Types: []string{"text"}, Rows: []byte(text)})
		if err != nil {
			t.Fatal(err)
		}
		dest := make([]driver.Value, 1)
		for err == nil {
			err = rows.Next(dest)
		}
		if errors.Is(err, io.EOF) {
			t.Errorf("%s: no error", text)
		}
	}
	for what, r := range map[string]*result{
		"types are missing":         {Count: 1, Rows: []byte("[[1]]")},
		"there are more columns":    {Count: 1, Types: []string{"bigint", "bigint"}, Rows: []byte("[[1]]")},
		"a number is a text":        {Count: 1, Types: []string{"bigint"}, Rows: []byte(`[[1.5]]`)},
		"bytes that are none":       {Count: 1, Types: []string{"bytea"}, Rows: []byte(`[["\\xzz"]]`)},
		"a row, and the count is 0": {Rows: []byte(`[[1]]`)},
	} {
		rows, err := newRows(1, r)
		if err == nil {
			err = rows.Next(make([]driver.Value, 1))
		}
		if !errors.Is(err, errRows) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// FuzzRows: reading ends, and every row has its values.
func FuzzRows(f *testing.F) {
	f.Add(`[["a", 1, null], ["b\u00e9\"", -2.5e10, true]]`)
	f.Add(`[]`)
	f.Add(`[["2030-06-01T12:00:00.5+00:00", 1, "\\x00"]]`)
	f.Fuzz(func(t *testing.T, text string) {
		rows, err := newRows(3, &result{Count: 1, Types: []string{"timestamp with time zone", "bigint", "bytea"}, Rows: []byte(text)})
		if err != nil {
			t.Fatal(err)
		}
		dest := make([]driver.Value, 3)
		n := 0
		for err = rows.Next(dest); err == nil; err = rows.Next(dest) {
			if n++; n > len(text) {
				t.Fatal("there are more rows than there can be")
			}
		}
	})
}
