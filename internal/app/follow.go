package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/sqlstore"
)

// How often is looked for what others have done in a database that is shared.
// Where it wakes us, changes by our own kind need no looking for; other
// programs wake nobody.
const (
	followEvery   = 500 * time.Millisecond
	foreignEvery  = 4 * time.Second // rows that other programs inserted, tokens that they changed
	compareEvery  = time.Minute     // all keys, for what other programs changed or deleted
	followWithin  = 30 * time.Second
	keysWithin    = changePatience // for taking keys over, which waits for the turn
	listenPause   = time.Second    // before the database is asked again to wake us; twice as long each time
	listenMost    = 30 * time.Second
	complainEvery = time.Minute
)

// follower takes over what other instances and other programs do in a shared
// database. One loop reads the journal and takes over tokens at once, and what
// else must not wait; it leaves keys to a second one, which waits for the
// writer's turn.
type follower struct {
	roster   *Roster
	standing *standing
	log      *slog.Logger
	now      func() time.Time
	cancel   func(job string)     // a job that is to be cancelled, if it runs here
	clear    func(pattern string) // the caches are to be cleared

	woken     chan struct{} // holds one place
	listening atomic.Bool   // the database wakes us
	gap       atomic.Bool   // changes may have been missed: everything is compared
	tokensDue atomic.Bool   // the tokens are read again
	owing     chan struct{} // holds one place: there are keys to be taken over

	// These belong to the loop that reads the journal.
	cursor                int64 // the last change that was taken over or, of keys, is owed
	foreignAt, comparedAt time.Time
	failing               bool

	mu           sync.Mutex // guards what follows
	owed         debt
	complainedAt time.Time
}

// debt is what is to be taken over of keys.
type debt struct {
	news
	all     bool // whatever differs
	foreign bool // rows of other programs are looked for first
}

func (d *debt) none() bool { return !d.all && !d.foreign && len(d.keys)+len(d.any) == 0 }

func newFollower(r *Roster, s *standing, log *slog.Logger) *follower {
	return &follower{
		roster: r, standing: s, log: log, now: time.Now, woken: make(chan struct{}, 1), owing: make(chan struct{}, 1),
		cancel: func(string) {}, clear: func(string) {},
	}
}

// wake says that somebody has changed something. It never waits.
func (f *follower) wake() {
	select {
	case f.woken <- struct{}{}:
	default:
	}
}

// retakeTokens has the tokens read again. It never waits.
func (f *follower) retakeTokens() {
	f.tokensDue.Store(true)
	f.wake()
}

// run follows until ctx ends.
func (f *follower) run(ctx context.Context) error {
	var keys sync.WaitGroup
	defer keys.Wait()
	keys.Go(func() { f.runKeys(ctx) })
	timer := time.NewTimer(followEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.woken:
		case <-timer.C:
		}
		err := f.runOnce(ctx)
		f.failing = err != nil
		f.note(ctx, err)
		timer.Reset(f.pause())
	}
}

// runKeys takes over what is owed of keys until ctx ends.
func (f *follower) runKeys(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.owing:
		}
		err := f.keysOnce(ctx)
		if err == nil {
			continue
		}
		f.note(ctx, err)
		select {
		case <-ctx.Done():
		case <-time.After(followEvery):
		}
	}
}

// pause is how long to wait for a wake.
func (f *follower) pause() time.Duration {
	if !f.listening.Load() || f.failing {
		return followEvery
	}
	return max(f.foreignAt.Add(foreignEvery).Sub(f.now()), followEvery)
}

// note logs errors, seldom. An outage is told by the standing.
func (f *follower) note(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil || !f.standing.up() {
		return
	}
	f.mu.Lock()
	now := f.now()
	often := now.Sub(f.complainedAt) < complainEvery
	if !often {
		f.complainedAt = now
	}
	f.mu.Unlock()
	if !often {
		f.log.LogAttrs(ctx, slog.LevelWarn, "what others changed could not be taken over, it will be tried again", slog.Any("error", err))
	}
}

// runOnce reads what others have done since the last time, and takes all of it
// over but for the keys, which are owed from then on.
func (f *follower) runOnce(ctx context.Context) error {
	if !f.standing.up() {
		return nil
	}
	return f.standing.within(ctx, followWithin, func(ctx context.Context) error {
		now := f.now()
		foreign := now.Sub(f.foreignAt) >= foreignEvery
		changes, last, whole, err := f.roster.store.Changes(ctx, f.cursor)
		if err != nil {
			return err
		}
		gap, due := f.gap.Swap(false), f.tokensDue.Swap(false)
		all := !whole || gap || now.Sub(f.comparedAt) >= compareEvery
		n := gather(changes)
		if err := f.takeRest(ctx, changes, all || foreign || due || n.tokens); err != nil {
			if gap {
				f.gap.Store(true)
			}
			if due {
				f.tokensDue.Store(true)
			}
			return err
		}
		f.owe(debt{news: n, all: all, foreign: foreign})
		if last != f.cursor { // there may be more
			f.cursor = last
			f.wake()
		}
		if all {
			f.comparedAt = now
		}
		if foreign {
			f.foreignAt = now
		}
		return nil
	})
}

