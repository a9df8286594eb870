package app_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"ollama-api-pool/internal/testkit"
	"ollama-api-pool/internal/testkit/servers"
)

// What another program inserts into the database serves on every instance soon,
// also on the one that made its rows like ours, and what it deletes is gone.
func TestRowsOfAnotherProgram(t *testing.T) {
	url := servers.SharedPostgres(t).Database(t)
	a := start(t, "DATABASE_URL="+url)
	b := a.another()
	a.up.Always(testkit.JSON(http.StatusOK, done))
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	token := "sk-" + strings.Repeat("foreign", 7)
	for _, text := range []string{
		"insert into ollama_api_keys (api_key, username, status, created_at) values ('foreign-key-0001', 'someone@example.com', 'active', now())",
		"insert into ollama_api_client_tokens (token, name, created_at) values ('" + token + "', 'foreign', now())",
	} {
		if _, err := conn.Exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []*program{a, b} {
		becomes(t, "the key is there", soon, func() bool { return p.app.Keys() == 1 })
		becomes(t, "the token is there", soon, func() bool { return p.app.Tokens() == 2 })
		p.token = token
		p.serves(1)
	}
}
