package shared

import (
	"context"
	"crypto/sha256"
	_ "embed" // the scripts
	"encoding/hex"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"ollama-api-pool/internal/gateway"
)

// The scripts. Each touches keys of one slot only, so that they work on a
// cluster, and is one step that nothing comes between.
var (
	//go:embed window.lua
	windowText string
	//go:embed admit.lua
	admitText string
	//go:embed tell.lua
	tellText string
	//go:embed takeback.lua
	takeBackText string
	//go:embed look.lua
	lookText string

	windowScript   = redis.NewScript(windowText)
	admitScript    = redis.NewScript(admitText)
	tellScript     = redis.NewScript(tellText)
	takeBackScript = redis.NewScript(takeBackText)
	lookScript     = redis.NewScript(lookText)
)

// load makes the scripts known to a server, so that a call sends their names only.
func load(ctx context.Context, c *redis.Client) error {
	for _, s := range []*redis.Script{windowScript, admitScript, tellScript, takeBackScript, lookScript} {
		if err := s.Load(ctx, c).Err(); err != nil {
			return err
		}
	}
	return nil
}

// tagOf names a token or a client in Redis without giving it away.
func tagOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:16])
}

// TakeRequest counts a request of a client in a window of all instances, and
// returns 0, or leaves it uncounted and returns the time to wait. known is false
// where there was no answer in time.
func (r *Redis) TakeRequest(ctx context.Context, client string, w gateway.Sliding) (wait time.Duration, known bool) {
	known = r.ask(ctx, func(ctx context.Context) error {
		ms, err := windowScript.Run(ctx, r.client, []string{r.key("w", tagOf(client), "")},
			w.Limit, w.Span.Milliseconds(), w.Grain.Milliseconds()).Int64()
		wait = time.Duration(ms) * time.Millisecond
		return err
	})
	return wait, known
}

// TakeToken counts a request of a token if all its limits allow it, in one step.
// known is false where there was no answer in time; then the count is to be told.
func (r *Redis) TakeToken(ctx context.Context, d gateway.TokenDemand) (s gateway.TokenShare, known bool) {
	known = r.ask(ctx, func(ctx context.Context) error {
		n, err := admitScript.Run(ctx, r.client, r.tokenKeys(&d.Count), append(r.countArgs(&d.Count),
			d.Minute.Limit, d.Minute.Span.Milliseconds(), d.Minute.Grain.Milliseconds(),
			d.PerDay, d.TokensPerDay, d.Concurrent,
			(d.Midnight+afterMidnight).Milliseconds(), r.holds.Milliseconds())...).Int64Slice()
		if err != nil {
			return err
		}
		if len(n) != 7 {
			return errAnswer
		}
		s = gateway.TokenShare{
			Admitted: n[0] == 1, At: n[1], PerMinute: int(n[2]), MinuteWait: time.Duration(n[3]) * time.Millisecond,
			Requests: n[4], Tokens: n[5], Running: int(n[6]),
		}
		return nil
	})
	if known && s.Admitted && (d.Count.PerDay || d.Count.Concurrent) {
		r.told.remember(d.Count)
	}
	return s, known
}

// afterMidnight is how much longer a day is kept: clocks differ.
const afterMidnight = time.Hour

// tokenKeys are where a token is counted: its minute, day and running requests.
func (r *Redis) tokenKeys(c *gateway.TokenCount) []string {
	tag := tagOf(c.Hash)
	return []string{r.key("t", tag, "m"), r.key("t", tag, "d"+strconv.FormatInt(c.Day, 10)), r.key("t", tag, "r")}
}

// countArgs are a count as the scripts read it.
func (r *Redis) countArgs(c *gateway.TokenCount) []any {
	return []any{
		r.run + "." + strconv.FormatInt(c.Life, 36), c.Number,
		c.Requests, c.Tokens, c.RequestsBefore, c.TokensBefore, c.Running,
	}
}
