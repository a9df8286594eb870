package e2e

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// operation is one line of the OpenAPI document.
type operation struct {
	method, path string
	open         bool // nobody has to say who he is
	admin        bool // the admin token or a session lets in
	query        []parameter
	body         json.RawMessage // its example in JSON, nil: it takes none
}

type parameter struct {
	Name, In string
	Schema   struct{ Enum []any }
}

// operations reads the program's own document.
func operations(t *testing.T, i *Instance) (all []operation) {
	t.Helper()
	type content struct {
		Example  json.RawMessage
		Examples map[string]struct{ Value json.RawMessage }
	}
	type item struct {
		Security    []map[string]any
		Parameters  []parameter
		RequestBody *struct{ Content map[string]content }
	}
	doc := want[struct {
		Paths map[string]map[string]json.RawMessage
	}](t, i, http.StatusOK, call{method: "GET", path: "/openapi.json", anonymous: true})
	for path, methods := range doc.Paths {
		for method, text := range methods {
			var in item
			if err := json.Unmarshal(text, &in); err != nil {
				t.Fatalf("%s %s: %v", method, path, err)
			}
			op := operation{method: strings.ToUpper(method), path: path, query: in.Parameters}
			for _, way := range in.Security {
				_, admin := way["adminToken"]
				op.admin = op.admin || admin
				op.open = op.open || len(way) == 0
			}
			if in.RequestBody != nil {
				of := in.RequestBody.Content["application/json"]
				op.body = of.Example
				for _, e := range of.Examples {
					op.body = e.Value
				}
				if op.body == nil {
					op.body = json.RawMessage(`{}`)
				}
			}
			all = append(all, op)
		}
	}
	slices.SortFunc(all, func(a, b operation) int { return strings.Compare(a.path+" "+a.method, b.path+" "+b.method) })
	if len(all) < 60 {
		t.Fatalf("the document has %d operations", len(all))
	}
	return all
}

// filled puts values into the names of a path.
func (o *operation) filled(names map[string]string) string {
	path := o.path
	for _, p := range o.query {
		if p.In == "path" {
			value, known := names[p.Name]
			if !known {
				value = "none-such"
			}
			path = strings.ReplaceAll(path, "{"+p.Name+"}", value)
		}
	}
	return path
}

// searchAnswers calls everything that the admin API lets one read, in every
// format and for every provider, and looks through the answers for secrets.
// Nothing is asked for whole.
func searchAnswers(t *testing.T, i *Instance, names map[string]string) {
	t.Helper()
	asked, found := 0, 0
	for _, o := range operations(t, i) {
		if o.method != http.MethodGet || !o.admin && !o.open || o.path == "/admin/events" || strings.HasPrefix(o.path, "/t/") {
			continue // the stream is read by a test of its own, the address with a token in the path is a client's
		}
		paths := []string{o.filled(names)}
		for _, p := range o.query {
			if p.In != "query" || p.Name == "reveal" || p.Name == "fetch" {
				continue
			}
			values := p.Schema.Enum
			if p.Name == "provider" {
				values = []any{"ollama", "openrouter"}
			}
			for _, v := range values {
				if value, isText := v.(string); isText {
					paths = append(paths, paths[0]+"?"+p.Name+"="+value)
				}
			}
		}
		for _, path := range paths {
			got, err := i.Ask(t.Context(), call{method: "GET", path: path})
			if err != nil {
				t.Error(err)
			}
			if got.Status >= http.StatusInternalServerError && o.path != "/health/ready" {
				t.Errorf("GET %s: %d %.300s", path, got.Status, got.Body)
			}
			asked++
			if got.Status == http.StatusOK {
				found++
			}
		}
	}
	if asked < 60 || found < asked*3/4 {
		t.Errorf("of %d calls %d were answered with something", asked, found)
	}
}