// takeRest takes over whatever of changes is not of keys. It waits for nobody.
func (f *follower) takeRest(ctx context.Context, changes []gateway.Change, tokens bool) error {
	if tokens {
		if err := f.roster.readTokens(ctx, f.roster.store, false); err != nil {
			return err
		}
	}
	for i := range changes {
		switch c := &changes[i]; c.Kind {
		case gateway.ChangeCache:
			f.clear(c.Detail)
		case gateway.ChangeJob:
			f.cancel(c.Detail)
		}
	}
	return nil
}

// owe adds to what is to be taken over of keys.
func (f *follower) owe(d debt) {
	if d.none() {
		return
	}
	f.mu.Lock()
	f.owed.all = f.owed.all || d.all
	f.owed.foreign = f.owed.foreign || d.foreign
	f.owed.add(d.news)
	f.mu.Unlock()
	select {
	case f.owing <- struct{}{}:
	default:
	}
}

// keysOnce takes over what is owed of keys. After an error it is owed again.
func (f *follower) keysOnce(ctx context.Context) error {
	f.mu.Lock()
	d := f.owed
	f.owed = debt{}
	f.mu.Unlock()
	if d.none() || !f.standing.up() { // when it is back everything is compared
		return nil
	}
	err := f.standing.within(ctx, keysWithin, func(ctx context.Context) error {
		if d.foreign {
			if err := f.roster.store.Adopt(ctx); err != nil {
				return err
			}
		}
		if !d.all && len(d.keys)+len(d.any) == 0 {
			return nil
		}
		return f.roster.writer.alone(ctx, func(ctx context.Context) error { return f.takeKeys(ctx, d) })
	})
	if err != nil {
		f.owe(d)
	}
	return err
}

// start notes where the journal of changes stands, before everything is loaded.
func (f *follower) start(ctx context.Context) (err error) {
	f.cursor, err = f.roster.store.LastChange(ctx)
	f.foreignAt, f.comparedAt = f.now(), f.now()
	return err
}

// catchUp compares everything, after an outage. The caller has the turn and has
// written what was pending.
func (f *follower) catchUp(ctx context.Context) error {
	if err := f.roster.store.Adopt(ctx); err != nil {
		return err
	}
	if err := f.takeKeys(ctx, debt{all: true}); err != nil {
		return err
	}
	return f.roster.readTokens(ctx, f.roster.store, false)
}

// news are changes, put together.
type news struct {
	keys   map[gateway.ProviderName]map[gateway.KeyID]struct{}
	any    map[gateway.ProviderName]bool // any key
	tokens bool
}

func gather(changes []gateway.Change) news {
	n := news{keys: map[gateway.ProviderName]map[gateway.KeyID]struct{}{}, any: map[gateway.ProviderName]bool{}}
	for i := range changes {
		c := &changes[i]
		switch c.Kind {
		case gateway.ChangeTokens:
			n.tokens = true
		case gateway.ChangeKeys:
			if c.Keys == nil {
				n.any[c.Provider] = true
				continue
			}
			if n.keys[c.Provider] == nil {
				n.keys[c.Provider] = map[gateway.KeyID]struct{}{}
			}
			for _, id := range c.Keys {
				n.keys[c.Provider][id] = struct{}{}
			}
		}
	}
	return n
}

// add adds what is told of keys.
func (n *news) add(more news) {
	if n.keys == nil {
		n.keys, n.any = map[gateway.ProviderName]map[gateway.KeyID]struct{}{}, map[gateway.ProviderName]bool{}
	}
	maps.Copy(n.any, more.any)
	for name, ids := range more.keys {
		if n.keys[name] == nil {
			n.keys[name] = map[gateway.KeyID]struct{}{}
		}
		maps.Copy(n.keys[name], ids)
	}
}

// takeKeys takes over what is owed of keys. The caller has the turn and has
// written what was pending.
func (f *follower) takeKeys(ctx context.Context, d debt) error {
	for name := range f.roster.pools {
		err := error(nil)
		if d.all || d.any[name] {
			err = f.roster.compareKeys(ctx, name)
		} else if ids := d.keys[name]; len(ids) > 0 {
			err = f.roster.takeKeys(ctx, name, ids)
		}
		if err != nil {
			return fmt.Errorf("take over %s keys: %w", name, err)
		}
	}
	return nil
}

// listen has the database wake us, for as long as ctx lasts. Where a pooler
// stands in front that passes nothing on it ends at once, and looking must do.
func (f *follower) listen(ctx context.Context) error {
	pause := listenPause
	for ctx.Err() == nil {
		began := f.now()
		if f.standing.up() {
			woken := false // when it begins to listen it is told once, which proves nothing: a pooler of which nobody knows may stand between
			err := f.roster.store.Listen(ctx, func() {
				f.listening.Store(woken)
				woken = true
				f.wake()
			})
			f.listening.Store(false)
			f.wake() // something may have been missed
			if errors.Is(err, sqlstore.ErrNoListen) {
				f.log.LogAttrs(ctx, slog.LevelInfo, "the database cannot wake this instance: changes by others are looked for twice a second")
				return nil
			}
		}
		if f.now().Sub(began) > listenMost {
			pause = listenPause
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, listenMost)
	}
	return nil
}
