package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"ollama-api-pool/internal/gateway"
)

// listedKeys is a page of keys as the API answers it.
type listedKeys struct {
	Keys  []keyRow `json:"api_keys"`
	Total int      `json:"total"`
}

// listedCounts is the same page with what was counted.
type listedCounts struct {
	Stats []struct {
		ID            gateway.KeyID `json:"id"`
		TotalRequests int64         `json:"totalRequests"`
		SuccessCount  int64         `json:"successCount"`
		FailureCount  int64         `json:"failureCount"`
		LastUsed      *time.Time    `json:"lastUsed"`
	} `json:"stats"`
}

// Keys implements operator.
func (r *remote) Keys(ctx context.Context, p gateway.ProviderName, q gateway.KeyQuery) (keyPage, error) {
	ask := filterQuery(p, gateway.KeyFilter{Status: q.Status, Category: q.Category, Search: q.Search, Reason: q.Reason})
	if q.Sort != "" {
		ask.Set("sort", q.Sort)
	}
	if q.Limit <= 0 {
		ask.Set("fetch", "all")
		return r.page(ctx, ask)
	}
	// The API's pages are smaller than those that may be asked for here.
	size := min(q.Limit, largestPage)
	skip := q.Offset % size
	ask.Set("pageSize", strconv.Itoa(size))
	var all keyPage
	for n := q.Offset/size + 1; ; n++ {
		ask.Set("page", strconv.Itoa(n))
		page, err := r.page(ctx, ask)
		if err != nil {
			return keyPage{}, err
		}
		all.Keys, all.Total = append(all.Keys, page.Keys...), page.Total
		if len(all.Keys) >= skip+q.Limit || len(page.Keys) < size {
			all.Keys = all.Keys[min(skip, len(all.Keys)):min(skip+q.Limit, len(all.Keys))]
			return all, nil
		}
	}
}

// page gets one page of keys and their counts, which have an address of their own.
func (r *remote) page(ctx context.Context, ask url.Values) (keyPage, error) {
	var keys listedKeys
	if err := r.call(ctx, http.MethodGet, "/admin/api-keys", ask, nil, &keys); err != nil {
		return keyPage{}, err
	}
	var counts listedCounts
	if err := r.call(ctx, http.MethodGet, "/admin/keys/stats", ask, nil, &counts); err != nil {
		return keyPage{}, err
	}
	at := make(map[gateway.KeyID]int, len(counts.Stats))
	for i := range counts.Stats {
		at[counts.Stats[i].ID] = i
	}
	for i := range keys.Keys {
		row := &keys.Keys[i]
		if j, ok := at[row.ID]; ok {
			s := &counts.Stats[j]
			row.TotalRequests, row.SuccessCount, row.FailureCount, row.LastUsed = s.TotalRequests, s.SuccessCount, s.FailureCount, s.LastUsed
		}
	}
	return keyPage(keys), nil
}

func filterQuery(p gateway.ProviderName, f gateway.KeyFilter) url.Values {
	ask := url.Values{"provider": {string(p)}}
	for name, value := range map[string]string{"status": string(f.Status), "category": f.Category, "search": f.Search, "reason": f.Reason} {
		if value != "" {
			ask.Set(name, value)
		}
	}
	return ask
}

// Key implements operator. A key itself does not belong into an address.
func (r *remote) Key(ctx context.Context, p gateway.ProviderName, ref string) (keyStory, error) {
	var story keyStory
	err := r.call(ctx, http.MethodGet, "/admin/api-keys/"+string(idOfKey(ref)), url.Values{"provider": {string(p)}}, nil, &story)
	return story, err
}

// ExportKeys implements operator.
func (r *remote) ExportKeys(ctx context.Context, p gateway.ProviderName, f gateway.KeyFilter, format string, reveal bool, w io.Writer) error {
	ask := filterQuery(p, f)
	ask.Set("format", format)
	if reveal {
		ask.Set("reveal", "true")
	}
	return r.stream(ctx, http.MethodGet, "/admin/api-keys/export", ask, http.NoBody, "*/*", func(body io.Reader) error {
		_, err := io.Copy(w, body)
		return err
	})
}

// AddKey implements operator.
func (r *remote) AddKey(ctx context.Context, p gateway.ProviderName, k newKey) (id gateway.KeyID, added bool, err error) {
	ask := struct {
		APIKey   string `json:"api_key"`
		Username string `json:"username,omitempty"`
		TTL      int64  `json:"ttl,omitempty"` // seconds
		Provider string `json:"provider"`
	}{k.secret.Reveal(), k.username, int64(k.ttl / time.Second), string(p)}
	var answer struct {
		ID      gateway.KeyID `json:"id"`
		Message string        `json:"message"`
	}
	err = r.call(ctx, http.MethodPost, "/admin/api-keys", nil, ask, &answer)
	return answer.ID, answer.Message == "Added", err
}

