package app

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"ollama-api-pool/internal/dataplane"
	"ollama-api-pool/internal/gateway"
)

// What the OpenAPI document says of the clients' addresses must be true of the
// data plane: each is one that it knows, in the dialect that is told.
func TestDocumentedAddressesAreServed(t *testing.T) {
	a, err := Start(t.Context(), settings(t, t.TempDir()), Deps{Log: slog.New(slog.DiscardHandler), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := a.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.URL()+"/openapi.json", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]struct {
			Dialect   string `json:"x-dialect"`
			Responses map[string]any
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	routes, known := dataplane.NewRoutes(), 0
	words := map[gateway.Dialect]string{
		gateway.DialectOpenAI: "openai", gateway.DialectResponses: "openai-responses", gateway.DialectAnthropic: "anthropic", gateway.DialectOllama: "ollama",
	}
	for path, methods := range doc.Paths {
		for method, o := range methods {
			if o.Dialect == "" {
				if routes.Serves(path) && path != "/api/test-templates" {
					t.Errorf("%s %s belongs to the data plane, but has no dialect", method, path)
				}
				continue
			}
			known++
			address := strings.NewReplacer("{model}", "a/b", "{digest}", "sha256:0", "{token}", "sk-fake").Replace(path)
			_, _, route, err := routes.Resolve(strings.ToUpper(method), address)
			if err != nil || words[route.Dialect] != o.Dialect {
				t.Errorf("%s %s: %v, dialect %s, documented as %s", method, path, err, words[route.Dialect], o.Dialect)
			}
			if _, refused := o.Responses["403"]; refused != (route.Service == gateway.ServiceForbidden) {
				t.Errorf("%s %s: documented as refused: %v", method, path, refused)
			}
		}
	}
	if known != 31 {
		t.Errorf("%d addresses of the data plane", known)
	}
}
