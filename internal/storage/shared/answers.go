package shared

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// kept is the caches' part: what is to be kept, and what is to be forgotten.
type kept struct {
	queue   chan keeping
	due     chan struct{} // something is to be forgotten
	queued  atomic.Int64  // bytes that wait
	dropped atomic.Int64

	// writing is held while one value is written, so that Drop can wait for the
	// end of that.
	writing sync.Mutex

	mu    sync.Mutex // guards what follows
	drops []*drop    // not finished; their caches give nothing until they are
	times map[string]int64
}

// keeping is a value on its way.
type keeping struct {
	cache, name string
	value       []byte
	ttl         time.Duration
	times       int64 // how often its cache had been dropped from when it was handed in
}

// drop is a request to forget.
type drop struct {
	cache  string
	head   int
	chosen func([]byte) bool // nil: all
}

// Bounds of what waits to be kept, and of dropping.
const (
	maxQueue   = 256
	maxQueued  = 32 << 20
	maxValue   = 1 << 20 // larger ones would make calls come late
	maxDrops   = 16
	dropAtOnce = 3 * time.Second // how long Drop looks before it leaves the rest for later
	scanAtOnce = 500
)

func (k *kept) init() {
	k.queue, k.due, k.times = make(chan keeping, maxQueue), make(chan struct{}, 1), map[string]int64{}
}

// entry is where a value of a cache is kept.
func (r *Redis) entry(cache, name string) string { return r.key("c."+cache, tagOf(name), "") }

// Find gives what is kept in a cache under a name; nil: nothing, or there was no
// answer in time.
func (r *Redis) Find(ctx context.Context, cache, name string) []byte {
	if r.kept.dropping(cache) {
		return nil
	}
	var value []byte
	r.ask(ctx, func(ctx context.Context) (err error) {
		value, err = r.client.Get(ctx, r.entry(cache, name)).Bytes()
		return err
	})
	return value
}

// Keep keeps a value, which nobody changes any more, for a time. It does not
// wait; what is too large, or too much, is dropped.
func (r *Redis) Keep(cache, name string, value []byte, ttl time.Duration) {
	k := &r.kept
	if ttl < time.Millisecond || !r.Up() {
		return
	}
	item := keeping{cache: cache, name: name, value: value, ttl: ttl, times: k.timesOf(cache)}
	if len(value) > maxValue || k.queued.Add(int64(len(value))) > maxQueued {
		k.lose(item)
		return
	}
	select {
	case k.queue <- item:
	default:
		k.lose(item)
	}
}

// lose counts a value that is not kept.
func (k *kept) lose(item keeping) {
	if len(item.value) <= maxValue {
		k.queued.Add(-int64(len(item.value)))
	}
	k.dropped.Add(1)
}

func (k *kept) timesOf(cache string) int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.times[cache]
}

// dropping reports whether a cache still holds what was to be forgotten.
func (k *kept) dropping(cache string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.ContainsFunc(k.drops, func(d *drop) bool { return d.cache == cache })
}

// keep writes values, and forgets what could not be forgotten at once.
func (r *Redis) keep(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case item := <-r.kept.queue:
			r.write(ctx, item)
		case <-r.kept.due:
			r.dropRest(ctx)
		}
	}
}

// write keeps one value, unless its cache was dropped from since it was handed in.
func (r *Redis) write(ctx context.Context, item keeping) {
	k := &r.kept
	k.writing.Lock()
	defer k.writing.Unlock()
	if !r.Up() || k.timesOf(item.cache) != item.times {
		k.lose(item)
		return
	}
	k.queued.Add(-int64(len(item.value)))
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := r.client.Set(ctx, r.entry(item.cache, item.name), item.value, item.ttl).Err(); err != nil {
		k.dropped.Add(1)
		r.shut(ctx, err)
	}
}

