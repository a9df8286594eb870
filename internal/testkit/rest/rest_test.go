package rest_test

import (
	"net/http"
	"strings"
	"testing"

	"ollama-api-pool/internal/testkit/rest"
	"ollama-api-pool/internal/testkit/servers"
)

func TestMain(m *testing.M) { servers.Main(m) }

// TestStrict: what PostgREST, or the gateway before it, would refuse is refused.
func TestStrict(t *testing.T) {
	t.Parallel()
	s := rest.Start(t, servers.SharedPostgres(t).Database(t))
	if err := s.Run(t.Context(), `create function public.ollama_api_pool_sql(request jsonb) returns json language sql volatile as 'select to_json(current_user::text)';
		create function public.ollama_api_pool_read(request jsonb) returns json language sql stable set statement_timeout = '4s'
			as 'select to_json(current_setting(''transaction_read_only'') || current_setting(''statement_timeout''))'`); err != nil {
		t.Fatal(err)
	}
	s.Limit = 1000
	for _, c := range []struct {
		what, method, path, apikey, bearer, kind, body string
		status                                         int
		answer                                         string
	}{
		{what: "a call", status: 200, answer: `"service_role"`},
		{what: "as a browser", bearer: rest.AnonKey, status: 200, answer: `"anon"`},
		{what: "what only reads", path: "/rest/v1/rpc/ollama_api_pool_read", status: 200, answer: `"on4s"`},
		{what: "another method", method: http.MethodPut, status: 405, answer: "PGRST101"},
		{what: "another path", path: "/rpc/ollama_api_pool_sql", status: 404},
		{what: "another function", path: "/rest/v1/rpc/nothing", status: 404, answer: "PGRST202"},
		{what: "no key", apikey: "-", status: 401},
		{what: "another key", apikey: "some-key", status: 401},
		{what: "another token", bearer: "some-key", status: 401, answer: "PGRST301"},
		{what: "another type", kind: "text/plain", status: 415},
		{what: "no JSON", body: "x", status: 400, answer: "PGRST102"},
		{what: "another argument", body: `{"other": {}}`, status: 404, answer: "PGRST202"},
		{what: "too large", body: `{"request": "` + strings.Repeat("x", 2000) + `"}`, status: 413},
	} {
		or := func(given, usual string) string {
			if given == "" {
				return usual
			}
			return strings.TrimSuffix(given, "-")
		}
		req, err := http.NewRequestWithContext(t.Context(), or(c.method, http.MethodPost), s.URL+or(c.path, "/rest/v1/rpc/ollama_api_pool_sql"),
			strings.NewReader(or(c.body, `{"request": {}}`)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("apikey", or(c.apikey, rest.ServiceKey))
		req.Header.Set("Authorization", "Bearer "+or(c.bearer, rest.ServiceKey))
		req.Header.Set("Content-Type", or(c.kind, "application/json"))
		res, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		_ = res.Write(&text)
		_ = res.Body.Close()
		if res.StatusCode != c.status || !strings.Contains(text.String(), c.answer) {
			t.Errorf("%s: %s, want %d with %q", c.what, text.String(), c.status, c.answer)
		}
	}
}
