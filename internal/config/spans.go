package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// pauseOrOff is a time span within a range, or 0 for never.
func pauseOrOff(low, high time.Duration, field func(*Config) *time.Duration) rule {
	allowed := fmt.Sprintf("0 (off) or a duration from %s to %s (such as 15m, 1h or a bare number of seconds)", short(low), short(high))
	return ruleFor(allowed, field, func(s string) (time.Duration, bool) {
		d, ok := parseDuration(s)
		return d, ok && (d == 0 || d >= low && d <= high)
	})
}

// retention is one number of days or two: for hours, and for days, which are
// kept at least as long.
func retention(field func(*Config) *Retention) rule {
	return ruleFor("a number of days from 1 to 36500, or two parted by a comma, the second not smaller (such as 90 or 90,730)", field, parseRetention)
}

// standardDays is for how long days are kept where only hours were set.
const standardDays = 730

func parseRetention(s string) (r Retention, ok bool) {
	const most = 36500
	hours, days, both := strings.Cut(s, ",")
	r.Hours, ok = parseCount(hours, most)
	if !both {
		r.Days = max(r.Hours, standardDays)
		return r, ok
	}
	if ok {
		r.Days, ok = parseCount(days, most)
	}
	return r, ok && r.Days >= r.Hours
}

// parseCount reads a whole number from 1 to most.
func parseCount(s string, most int) (int, bool) {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	return n, err == nil && n >= 1 && n <= most
}
