package sqlstore

import (
	"slices"
	"testing"
	"time"
)

func TestTimesSortAsText(t *testing.T) {
	base := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	times := []time.Time{
		time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC), time.Date(999, 1, 1, 0, 0, 0, 0, time.UTC), base.Add(-time.Microsecond), base, base.Add(time.Microsecond),
		base.Add(500 * time.Millisecond), base.Add(510 * time.Millisecond), base.Add(time.Second), base.AddDate(0, 0, 29), time.Date(lastYear, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	s := mustOpen(t, Options{Path: t.TempDir() + "/pool.db"})
	if _, err := s.writer.ExecContext(t.Context(), "create table times (n int, t text)"); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{3, 1, 0, 9, 7, 5, 8, 2, 4, 6} {
		local := times[n].In(time.FixedZone("", -7*3600))
		if _, err := s.writer.ExecContext(t.Context(), "insert into times values (?, ?)", n, at(local)); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := s.reader.QueryContext(t.Context(), "select t from times order by t")
	if err != nil {
		t.Fatal(err)
	}
	got, err := collect(rows, func(w *when) []any { return []any{w} })
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(got, times, func(w when, want time.Time) bool { return w.Time == want }) {
		t.Errorf("got %v, want %v", got, times)
	}
}

func TestTimesFromElsewhere(t *testing.T) {
	want := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, src := range []any{
		want, want.In(time.FixedZone("", 3600)), "2030-01-02 03:04:05+00:00", "2030-01-02 03:04:05.000+00:00", "2030-01-02T03:04:05Z",
		"2030-01-02T04:04:05.000+01:00", "2030-01-02 03:04:05", "2030-01-02 03:04:05+00", []byte("2030-01-02T03:04:05"),
		"2030-01-02 03:04:05 +0000 UTC", want.Unix(), want.UnixMilli(), float64(want.UnixMilli()),
	} {
		var w when
		if err := w.Scan(src); err != nil || w.Time != want {
			t.Errorf("%v: got %v, %v", src, w.Time, err)
		}
	}
	for _, src := range []any{nil, ""} {
		w := when{want}
		if err := w.Scan(src); err != nil || !w.IsZero() {
			t.Errorf("%v: got %v, %v; want the zero time", src, w.Time, err)
		}
	}
	for _, src := range []any{"yesterday", "2030-02-30 00:00:00+00:00", "2030-01-02 25:00:00+00:00", true} {
		var w when
		if err := w.Scan(src); err == nil {
			t.Errorf("%v was read as %v", src, w.Time)
		}
	}
}

func FuzzParseOurs(f *testing.F) {
	for _, s := range []string{
		"2030-01-02 03:04:05+00:00", "2030-01-02 03:04:05.123456+00:00", "2030-12-31 23:59:59.9+00:00", "2030-02-28 00:00:00.000000001+00:00",
		"2030-13-01 00:00:00+00:00", "2030-01-02 03:04:05.+00:00", "-030-01-02 03:04:05+00:00", "2030-01-02 03:04:05,5+00:00",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parseOurs(s)
		if !ok {
			return
		}
		if want, err := time.Parse(timeLayouts[0], s); err != nil || !got.Equal(want) {
			t.Errorf("%q: got %v, want %v, %v", s, got, want, err)
		}
	})
}
