package app

import (
	"context"
	"time"

	"ollama-api-pool/internal/storage/shared"
)

// hintWithin is how long a hint may take.
const hintWithin = time.Second

// openRedis makes the connection to what instances share besides the database.
// Nothing waits for it.
func (a *App) openRedis() (err error) {
	if a.cfg.RedisURL == "" {
		return nil
	}
	if a.redis, err = shared.New(a.cfg.RedisURL, shared.Options{Log: a.log}); err != nil {
		return err
	}
	a.redis.OnHint(a.follower.wake)
	return nil
}

// nameRedis tells Redis which store the instances share, as soon as that can be
// asked.
func (a *App) nameRedis(ctx context.Context) error {
	if a.redis == nil || a.redisNamed.Load() || !a.standing.up() {
		return nil
	}
	id, err := asked(ctx, a.standing.ask, a.store.StoreID)
	if err != nil {
		return err
	}
	a.redis.SetPrefix(id)
	a.redisNamed.Store(true)
	return nil
}

// shareCounts has limits and caches asked of Redis as well.
func (a *App) shareCounts() {
	if a.redis == nil {
		return
	}
	a.window.Share(a.redis)
	a.limits.Share(a.redis)
	a.models.Share(a.redis)
	if a.answers != nil {
		a.answers.Share(a.redis)
	}
}

// hint tells the other instances to look, where Redis carries hints. The
// database does so as well.
func (a *App) hint() {
	if a.redis == nil || !a.redis.Up() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), hintWithin)
	defer cancel()
	a.redis.Hint(ctx)
}
