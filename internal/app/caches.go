package app

import (
	"time"

	"ollama-api-pool/internal/dataplane/cache"
	"ollama-api-pool/internal/dataplane/forward"
	"ollama-api-pool/internal/gateway"
)

// answerCache makes the cache of whole answers, nil where it is switched off.
func (a *App) answerCache(f *forward.Forwarder) *cache.Answers {
	if a.cfg.ResponseCacheTTL <= 0 {
		return nil
	}
	return cache.NewAnswers(cache.AnswersOptions{
		TTL: a.cfg.ResponseCacheTTL, MaxBytes: a.cfg.ResponseCacheMaxBytes, Shared: a.cfg.ResponseCacheShared,
		Now: time.Now, Open: f.Open,
	})
}

// CacheFigures tell how full each cache is and how it did.
func (a *App) CacheFigures() []gateway.CacheFigures {
	response := gateway.CacheFigures{Name: "response"}
	if a.answers != nil {
		response = a.answers.Figures()
	}
	return []gateway.CacheFigures{response, a.models.Figures()}
}

// ClearCache forgets what a pattern means in every cache, and returns how many
// entries those were: a word that occurs in provider/path/model, or a pattern
// with * for any run of characters; nothing means all.
func (a *App) ClearCache(pattern string) int {
	n := a.models.Clear(pattern)
	if a.answers != nil {
		n += a.answers.Clear(pattern)
	}
	return n
}
