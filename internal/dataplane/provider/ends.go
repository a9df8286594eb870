package provider

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// longestRest caps what an upstream may tell: no window of either provider is
// longer than a month, so more is a mistake that would lose the key.
const longestRest = 31 * 24 * time.Hour

// Window is a period after which a quota is fresh again. All begin and end by
// UTC.
type Window uint8

// Windows that the providers name.
const (
	NoWindow      Window = iota // none named, or its end is not known
	WindowHour                  // the full hour
	WindowSession               // Ollama's sessions: multiples of 18,000 s (5 h) of the epoch
	WindowDay                   // 00:00
	WindowWeek                  // Monday 00:00
	WindowMonth                 // the first, 00:00
)

var windowNames = [...]string{"", "hour", "session of five hours", "day", "week", "month"}

// String names the window for documentation, "" for none.
func (w Window) String() string { return windowNames[w] }

const sessionSeconds = 18_000

// end gives the end of the window that now is in, after now; zero for none.
func (w Window) end(now time.Time) time.Time {
	now = now.UTC()
	y, m, d := now.Date()
	switch w {
	case WindowHour:
		return now.Truncate(time.Hour).Add(time.Hour)
	case WindowSession:
		return time.Unix((now.Unix()/sessionSeconds+1)*sessionSeconds, 0).UTC()
	case WindowDay:
		return time.Date(y, m, d+1, 0, 0, 0, 0, time.UTC)
	case WindowWeek:
		toMonday := (int(time.Monday)-int(now.Weekday())+6)%7 + 1
		return time.Date(y, m, d+toMonday, 0, 0, 0, 0, time.UTC)
	case WindowMonth:
		return time.Date(y, m+1, 1, 0, 0, 0, 0, time.UTC)
	}
	return time.Time{}
}

// toldEnd gives the end of the rest that the upstream itself tells: by
// Retry-After, by the reset header, or by the error's own fields. Zero: none
// that lies ahead.
func (f *facts) toldEnd() time.Time {
	if t := retryAfter(f.header.Get("Retry-After"), f.now); !t.IsZero() {
		return t
	}
	// OpenRouter repeats the headers of a limit in the body, and mid-stream the
	// body is all there is.
	told := []string{f.header.Get("X-Ratelimit-Reset")}
	for _, path := range []string{"metadata.headers.x-ratelimit-reset", "metadata.resets_at"} {
		v, _ := f.field(path)
		told = append(told, v)
	}
	for _, s := range told {
		if t := resetTime(s, f.now); !t.IsZero() {
			return t
		}
	}
	return time.Time{}
}

// retryAfter reads seconds or an HTTP date (RFC 9110, section 10.2.3).
func retryAfter(s string, now time.Time) time.Time {
	s = strings.TrimSpace(s)
	if n, ok := number(s); ok {
		return ahead(now, after(now, n))
	}
	if t, err := http.ParseTime(s); err == nil {
		return ahead(now, t)
	}
	return time.Time{}
}

// Numbers from here on are points in time, by seconds or by milliseconds of
// the epoch; smaller ones are seconds from now.
const (
	epochSeconds = 1e9  // the year 2001
	epochMillis  = 1e11 // the year 1973 in milliseconds, 5138 in seconds
	farMillis    = 1e15 // beyond any use; what is larger is cut to it
)

// resetTime reads the forms in which upstreams write when a limit ends.
func resetTime(s string, now time.Time) time.Time {
	s = strings.TrimSpace(s)
	if s == "" {
		return time.Time{}
	}
	if n, ok := number(s); ok {
		switch {
		case n >= epochMillis:
			return ahead(now, time.UnixMilli(int64(min(n, farMillis))))
		case n >= epochSeconds:
			return ahead(now, time.UnixMilli(int64(n*1000)))
		}
		return ahead(now, after(now, n))
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return ahead(now, t)
	}
	if t, err := http.ParseTime(s); err == nil {
		return ahead(now, t)
	}
	if d, err := time.ParseDuration(s); err == nil {
		return ahead(now, after(now, d.Seconds()))
	}
	return time.Time{}
}

// number reads a plain decimal; signs, exponents and the like are no time.
func number(s string) (float64, bool) {
	if s == "" || strings.Trim(s, "0123456789.") != "" {
		return 0, false
	}
	n, err := strconv.ParseFloat(s, 64)
	return n, err == nil
}

// after adds seconds to now, as far as a rest may last.
func after(now time.Time, seconds float64) time.Time {
	seconds = min(seconds, longestRest.Seconds())
	return now.Add(time.Duration(max(seconds, 0) * float64(time.Second)))
}

// ahead gives t to the millisecond if it lies ahead, at most longestRest away.
// It is cut, not rounded: a client that is told the rest in whole seconds must
// not be told one more than the upstream told.
func ahead(now, t time.Time) time.Time {
	if latest := now.Add(longestRest); t.After(latest) {
		t = latest
	}
	if t = t.UTC().Truncate(time.Millisecond); t.After(now) {
		return t
	}
	return time.Time{}
}
