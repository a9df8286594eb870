package app

import (
	"context"
	"os"
	"slices"
	"strings"
	"time"

	"ollama-api-pool/internal/controlplane/admin"
	"ollama-api-pool/internal/gateway"
)

// KeyIDs returns the keys that a filter chooses, by what is in memory by now.
func (r *Roster) KeyIDs(ctx context.Context, p gateway.ProviderName, f gateway.KeyFilter) ([]gateway.KeyID, error) {
	if err := r.writer.flush(ctx); err != nil {
		return nil, err
	}
	return r.store.KeyIDs(ctx, p, f)
}

// Categories counts the keys of a provider by category.
func (r *Roster) Categories(ctx context.Context, p gateway.ProviderName) ([]gateway.CategoryCount, error) {
	return r.store.Categories(ctx, p)
}

// EachKey calls visit for every key that a filter chooses, as they were at one
// moment, and stops at its first error. visit must not change keys.
func (r *Roster) EachKey(ctx context.Context, p gateway.ProviderName, f gateway.KeyFilter, visit func(gateway.Key) error) error {
	if err := r.writer.flush(ctx); err != nil {
		return err
	}
	if f == (gateway.KeyFilter{}) {
		return r.store.EachKey(ctx, p, visit)
	}
	ids, err := r.store.KeyIDs(ctx, p, f)
	if err != nil {
		return err
	}
	chosen := make(map[gateway.KeyID]struct{}, len(ids))
	for _, id := range ids {
		chosen[id] = struct{}{}
	}
	return r.store.EachKey(ctx, p, func(k gateway.Key) error {
		if _, ok := chosen[gateway.IDOfKey(k.Secret)]; !ok {
			return nil
		}
		return visit(k)
	})
}

// ClearRest ends the rest of keys and returns which of them rested. Their other
// marks stay.
func (r *Roster) ClearRest(ctx context.Context, p gateway.ProviderName, ids []gateway.KeyID) ([]gateway.KeyID, error) {
	var rested []gateway.KeyID
	err := r.writer.alone(ctx, func() error {
		now := r.now()
		change := gateway.Delta{Provider: p}
		for _, id := range ids {
			s, cleared := r.pools[p].ClearRest(id, now)
			if !cleared {
				continue
			}
			rested = append(rested, id)
			change.States = append(change.States, gateway.StateChange{Key: id, State: s, Forced: true})
		}
		change.Events = happened(rested, gateway.KeyEvent{At: now, What: gateway.EventCleared, Detail: "by an operator"})
		err := r.store.Apply(ctx, []gateway.Delta{change})
		if err != nil {
			r.pools[p].Restore(gateway.Delta{Provider: p, States: change.States})
			return err
		}
		return r.writer.takeOver(ctx, p, rested)
	})
	if err != nil {
		return nil, err
	}
	return rested, nil
}

// happened is one event for each of several keys.
func happened(ids []gateway.KeyID, e gateway.KeyEvent) []gateway.KeyEvent {
	events := make([]gateway.KeyEvent, len(ids))
	for i, id := range ids {
		e.Key = id
		events[i] = e
	}
	return events
}

// KeyEvents returns what happened to a key, the newest first.
func (r *Roster) KeyEvents(ctx context.Context, p gateway.ProviderName, id gateway.KeyID, limit int) ([]gateway.KeyEvent, error) {
	if err := r.writer.flush(ctx); err != nil {
		return nil, err
	}
	return r.store.KeyEvents(ctx, p, id, limit)
}

// KeyHours returns a key's attempts by the hour; hours without any are left out.
func (r *Roster) KeyHours(ctx context.Context, p gateway.ProviderName, id gateway.KeyID, since time.Time) ([]gateway.KeyHour, error) {
	if err := r.writer.flush(ctx); err != nil {
		return nil, err
	}
	return r.store.KeyHours(ctx, p, id, since)
}

// KeyRefusals returns the models that a key may not use.
func (r *Roster) KeyRefusals(p gateway.ProviderName, id gateway.KeyID) []gateway.Refusal {
	return r.pools[p].Refusals(id)
}

// KeyAccount counts the keys that share a key's account, and those of them that
// rest.
func (r *Roster) KeyAccount(p gateway.ProviderName, id gateway.KeyID) (keys, resting int) {
	return r.pools[p].Account(id)
}

// jobsPage is how many jobs are looked at in one go.
const jobsPage = 100

