package browser

import (
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// TestFormat writes numbers, durations and times in both languages. \u202f is the
// narrow space before a unit.
func TestFormat(t *testing.T) {
	t.Parallel()
	p := NewPage(t, Shared(t))
	p.Open("/stats")
	cases := []struct{ of, en, zh string }{
		{`number(0)`, "0", "0"},
		{`number(-0.2)`, "0", "0"},
		{`number(-12480)`, "-12,480", "-12,480"},
		{`number(999999)`, "999,999", "999,999"},
		{`number(NaN)`, "–", "–"},
		{`number(undefined)`, "–", "–"},
		{`shortText(0)`, "0", "0"},
		{`shortText(1.5)`, "1.5", "1.5"},
		{`shortText(99999)`, "99,999", "99,999"},
		{`shortText(99999.6)`, "100\u202fk", "10\u202f万"},
		{`shortText(100000)`, "100\u202fk", "10\u202f万"},
		{`shortText(999999)`, "1\u202fM", "100\u202f万"},
		{`shortText(1000000)`, "1\u202fM", "100\u202f万"},
		{`shortText(1460000000)`, "1.46\u202fB", "14.6\u202f亿"},
		{`shortText(-1460000000)`, "-1.46\u202fB", "-14.6\u202f亿"},
		{`shortText(NaN)`, "–", "–"},
		{`percent("99.50")`, "99.5%", "99.5%"},
		{`percent(undefined)`, "–", "–"},
		{`share(0, 0)`, "0.0%", "0.0%"},
		{`share(0, 5)`, "0.0%", "0.0%"},
		{`share(5, 5)`, "100.0%", "100.0%"},
		{`share(1, 3000)`, "<0.1%", "<0.1%"},
		{`share(2999, 3000)`, "99.9%", "99.9%"},
		{`share(99999, 100000, 2)`, "99.99%", "99.99%"},
		{`share(1, 100000, 2)`, "<0.01%", "<0.01%"},
		{`millisText(null)`, "–", "–"},
		{`millisText(0)`, "0\u202fms", "0\u202f毫秒"},
		{`millisText(9.96)`, "10\u202fms", "10\u202f毫秒"},
		{`millisText(999.4)`, "999\u202fms", "999\u202f毫秒"},
		{`millisText(999.6)`, "1\u202fs", "1\u202f秒"},
		{`millisText(9960)`, "10\u202fs", "10\u202f秒"},
		{`millisText(59600)`, "1\u202fmin", "1\u202f分钟"},
		{`bytes(0)`, "0\u202fB", "0\u202fB"},
		{`bytes(999)`, "999\u202fB", "999\u202fB"},
		{`bytes(999999)`, "1\u202fMB", "1\u202fMB"},
		{`bytes(31900000)`, "31.9\u202fMB", "31.9\u202fMB"},
		{`span(-3)`, "0\u202fs", "0\u202f秒"},
		{`span(59.4)`, "59\u202fs", "59\u202f秒"},
		{`span(59.6)`, "1\u202fmin", "1\u202f分钟"},
		{`span(599.6)`, "10\u202fmin", "10\u202f分钟"},
		{`span(3599)`, "59\u202fmin", "59\u202f分钟"},
		{`span(3600)`, "1\u202fh", "1\u202f小时"},
		{`span(12480)`, "3\u202fh 28\u202fmin", "3\u202f小时 28\u202f分钟"},
		{`span(86399)`, "1\u202fd", "1\u202f天"},
		{`span(7 * 86400 - 1)`, "7\u202fd", "7\u202f天"},
		{`span(30 * 86400)`, "30\u202fd", "30\u202f天"},
		{`span(NaN)`, "–", "–"},
	}
	calls := make([]string, len(cases))
	for i, c := range cases {
		calls[i] = c.of
	}
	en, zh := p.formatted("en", calls...), p.formatted("zh", calls...)
	for i, c := range cases {
		if en[i] != c.en || zh[i] != c.zh {
			t.Errorf("%s is %q and %q, and not %q and %q", c.of, en[i], zh[i], c.en, c.zh)
		}
	}
}

// TestFormatTimes writes times where clocks change, and where the day is another
// one.
func TestFormatTimes(t *testing.T) {
	t.Parallel()
	p := NewPage(t, Shared(t))
	p.Open("/stats")
	for _, c := range []struct{ zone, of, want string }{
		{"Asia/Shanghai", `when("2026-11-20T06:31:52Z", new Date("2026-11-20T15:59:59Z"))`, "14:31:52"},
		{"Asia/Shanghai", `when("2026-11-20T06:31:52Z", new Date("2026-11-20T16:00:00Z"))`, "20 Nov"},
		{"Asia/Shanghai", `when("2025-11-20T16:00:00Z", new Date("2026-11-20T16:00:00Z"))`, "21 Nov 2025"},
		{"Asia/Shanghai", `day("2031-01-01T00:00:00+08:00", new Date("2026-11-20T16:00:00Z"))`, "1 Jan 2031"},
		{"Asia/Shanghai", `when("0001-01-01T00:00:00Z", new Date("2026-11-20T16:00:00Z"))`, "1 Jan 1"},
		{"Asia/Shanghai", `when("nonsense")`, "–"},
		{"Asia/Shanghai", `moment("nonsense")`, "–"},
		{"Asia/Shanghai", `span(secondsUntil("nonsense"))`, "–"},
		{"Asia/Shanghai", `hour("2026-11-23T00:00:00Z", new Date("2026-11-20T16:00:00Z"))`, "Mon 08:00"},
		{"Asia/Shanghai", `hour("2026-11-30T00:00:00Z", new Date("2026-11-20T16:00:00Z"))`, "30 Nov"},
		{"Asia/Kolkata", `when("2026-11-20T18:29:00Z", new Date("2026-11-20T10:00:00Z"))`, "23:59:00"},
		// The clock goes back at two: half past one comes twice.
		{"America/New_York", `moment("2026-11-01T05:30:00Z")`, "1 Nov 2026, 01:30:00 GMT-4"},
		{"America/New_York", `moment("2026-11-01T06:30:00Z")`, "1 Nov 2026, 01:30:00 GMT-5"},
		// It goes ahead: the day has 23 hours, and is one day.
		{"America/New_York", `when("2026-03-08T05:00:00Z", new Date("2026-03-09T03:59:59Z"))`, "00:00:00"},
		{"America/New_York", `when("2026-03-08T05:00:00Z", new Date("2026-03-09T04:00:00Z"))`, "8 Mar"},
		{"America/New_York", `hour("2026-03-08T07:00:00Z", new Date("2026-03-08T05:00:00Z"))`, "03:00"},
		{"UTC", `zone()`, "UTC"},
	} {
		ctx := p.ctx
		if _, err := chromedp.Call(ctx, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: c.zone}); err != nil {
			t.Fatal(err)
		}
		if got := p.formatted("en", c.of)[0]; got != c.want {
			t.Errorf("%s in %s is %q and not %q", c.of, c.zone, got, c.want)
		}
	}
}

// formatted calls functions of format.js in a language. The module is a new one
// each time, as formats keep the zone that they were made in.
func (p *Page) formatted(lang string, calls ...string) []string {
	p.t.Helper()
	return inside[[]string](p, `await `+module("lib/words.js")+`.speak("`+lang+`");
		window.formats = (window.formats ?? 0) + 1;
		const { number, shortText, percent, share, millisText, bytes, span, when, day, hour, moment, secondsUntil, zone } =
			await import(document.querySelector("meta[name=assets]").content + "/app/lib/format.js?" + formats);
		return [`+strings.Join(calls, ", ")+`]`)
}
