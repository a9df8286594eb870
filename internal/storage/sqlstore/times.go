package sqlstore

import (
	"fmt"
	"time"
)

// lastYear is the last year that is stored; what lies behind it, such as a time
// to live of a million years, is cut to its end. Four digits keep the order of
// times as text.
const lastYear = 9999

var endOfTimes = time.Date(lastYear, time.December, 31, 23, 59, 59, 0, time.UTC)

// at makes a column's value of a time: nil for the zero time, else UTC cut to
// microseconds, which is what every engine can hold.
func at(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Microsecond)
	if t.Year() > lastYear {
		return endOfTimes
	}
	return t
}

// when reads a column that holds a time. NULL is the zero time. Engines without
// a type for times give text; rows written by other programs may have it in
// other forms than ours, or as a number of seconds or milliseconds.
type when struct{ time.Time }

// Scan implements sql.Scanner.
func (w *when) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		w.Time = time.Time{}
	case time.Time:
		w.Time = v.UTC()
	case string:
		t, err := parseTime(v)
		w.Time = t
		return err
	case []byte:
		return w.Scan(string(v))
	case int64:
		w.Time = fromEpoch(v)
	case float64:
		w.Time = fromEpoch(int64(v))
	default:
		return fmt.Errorf("a time cannot be read from %T", src)
	}
	return nil
}

// fromEpoch reads a number as seconds since 1970, or as milliseconds where as
// seconds it would lie thousands of years ahead.
func fromEpoch(n int64) time.Time {
	const farSeconds = 100_000_000_000 // the year 5138
	if n > farSeconds || n < -farSeconds {
		return time.UnixMilli(n).UTC()
	}
	return time.Unix(n, 0).UTC()
}

// Forms of a time as text, ours first.
var timeLayouts = [...]string{
	"2006-01-02 15:04:05.999999999-07:00",
	time.RFC3339Nano,
	"2006-01-02 15:04:05.999999999Z07:00",
	"2006-01-02 15:04:05.999999999Z07", // PostgreSQL's text form
	"2006-01-02 15:04:05.999999999",
	"2006-01-02T15:04:05.999999999",
	"2006-01-02 15:04",
	"2006-01-02",
	"2006-01-02 15:04:05.999999999 -0700 MST", // time.Time.String
}

// parseTime reads a time in any of the known forms; one without a zone is UTC.
func parseTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, ok := parseOurs(s); ok {
		return t, nil
	}
	switch s { // PostgreSQL's times that never come and that always were
	case "infinity":
		return endOfTimes, nil
	case "-infinity":
		return time.Time{}, nil
	}
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%.40q is no time", s)
}

// parseOurs reads "2006-01-02 15:04:05.999999+00:00", the form in which the
// dialect writes. It exists for speed: a start reads hundreds of thousands.
func parseOurs(s string) (time.Time, bool) {
	const date, zone = len("2006-01-02 15:04:05"), "+00:00"
	if len(s) < date+len(zone) || s[len(s)-len(zone):] != zone {
		return time.Time{}, false
	}
	if s[4] != '-' || s[7] != '-' || s[10] != ' ' || s[13] != ':' || s[16] != ':' {
		return time.Time{}, false
	}
	frac := s[date : len(s)-len(zone)]
	if len(frac) == 1 || len(frac) > 10 || len(frac) > 0 && frac[0] != '.' {
		return time.Time{}, false
	}
	ok := true
	digits := func(part string) int {
		n := 0
		for i := range len(part) {
			c := part[i]
			ok = ok && c >= '0' && c <= '9'
			n = n*10 + int(c-'0')
		}
		return n
	}
	nanos := 0
	if len(frac) > 0 {
		nanos = digits(frac[1:])
		for range 10 - len(frac) {
			nanos *= 10
		}
	}
	year, month, day := digits(s[0:4]), digits(s[5:7]), digits(s[8:10])
	hour, minute, second := digits(s[11:13]), digits(s[14:16]), digits(s[17:19])
	// What time.Date would carry over, such as the 31st of April, is left to
	// time.Parse to refuse.
	if !ok || month < 1 || month > 12 || day < 1 || day > 28 || hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, false
	}
	return time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC), true
}
