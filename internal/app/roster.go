package app

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"ollama-api-pool/internal/dataplane/auth"
	"ollama-api-pool/internal/dataplane/limit"
	"ollama-api-pool/internal/dataplane/pool"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/sqlstore"
)

// Roster changes keys and tokens: first in the store, so that what was
// acknowledged stays, then in memory, so that it holds at once. Changes happen
// one after the other. It may be used concurrently.
type Roster struct {
	store  *sqlstore.Store
	pools  map[gateway.ProviderName]*pool.Pool
	tokens *auth.Registry
	limits *limit.Tokens
	writer *writer
	now    func() time.Time
	behind bool   // the store has changes that memory lacks; belongs to follow
	others func() // tells other instances to look; nil: there are none

	book     *tokenBook
	retake   func() // has the client tokens read again soon; nil: nobody else changes them
	sessions remembered
}

// settled asks the store after writing down what is pending, so that the answer
// has it. While the database is out of reach it fails at once.
func (r *Roster) settled(ctx context.Context, question func(ctx context.Context) error) error {
	if err := r.writer.settle(ctx); err != nil {
		return err
	}
	return r.ask(ctx, question)
}

// ask asks the store. While the database is out of reach it fails at once.
func (r *Roster) ask(ctx context.Context, question func(ctx context.Context) error) error {
	return r.writer.standing.ask(ctx, question)
}

// asked puts a question in a way, ask or settled, and gives the answer.
func asked[T any](ctx context.Context, way func(context.Context, func(context.Context) error) error, question func(context.Context) (T, error)) (answer T, err error) {
	err = way(ctx, func(ctx context.Context) (err error) {
		answer, err = question(ctx)
		return err
	})
	return answer, err
}

// acted takes over which version of the keys' states an act of the operator has
// made, and tells the others. What cannot be read now is compared soon.
func (r *Roster) acted(ctx context.Context, p gateway.ProviderName, ids []gateway.KeyID) {
	_ = r.writer.followMarks(ctx, p, ids)
	r.hint()
}

func (r *Roster) hint() {
	if r.others != nil {
		r.others()
	}
}

// Keys returns a page of keys and how many there are in all.
func (r *Roster) Keys(ctx context.Context, p gateway.ProviderName, q gateway.KeyQuery) ([]gateway.Key, int, error) {
	var keys []gateway.Key
	var total int
	err := r.settled(ctx, func(ctx context.Context) (err error) {
		keys, total, err = r.store.Keys(ctx, p, q)
		return err
	})
	return keys, total, err
}

// Key returns one key.
func (r *Roster) Key(ctx context.Context, p gateway.ProviderName, id gateway.KeyID) (gateway.Key, error) {
	var k gateway.Key
	err := r.settled(ctx, func(ctx context.Context) (err error) {
		var found bool
		if k, found, err = r.store.Key(ctx, p, id); err == nil && !found {
			err = gateway.Errorf(gateway.KindNotFound, "no such key")
		}
		return err
	})
	return k, err
}

// HasKey reports whether a key is in the pool.
func (r *Roster) HasKey(p gateway.ProviderName, id gateway.KeyID) bool { return r.pools[p].Has(id) }

// CountKeys counts keys by status.
func (r *Roster) CountKeys(p gateway.ProviderName) map[gateway.KeyStatus]int {
	return r.pools[p].Counts()
}

