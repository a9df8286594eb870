package admin

import (
	"net/http/httptest"
	"testing"
	"time"
	_ "time/tzdata" // the program has them, too

	"ollama-api-pool/internal/gateway"
)

func zoneOf(t *testing.T, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestSpans(t *testing.T) {
	for name, want := range map[string]struct {
		zone        string
		now         time.Time
		points      int
		first, last string
		from        time.Time
		before      time.Time
		per         gateway.Period
	}{
		"1h":  {"UTC", wednesday, 60, "13:33", "14:32", date(9, 13, 33), date(9, 12, 33), gateway.PerMinute},
		"24h": {"UTC", wednesday, 24, "15:00", "14:00", date(8, 15, 0), date(7, 15, 0), gateway.PerHour},
		"7d":  {"UTC", wednesday, 168, "01-02 15:00", "01-09 14:00", date(2, 15, 0), date(-5, 15, 0), gateway.PerHour},
		"30d": {"UTC", wednesday, 30, "12-11", "01-09", date(-20, 0, 0), date(-50, 0, 0), gateway.PerDay},
		// Half an hour beside UTC: hours begin at half past, days in the middle of an hour.
		"24h in India": {"Asia/Kolkata", wednesday, 24, "20:30", "19:30", date(8, 15, 0), date(7, 15, 0), gateway.PerHour},
		"30d in India": {"Asia/Kolkata", wednesday, 30, "12-11", "01-09", date(-21, 18, 30), date(-51, 18, 30), gateway.PerHour},
		"1h in Nepal":  {"Asia/Kathmandu", wednesday, 60, "19:18", "20:17", date(9, 13, 33), date(9, 12, 33), gateway.PerMinute},
		// The next day has begun there.
		"30d in Tokyo": {"Asia/Tokyo", date(9, 16, 0), 30, "12-12", "01-10", date(-20, 15, 0), date(-50, 15, 0), gateway.PerHour},
		// Clocks went forward at midnight on 8 September 2024: that day began at one.
		"30d in Chile": {"America/Santiago", time.Date(2024, 9, 20, 12, 0, 0, 0, time.UTC), 30, "08-22", "09-20", time.Date(2024, 8, 22, 4, 0, 0, 0, time.UTC), time.Date(2024, 7, 23, 4, 0, 0, 0, time.UTC), gateway.PerHour},
	} {
		s, ok := newSpan(name[:len(name)-len(trimRange(name))], zoneOf(t, want.zone), want.now)
		if !ok || len(s.starts) != want.points {
			t.Errorf("%s: %v, %d points, want %d", name, ok, len(s.starts), want.points)
			continue
		}
		if first, last := s.label(0), s.label(len(s.starts)-1); first != want.first || last != want.last {
			t.Errorf("%s: from %s to %s, want %s to %s", name, first, last, want.first, want.last)
		}
		if !s.from().Equal(want.from) || !s.before.Equal(want.before) || s.per != want.per {
			t.Errorf("%s: from %s, before %s, per %d", name, s.from(), s.before, s.per)
		}
		seen := map[string]bool{}
		for i := range s.starts {
			if i > 0 && !s.starts[i].After(s.starts[i-1]) {
				t.Errorf("%s: point %d is not after the one before", name, i)
			}
			if seen[s.label(i)] {
				t.Errorf("%s: two points are called %s", name, s.label(i))
			}
			seen[s.label(i)] = true
			if s.at(s.starts[i]) != i || s.at(s.starts[i].Add(-time.Nanosecond)) != i-1 {
				t.Errorf("%s: point %d does not begin where it begins", name, i)
			}
		}
	}
	if _, ok := newSpan("2d", time.UTC, wednesday); ok {
		t.Error("a range that there is not")
	}
}

// trimRange is what follows the range in a test's name.
func trimRange(name string) string {
	for i := range name {
		if name[i] == ' ' {
			return name[i:]
		}
	}
	return ""
}

// date is a time in January 2030, UTC; days before the first are in December.
func date(day, hour, minute int) time.Time {
	return time.Date(2030, time.January, day, hour, minute, 0, 0, time.UTC)
}

// TestReads has every record of a span be read once, and none before it.
func TestReads(t *testing.T) {
	for _, name := range ranges {
		for _, zone := range []string{"UTC", "Asia/Kolkata", "America/Santiago", "Pacific/Auckland"} {
			s, _ := newSpan(name, zoneOf(t, zone), wednesday)
			parts := s.reads(gateway.OfModel)
			if !parts[0].since.Equal(s.from()) || !parts[len(parts)-1].until.IsZero() {
				t.Errorf("%s in %s: %v", name, zone, parts)
			}
			for i, p := range parts {
				if p.per == gateway.PerDay && !p.since.Equal(p.since.Truncate(24*time.Hour)) {
					t.Errorf("%s in %s: days from %s", name, zone, p.since)
				}
				if i > 0 && !parts[i-1].until.Equal(p.since) {
					t.Errorf("%s in %s: a gap before %s", name, zone, p.since)
				}
			}
		}
	}
	s, _ := newSpan(oneHour, time.UTC, wednesday)
	if parts := s.reads(gateway.OfToken); len(parts) != 1 || parts[0].per != gateway.PerHour || !parts[0].since.Equal(date(9, 13, 0)) {
		t.Errorf("tokens of the last hour: %v", parts)
	}
}

func TestZones(t *testing.T) {
	for _, bad := range []string{"Local", "Nowhere/Atall", "../../etc/passwd", "/etc/passwd", "europe%00", "UTC%2B2", "posixrules/../x"} {
		var f faults
		f.zone(httptest.NewRequestWithContext(t.Context(), "GET", "/x?tz="+bad, nil))
		if f.err() == nil {
			t.Errorf("%s is taken for a time zone", bad)
		}
	}
}

// TestChange compares the running point with the same part of the one before.
func TestChange(t *testing.T) {
	s, _ := newSpan(oneDay, time.UTC, date(9, 14, 30))
	c := newChart(&s)
	add := func(at time.Time, n int64) {
		c.add(&s, &gateway.TallyPoint{At: at, Tally: gateway.Tally{Counts: gateway.Counts{Requests: n, Success: n}}})
	}
	if c.change() != nil {
		t.Error("a change against nothing")
	}
	add(date(7, 15, 0), 100)
	add(date(8, 14, 0), 100) // half of it is over
	add(date(8, 15, 0), 200)
	add(date(9, 14, 0), 25)
	if up := c.change(); up == nil || *up != 50 {
		t.Errorf("change %v, want 50", up)
	}
	if c.points[0].Requests != 200 || c.points[23].Requests != 25 || c.points[11].Requests != 0 {
		t.Errorf("%v", c.points)
	}
}
