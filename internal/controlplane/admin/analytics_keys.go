package admin

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// keyColumns are the columns by which keys can be sorted.
var keyColumns = []string{"requests", "success", "failure", "lastUsed"}

// exportPage is how many keys are read at a time for a file.
const exportPage = 5000

type keysUseAnswer struct {
	Provider string         `json:"provider"`
	Keys     []keyUseAnswer `json:"keys"`
	pagesAnswer
}

var keyUseDoc = operation{
	summary: "What was counted by key, ever",
	about:   "What a key counts are its attempts, not requests. Keys are counted over all time; what one did by the hour is in `GET /admin/api-keys/{id}`.",
	group:   "Statistics", query: keyTableQuery{}, answer: keysUseAnswer{}, more: map[int]any{http.StatusOK: csvType},
}

// listKeyUse shows what was counted by key.
func (a *API) listKeyUse(w http.ResponseWriter, r *http.Request) error {
	var f faults
	t := f.table(a, r, keyColumns)
	if err := f.err(); err != nil {
		return err
	}
	ctx := r.Context()
	if err := a.figures.Settle(ctx); err != nil {
		return err
	}
	attempts, err := a.attemptsOf(ctx, t.chosen)
	if err != nil {
		return err
	}
	if t.csv {
		return a.exportKeyUse(ctx, w, &t, attempts)
	}
	from := (t.page - 1) * t.size
	keys, total, err := a.rankKeys(ctx, &t, from, t.size)
	if err != nil {
		return err
	}
	out := keysUseAnswer{Provider: t.name, pagesAnswer: t.pages(total)}
	if out.Keys, err = a.keyUse(ctx, keys, attempts); err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, out)
}

// ranked is a key in its place.
type ranked struct {
	provider gateway.ProviderName
	key      gateway.Key
}

// rankKeys reads a part of the keys in the order of a table. Where several
// providers have keys the first ones of each are put in one order.
func (a *API) rankKeys(ctx context.Context, t *table, from, n int) (page []ranked, total int, err error) {
	chosen := slices.DeleteFunc(slices.Clone(t.chosen), func(p gateway.ProviderName) bool { return sum(a.keys.CountKeys(p)) == 0 })
	first, most := from, n
	if len(chosen) > 1 {
		first, most = 0, from+n
	}
	for _, p := range chosen {
		keys, of, err := a.figures.KeyRanks(ctx, p, t.by, !t.descending, first, most)
		if err != nil {
			return nil, 0, err
		}
		total += of
		for _, k := range keys {
			page = append(page, ranked{p, k})
		}
	}
	if len(chosen) == 1 {
		return page, total, nil
	}
	slices.SortStableFunc(page, func(x, y ranked) int { return t.compareKeys(&x.key, &y.key) })
	from = min(from, len(page))
	return page[from:min(from+n, len(page))], total, nil
}

// compareKeys puts the keys of several providers in the order in which those of
// one come: what was never used is last either way.
func (t *table) compareKeys(x, y *gateway.Key) int {
	unused := func(k *gateway.Key) int {
		switch {
		case k.Counts.Total == 0:
			return 2
		case t.by == "lastUsed" && k.Counts.LastUsed.IsZero():
			return 1
		}
		return 0
	}
	order := cmp.Compare(rankOf(t.by, x), rankOf(t.by, y))
	if t.descending {
		order = -order
	}
	return cmp.Or(cmp.Compare(unused(x), unused(y)), order)
}

// rankOf is what a key is sorted by.
func rankOf(by string, k *gateway.Key) int64 {
	switch by {
	case "success":
		return k.Counts.Success
	case "failure":
		return k.Counts.Failure
	case "lastUsed":
		if k.Counts.LastUsed.IsZero() {
			return 0
		}
		return k.Counts.LastUsed.UnixMicro()
	}
	return k.Counts.Total
}

// attemptsOf is how many attempts the providers' keys have made.
func (a *API) attemptsOf(ctx context.Context, chosen []gateway.ProviderName) (map[gateway.ProviderName]int64, error) {
	attempts := map[gateway.ProviderName]int64{}
	for _, p := range chosen {
		ever, err := a.figures.Tallies(ctx, p, gateway.TallyQuery{Of: gateway.OfProvider, Per: gateway.Ever, Counted: true})
		if err != nil {
			return nil, err
		}
		for i := range ever {
			attempts[p] += ever[i].Tally.Attempts
		}
	}
	return attempts, nil
}

