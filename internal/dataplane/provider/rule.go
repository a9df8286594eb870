package provider

import (
	"math"
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Rule is one row of a provider's table. Its conditions must all hold; those
// that are left empty always do. A rule and what it refers to is never changed.
type Rule struct {
	Name string // stable, unique within a provider's table

	// Conditions.
	From, To int      // statuses, both included
	Page     bool     // the answer is an HTML page, not an API's words
	Fields   []string // one of these is there in the error's JSON; paths below the error object, lower case
	Values   []string // and has one of these values; * stands for anything at a beginning or end
	Words    []string // the error says one of these; … stands for other words in between
	Unless   []string // and says none of these
	Told     bool     // the upstream tells a usable end of the rest

	// What follows.
	Scope  gateway.Scope
	Action gateway.Action
	Next   gateway.Next
	For    time.Duration // a fixed length, where no end is told
	Window Window        // the period whose end is meant, where none is told
	Reason string        // for the key's record and the log: our own words, never the upstream's

	// Documentation.
	Why    string
	Source string // a public page that shows it
}

// The bounds of a row that holds for every status.
const (
	lowestStatus  = math.MinInt
	highestStatus = math.MaxInt
)

func (r *Rule) holds(f *facts) bool {
	return r.From <= f.status && f.status <= r.To &&
		(!r.Page || f.page) &&
		(len(r.Fields) == 0 || f.has(r.Fields, r.Values)) &&
		(len(r.Words) == 0 || f.says(r.Words)) &&
		(len(r.Unless) == 0 || !f.says(r.Unless)) &&
		(!r.Told || !f.toldEnd().IsZero())
}

func (r *Rule) verdict(f *facts) gateway.Verdict {
	v := gateway.Verdict{
		Scope:  r.Scope,
		Action: r.Action,
		Next:   r.Next,
		Reason: r.Reason,
		For:    r.For,
		OK:     r.Scope == gateway.ScopeNone,
	}
	if r.Action != gateway.ActionRest && r.Action != gateway.ActionRestKey {
		return v
	}
	if v.Until = f.toldEnd(); v.Until.IsZero() {
		v.Until = r.Window.end(f.now)
	}
	if !v.Until.IsZero() {
		v.For = 0
	}
	return v
}

// matchesValue compares a field with a pattern that may begin or end with *.
func matchesValue(value, pattern string) bool {
	rest, suffix := strings.CutPrefix(pattern, "*")
	head, prefix := strings.CutSuffix(rest, "*")
	switch {
	case suffix && prefix:
		return strings.Contains(value, head)
	case suffix:
		return strings.HasSuffix(value, head)
	case prefix:
		return strings.HasPrefix(value, head)
	}
	return value == pattern
}

// saysPhrase finds whole words in plain text (see plain); … in the phrase
// stands for anything in between.
func saysPhrase(text, phrase string) bool {
	for {
		part, rest, more := strings.Cut(phrase, "…")
		end := wordsEnd(text, strings.TrimSpace(part))
		if end < 0 {
			return false
		}
		if !more {
			return true
		}
		text, phrase = text[end:], rest
	}
}

// wordsEnd finds words in text and returns where they end, or -1.
func wordsEnd(text, words string) int {
	for at := 0; ; {
		i := strings.Index(text[at:], words)
		if i < 0 {
			return -1
		}
		i += at
		end := i + len(words)
		if (i == 0 || !isWordByte(text[i-1])) && (end == len(text) || !isWordByte(text[end])) {
			return end
		}
		at = i + 1
	}
}

func isWordByte(b byte) bool {
	return 'a' <= b && b <= 'z' || '0' <= b && b <= '9' || b >= 0x80
}
