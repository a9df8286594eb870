package admin

import (
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/httpkit"
)

// dataPlane is every address that clients use.
var dataPlane = []string{
	"POST /v1/chat/completions", "POST /v1/completions", "POST /v1/embeddings", "POST /v1/responses", "POST /v1/messages",
	"GET /v1/models", "GET /v1/models/{model}",
	"POST /openrouter/v1/chat/completions", "POST /openrouter/v1/completions", "POST /openrouter/v1/embeddings",
	"POST /openrouter/v1/responses", "POST /openrouter/v1/messages",
	"GET /openrouter/v1/models", "GET /openrouter/v1/models/{model}",
	"POST /api/chat", "POST /api/generate", "POST /api/embed", "POST /api/embeddings", "POST /api/show",
	"POST /api/web_search", "POST /api/web_fetch", "GET /api/tags", "GET /api/version", "GET /api/ps",
	"POST /api/pull", "POST /api/push", "POST /api/create", "POST /api/copy", "DELETE /api/delete", "POST /api/blobs/{digest}",
	"GET /t/{token}/",
	"GET /health", "GET /health/ready",
}

// TestEveryAddressIsDescribed holds the document against the table of routes,
// in both directions.
func TestEveryAddressIsDescribed(t *testing.T) {
	a := New(Parts{}, Options{Clients: httpkit.NewClients(nil), Log: slog.New(slog.DiscardHandler), Now: time.Now})
	d, err := a.document()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string
			Summary     string
			Tags        []string
			Security    []map[string][]string
			Responses   map[string]any
		}
		Tags []struct{ Name string }
	}
	if err := json.Unmarshal(d.text, &doc); err != nil {
		t.Fatal(err)
	}
	var tags []string
	for _, tag := range doc.Tags {
		tags = append(tags, tag.Name)
	}
	described, ids := map[string]bool{}, map[string]string{}
	for path, methods := range doc.Paths {
		for method, o := range methods {
			address := strings.ToUpper(method) + " " + path
			described[address] = true
			if other, there := ids[o.OperationID]; there || o.OperationID == "" {
				t.Errorf("%s has the id %q of %s", address, o.OperationID, other)
			}
			ids[o.OperationID] = address
			if token, session := hasToken(o.Security), address == "GET /admin/session"; strings.HasPrefix(path, "/admin/") && token == session && len(o.Security) > 0 && len(o.Security[0]) > 0 {
				t.Errorf("%s: the admin token lets in: %t", address, token)
			}
			if o.Summary == "" || len(o.Tags) != 1 || !slices.Contains(tags, o.Tags[0]) || len(o.Security) == 0 || len(o.Responses) < 2 {
				t.Errorf("%s is not well described: %+v", address, o)
			}
		}
	}
	want := map[string]bool{}
	for _, address := range dataPlane {
		want[address] = true
	}
	for _, r := range a.routes() {
		method, path := documented(r.pattern)
		want[method+" "+path] = true
	}
	for address := range want {
		if !described[address] {
			t.Errorf("%s is not in the document", address)
		}
	}
	for _, address := range slices.Sorted(maps.Keys(described)) {
		if !want[address] {
			t.Errorf("%s is in the document and nowhere else", address)
		}
	}
}

// hasToken reports whether the admin token alone lets in.
func hasToken(security []map[string][]string) bool {
	return slices.ContainsFunc(security, func(way map[string][]string) bool { _, ok := way[byAdminToken]; return ok })
}