// keyUse adds to keys what their attempts add up to.
func (a *API) keyUse(ctx context.Context, page []ranked, attempts map[gateway.ProviderName]int64) ([]keyUseAnswer, error) {
	names := map[gateway.ProviderName][]string{}
	for i := range page {
		names[page[i].provider] = append(names[page[i].provider], string(gateway.IDOfKey(page[i].key.Secret)))
	}
	of := map[gateway.ProviderName]map[string]*gateway.Tally{}
	for p, ids := range names {
		found, err := a.figures.Tallies(ctx, p, gateway.TallyQuery{Of: gateway.OfKey, Names: ids, Per: gateway.Ever})
		if err != nil {
			return nil, err
		}
		of[p] = map[string]*gateway.Tally{}
		for i := range found {
			of[p][found[i].Name] = &found[i].Tally
		}
	}
	now := a.opt.Now()
	out := make([]keyUseAnswer, 0, len(page))
	for i := range page {
		p, k := page[i].provider, &page[i].key
		id := gateway.IDOfKey(k.Secret)
		out = append(out, newKeyUseAnswer(p, id, k, of[p][string(id)], attempts[p], now))
	}
	return out, nil
}

// newKeyUseAnswer shows a key with its counts, which are exact, and what else
// its attempts add up to, which is not known of those before there were tallies.
func newKeyUseAnswer(p gateway.ProviderName, id gateway.KeyID, k *gateway.Key, t *gateway.Tally, attempts int64, now time.Time) keyUseAnswer {
	var all gateway.Tally
	if t != nil {
		all = *t
	}
	c := &k.Counts
	all.Requests, all.Success, all.Failure, all.Attempts = c.Total, c.Success, c.Failure, c.Total
	return keyUseAnswer{
		ID: id, APIKey: gateway.MaskKey(k.Secret), Username: k.Username, Status: k.State.StatusAt(now, k.ExpiresAt), Provider: p,
		Share: percent(c.Total, max(attempts, c.Total)), tallyAnswer: newTallyAnswer(&all), LastUsed: orNull(c.LastUsed),
	}
}

// exportKeyUse writes all keys as a file. The first part is read before the
// answer begins, so that an error can still be told.
func (a *API) exportKeyUse(ctx context.Context, w http.ResponseWriter, t *table, attempts map[gateway.ProviderName]int64) error {
	all := newRanking(a, t, exportPage)
	read := func() ([]keyUseAnswer, error) {
		keys, err := all.next(ctx)
		if err != nil {
			return nil, err
		}
		return a.keyUse(ctx, keys, attempts)
	}
	part, err := read()
	if err != nil {
		return err
	}
	return writeCSV(w, "keys", []string{"id", "key", "username", "status", "provider"}, func(row func(names []string, share float64, t *tallyAnswer)) error {
		for len(part) > 0 {
			for i := range part {
				u := &part[i]
				row([]string{string(u.ID), u.APIKey, u.Username, string(u.Status), string(u.Provider)}, u.Share, &u.tallyAnswer)
			}
			if part, err = read(); err != nil {
				return err
			}
		}
		return nil
	})
}

// ranking goes through all keys in the order of a table, a part at a time. It
// reads those of each provider once, however many there are.
type ranking struct {
	a    *API
	t    *table
	size int // of a part
	of   []providerRanking
}

// providerRanking is where a ranking is among the keys of one provider.
type providerRanking struct {
	provider gateway.ProviderName
	keys     []gateway.Key // that were read and not given yet
	read     int
	ended    bool
}

func newRanking(a *API, t *table, size int) *ranking {
	r := &ranking{a: a, t: t, size: size}
	for _, p := range t.chosen {
		r.of = append(r.of, providerRanking{provider: p})
	}
	return r
}

// next gives the next keys, none at the end.
func (r *ranking) next(ctx context.Context) ([]ranked, error) {
	var part []ranked
	for len(part) < r.size {
		var first *providerRanking
		for i := range r.of {
			p := &r.of[i]
			if err := r.fill(ctx, p); err != nil {
				return nil, err
			}
			if len(p.keys) > 0 && (first == nil || r.t.compareKeys(&p.keys[0], &first.keys[0]) < 0) {
				first = p
			}
		}
		if first == nil {
			break
		}
		part = append(part, ranked{first.provider, first.keys[0]})
		first.keys = first.keys[1:]
	}
	return part, nil
}

// fill reads more keys of a provider once all were given.
func (r *ranking) fill(ctx context.Context, p *providerRanking) (err error) {
	if len(p.keys) > 0 || p.ended {
		return nil
	}
	p.keys, _, err = r.a.figures.KeyRanks(ctx, p.provider, r.t.by, !r.t.descending, p.read, r.size)
	p.read += len(p.keys)
	p.ended = len(p.keys) < r.size
	return err
}
