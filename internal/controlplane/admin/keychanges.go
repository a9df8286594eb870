package admin

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// disabledFor is how long a key is taken out when nobody says.
const disabledFor = time.Hour

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

// changedAnswer says what became of keys. The counts are there for lists and
// filters, and where nothing was done but counted.
type changedAnswer struct {
	Success bool   `json:"success"`
	DryRun  bool   `json:"dryRun,omitempty" description:"Nothing was changed: this is what would happen."`
	Message string `json:"message"`
	Changed *int   `json:"changed,omitempty"`
	Failed  *int   `json:"failed,omitempty" description:"Those that were not there."`
	Total   *int   `json:"total,omitempty"`
}

type deletedAnswer struct {
	Success bool `json:"success"`
	DryRun  bool `json:"dryRun,omitempty" description:"Nothing was deleted: this is what would happen."`
	Deleted *int `json:"deleted,omitempty"`
	Failed  *int `json:"failed,omitempty" description:"Those that were not there."`
	Total   *int `json:"total,omitempty"`
}

// changeQuery is the query of a call that changes keys, for the OpenAPI
// document.
type changeQuery struct {
	providerQuery
	DryRun bool `query:"dryRun" description:"Only says how many keys it would be."`
}

const aboutChoice = "Keys are named by themselves or their ids, or chosen by what they are (`filter`)."

var deleteKeysDoc = operation{
	summary: "Delete keys", group: "Keys", query: changeQuery{}, body: keyChoice{}, answer: deletedAnswer{},
	about:    aboutChoice + " Of a single key only `success` is told; one that is not there is 404. In a list it counts as failed.",
	example:  `{"apiKeys":["0123456789abcdef"]}`,
	tolerant: true,
}

// deleteKeys deletes one key, a list of them or those that a filter chooses.
func (a *API) deleteKeys(w http.ResponseWriter, r *http.Request) error {
	var in keyChoice
	if err := httpkit.DecodeJSON(w, r, maxBulkBody, &in, httpkit.AllowUnknown); err != nil {
		return err
	}
	var f faults
	c, err := a.chosenBy(r, &f, &in)
	if err != nil {
		return err
	}
	deleted := c.there(a)
	if !c.dryRun {
		if deleted, err = a.keys.DeleteKeys(r.Context(), c.provider, c.ids); err != nil {
			return err
		}
		if len(deleted) > 0 {
			a.noteKeys(r, "keys deleted", c.provider, slog.Int("count", len(deleted)))
		}
	}
	if !c.bulk && len(deleted) == 0 {
		return noSuchKey()
	}
	out := deletedAnswer{Success: true, DryRun: c.dryRun}
	if c.bulk || c.dryRun {
		count, failed := len(deleted), c.named-len(deleted)
		out.Deleted, out.Failed, out.Total = &count, &failed, &c.named
	}
	return httpkit.WriteJSON(w, http.StatusOK, out)
}

// keyPath names a key in the address, for the OpenAPI document.
type keyPath struct {
	changeQuery
	Key string `path:"key" description:"The key or its id."`
}

var deleteKeyDoc = operation{
	summary: "Delete a key", group: "Keys", query: keyPath{}, answer: deletedAnswer{},
}

// deleteKey deletes the key that the address names.
func (a *API) deleteKey(w http.ResponseWriter, r *http.Request) error {
	var f faults
	p, dryRun := f.provider(r, ""), f.truth(r, "dryRun")
	if err := f.err(); err != nil {
		return err
	}
	id := a.idOf(p, r.PathValue("key"))
	if dryRun {
		if !a.keys.HasKey(p, id) {
			return noSuchKey()
		}
		one, none := 1, 0
		return httpkit.WriteJSON(w, http.StatusOK, deletedAnswer{Success: true, DryRun: true, Deleted: &one, Failed: &none, Total: &one})
	}
	deleted, err := a.keys.DeleteKeys(r.Context(), p, []gateway.KeyID{id})
	if err != nil {
		return err
	}
	if len(deleted) == 0 {
		return noSuchKey()
	}
	a.noteKeys(r, "keys deleted", p, slog.Int("count", 1))
	return httpkit.WriteJSON(w, http.StatusOK, deletedAnswer{Success: true})
}

var enableKeysDoc = operation{
	summary: "Enable keys", group: "Keys", query: changeQuery{}, body: keyChoice{}, answer: changedAnswer{},
	about: aboutChoice + " Clears every mark and the count of failures.", example: `{"apiKeys":["0123456789abcdef"]}`, tolerant: true,
}

