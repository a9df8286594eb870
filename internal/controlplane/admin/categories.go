package admin

import (
	"cmp"
	"net/http"
	"slices"

	"ollama-api-pool/internal/httpkit"
)

type categoriesAnswer struct {
	Categories []categoryAnswer `json:"categories" description:"Those with the most keys first."`
	Unknown    int              `json:"unknown" description:"Keys of which the family is not known yet."`
}

type categoryAnswer struct {
	Category string `json:"category"`
	Keys     int    `json:"keys"`
}

var listCategoriesDoc = operation{
	summary: "Families of the keys", group: "Keys", query: providerQuery{}, answer: categoriesAnswer{},
	about: "What `category` may be in the list of keys, with the number of keys of each.",
}

// listCategories shows which families of models there are keys for.
func (a *API) listCategories(w http.ResponseWriter, r *http.Request) error {
	var f faults
	p := f.provider(r, "")
	if err := f.err(); err != nil {
		return err
	}
	counts, err := a.keys.Categories(r.Context(), p)
	if err != nil {
		return err
	}
	out := categoriesAnswer{Categories: []categoryAnswer{}}
	for _, c := range counts {
		if c.Category == "" {
			out.Unknown = c.Keys
			continue
		}
		out.Categories = append(out.Categories, categoryAnswer(c))
	}
	slices.SortStableFunc(out.Categories, func(x, y categoryAnswer) int { return cmp.Compare(y.Keys, x.Keys) })
	return httpkit.WriteJSON(w, http.StatusOK, out)
}
