package admin

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// Cache is what the API needs of the caches. It may be called concurrently.
type Cache interface {
	// CacheFigures tells how each cache stands.
	CacheFigures() []gateway.CacheFigures
	// ClearCache forgets what belongs to the models that fit a pattern, "" for
	// everything, on every instance, and returns how much that was here.
	ClearCache(ctx context.Context, pattern string) (int, error)
}

type cacheAnswer struct {
	TotalEntries int          `json:"totalEntries"`
	ByType       cacheEntries `json:"byType"`
	Hits         int64        `json:"hits"`
	Misses       int64        `json:"misses"`
	Bypassed     int64        `json:"bypassed" description:"Requests that asked to pass the cache by."`
	Bytes        int64        `json:"bytes"`
}

// cacheEntries counts entries by what they hold. Keys and statistics are read
// from memory and the store, so there is nothing of them in a cache.
type cacheEntries struct {
	Response int `json:"response" description:"Answers (RESPONSE_CACHE_TTL)."`
	Models   int `json:"models" description:"Model lists (MODELS_CACHE_TTL)."`
	APIKeys  int `json:"apiKeys" description:"Always 0: keys need no cache."`
	Stats    int `json:"stats" description:"Always 0: statistics need no cache."`
	Other    int `json:"other"`
}

var showCacheDoc = operation{summary: "How full the caches are", group: "Cache", answer: cacheAnswer{}}

// showCache shows the figures of the caches, added up.
func (a *API) showCache(w http.ResponseWriter, _ *http.Request) error {
	var out cacheAnswer
	for _, c := range a.cache.CacheFigures() {
		out.TotalEntries += c.Entries
		out.Hits += c.Hits
		out.Misses += c.Misses
		out.Bypassed += c.Bypassed
		out.Bytes += c.Bytes
		switch c.Name {
		case "response":
			out.ByType.Response += c.Entries
		case "models":
			out.ByType.Models += c.Entries
		default:
			out.ByType.Other += c.Entries
		}
	}
	return httpkit.WriteJSON(w, http.StatusOK, out)
}

type clearCacheRequest struct {
	Pattern string `json:"pattern,omitempty" description:"Models, * for any run of characters; only what belongs to them goes."`
	Scope   string `json:"scope,omitempty" enum:"all" description:"all: everything, as without a body."`
}

type clearCacheAnswer struct {
	Success bool   `json:"success"`
	Message string `json:"message"`
	Cleared int    `json:"cleared"`
}

var clearCacheDoc = operation{
	summary: "Clear the caches", group: "Cache", body: clearCacheRequest{}, answer: clearCacheAnswer{},
	example: `{"pattern":"gpt-oss*"}`, tolerant: true, optional: true,
}

// clearCache forgets what the caches hold, or a part of it.
func (a *API) clearCache(w http.ResponseWriter, r *http.Request) error {
	var in clearCacheRequest
	if err := httpkit.DecodeJSON(w, r, maxBody, &in, httpkit.AllowUnknown, httpkit.AllowEmpty); err != nil {
		return err
	}
	var f faults
	pattern := f.text("pattern", in.Pattern, maxPattern)
	if in.Scope != "" && in.Scope != "all" {
		f.add("scope", "must be all")
	}
	if in.Scope == "all" && pattern != "" {
		f.add("scope", "and pattern are both there: send one of them")
	}
	if err := f.err(); err != nil {
		return err
	}
	n, err := a.cache.ClearCache(r.Context(), pattern)
	if err != nil {
		return err
	}
	a.note(r, "cache cleared", slog.Int("count", n))
	return httpkit.WriteJSON(w, http.StatusOK, clearCacheAnswer{Success: true, Message: fmt.Sprintf("%d entries cleared", n), Cleared: n})
}
