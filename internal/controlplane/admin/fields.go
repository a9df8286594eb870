package admin

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"ollama-api-pool/internal/controlplane/importer"
	"ollama-api-pool/internal/gateway"
)

// Bounds of what a call may bring. Imports have their own.
const (
	maxBody     = 64 << 10
	maxBulkBody = 32 << 20 // lists of keys

	maxName     = 100 // characters
	maxUsername = 320 // characters; the longest e-mail address
	maxSearch   = 600 // characters; more than the longest key has
	maxSeconds  = 100 * 365 * 24 * 60 * 60
)

// faults gathers what is wrong with the fields of a call, so that all of it is
// told at once. What is said never repeats a value that may be a secret.
type faults []string

func (f *faults) add(field, format string, args ...any) {
	*f = append(*f, field+" "+fmt.Sprintf(format, args...))
}

// err is nil if nothing was found.
func (f *faults) err() error {
	if len(*f) == 0 {
		return nil
	}
	return gateway.Errorf(gateway.KindInvalid, "%s", strings.Join(*f, "; "))
}

// provider reads the provider that the query or the body names. Both may, if
// they agree.
func (f *faults) provider(r *http.Request, inBody string) gateway.ProviderName {
	p, err := gateway.ParseProvider(f.providerWord(r, inBody))
	if err != nil {
		*f = append(*f, err.Error())
	}
	return p
}

func (f *faults) providerWord(r *http.Request, inBody string) string {
	return f.one("provider in the query", r.URL.Query().Get("provider"), "provider in the body", inBody)
}

// seconds reads a length of time; none and 0 are 0.
func (f *faults) seconds(field string, n *int64) time.Duration {
	switch {
	case n == nil:
		return 0
	case *n < 0 || *n > maxSeconds:
		f.add(field, "must be between 0 and %d seconds", maxSeconds)
		return 0
	}
	return time.Duration(*n) * time.Second
}

// text reads a line of text for people's eyes.
func (f *faults) text(field, s string, limit int) string {
	s = strings.TrimSpace(s)
	if utf8.RuneCountInString(s) > limit {
		f.add(field, "must not be longer than %d characters", limit)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		f.add(field, "has a character that cannot be printed")
	}
	return s
}

// filter reads which keys are chosen. A text that nobody can have typed is
// refused: what a store makes of it is not to be relied on where keys are
// deleted.
func (f *faults) filter(inside, status, category, search, reason string) gateway.KeyFilter {
	return gateway.KeyFilter{
		Status:   f.status(inside+"status", status),
		Category: f.text(inside+"category", category, maxSearch),
		Search:   f.text(inside+"search", search, maxSearch),
		Reason:   f.text(inside+"reason", reason, maxSearch),
	}
}

// newKey reads a key that is to be added. A whole import line is understood
// too, so that a password in it is not taken for a part of the key.
func (f *faults) newKey(field, s string) importer.Entry {
	if strings.TrimSpace(s) == "" {
		f.add(field, "is missing")
		return importer.Entry{}
	}
	e, reason, skip := importer.ParseLine(s)
	switch {
	case skip:
		f.add(field, "is a comment")
	case reason != "":
		f.add(field, "cannot be used: %s", reason)
	}
	return e
}

// truth reads a switch in the query.
func (f *faults) truth(r *http.Request, field string) bool {
	s := r.URL.Query().Get(field)
	if s == "" {
		return false
	}
	on, err := strconv.ParseBool(s)
	if err != nil {
		f.add(field, "must be true or false")
	}
	return on
}

// count reads a whole number from 1 on in the query.
func (f *faults) count(r *http.Request, field string, standard, most int) int {
	s := r.URL.Query().Get(field)
	if s == "" {
		return standard
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > most {
		f.add(field, "must be a whole number from 1 to %d", most)
		return standard
	}
	return n
}

// one takes the value of a field that goes by two names.
func (f *faults) one(name, a, other, b string) string {
	if a != "" && b != "" && a != b {
		f.add(name, "and %s differ: send one of them", other)
	}
	if a != "" {
		return a
	}
	return b
}
