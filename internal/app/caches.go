package app

import (
	"context"
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

// ClearCache forgets what a pattern means in every cache, on every instance, and
// returns how many entries those were here: a word that occurs in
// provider/path/model, or a pattern with * for any run of characters; nothing
// means all.
func (a *App) ClearCache(ctx context.Context, pattern string) (int, error) {
	n := a.clearHere(pattern)
	if !a.store.Shared() {
		return n, nil
	}
	return n, a.announce(ctx, gateway.Change{Kind: gateway.ChangeCache, Detail: pattern})
}

// clearHere clears the caches of this instance, and what Redis keeps for all.
func (a *App) clearHere(pattern string) int {
	if a.models == nil {
		return 0 // nothing is served
	}
	n := a.models.Clear(pattern)
	if a.answers != nil {
		n += a.answers.Clear(pattern)
	}
	return n
}
