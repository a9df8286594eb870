package admin

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"ollama-api-pool/internal/gateway"
)

// keyChoice is the part of a body that chooses keys: it names them, each by
// itself or its id, or says what they are.
type keyChoice struct {
	APIKey      string        `json:"apiKey,omitempty" description:"The key or its id."`
	APIKeyAlias string        `json:"api_key,omitempty" description:"Another name of apiKey."`
	APIKeys     []string      `json:"apiKeys,omitempty" description:"Keys or ids."`
	Filter      *filterChoice `json:"filter,omitempty"`
	Expect      *int          `json:"expect,omitempty" minimum:"0" description:"With filter: how many keys it must choose, else nothing is changed and the answer is 409."`
	Provider    string        `json:"provider,omitempty"`
}

// filterChoice chooses keys by what they are, as the fields of the same names
// do in lists.
type filterChoice struct {
	Status   string `json:"status,omitempty" enum:"all,active,resting,failed,disabled,expired" description:"all alone chooses every key."`
	Category string `json:"category,omitempty"`
	Search   string `json:"search,omitempty"`
	Reason   string `json:"reason,omitempty" description:"The whole text of last_error."`
}

// UnmarshalJSON reads a filter. A field that it does not have is an error also
// where a body may have others: without it the filter would choose more keys
// than were meant.
func (in *filterChoice) UnmarshalJSON(b []byte) error {
	type fields filterChoice
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	return dec.Decode((*fields)(in))
}

// read checks a filter. One that says nothing is refused: it may be a slip, and
// would choose every key.
func (in *filterChoice) read(f *faults) gateway.KeyFilter {
	out := f.filter("filter.", in.Status, in.Category, in.Search, in.Reason)
	if in.Status == "" && out.Category == "" && out.Search == "" && out.Reason == "" {
		f.add("filter", `says nothing: {"status":"all"} chooses every key`)
	}
	return out
}

// status reads the name of a status; "" and all stand for every one.
func (f *faults) status(field, s string) gateway.KeyStatus {
	status := gateway.KeyStatus(strings.ToLower(s))
	if status == "" || status == "all" {
		return ""
	}
	if !slices.Contains(gateway.KeyStatuses(), status) {
		f.add(field, "must be all, active, resting, failed, disabled or expired")
	}
	return status
}

// chosen are the keys that a call is about.
type chosen struct {
	provider gateway.ProviderName
	ids      []gateway.KeyID       // each once
	times    map[gateway.KeyID]int // how often each was named
	named    int                   // how many names there were
	bulk     bool                  // they came as a list or by a filter: missing ones are counted
	dryRun   bool                  // they are only to be counted
}

// chosenBy finds out which keys a call is about, once all of its fields are
// right; f holds what was found wrong so far.
func (a *API) chosenBy(r *http.Request, f *faults, in *keyChoice) (chosen, error) {
	c := a.choose(r, f, in)
	c.dryRun = f.truth(r, "dryRun")
	if err := f.err(); err != nil {
		return c, err
	}
	return c, a.filter(r, &c, in)
}

// choose finds out which keys a body names. Those of a filter are looked up by
// filter, once all fields were found to be right.
func (a *API) choose(r *http.Request, f *faults, in *keyChoice) chosen {
	c := chosen{provider: f.provider(r, in.Provider), bulk: in.APIKeys != nil || in.Filter != nil}
	single := strings.TrimSpace(f.one("apiKey", in.APIKey, "api_key", in.APIKeyAlias))
	refs := in.APIKeys
	switch {
	case in.Filter != nil && (single != "" || in.APIKeys != nil):
		f.add("filter", "and keys by name are both there: send one of them")
	case in.Filter != nil:
		in.Filter.read(f)
	case c.bulk && single != "":
		f.add("apiKey", "and apiKeys are both there: send one of them")
	case c.bulk && len(refs) == 0:
		f.add("apiKeys", "must not be empty")
	case !c.bulk && single == "":
		f.add("apiKey", "or apiKeys is missing")
	case !c.bulk:
		refs = []string{single}
	}
	if in.Expect != nil && (in.Filter == nil || *in.Expect < 0) {
		f.add("expect", "goes with filter and must not be negative")
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

// filter looks up the keys that a filter chooses, if there is one.
func (a *API) filter(r *http.Request, c *chosen, in *keyChoice) error {
	if in.Filter == nil {
		return nil
	}
	ids, err := a.keys.KeyIDs(r.Context(), c.provider, in.Filter.read(&faults{}))
	if err != nil {
		return err
	}
	if in.Expect != nil && *in.Expect != len(ids) {
		return gateway.Errorf(gateway.KindConflict, "the filter chooses %d keys by now, not %d; nothing was changed", len(ids), *in.Expect)
	}
	c.ids, c.named = ids, len(ids)
	for _, id := range ids {
		c.times[id] = 1
	}
	return nil
}

// there are those of the chosen keys that are in the pool.
func (c *chosen) there(a *API) []gateway.KeyID {
	var found []gateway.KeyID
	for _, id := range c.ids {
		if a.keys.HasKey(c.provider, id) {
			found = append(found, id)
		}
	}
	return found
}

// count is how often keys were named.
func (c *chosen) count(ids []gateway.KeyID) (n int) {
	for _, id := range ids {
		n += c.times[id]
	}
	return n
}
