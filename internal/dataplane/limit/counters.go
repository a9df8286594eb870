package limit

import (
	"context"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Counters count for all instances together. A Window and Tokens that have them
// count by themselves first, and turn away what is too much for one instance
// alone; what they would let in they ask for. Who asks waits for no longer than a
// fraction of a second, and where no answer came the local count stands. All
// methods may be called concurrently.
type Counters interface {
	// TakeRequest counts a request of a client, any bytes that name it, and returns
	// 0, or leaves it uncounted and returns the time to wait. known is false where
	// nobody could be asked.
	TakeRequest(ctx context.Context, client string, w gateway.Sliding) (wait time.Duration, known bool)
	// TakeToken counts a request of a token if all limits allow it. known is false
	// where nobody could be asked; then the count is to be told.
	TakeToken(ctx context.Context, d gateway.TokenDemand) (s gateway.TokenShare, known bool)
	// TellToken hands on what was counted here. It does not wait.
	TellToken(c gateway.TokenCount)
	// TakeBack makes undone that a request was counted in a token's minute, at the
	// time that TakeToken told. It does not wait.
	TakeBack(hash string, at int64)
}