// AddKeys adds all keys of a sequence or, after an error, none.
func (r *Roster) AddKeys(ctx context.Context, p gateway.ProviderName, keys iter.Seq2[gateway.Key, error]) (added, existing int, err error) {
	var fresh []gateway.Key
	err = r.writer.alone(ctx, func(ctx context.Context) (err error) {
		fresh = nil
		added, existing, err = r.store.AddKeys(ctx, p, keys, func(k gateway.Key) { fresh = append(fresh, k) })
		if err != nil {
			return err
		}
		pl, now := r.pools[p], r.now()
		pl.Grow(len(fresh))
		for _, k := range fresh {
			pl.Put(k, now)
		}
		r.hint()
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	return added, existing, nil
}

// DeleteKeys deletes keys and returns which of them there were.
func (r *Roster) DeleteKeys(ctx context.Context, p gateway.ProviderName, ids []gateway.KeyID) ([]gateway.KeyID, error) {
	var deleted []gateway.KeyID
	err := r.writer.alone(ctx, func(ctx context.Context) (err error) {
		if deleted, err = r.store.DeleteKeys(ctx, p, ids); err != nil {
			return err
		}
		for _, id := range deleted {
			r.pools[p].Remove(id)
		}
		r.hint()
		return nil
	})
	return deleted, err
}

// EnableKeys clears every mark of keys, also which models they may not use, and
// returns which of them there were.
func (r *Roster) EnableKeys(ctx context.Context, p gateway.ProviderName, ids []gateway.KeyID) ([]gateway.KeyID, error) {
	var found []gateway.KeyID
	err := r.writer.alone(ctx, func(ctx context.Context) error {
		found = r.known(p, ids)
		note := gateway.KeyEvent{At: r.now(), What: gateway.EventEnabled, Detail: "by an operator"}
		if err := r.store.EnableKeys(ctx, p, found, happened(found, note)...); err != nil { // also which models they may not use
			return err
		}
		for _, id := range found {
			r.pools[p].SetState(id, gateway.KeyState{}, r.now())
			r.pools[p].ClearRefusals(id)
		}
		r.acted(ctx, p, found)
		return nil
	})
	return found, err
}

// DisableKeys takes keys out for a time, 0 until they are enabled, and returns
// which of them there were.
func (r *Roster) DisableKeys(ctx context.Context, p gateway.ProviderName, ids []gateway.KeyID, d time.Duration) ([]gateway.KeyID, error) {
	s := gateway.KeyState{Disabled: gateway.DisabledManual, LastError: "disabled by the operator"}
	if d > 0 {
		s.DisabledUntil = r.now().Add(d)
	}
	var found []gateway.KeyID
	err := r.writer.alone(ctx, func(ctx context.Context) error {
		found = r.known(p, ids)
		change := gateway.Delta{Provider: p, Events: happened(found, gateway.KeyEvent{
			At: r.now(), What: gateway.EventDisabled, Detail: "by an operator", Until: s.DisabledUntil,
		})}
		for _, id := range found {
			change.States = append(change.States, gateway.StateChange{Key: id, State: s, Forced: true})
		}
		if err := r.store.Apply(ctx, []gateway.Delta{change}); err != nil {
			return err
		}
		for _, id := range found {
			r.pools[p].SetState(id, s, r.now())
		}
		r.acted(ctx, p, found)
		return nil
	})
	return found, err
}

// known are those of the keys that are in the pool.
func (r *Roster) known(p gateway.ProviderName, ids []gateway.KeyID) []gateway.KeyID {
	var found []gateway.KeyID
	for _, id := range ids {
		if r.pools[p].Has(id) {
			found = append(found, id)
		}
	}
	return found
}

// Totals returns what was counted for a provider, ever.
func (r *Roster) Totals(ctx context.Context, p gateway.ProviderName) (gateway.Counts, error) {
	return asked(ctx, r.settled, func(ctx context.Context) (gateway.Counts, error) { return r.store.Totals(ctx, p) })
}

// Tokens lists the client tokens with their counts.
func (r *Roster) Tokens(ctx context.Context) ([]gateway.Token, error) {
	return asked(ctx, r.settled, r.store.Tokens)
}

// CreateToken issues a client token. The secret is returned here and never again.
func (r *Roster) CreateToken(ctx context.Context, name string, providers []gateway.ProviderName, ttl time.Duration) (gateway.Token, gateway.Secret, error) {
	t := gateway.Token{Name: name, Providers: providers, CreatedAt: r.now().UTC()}
	if ttl > 0 {
		t.ExpiresAt = t.CreatedAt.Add(ttl)
	}
	return r.IssueToken(ctx, t)
}

// RevokeToken deletes a client token, named by itself, its hash or its id. It
// stops working at once.
func (r *Roster) RevokeToken(ctx context.Context, ref string) error {
	return r.writer.alone(ctx, func(ctx context.Context) error {
		tokens, err := r.store.Tokens(ctx)
		if err != nil {
			return err
		}
		hash := gateway.HashToken(gateway.Secret(ref))
		i := slices.IndexFunc(tokens, func(t gateway.Token) bool {
			return t.Hash == hash || t.Hash == ref || t.ID() == strings.ToLower(ref)
		})
		if i < 0 {
			return gateway.Errorf(gateway.KindNotFound, "no such token")
		}
		if _, err := r.store.DeleteToken(ctx, tokens[i].Hash); err != nil {
			return err
		}
		r.dropToken(tokens[i].Hash)
		r.limits.Forget(tokens[i].Hash)
		r.hint()
		return nil
	})
}

// load fills memory from a store: the one that it is kept in, or the last mirror
// of that.
func (r *Roster) load(ctx context.Context, from *sqlstore.Store) error {
	now := r.now()
	for name, pl := range r.pools {
		counts, err := from.CountKeys(ctx, name)
		if err != nil {
			return fmt.Errorf("count the %s keys: %w", name, err)
		}
		n := 0
		for _, c := range counts {
			n += c
		}
		pl.Grow(n)
		if err := from.EachKey(ctx, name, func(k gateway.Key) error { r.take(pl, k, now); return nil }); err != nil {
			return fmt.Errorf("load the %s keys: %w", name, err)
		}
		if err := from.EachRefusal(ctx, name, func(f gateway.Refusal) error { pl.PutRefusal(f, now); return nil }); err != nil {
			return fmt.Errorf("load what models %s keys may not use: %w", name, err)
		}
	}
	return r.readTokens(ctx, from, true)
}

// follow takes over what another process has changed in the store: rows that
// came, rows that went, tokens. After an error it is tried again at the next
// call, though the store tells a change only once. One goroutine calls it.
func (r *Roster) follow(ctx context.Context) error {
	changed, err := r.store.ChangedElsewhere(ctx)
	if err != nil {
		return err
	}
	if r.behind = r.behind || changed; !r.behind {
		return nil
	}
	return r.writer.alone(ctx, func(ctx context.Context) error {
		for name := range r.pools {
			if err := r.followKeys(ctx, name); err != nil {
				return fmt.Errorf("load the %s keys again: %w", name, err)
			}
		}
		err := r.readTokens(ctx, r.store, true)
		r.behind = err != nil
		return err
	})
}

func (r *Roster) followKeys(ctx context.Context, name gateway.ProviderName) error {
	pl, now := r.pools[name], r.now()
	there := make(map[gateway.KeyID]struct{}, pl.Len())
	err := r.store.EachKey(ctx, name, func(k gateway.Key) error {
		there[gateway.IDOfKey(k.Secret)] = struct{}{}
		r.take(pl, k, now)
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range pl.IDs() {
		if _, ok := there[id]; !ok {
			pl.Remove(id)
		}
	}
	return nil
}

// rehash replaces tokens that an existing database holds as they are, once
// they have been used. Which those are is asked only when nothing else changes
// tokens, or one that is revoked meanwhile would come back.
func (r *Roster) rehash(ctx context.Context) error {
	if !r.writer.standing.up() {
		return nil
	}
	return r.writer.alone(ctx, func(ctx context.Context) error {
		var errs []error
		for _, t := range r.tokens.TakeUsedPlain() {
			err := r.store.HashPlainToken(ctx, t)
			if err == nil {
				t.Plain = ""
			} else {
				errs = append(errs, fmt.Errorf("replace the plain token %s by its hash: %w", t.ID(), err))
			}
			r.changedToken(t) // after an error it is taken up again at its next use
		}
		return errors.Join(errs...)
	})
}

// take takes a stored key into memory, unless it is none that could be sent:
// other programs may write to the store as well.
func (r *Roster) take(pl *pool.Pool, k gateway.Key, now time.Time) {
	if gateway.CheckKey(k.Secret.Reveal()) == "" {
		pl.Put(k, now)
	}
}
