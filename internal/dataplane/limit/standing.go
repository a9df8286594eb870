package limit

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"ollama-api-pool/internal/gateway"
)

// message names the limit that was reached.
func (b bound) message(l *gateway.Limits) string {
	switch b {
	case boundConcurrent:
		return fmt.Sprintf("this token has as many requests under way as it may: %d at the same time (concurrent requests)", l.Concurrent)
	case boundMinute:
		return fmt.Sprintf("this token has made as many requests as it may: %d per minute (requests per minute)", l.RequestsPerMinute)
	case boundDay:
		return fmt.Sprintf("this token has made as many requests as it may today: %d, until 00:00 UTC (requests per day)", l.RequestsPerDay)
	default:
		return fmt.Sprintf("this token has used as many model tokens as it may today: %d, until 00:00 UTC (tokens per day)", l.TokensPerDay)
	}
}

// tell writes what is left into the headers. Where a token has two limits on
// requests, the one with less left is told.
func (a *admission) tell(h http.Header, l *gateway.Limits) {
	limit, left, reset := l.RequestsPerMinute, a.left.perMinute, time.Minute
	if l.RequestsPerDay > 0 && (limit == 0 || a.left.perDay <= left) {
		limit, left, reset = l.RequestsPerDay, a.left.perDay, a.midnight
	}
	if limit > 0 {
		h["X-Ratelimit-Limit-Requests"] = []string{strconv.Itoa(limit)}
		h["X-Ratelimit-Remaining-Requests"] = []string{strconv.Itoa(left)}
		h["X-Ratelimit-Reset-Requests"] = []string{seconds(reset)}
	}
	if l.TokensPerDay > 0 {
		h["X-Ratelimit-Limit-Tokens"] = []string{strconv.FormatInt(l.TokensPerDay, 10)}
		h["X-Ratelimit-Remaining-Tokens"] = []string{strconv.FormatInt(a.left.tokens, 10)}
		h["X-Ratelimit-Reset-Tokens"] = []string{seconds(a.midnight)}
	}
}

// seconds words a time as OpenAI does (6m0s), rounded up.
func seconds(d time.Duration) string {
	return (d + time.Second - 1).Truncate(time.Second).String()
}

// wait is how long it takes until less than limit requests are in the window.
func (c *track) wait(limit int, at int64, span time.Duration) time.Duration {
	used := c.used
	for i := 0; used >= limit && i < len(c.marks); i++ {
		if used -= int(c.marks[i].n); used < limit {
			return time.Duration(span.Milliseconds()-c.marks[i].age(at)) * time.Millisecond
		}
	}
	return 0
}

// takeBack makes undone that a request was let through at a time, given that it
// is now at.
func (c *track) takeBack(when, at, span int64) {
	c.forget(at, span)
	if at-when >= span {
		return // it has left the window by itself
	}
	for i := range c.marks {
		if c.marks[i].age(at) > at-when {
			continue // an earlier one
		}
		c.used--
		if c.marks[i].n--; c.marks[i].n == 0 {
			c.marks = slices.Delete(c.marks, i, i+1)
		}
		return
	}
}
