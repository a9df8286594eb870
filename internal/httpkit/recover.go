package httpkit

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	"ollama-api-pool/internal/gateway"
)

// Recover turns a panic into an internal error and logs its stack, which the
// client never sees. When a part of the answer is out already the connection
// is aborted instead. http.ErrAbortHandler, with which a handler aborts on
// purpose, goes on.
func Recover(log *slog.Logger) Middleware {
	return func(next Handler) Handler {
		return func(w http.ResponseWriter, r *http.Request) (err error) {
			defer func() {
				v := recover()
				if v == nil {
					return
				}
				if e, ok := v.(error); ok && errors.Is(e, http.ErrAbortHandler) {
					panic(http.ErrAbortHandler)
				}
				log.LogAttrs(r.Context(), slog.LevelError, "a handler panicked",
					slog.String("request_id", IDOf(w)),
					slog.String("method", r.Method),
					slog.String("path", loggedPath(r)),
					slog.Any("panic", v),
					slog.String("stack", string(debug.Stack())))
				if res := responseOf(w); res != nil && res.status != 0 {
					panic(http.ErrAbortHandler)
				}
				err = &gateway.Error{Kind: gateway.KindInternal, Message: "internal error", Cause: fmt.Errorf("panic: %v", v)}
			}()
			return next(w, r)
		}
	}
}