// enableKeys clears every mark of keys.
func (a *API) enableKeys(w http.ResponseWriter, r *http.Request) error {
	var in keyChoice
	if err := httpkit.DecodeJSON(w, r, maxBulkBody, &in, httpkit.AllowUnknown); err != nil {
		return err
	}
	var f faults
	c, err := a.chosenBy(r, &f, &in)
	if err != nil {
		return err
	}
	return a.change(w, r, &c, "enabled", func() ([]gateway.KeyID, error) {
		return a.keys.EnableKeys(r.Context(), c.provider, c.ids)
	})
}

type disableRequest struct {
	keyChoice
	Duration *int64 `json:"duration,omitempty" description:"Seconds; 0: until they are enabled. Default 3600."`
}

var disableKeysDoc = operation{
	summary: "Disable keys", group: "Keys", query: changeQuery{}, body: disableRequest{}, answer: changedAnswer{},
	about: aboutChoice + " For an hour, unless `duration` says otherwise.", example: `{"apiKeys":["0123456789abcdef"],"duration":86400}`, tolerant: true,
}

// disableKeys takes keys out for a time.
func (a *API) disableKeys(w http.ResponseWriter, r *http.Request) error {
	var in disableRequest
	if err := httpkit.DecodeJSON(w, r, maxBulkBody, &in, httpkit.AllowUnknown); err != nil {
		return err
	}
	var f faults
	d := disabledFor
	if in.Duration != nil {
		d = f.seconds("duration", in.Duration)
	}
	c, err := a.chosenBy(r, &f, &in.keyChoice)
	if err != nil {
		return err
	}
	return a.change(w, r, &c, "disabled", func() ([]gateway.KeyID, error) {
		return a.keys.DisableKeys(r.Context(), c.provider, c.ids, d)
	})
}

var clearRestDoc = operation{
	summary: "End the rest of keys", group: "Keys", query: changeQuery{}, body: keyChoice{}, answer: changedAnswer{},
	about: aboutChoice + " They serve again at once. Marks of failure and of being disabled stay. " +
		"`changed` counts the keys that rested, `failed` those that were not there.",
	example: `{"filter":{"status":"resting"},"expect":12}`,
}

// clearRest ends the rest of keys and leaves their other marks.
func (a *API) clearRest(w http.ResponseWriter, r *http.Request) error {
	var in keyChoice
	if err := httpkit.DecodeJSON(w, r, maxBulkBody, &in); err != nil {
		return err
	}
	var f faults
	c, err := a.chosenBy(r, &f, &in)
	if err != nil {
		return err
	}
	there := c.there(a)
	if !c.bulk && len(there) == 0 {
		return noSuchKey()
	}
	var rested []gateway.KeyID
	if c.dryRun {
		rested, err = a.resting(r, &c)
	} else {
		rested, err = a.keys.ClearRest(r.Context(), c.provider, c.ids)
	}
	if err != nil {
		return err
	}
	if len(rested) > 0 && !c.dryRun {
		a.noteKeys(r, "rests cleared", c.provider, slog.Int("count", len(rested)))
	}
	changed, missing := len(rested), c.named-c.count(there)
	out := changedAnswer{
		Success: true, DryRun: c.dryRun, Changed: &changed, Failed: &missing, Total: &c.named,
		Message: fmt.Sprintf("Rest ended of %d of %d keys", changed, c.named),
	}
	if c.dryRun {
		out.Message = fmt.Sprintf("Rest would end of %d of %d keys", changed, c.named)
	}
	return httpkit.WriteJSON(w, http.StatusOK, out)
}

// resting are those of the chosen keys that rest.
func (a *API) resting(r *http.Request, c *chosen) ([]gateway.KeyID, error) {
	all, err := a.keys.KeyIDs(r.Context(), c.provider, gateway.KeyFilter{Status: gateway.KeyResting})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(id gateway.KeyID) bool { return c.times[id] == 0 }), nil
}

// change makes a change to keys, or only counts them, and says what became of
// them.
func (a *API) change(w http.ResponseWriter, r *http.Request, c *chosen, done string, act func() ([]gateway.KeyID, error)) error {
	found, would := c.there(a), "would be "
	if !c.dryRun {
		var err error
		if found, err = act(); err != nil {
			return err
		}
		would = ""
		if len(found) > 0 {
			a.noteKeys(r, "keys "+done, c.provider, slog.Int("count", len(found)))
		}
	}
	if !c.bulk && len(found) == 0 {
		return noSuchKey()
	}
	out := changedAnswer{Success: true, DryRun: c.dryRun, Message: "Key " + would + done}
	if c.bulk || c.dryRun {
		changed := c.count(found)
		missing := c.named - changed
		out.Changed, out.Failed, out.Total = &changed, &missing, &c.named
	}
	if c.bulk {
		out.Message = fmt.Sprintf("%d of %d keys %s%s", *out.Changed, c.named, would, done)
	}
	return httpkit.WriteJSON(w, http.StatusOK, out)
}
