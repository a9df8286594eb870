package gateway

import "strings"

// CacheFigures tell how full a cache is and how it did since the start.
type CacheFigures struct {
	Name                   string // "response" or "models"
	Entries                int
	Bytes                  int64 // of what is kept, with what it takes to keep it
	Hits, Misses, Bypassed int64
}

// MatchesPattern reports whether a name fits a pattern in which * stands for
// any run of characters, letters' case ignored.
func MatchesPattern(pattern, name string) bool {
	return matches(strings.ToLower(pattern), strings.ToLower(name))
}
