package kv

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
)

// plainName is a field's name without what parts its words: api_key, apiKey and
// API-KEY are one.
func plainName(name string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "", ".", "", " ", "").Replace(name))
}

// fieldsOf gives an object's fields by their plain names. Of two that have the
// same the one that says something counts.
func fieldsOf(object map[string]any) map[string]any {
	fields := make(map[string]any, len(object))
	for name, v := range object {
		plain := plainName(name)
		if have, there := fields[plain]; there && have != nil && have != "" {
			continue
		}
		fields[plain] = v
	}
	return fields
}

// textIn gives the first of some fields that is a text.
func textIn(fields map[string]any, names ...string) string {
	for _, name := range names {
		if s, ok := fields[name].(string); ok && strings.TrimSpace(s) != "" {
			return strings.TrimSpace(s)
		}
	}
	return ""
}

// countIn gives the first of some fields that is a number.
func countIn(fields map[string]any, names ...string) (int64, bool) {
	for _, name := range names {
		if n, ok := whole(fields[name]); ok {
			return n, true
		}
	}
	return 0, false
}

// momentIn gives the first of some fields that is a time.
func momentIn(fields map[string]any, names ...string) time.Time {
	for _, name := range names {
		if t := moment(fields[name]); !t.IsZero() {
			return t
		}
	}
	return time.Time{}
}

// whole reads a count: a number, or a text that is one.
func whole(v any) (int64, bool) {
	text := ""
	switch v := v.(type) {
	case json.Number:
		text = v.String()
	case string:
		text = strings.TrimSpace(v)
	default:
		return 0, false
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, n >= 0
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || f < 0 || f > math.MaxInt64/2 {
		return 0, false
	}
	return int64(math.Round(f)), true
}

// Bounds of numbers that are times: seconds since 1970, or milliseconds.
const (
	firstMoment = 946684800     // the year 2000
	lastSeconds = 4102444800    // the year 2100
	lastMillis  = 4102444800000 // likewise
)

// moment reads a time: ISO 8601, or seconds or milliseconds since 1970; the zero
// time for what is none.
func moment(v any) time.Time {
	if n, ok := whole(v); ok {
		switch {
		case n >= firstMoment && n <= lastSeconds:
			return time.Unix(n, 0).UTC()
		case n >= firstMoment*1000 && n <= lastMillis:
			return time.UnixMilli(n).UTC()
		}
		return time.Time{}
	}
	text, _ := v.(string)
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, strings.TrimSpace(text)); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}

// stateFields are fields that say something about a key.
var stateFields = []string{
	"username", "email", "user", "account", "status", "faileduntil", "disableduntil", "consecutivefailures", "createdat", "expiresat",
	"restsuntil", "disabledreason", "lasterror", "category", "addedat",
}

// countFields are fields that count.
var countFields = []string{"totalrequests", "requests", "requestcount", "successcount", "failurecount", "success", "failure", "successrequests", "failedrequests"}

// hasAny reports whether an object has one of some fields.
func hasAny(fields map[string]any, names []string) bool {
	for _, name := range names {
		if _, has := fields[name]; has {
			return true
		}
	}
	return false
}

// describe notes on a key what fields say about it.
func describe(k *gateway.Key, fields map[string]any) {
	set(&k.Username, textIn(fields, "username", "email", "user", "account"))
	set(&k.Category, textIn(fields, "category"))
	setTime(&k.CreatedAt, momentIn(fields, "createdat", "created", "addedat", "added"))
	setTime(&k.ExpiresAt, momentIn(fields, "expiresat", "expires", "expiry", "expiration"))
	st := &k.State
	setTime(&st.FailedUntil, momentIn(fields, "faileduntil"))
	setTime(&st.DisabledUntil, momentIn(fields, "disableduntil"))
	setTime(&st.RestsUntil, momentIn(fields, "restsuntil", "cooldownuntil"))
	set(&st.LastError, textIn(fields, "lasterror"))
	if n, ok := countIn(fields, "consecutivefailures", "failures"); ok {
		st.ConsecutiveFailures = int(min(n, math.MaxInt32))
	}
	if strings.EqualFold(textIn(fields, "status"), string(gateway.KeyDisabled)) || !st.DisabledUntil.IsZero() {
		switch reason := strings.ToLower(textIn(fields, "disabledreason")); {
		case reason == string(gateway.DisabledManual) || reason == "" && st.DisabledUntil.IsZero():
			st.Disabled = gateway.DisabledManual
		default:
			st.Disabled = gateway.DisabledAuto
		}
	}
	count(k, fields)
}

// count notes on a key what it was used for.
func count(k *gateway.Key, fields map[string]any) {
	c := &k.Counts
	c.Total = max(c.Total, counter(fields, "totalrequests", "requests", "requestcount", "total"))
	c.Success = max(c.Success, counter(fields, "successcount", "success", "successrequests", "successfulrequests"))
	c.Failure = max(c.Failure, counter(fields, "failurecount", "failure", "failedrequests", "failed"))
	c.Total = max(c.Total, c.Success+c.Failure)
	setTime(&c.LastUsed, momentIn(fields, "lastused", "lastusedat"))
	setTime(&c.LastSuccess, momentIn(fields, "lastsuccess", "lastsuccessat"))
	setTime(&c.LastFailure, momentIn(fields, "lastfailure", "lastfailureat"))
}

func counter(fields map[string]any, names ...string) int64 {
	n, _ := countIn(fields, names...)
	return n
}

// countsOf reads the counters of a provider or a model.
func countsOf(fields map[string]any) (Counts, bool) {
	total, hasTotal := countIn(fields, "totalrequests", "requests", "requestcount", "total")
	success, hasSuccess := countIn(fields, "successcount", "success", "successrequests", "successfulrequests")
	c := Counts{
		Requests: total, Success: success,
		Failure:  counter(fields, "failurecount", "failure", "failedrequests", "failed"),
		LastUsed: momentIn(fields, "lastused", "lastusedat", "updatedat", "lastupdated"),
	}
	c.Requests = max(c.Requests, c.Success+c.Failure)
	return c, hasTotal || hasSuccess
}

func set(field *string, text string) {
	if text != "" {
		*field = text
	}
}

func setTime(field *time.Time, t time.Time) {
	if !t.IsZero() {
		*field = t
	}
}
