package admin

import (
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// spelled refuses a query with a parameter that only looks like one of the
// call's, such as dry_run for dryRun or Provider for provider: passed over, it
// would change what was only to be counted, or another pool. Parameters that
// look like none are passed over; scripts from before may send them.
func spelled(query any, h httpkit.Handler) httpkit.Handler {
	known := map[string]string{}
	collectNames(reflect.TypeOf(query), known)
	return func(w http.ResponseWriter, r *http.Request) error {
		for _, name := range slices.Sorted(maps.Keys(r.URL.Query())) {
			if right := known[alike(name)]; right != "" && right != name {
				return gateway.Errorf(gateway.KindInvalid, "%q in the query is not known: write %s; nothing was changed", gateway.Clip(name, maxName), right)
			}
		}
		return h(w, r)
	}
}

// collectNames adds the names of a query struct's parameters to known, by what
// they are alike to.
func collectNames(t reflect.Type, known map[string]string) {
	if t == nil {
		return
	}
	for f := range t.Fields() {
		if f.Anonymous {
			collectNames(f.Type, known)
		} else if name := f.Tag.Get("query"); name != "" {
			known[alike(name)] = name
		}
	}
}

// alike is a name without what tells its spellings apart.
func alike(name string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(name))
}
