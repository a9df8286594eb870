package app

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"ollama-api-pool/internal/controlplane/admin"
	"ollama-api-pool/internal/gateway"
)

// KeyIDs returns the keys that a filter chooses, by what is in memory by now.
func (r *Roster) KeyIDs(ctx context.Context, p gateway.ProviderName, f gateway.KeyFilter) ([]gateway.KeyID, error) {
	return asked(ctx, r.settled, func(ctx context.Context) ([]gateway.KeyID, error) { return r.store.KeyIDs(ctx, p, f) })
}

// Categories counts the keys of a provider by category.
func (r *Roster) Categories(ctx context.Context, p gateway.ProviderName) ([]gateway.CategoryCount, error) {
	return asked(ctx, r.ask, func(ctx context.Context) ([]gateway.CategoryCount, error) { return r.store.Categories(ctx, p) })
}

// EachKey calls visit for every key that a filter chooses, as they were at one
// moment, and stops at its first error. visit must not change keys.
func (r *Roster) EachKey(ctx context.Context, p gateway.ProviderName, f gateway.KeyFilter, visit func(gateway.Key) error) error {
	if err := r.writer.settle(ctx); err != nil {
		return err
	}
	if f == (gateway.KeyFilter{}) {
		return r.eachKey(ctx, p, visit)
	}
	ids, err := asked(ctx, r.ask, func(ctx context.Context) ([]gateway.KeyID, error) { return r.store.KeyIDs(ctx, p, f) })
	if err != nil {
		return err
	}
	chosen := make(map[gateway.KeyID]struct{}, len(ids))
	for _, id := range ids {
		chosen[id] = struct{}{}
	}
	return r.eachKey(ctx, p, func(k gateway.Key) error {
		if _, ok := chosen[gateway.IDOfKey(k.Secret)]; !ok {
			return nil
		}
		return visit(k)
	})
}

// eachKey visits every key. Whoever takes them may be slow, so it has no end in
// time but the caller's.
func (r *Roster) eachKey(ctx context.Context, p gateway.ProviderName, visit func(gateway.Key) error) error {
	if err := r.writer.standing.refusal(); err != nil {
		return err
	}
	return r.writer.standing.judge(ctx, r.store.EachKey(ctx, p, visit))
}

// ClearRest ends the rest of keys and returns which of them rested. Their other
// marks stay.
func (r *Roster) ClearRest(ctx context.Context, p gateway.ProviderName, ids []gateway.KeyID) ([]gateway.KeyID, error) {
	var rested []gateway.KeyID
	err := r.writer.alone(ctx, func(ctx context.Context) error {
		now := r.now()
		rested = nil
		change := gateway.Delta{Provider: p}
		for _, id := range ids {
			s, _, known := r.pools[p].State(id)
			if !known || !s.RestsUntil.After(now) {
				continue
			}
			s.RestsUntil, s.RestStep = time.Time{}, 0
			if s.StatusAt(now, time.Time{}) == gateway.KeyActive {
				s.LastError = ""
			}
			rested = append(rested, id)
			change.States = append(change.States, gateway.StateChange{Key: id, State: s, Forced: true})
		}
		change.Events = happened(rested, gateway.KeyEvent{At: now, What: gateway.EventCleared, Detail: "by an operator"})
		if err := r.store.Apply(ctx, []gateway.Delta{change}); err != nil {
			return err
		}
		for i := range change.States {
			r.pools[p].SetState(change.States[i].Key, change.States[i].State, now)
		}
		r.acted(ctx, p, rested)
		return nil
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
	return asked(ctx, r.settled, func(ctx context.Context) ([]gateway.KeyEvent, error) { return r.store.KeyEvents(ctx, p, id, limit) })
}

// KeyHours returns a key's attempts by the hour; hours without any are left out.
func (r *Roster) KeyHours(ctx context.Context, p gateway.ProviderName, id gateway.KeyID, since time.Time) ([]gateway.KeyHour, error) {
	return asked(ctx, r.settled, func(ctx context.Context) ([]gateway.KeyHour, error) { return r.store.KeyHours(ctx, p, id, since) })
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
		var jobs []gateway.Job
		var total int
		err := r.ask(ctx, func(ctx context.Context) (err error) {
			jobs, total, err = r.store.Jobs(ctx, gateway.JobImport, offset, jobsPage)
			return err
		})
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
	err := r.writer.alone(ctx, func(ctx context.Context) error {
		if err := r.store.AddToken(ctx, issued); err != nil {
			return err
		}
		r.putToken(issued)
		r.hint()
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
	err = r.writer.alone(ctx, func(ctx context.Context) error {
		if t, found, err = r.store.UpdateToken(ctx, hash, c); err != nil || !found {
			return err
		}
		if err := r.seedLimits(ctx, r.store, t); err != nil { // it is stored, so it holds
			r.writer.log.LogAttrs(ctx, slog.LevelWarn, "what a client token has used today could not be looked up: its new limits count from now on",
				slog.String("token", t.ID()), slog.Any("error", err))
		}
		r.changedToken(t)
		r.hint()
		return nil
	})
	return t, found, err
}

// ChangeToken changes a client token, named by itself, its hash or its id; one
// that is not there is a gateway.Error of KindNotFound.
func (r *Roster) ChangeToken(ctx context.Context, ref string, c gateway.TokenChange) (gateway.Token, error) {
	tokens, err := asked(ctx, r.ask, r.store.Tokens)
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

// Storage tells where the data lie.
func (a *App) Storage() admin.Storage {
	out := admin.Storage{Engine: a.store.Engine(), Encrypted: a.cfg.EncryptionKey != "", Spooled: a.writer.waits()}
	if a.store.Shared() {
		out.Host = a.store.Place()
	} else {
		out.Path = StorePath(a.cfg.DataDir)
		out.Bytes, out.Encrypted = fileSizes(out.Path, out.Path+"-wal"), a.store.Encrypted()
	}
	if a.local != nil {
		out.Local = LocalPath(a.cfg.DataDir)
		out.Bytes = fileSizes(out.Local, out.Local+"-wal")
	}
	if o, down := a.standing.outage(); down {
		out.Outage, out.OutageSince, out.LastAnswer = o.Why, o.Since, o.LastOK
	}
	if a.redis != nil {
		s := a.redis.Status()
		out.Redis = &admin.Redis{Address: s.Address, Mode: string(s.Mode), Up: s.Up, Since: s.Since, Error: s.Error}
	}
	out.Degraded = a.degraded()
	out.Instances = a.knownInstances()
	return out
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
