package admin

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// disabledFor is how long a key is taken out when nobody says.
const disabledFor = time.Hour

// keyChoice is the part of a body that names keys, each by itself or its id.
type keyChoice struct {
	APIKey      string   `json:"apiKey"`
	APIKeyAlias string   `json:"api_key"`
	APIKeys     []string `json:"apiKeys"`
	Provider    string   `json:"provider"`
}

// chosen are the keys that a call names.
type chosen struct {
	provider gateway.ProviderName
	ids      []gateway.KeyID       // each once
	times    map[gateway.KeyID]int // how often each was named
	named    int                   // how many names there were
	bulk     bool                  // they came as a list: missing ones are counted
}

// choose finds out which keys a body names.
func (a *API) choose(r *http.Request, f *faults, in *keyChoice) chosen {
	c := chosen{provider: f.provider(r, in.Provider), bulk: in.APIKeys != nil}
	single := strings.TrimSpace(f.one("apiKey", in.APIKey, "api_key", in.APIKeyAlias))
	refs := in.APIKeys
	switch {
	case c.bulk && single != "":
		f.add("apiKey", "and apiKeys are both there: send one of them")
	case c.bulk && len(refs) == 0:
		f.add("apiKeys", "must not be empty")
	case !c.bulk && single == "":
		f.add("apiKey", "or apiKeys is missing")
	case !c.bulk:
		refs = []string{single}
	}
	if len(*f) > 0 {
		return c
	}
	c.named = len(refs)
	c.times = make(map[gateway.KeyID]int, len(refs))
	for _, ref := range refs {
		id := a.idOf(c.provider, ref)
		if c.times[id]++; c.times[id] == 1 {
			c.ids = append(c.ids, id)
		}
	}
	return c
}

// idOf finds the id of a key that is named by itself or by its id. A text that
// can be either is taken for the key if there is such a key.
func (a *API) idOf(p gateway.ProviderName, ref string) gateway.KeyID {
	ref = strings.TrimSpace(ref)
	id := gateway.IDOfKey(gateway.Secret(ref))
	if isID(ref) && !a.keys.HasKey(p, id) {
		return gateway.KeyID(strings.ToLower(ref))
	}
	return id
}

func isID(s string) bool {
	if len(s) != gateway.KeyIDLen {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
			return false
		}
	}
	return true
}

func noSuchKey() error { return gateway.Errorf(gateway.KindNotFound, "no such key") }

type doneAnswer struct {
	Success bool `json:"success"`
}

type deletedAnswer struct {
	Success bool `json:"success"`
	Deleted *int `json:"deleted,omitempty"`
	Failed  *int `json:"failed,omitempty"` // those that were not there
	Total   *int `json:"total,omitempty"`
}

var deleteKeysDoc = operation{
	summary: "Delete keys", group: "Keys", query: providerQuery{}, body: keyChoice{}, answer: deletedAnswer{},
	about:   "Of a single key only `success` is told; one that is not there is 404. In a list it counts as failed.",
	example: `{"apiKeys":["0123456789abcdef"]}`, tolerant: true,
}

// deleteKeys deletes one key or a list of them.
func (a *API) deleteKeys(w http.ResponseWriter, r *http.Request) error {
	var in keyChoice
	if err := httpkit.DecodeJSON(w, r, maxBulkBody, &in); err != nil {
		return err
	}
	var f faults
	c := a.choose(r, &f, &in)
	if err := f.err(); err != nil {
		return err
	}
	deleted, err := a.keys.DeleteKeys(r.Context(), c.provider, c.ids)
	if err != nil {
		return err
	}
	if len(deleted) > 0 {
		a.noteKeys(r, "keys deleted", c.provider, slog.Int("count", len(deleted)))
	}
	switch {
	case c.bulk:
		count, failed := len(deleted), c.named-len(deleted)
		return httpkit.WriteJSON(w, http.StatusOK, deletedAnswer{Success: true, Deleted: &count, Failed: &failed, Total: &c.named})
	case len(deleted) == 0:
		return noSuchKey()
	}
	return httpkit.WriteJSON(w, http.StatusOK, doneAnswer{Success: true})
}

