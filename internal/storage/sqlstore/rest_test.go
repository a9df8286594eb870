package sqlstore

import (
	"fmt"
	"sync"
	"testing"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit/rest"
	"ollama-api-pool/internal/testkit/servers"
)

func TestConformanceOverPostgREST(t *testing.T) {
	t.Parallel()
	runConformance(t, func(t *testing.T) openStore { return onREST(t, startREST(t)) })
}

// onREST opens stores on one database behind PostgREST.
func onREST(t testing.TB, s *rest.Server) openStore {
	return func(o Options) *Store {
		t.Helper()
		o.REST = REST{URL: s.URL, Key: rest.ServiceKey}
		return mustOpen(t, o)
	}
}

// restDatabases are copies of one in which the script was run.
var restDatabases struct {
	template sync.Once
	mu       sync.Mutex // guards made
	made     int
}

const restTemplate = "with_functions"

// startREST serves a database with empty tables.
func startREST(t testing.TB) *rest.Server {
	t.Helper()
	p := servers.SharedPostgres(t)
	restDatabases.template.Do(func() {
		onServer(t, p, "create database "+restTemplate+" template template0 encoding 'UTF8' locale_provider icu icu_locale 'en-US' locale 'C.UTF-8'")
		if err := rest.Setup(t.Context(), p.URL(restTemplate), mustScript(t, true)); err != nil {
			t.Fatal(err)
		}
	})
	restDatabases.mu.Lock()
	restDatabases.made++
	name := fmt.Sprintf("rest_%d", restDatabases.made)
	restDatabases.mu.Unlock()
	onServer(t, p, "create database "+name+" template "+restTemplate)
	return rest.Start(t, p.URL(name))
}

func mustScript(t testing.TB, forREST bool) string {
	t.Helper()
	script, err := Script(forREST)
	if err != nil {
		t.Fatal(err)
	}
	return script
}

var _ = gateway.Ollama