// Drop forgets the values of a cache whose first bytes, as many as head, are
// chosen; nil chooses all. It returns how many it found within three seconds. What
// it could not look at is looked at later, and until then the cache gives nothing
// to this instance.
func (r *Redis) Drop(cache string, head int, chosen func(head []byte) bool) int {
	d := r.kept.add(&drop{cache: cache, head: head, chosen: chosen})
	r.kept.writing.Lock()   // what is being written now is there before it is looked for
	r.kept.writing.Unlock() //nolint:staticcheck // that was all
	if !r.Up() {
		return 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), dropAtOnce)
	defer cancel()
	n, err := r.scan(ctx, d)
	if err != nil {
		if ctx.Err() == nil {
			r.shut(ctx, err)
		}
		r.kept.wake()
		return n
	}
	r.kept.finished(d)
	return n
}

// add notes what is to be forgotten. Too many requests for one cache make one for
// all of it.
func (k *kept) add(d *drop) *drop {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.times[d.cache]++
	if len(k.drops) >= maxDrops {
		k.drops = slices.DeleteFunc(k.drops, func(o *drop) bool { return o.cache == d.cache })
		d.chosen = nil
	}
	k.drops = append(k.drops, d)
	return d
}

func (k *kept) finished(d *drop) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drops = slices.DeleteFunc(k.drops, func(o *drop) bool { return o == d })
}

// wake has forgotten what is still to be forgotten.
func (k *kept) wake() {
	select {
	case k.due <- struct{}{}:
	default:
	}
}

// dropRest forgets what could not be forgotten before.
func (r *Redis) dropRest(ctx context.Context) {
	k := &r.kept
	k.mu.Lock()
	drops := slices.Clone(k.drops)
	k.mu.Unlock()
	for _, d := range drops {
		if !r.Up() {
			return // when it is back this is called again
		}
		if _, err := r.scan(ctx, d); err != nil {
			if ctx.Err() == nil {
				r.shut(ctx, err)
			}
			return
		}
		k.finished(d)
	}
}

// scan looks at all values of a cache, on every server, and forgets the chosen.
func (r *Redis) scan(ctx context.Context, d *drop) (int, error) {
	var found atomic.Int64
	pattern := globless.Replace(*r.prefix.Load()+"c."+d.cache) + ":*"
	err := r.everywhere(ctx, func(ctx context.Context, c *redis.Client) error {
		for cursor, first := uint64(0), true; first || cursor != 0; first = false {
			step, cancel := context.WithTimeout(ctx, patience)
			keys, next, err := c.Scan(step, cursor, pattern, scanAtOnce).Result()
			if err == nil {
				var n int64
				n, err = r.forget(step, d, keys)
				found.Add(n)
			}
			cancel()
			if err != nil {
				return err
			}
			cursor = next
		}
		return nil
	})
	return int(found.Load()), err
}

// globless lets a text stand for itself in a pattern.
var globless = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)

// forget forgets those of some entries that are chosen.
func (r *Redis) forget(ctx context.Context, d *drop, keys []string) (int64, error) {
	if d.chosen != nil && len(keys) > 0 {
		heads := make([]*redis.StringCmd, len(keys))
		p := r.client.Pipeline()
		for i, key := range keys {
			heads[i] = p.GetRange(ctx, key, 0, int64(d.head)-1)
		}
		if _, err := p.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) && !harmless(err) {
			return 0, err
		}
		kept := keys[:0]
		for i, key := range keys {
			// What is no value at all goes too.
			if head, err := heads[i].Bytes(); err != nil || d.chosen(head) {
				kept = append(kept, key)
			}
		}
		keys = kept
	}
	if len(keys) == 0 {
		return 0, nil
	}
	p := r.client.Pipeline()
	gone := make([]*redis.IntCmd, len(keys))
	for i, key := range keys {
		gone[i] = p.Unlink(ctx, key)
	}
	if _, err := p.Exec(ctx); err != nil {
		return 0, err
	}
	var n int64
	for _, g := range gone {
		n += g.Val()
	}
	return n, nil
}
