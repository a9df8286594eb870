package admin

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

const (
	storyEvents = 50
	storyHours  = 24
)

// Stories is what the API needs to tell what has happened to a key. Its
// methods may be called concurrently.
type Stories interface {
	// KeyEvents returns what happened to a key, the newest first.
	KeyEvents(ctx context.Context, p gateway.ProviderName, id gateway.KeyID, limit int) ([]gateway.KeyEvent, error)
	// KeyHours returns a key's attempts by the hour; hours without any are left
	// out.
	KeyHours(ctx context.Context, p gateway.ProviderName, id gateway.KeyID, since time.Time) ([]gateway.KeyHour, error)
	// KeyRefusals returns the models that a key may not use.
	KeyRefusals(p gateway.ProviderName, id gateway.KeyID) []gateway.Refusal
	// KeyAccount counts the keys that share a key's account, and those of them
	// that rest.
	KeyAccount(p gateway.ProviderName, id gateway.KeyID) (keys, resting int)
	// ImportAt finds the import that ran at a time, if there was one.
	ImportAt(ctx context.Context, p gateway.ProviderName, at time.Time) (gateway.Job, bool, error)
}

// oneKeyAnswer is a key with all that is known about it.
type oneKeyAnswer struct {
	keyAnswer
	Provider      gateway.ProviderName `json:"provider"`
	Why           string               `json:"why" description:"One sentence: how the key stands and why."`
	ReturnsAt     *time.Time           `json:"returns_at" description:"When it serves again by itself; null: it does already, or does not."`
	ByItself      bool                 `json:"by_itself" description:"Nothing has to be done: the key serves, or will again."`
	LastSuccess   *time.Time           `json:"last_success"`
	LastFailure   *time.Time           `json:"last_failure"`
	Account       *keyAccount          `json:"account" description:"null: the key belongs to no account."`
	RefusedModels []refusedModel       `json:"refused_models" description:"Models for which the key is passed over."`
	Hours         []keyHour            `json:"hours" description:"Attempts in the last 24 hours, the oldest first."`
	Events        []keyEvent           `json:"events" description:"What happened, the newest first; 50 at most."`
}

type keyAccount struct {
	Username string `json:"username"`
	Keys     int    `json:"keys" description:"How many keys share it."`
	Resting  int    `json:"resting"`
}

type refusedModel struct {
	Model string    `json:"model"`
	Until time.Time `json:"until"`
}

type keyHour struct {
	Hour    time.Time `json:"hour"`
	Total   int64     `json:"total"`
	Success int64     `json:"success"`
	Failure int64     `json:"failure"`
}

type keyEvent struct {
	At        time.Time            `json:"at"`
	What      gateway.KeyEventKind `json:"what"`
	Detail    string               `json:"detail"`
	Until     *time.Time           `json:"until"`
	RequestID string               `json:"request_id,omitempty" description:"The client request in which it happened."`
	Attempt   int                  `json:"attempt,omitempty" description:"Which attempt of it, from 1."`
	Model     string               `json:"model,omitempty"`
}

// keyQuery is the query about one key, for the OpenAPI document.
type keyQuery struct {
	providerQuery
	Key    string `path:"key" description:"The key or its id."`
	Reveal bool   `query:"reveal" description:"Shows the key whole. This is logged."`
}

var showKeyDoc = operation{
	summary: "The story of a key", group: "Keys", query: keyQuery{}, answer: oneKeyAnswer{},
	about: "How the key stands, why, and when it returns; what was counted; what happened to it.",
}

// showKey tells the whole story of one key.
func (a *API) showKey(w http.ResponseWriter, r *http.Request) error {
	var f faults
	p, reveal := f.provider(r, ""), f.truth(r, "reveal")
	if err := f.err(); err != nil {
		return err
	}
	k, err := a.keys.Key(r.Context(), p, a.idOf(p, r.PathValue("key")))
	if err != nil {
		return err
	}
	if reveal {
		a.noteRevealed(r, p, []gateway.Key{k})
	}
	now, c := a.opt.Now(), &k.Counts
	out := oneKeyAnswer{
		keyAnswer: newKeyAnswer(&k, now, reveal), Provider: p,
		LastSuccess: orNull(c.LastSuccess), LastFailure: orNull(c.LastFailure),
		RefusedModels: []refusedModel{},
	}
	for _, m := range a.stories.KeyRefusals(p, out.ID) {
		out.RefusedModels = append(out.RefusedModels, refusedModel{m.Model, m.Until.UTC()})
	}
	if gateway.AccountOf(k.Username) != "" {
		out.Account = &keyAccount{Username: k.Username}
		out.Account.Keys, out.Account.Resting = a.stories.KeyAccount(p, out.ID)
	}
	back, byItself := returnOf(&k, now)
	out.ReturnsAt, out.ByItself = orNull(back), byItself
	out.Why = why(&k, now, back, len(out.RefusedModels))
	if out.Hours, err = a.hoursOf(r.Context(), p, out.ID, now); err != nil {
		return err
	}
	if out.Events, err = a.eventsOf(r.Context(), p, &k, now); err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, out)
}

