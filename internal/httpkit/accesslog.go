package httpkit

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"ollama-api-pool/internal/gateway"
)

// warningsPerSecond bounds the lines about requests that failed for a reason
// which is known (no key, no upstream): an outage must not be paid for twice.
const warningsPerSecond = 10

// AccessLog writes a line for each request: at debug level as a rule, as a
// warning where this program had to answer 5xx or a stream was cut (ten a
// second at most; the next line tells how many were left out), as an error
// where the fault is ours. Nothing is put together for a line that is not
// written. Tokens and keys that stand in an address are not logged.
func AccessLog(log *slog.Logger) Middleware {
	a := &accessLog{log: log}
	return func(next Handler) Handler {
		return func(w http.ResponseWriter, r *http.Request) (err error) {
			began := time.Now()
			aborted := true
			defer func() { a.note(w, r, began, err, aborted) }()
			err = next(w, r)
			aborted = false
			return err
		}
	}
}

type accessLog struct {
	log *slog.Logger

	mu     sync.Mutex // guards the count of warnings in the current second
	second int64
	lines  int
	left   int // lines left out since the last one written
}

func (a *accessLog) note(w http.ResponseWriter, r *http.Request, began time.Time, err error, aborted bool) {
	ctx := r.Context()
	x := gateway.ExchangeFrom(ctx)
	level := levelOf(ctx, x, err)
	if !a.log.Enabled(ctx, level) {
		return
	}
	left := 0
	if level == slog.LevelWarn {
		var ok bool
		if left, ok = a.mayWarn(time.Now().Unix()); !ok {
			return
		}
	}
	attrs := make([]slog.Attr, 0, 16)
	attrs = append(attrs,
		slog.String("request_id", IDOf(w)),
		slog.String("method", r.Method),
		slog.String("path", loggedPath(r)),
		slog.Int("status", statusOf(w, x, err)),
		slog.Duration("duration", time.Since(began)))
	if x != nil {
		attrs = appendExchange(attrs, x)
	}
	if aborted {
		attrs = append(attrs, slog.Bool("aborted", true))
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	if left > 0 {
		attrs = append(attrs, slog.Int("left_out", left))
	}
	a.log.LogAttrs(ctx, level, "request", attrs...)
}

func appendExchange(attrs []slog.Attr, x *gateway.Exchange) []slog.Attr {
	attrs = append(attrs, slog.String("client", x.ClientIP.String()))
	if x.Route.Provider != "" {
		attrs = append(attrs, slog.String("provider", string(x.Route.Provider)))
	}
	if x.Record.Model != "" {
		attrs = append(attrs, slog.String("model", x.Record.Model))
	}
	if n := len(x.Record.Attempts); n > 0 {
		attrs = append(attrs, slog.Int("attempts", n), slog.String("verdict", x.Record.Attempts[n-1].Verdict.Reason))
	}
	if x.Record.End != gateway.EndDone {
		attrs = append(attrs, slog.String("end", x.Record.End.String()))
	}
	return attrs
}

func levelOf(ctx context.Context, x *gateway.Exchange, err error) slog.Level {
	if err == nil {
		if x != nil && x.Record.End == gateway.EndCut {
			return slog.LevelWarn
		}
		return slog.LevelDebug
	}
	kind := gateway.AsError(err).Kind
	gone := ctx.Err() != nil // nobody waited for the answer any more
	switch {
	case kind == gateway.KindInternal && !(gone && errors.Is(err, context.Canceled)):
		return slog.LevelError
	case gone, kind == gateway.KindProviderDisabled: // the latter as the operator wished
		return slog.LevelDebug
	case ErrorStatus(kind) >= http.StatusInternalServerError:
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// statusOf is the status that the client sees, or will see when the error that
// comes out of the chain is answered.
func statusOf(w http.ResponseWriter, x *gateway.Exchange, err error) int {
	if res := responseOf(w); res != nil && res.status != 0 {
		return res.status
	}
	if err != nil {
		return ErrorStatus(gateway.AsError(err).Kind)
	}
	if x != nil && x.Record.Status != 0 {
		return x.Record.Status
	}
	return http.StatusOK // what net/http sends for a handler that wrote nothing
}

// mayWarn says whether one more warning fits into this second, and how many
// were left out before it.
func (a *accessLog) mayWarn(second int64) (left int, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.second != second {
		a.second, a.lines = second, 0
	}
	if a.lines >= warningsPerSecond {
		a.left++
		return 0, false
	}
	a.lines++
	left, a.left = a.left, 0
	return left, true
}

// loggedPath is an address that is safe to log: the exchange's, which has no
// token; the pattern of the route, which has names in place of ids; or, of an
// address that nothing knows, the first part of it.
func loggedPath(r *http.Request) string {
	if x := gateway.ExchangeFrom(r.Context()); x != nil {
		return x.Path
	}
	if r.Pattern != "" {
		return r.Pattern
	}
	first, _, more := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case strings.HasPrefix(first, "sk-"), len(first) > 24:
		return "/…"
	case more:
		return "/" + first + "/…"
	}
	return "/" + first
}