var deleteKeyDoc = operation{
	summary: "Delete a key", group: "Keys", query: keyPath{}, answer: doneAnswer{},
}

// keyPath names a key in the address, for the OpenAPI document.
type keyPath struct {
	providerQuery
	Key string `path:"key" description:"The key or its id."`
}

// deleteKey deletes the key that the address names.
func (a *API) deleteKey(w http.ResponseWriter, r *http.Request) error {
	var f faults
	p := f.provider(r, "")
	if err := f.err(); err != nil {
		return err
	}
	deleted, err := a.keys.DeleteKeys(r.Context(), p, []gateway.KeyID{a.idOf(p, r.PathValue("key"))})
	if err != nil {
		return err
	}
	if len(deleted) == 0 {
		return noSuchKey()
	}
	a.noteKeys(r, "keys deleted", p, slog.Int("count", 1))
	return httpkit.WriteJSON(w, http.StatusOK, doneAnswer{Success: true})
}

// changedAnswer says what became of keys that were enabled or disabled. The
// counts are there for lists only.
type changedAnswer struct {
	Success bool   `json:"success"`
	Message string `json:"message"`
	Changed *int   `json:"changed,omitempty"`
	Failed  *int   `json:"failed,omitempty"` // those that were not there
	Total   *int   `json:"total,omitempty"`
}

var enableKeysDoc = operation{
	summary: "Enable keys", group: "Keys", query: providerQuery{}, body: keyChoice{}, answer: changedAnswer{},
	about: "Clears every mark and the count of failures.", example: `{"apiKeys":["0123456789abcdef"]}`, tolerant: true,
}

// enableKeys clears every mark of keys.
func (a *API) enableKeys(w http.ResponseWriter, r *http.Request) error {
	var in keyChoice
	if err := httpkit.DecodeJSON(w, r, maxBulkBody, &in); err != nil {
		return err
	}
	var f faults
	c := a.choose(r, &f, &in)
	if err := f.err(); err != nil {
		return err
	}
	found, err := a.keys.EnableKeys(r.Context(), c.provider, c.ids)
	if err != nil {
		return err
	}
	return a.answerChanged(w, r, &c, found, "enabled")
}

type disableRequest struct {
	keyChoice
	Duration *int64 `json:"duration"` // seconds; 0: until they are enabled
}

var disableKeysDoc = operation{
	summary: "Disable keys", group: "Keys", query: providerQuery{}, body: disableRequest{}, answer: changedAnswer{},
	about: "For an hour, unless `duration` says otherwise.", example: `{"apiKeys":["0123456789abcdef"],"duration":86400}`, tolerant: true,
}

// disableKeys takes keys out for a time.
func (a *API) disableKeys(w http.ResponseWriter, r *http.Request) error {
	var in disableRequest
	if err := httpkit.DecodeJSON(w, r, maxBulkBody, &in); err != nil {
		return err
	}
	var f faults
	d := disabledFor
	if in.Duration != nil {
		d = f.seconds("duration", in.Duration)
	}
	c := a.choose(r, &f, &in.keyChoice)
	if err := f.err(); err != nil {
		return err
	}
	found, err := a.keys.DisableKeys(r.Context(), c.provider, c.ids, d)
	if err != nil {
		return err
	}
	return a.answerChanged(w, r, &c, found, "disabled")
}

func (a *API) answerChanged(w http.ResponseWriter, r *http.Request, c *chosen, found []gateway.KeyID, done string) error {
	if !c.bulk && len(found) == 0 {
		return noSuchKey()
	}
	if len(found) > 0 {
		a.noteKeys(r, "keys "+done, c.provider, slog.Int("count", len(found)))
	}
	out := changedAnswer{Success: true, Message: "Key " + done}
	if c.bulk {
		changed := 0
		for _, id := range found {
			changed += c.times[id]
		}
		missing := c.named - changed
		out.Message = fmt.Sprintf("%d of %d keys %s", changed, c.named, done)
		out.Changed, out.Failed, out.Total = &changed, &missing, &c.named
	}
	return httpkit.WriteJSON(w, http.StatusOK, out)
}