// returnOf tells when a key serves again, zero where it does already or does
// not, and whether nothing has to be done for it.
func returnOf(k *gateway.Key, now time.Time) (back time.Time, byItself bool) {
	s := &k.State
	switch s.StatusAt(now, k.ExpiresAt) {
	case gateway.KeyActive:
		return time.Time{}, true
	case gateway.KeyExpired:
		return time.Time{}, false
	}
	if s.Disabled != gateway.NotDisabled && s.DisabledUntil.IsZero() {
		return time.Time{}, false
	}
	for _, until := range []time.Time{s.FailedUntil, s.RestsUntil, s.DisabledUntil} {
		if until.After(back) {
			back = until
		}
	}
	if !k.ExpiresAt.IsZero() && !back.Before(k.ExpiresAt) {
		return time.Time{}, false
	}
	return back, true
}

// why says in one sentence how a key stands.
func why(k *gateway.Key, now, back time.Time, refused int) string {
	s, reason := &k.State, ""
	if s.LastError != "" {
		reason = " (" + s.LastError + ")"
	}
	until := "it does not return, as its time to live ends first"
	if !back.IsZero() {
		until = "it returns by itself at " + back.UTC().Format(time.RFC3339)
	}
	switch s.StatusAt(now, k.ExpiresAt) {
	case gateway.KeyResting:
		return "It is out of quota" + reason + " and rests; " + until + "."
	case gateway.KeyFailed:
		return "The upstream refused it" + reason + "; " + until + "."
	case gateway.KeyExpired:
		return "Its time to live ended at " + k.ExpiresAt.UTC().Format(time.RFC3339) + "; it does not return."
	case gateway.KeyDisabled:
		by := fmt.Sprintf("It was refused %d times in a row%s and is disabled; ", s.ConsecutiveFailures, reason)
		if s.Disabled == gateway.DisabledManual {
			by = "An operator disabled it; "
		}
		if s.DisabledUntil.IsZero() {
			return by + "it returns when somebody enables it."
		}
		return by + until + "."
	}
	switch {
	case refused == 1:
		return "It serves, but for one model that it may not use."
	case refused > 1:
		return fmt.Sprintf("It serves, but for %d models that it may not use.", refused)
	}
	return "It serves."
}

// hoursOf lists a key's attempts in every one of the last hours.
func (a *API) hoursOf(ctx context.Context, p gateway.ProviderName, id gateway.KeyID, now time.Time) ([]keyHour, error) {
	last := now.UTC().Truncate(time.Hour)
	first := last.Add(-(storyHours - 1) * time.Hour)
	known, err := a.stories.KeyHours(ctx, p, id, first)
	if err != nil {
		return nil, err
	}
	hours := make([]keyHour, storyHours)
	for i := range hours {
		hours[i].Hour = first.Add(time.Duration(i) * time.Hour)
	}
	for _, h := range known {
		if i := int(h.Hour.Sub(first) / time.Hour); i >= 0 && i < storyHours && !h.Hour.Before(first) {
			hours[i].Total, hours[i].Success, hours[i].Failure = h.Total, h.Success, h.Failure
		}
	}
	return hours, nil
}

// eventsOf lists what happened to a key, with its coming and its returns.
func (a *API) eventsOf(ctx context.Context, p gateway.ProviderName, k *gateway.Key, now time.Time) ([]keyEvent, error) {
	events, err := a.stories.KeyEvents(ctx, p, gateway.IDOfKey(k.Secret), storyEvents)
	if err != nil {
		return nil, err
	}
	events = append(events, returned(events, now)...)
	if !k.CreatedAt.IsZero() {
		added := gateway.KeyEvent{At: k.CreatedAt, What: gateway.EventAdded}
		job, found, err := a.stories.ImportAt(ctx, p, k.CreatedAt)
		if err != nil {
			return nil, err
		}
		if found {
			added.Detail = "by import: " + job.Source
		}
		events = append(events, added)
	}
	slices.SortStableFunc(events, func(a, b gateway.KeyEvent) int { return b.At.Compare(a.At) })
	out := make([]keyEvent, 0, min(len(events), storyEvents))
	for _, e := range events[:min(len(events), storyEvents)] {
		out = append(out, keyEvent{
			At: e.At.UTC(), What: e.What, Detail: e.Detail, Until: orNull(e.Until), RequestID: e.RequestID, Attempt: e.Attempt, Model: e.Model,
		})
	}
	return out, nil
}

// returned makes the events of a key's returns: it came back when the last time
// for which it was out was over, unless it was let back before. The events are
// the newest first.
func returned(events []gateway.KeyEvent, now time.Time) []gateway.KeyEvent {
	var backs []gateway.KeyEvent
	var out gateway.KeyEvent // for which the key is out, with the latest end
	for i := len(events); i >= 0; i-- {
		at := now
		if i > 0 {
			at = events[i-1].At
		}
		if !out.Until.IsZero() && !out.Until.After(at) {
			backs = append(backs, gateway.KeyEvent{At: out.Until, What: gateway.EventReturned, Detail: out.Detail})
			out = gateway.KeyEvent{}
		}
		if i == 0 {
			break
		}
		switch e := events[i-1]; e.What {
		case gateway.EventRested, gateway.EventRefused:
			if e.Until.After(out.Until) {
				out = e
			}
		case gateway.EventDisabled:
			out = e // it replaces every other mark
		case gateway.EventEnabled:
			out = gateway.KeyEvent{}
		case gateway.EventCleared:
			if out.What == gateway.EventRested {
				out = gateway.KeyEvent{}
			}
		case gateway.EventCheckedOK:
			if out.What == gateway.EventRefused {
				out = gateway.KeyEvent{}
			}
		}
	}
	return backs
}
