package app

import (
	"context"
	"log/slog"
	"time"
)

// linger goes on taking requests for SHUTDOWN_DELAY although /health/ready
// already says 503: whoever spreads requests over several instances asks that
// from time to time, and needs to have noticed before requests are refused.
// The end of ctx cuts it short.
func (a *App) linger(ctx context.Context) {
	if a.cfg.ShutdownDelay == 0 {
		return
	}
	a.log.InfoContext(ctx, "not ready any more, requests are still taken", slog.Duration("for", a.cfg.ShutdownDelay))
	noticed := time.NewTimer(a.cfg.ShutdownDelay)
	defer noticed.Stop()
	select {
	case <-noticed.C:
	case <-ctx.Done():
	}
}