// ImportAt finds the import that ran at a time, if there was one.
func (r *Roster) ImportAt(ctx context.Context, p gateway.ProviderName, at time.Time) (gateway.Job, bool, error) {
	for offset := 0; ; offset += jobsPage {
		jobs, total, err := r.store.Jobs(ctx, gateway.JobImport, offset, jobsPage)
		if err != nil {
			return gateway.Job{}, false, err
		}
		for _, j := range jobs {
			if j.Provider == p && !at.Before(j.StartedAt) && (j.FinishedAt.IsZero() || !at.After(j.FinishedAt)) {
				return j, true, nil
			}
		}
		if offset+len(jobs) >= total || len(jobs) == 0 {
			return gateway.Job{}, false, nil
		}
	}
}

// IssueToken issues a client token with the name, the providers, the end and
// the limits of t. The secret is returned here and never again.
func (r *Roster) IssueToken(ctx context.Context, t gateway.Token) (gateway.Token, gateway.Secret, error) {
	secret := gateway.NewTokenSecret()
	issued := gateway.Token{
		Hash: gateway.HashToken(secret), Preview: gateway.PreviewToken(secret),
		Name: t.Name, Providers: slices.Clone(t.Providers), CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt, Limits: t.Limits,
	}
	if issued.CreatedAt.IsZero() {
		issued.CreatedAt = r.now().UTC()
	}
	err := r.writer.alone(ctx, func() error {
		if err := r.store.AddToken(ctx, issued); err != nil {
			return err
		}
		r.tokens.Put(issued)
		return nil
	})
	if err != nil {
		return gateway.Token{}, "", err
	}
	return issued, secret, nil
}

// UpdateToken changes a client token, named by its hash, and reports whether it
// is there. The change holds at once.
func (r *Roster) UpdateToken(ctx context.Context, hash string, c gateway.TokenChange) (t gateway.Token, found bool, err error) {
	err = r.writer.alone(ctx, func() error {
		if t, found, err = r.store.UpdateToken(ctx, hash, c); err != nil || !found {
			return err
		}
		if err := r.seedLimits(ctx, t); err != nil {
			return err
		}
		r.tokens.Put(t)
		return nil
	})
	return t, found, err
}

// ChangeToken changes a client token, named by itself, its hash or its id; one
// that is not there is a gateway.Error of KindNotFound.
func (r *Roster) ChangeToken(ctx context.Context, ref string, c gateway.TokenChange) (gateway.Token, error) {
	tokens, err := r.store.Tokens(ctx)
	if err != nil {
		return gateway.Token{}, err
	}
	hash := gateway.HashToken(gateway.Secret(ref))
	for i := range tokens {
		if t := &tokens[i]; t.Hash == hash || t.Hash == ref || t.ID() == strings.ToLower(ref) {
			changed, found, err := r.UpdateToken(ctx, t.Hash, c)
			if err != nil || found {
				return changed, err
			}
			break
		}
	}
	return gateway.Token{}, gateway.Errorf(gateway.KindNotFound, "no such token")
}

// AddSession keeps a session and forgets those that have ended.
func (r *Roster) AddSession(ctx context.Context, s gateway.Session) error {
	if err := r.store.PruneSessions(ctx); err != nil {
		return err
	}
	return r.store.AddSession(ctx, s)
}

// Session returns the session of a hash, and whether there is one that has not
// ended.
func (r *Roster) Session(ctx context.Context, hash string) (gateway.Session, bool, error) {
	return r.store.Session(ctx, hash)
}

// DeleteSession ends a session, if there is one.
func (r *Roster) DeleteSession(ctx context.Context, hash string) error {
	return r.store.DeleteSession(ctx, hash)
}

// Storage tells where the data lie.
func (a *App) Storage() admin.Storage {
	path := StorePath(a.cfg.DataDir)
	return admin.Storage{Engine: "sqlite", Path: path, Bytes: fileSizes(path, path+"-wal"), Encrypted: a.store.Encrypted()}
}

// Upstreams tells how the upstream services are used.
func (a *App) Upstreams() []admin.Upstream {
	var all []admin.Upstream
	for _, name := range gateway.Providers() {
		u := admin.Upstream{Provider: name, BaseURL: a.cfg.BaseURL(name), Enabled: !a.cfg.Disabled(name), Breaker: "closed"}
		if h := a.pools[name].Health(); h.Open {
			u.Breaker, u.OpenedAt, u.Reason = "open", h.OpenedAt, h.Refusal
		}
		all = append(all, u)
	}
	return all
}

// fileSizes adds up the sizes of files; one that is not there has none.
func fileSizes(paths ...string) (n int64) {
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			n += info.Size()
		}
	}
	return n
}