// keyAct is something that can be done to keys.
type keyAct struct{ method, path string }

// What can be done to keys.
var (
	keysEnable    = keyAct{http.MethodPost, "/admin/keys/enable"}
	keysDisable   = keyAct{http.MethodPost, "/admin/keys/disable"} // for a time, 0 until they are enabled
	keysDelete    = keyAct{http.MethodDelete, "/admin/api-keys"}
	keysClearRest = keyAct{http.MethodPost, "/admin/keys/clear-rest"}
)

// chosenKeys is the part of a call that says which keys it is about.
type chosenKeys struct {
	APIKeys  []string      `json:"apiKeys,omitempty"`
	Filter   *chosenFilter `json:"filter,omitempty"`
	Expect   *int          `json:"expect,omitempty"`
	Provider string        `json:"provider"`
}

type chosenFilter struct {
	Status   string `json:"status,omitempty"`
	Category string `json:"category,omitempty"`
	Search   string `json:"search,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

func chosenBy(set *keySet) chosenKeys {
	out := chosenKeys{APIKeys: set.refs, Provider: string(set.provider)}
	if f := set.filter; f != nil {
		out.Filter = &chosenFilter{string(f.Status), f.Category, f.Search, f.Reason}
		if *f == (gateway.KeyFilter{}) {
			out.Filter.Status = everyProvider // all keys
		}
	}
	return out
}

// ChangeKeys implements operator.
func (r *remote) ChangeKeys(ctx context.Context, set *keySet, act keyAct, d time.Duration, dryRun bool) (changedKeys, error) {
	ask := struct {
		chosenKeys
		Duration *int64 `json:"duration,omitempty"` // seconds
	}{chosenKeys: chosenBy(set)}
	if act == keysDisable {
		seconds := int64(d / time.Second)
		ask.Duration = &seconds
	}
	query := url.Values{}
	if dryRun {
		query.Set("dryRun", "true")
	} else if set.filter != nil {
		ask.Expect = &set.expect
	}
	var answer struct {
		Changed int `json:"changed"`
		Deleted int `json:"deleted"`
		Failed  int `json:"failed"`
		Total   int `json:"total"`
	}
	err := r.call(ctx, act.method, act.path, query, ask, &answer)
	return changedKeys{Changed: answer.Changed + answer.Deleted, Missing: answer.Failed, Total: answer.Total}, err
}

// newKeys are keys that are to be added.
type newKeys struct {
	provider gateway.ProviderName
	source   string // where they come from, in a word
	keys     iter.Seq2[gateway.Key, error]
	unclear  bool // add also those of which the upstream does not say whether they are good
	dryRun   bool
}

// query is the query of an import.
func (n *newKeys) query() url.Values {
	q := url.Values{"provider": {string(n.provider)}}
	if n.dryRun {
		q.Set("dryRun", "true")
	}
	if n.unclear {
		q.Set("includeInconclusive", "true")
	}
	return q
}

// AddKeys implements operator. The keys are sent as they come; of the lines
// that they were read from, only they and the user names leave this machine.
func (r *remote) AddKeys(ctx context.Context, in *newKeys) (added, existing int, err error) {
	var answer struct {
		Added    int               `json:"added"`
		Existing int               `json:"existing"`
		Invalid  []json.RawMessage `json:"invalid"`
	}
	err = r.upload(ctx, in, func(ctx context.Context, body io.Reader) error {
		return r.send(ctx, http.MethodPost, "/admin/api-keys/import", in.query(), body, &answer)
	})
	if n := len(answer.Invalid); err == nil && n > 0 {
		err = fmt.Errorf("%s did not take %s", r.base, count(n, "key"))
	}
	return answer.Added, answer.Existing, err
}

// AddGoodKeys implements operator.
func (r *remote) AddGoodKeys(ctx context.Context, in *newKeys, seen func(step)) (goodKeys, error) {
	var result goodKeys
	err := r.upload(ctx, in, func(ctx context.Context, body io.Reader) error {
		return r.stream(ctx, http.MethodPost, "/admin/api-keys/import-with-validation", in.query(), body, eventStream, func(answer io.Reader) error {
			return r.events(answer, seen, &result)
		})
	})
	return result, err
}

type sourceKey struct{}

// upload sends keys with post, if there are any.
func (r *remote) upload(ctx context.Context, in *newKeys, post func(ctx context.Context, body io.Reader) error) error {
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, sourceKey{}, in.source))
	defer cancel(nil)
	up := startUpload(in.keys, cancel)
	select {
	case <-up.begun:
	case <-up.ended:
		return up.failure() // there was no key
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := post(ctx, up.body); err != nil {
		_ = up.body.CloseWithError(err)
		if why := up.failure(); why != nil {
			return why // the keys could not be read to their end
		}
		return err
	}
	<-up.ended
	return nil
}
