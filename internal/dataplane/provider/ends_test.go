package provider

import (
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

func parseTime(t *testing.T, s string) time.Time {
	t.Helper()
	if s == "" {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestWindowNames(t *testing.T) {
	for w, want := range map[Window]string{NoWindow: "", WindowHour: "hour", WindowSession: "session of five hours", WindowMonth: "month"} {
		if got := w.String(); got != want {
			t.Errorf("window %d is called %q, want %q", w, got, want)
		}
	}
}

func TestWindowEnd(t *testing.T) {
	f := func(w Window, at, want string) {
		t.Helper()
		if got := w.end(parseTime(t, at)); !got.Equal(parseTime(t, want)) {
			t.Errorf("window %d at %s ends %s, want %s", w, at, got, want)
		}
	}
	f(NoWindow, "2026-10-14T09:20:30Z", "")
	f(WindowHour, "2026-10-14T09:20:30Z", "2026-10-14T10:00:00Z")
	f(WindowHour, "2026-10-14T10:00:00Z", "2026-10-14T11:00:00Z")
	f(WindowHour, "2026-10-14T09:20:30+05:30", "2026-10-14T04:00:00Z")
	f(WindowSession, "1970-01-01T00:00:00Z", "1970-01-01T05:00:00Z")
	f(WindowSession, "2026-10-14T09:59:59.9Z", "2026-10-14T10:00:00Z")
	f(WindowSession, "2026-10-14T10:00:00Z", "2026-10-14T15:00:00Z")
	f(WindowDay, "2026-10-14T00:00:00Z", "2026-10-15T00:00:00Z")
	f(WindowDay, "2026-10-14T23:30:00-02:00", "2026-10-16T00:00:00Z")
	f(WindowWeek, "2026-10-18T23:59:59Z", "2026-10-19T00:00:00Z") // a Sunday
	f(WindowWeek, "2026-10-19T00:00:00Z", "2026-10-26T00:00:00Z") // a Monday
	f(WindowWeek, "2026-10-20T12:00:00Z", "2026-10-26T00:00:00Z") // a Tuesday
	f(WindowMonth, "2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z")
	f(WindowMonth, "2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z")
}

func TestRetryAfter(t *testing.T) {
	f := func(s, want string) {
		t.Helper()
		if got := retryAfter(s, now); !got.Equal(parseTime(t, want)) {
			t.Errorf("%q: %s, want %q", s, got, want)
		}
	}
	f("", "")
	f("30", "2026-10-14T09:21:00Z")
	f(" 1.5 ", "2026-10-14T09:20:31.5Z")
	f("Wed, 14 Oct 2026 09:30:00 GMT", "2026-10-14T09:30:00Z")
	f("0", "")
	f("-5", "")
	f("Wed, 14 Oct 2026 09:20:30 GMT", "") // now
	f("Sun, 06 Nov 1994 08:49:37 GMT", "")
	f("soon", "")
	f("1e3", "")
	f("NaN", "")
	f("1.2.3", "")
	f("9999999", "2026-11-14T09:20:30Z")
	f("99999999999999999999999999999999", "2026-11-14T09:20:30Z")
	f("Fri, 31 Dec 2100 23:59:59 GMT", "2026-11-14T09:20:30Z")
	f("1791972000", "2026-11-14T09:20:30Z") // by its definition seconds from now, however many
}

func TestResetTime(t *testing.T) {
	f := func(s, want string) {
		t.Helper()
		if got := resetTime(s, now); !got.Equal(parseTime(t, want)) {
			t.Errorf("%q: %s, want %q", s, got, want)
		}
	}
	f("", "")
	f("1791972000000", "2026-10-14T10:00:00Z")
	f("1791972000123", "2026-10-14T10:00:00.123Z")
	f("1791972000", "2026-10-14T10:00:00Z")
	f("1791972000.5", "2026-10-14T10:00:00.5Z")
	f("90", "2026-10-14T09:22:00Z")
	f("0", "")
	f("1791969630", "") // now
	f("1700000000", "")
	f("1700000000000", "")
	f("4102444800000", "2026-11-14T09:20:30Z")
	f("99999999999999999999999999", "2026-11-14T09:20:30Z")
	f("2026-10-14T10:00:00Z", "2026-10-14T10:00:00Z")
	f("2026-10-14T12:00:00.000+02:00", "2026-10-14T10:00:00Z")
	f("Wed, 14 Oct 2026 10:00:00 GMT", "2026-10-14T10:00:00Z")
	f("1m30s", "2026-10-14T09:22:00Z")
	f("-1m", "")
	f("tomorrow", "")
}

// TestToldEnds: what is told wins over the window, the header over the body,
// and what cannot be used counts as not told.
func TestToldEnds(t *testing.T) {
	f := func(name gateway.ProviderName, body, want string, headers ...string) {
		t.Helper()
		v := newAdapter(t, name).Judge(Answer{Status: 429, Header: header(headers...), Body: []byte(body), Now: now})
		if !v.Until.Equal(parseTime(t, want)) || v.Action != gateway.ActionRest {
			t.Errorf("%v %s: %+v, want the end %q", headers, body, v, want)
		}
	}
	weekly := `{"error":"you've reached your weekly usage limit"}`
	f(gateway.Ollama, weekly, "2026-10-14T09:21:30Z", "Retry-After", "60", "X-RateLimit-Reset", "120")
	f(gateway.Ollama, weekly, "2026-10-14T09:22:30Z", "Retry-After", "0", "X-RateLimit-Reset", "120")
	f(gateway.Ollama, weekly, "2026-10-19T00:00:00Z", "Retry-After", "later", "X-RateLimit-Reset", "1700000000")
	f(gateway.Ollama, `{"error":"monthly usage limit"}`, "")
	told := `{"error":{"metadata":{"headers":{"x-ratelimit-RESET":1791972000000}}}}`
	f(gateway.OpenRouter, told, "2026-10-14T10:00:00Z")
	f(gateway.OpenRouter, told, "2026-10-14T09:30:00Z", "X-Ratelimit-Reset", "1791970200000")
	f(gateway.OpenRouter, `{"error":{"metadata":{"resets_at":"2026-10-14T11:00:00Z"}}}`, "2026-10-14T11:00:00Z")
}
