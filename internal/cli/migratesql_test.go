package cli

import "testing"

func TestMigrateSQL(t *testing.T) {
	p := stopped(t)
	plain, rest := p.ok(t, "", "migrate", "sql").out, p.ok(t, "", "migrate", "sql", "--rest").out
	for _, script := range []string{plain, rest} {
		wantAll(t, script, "-- Ollama API Pool", "create table if not exists ollama_api_keys (", "create table if not exists openrouter_api_keys (",
			"create table if not exists pool_schema", "commit;")
	}
	wantAll(t, rest, "SUPABASE_SERVICE_ROLE_KEY", "function public.ollama_api_pool_sql(request jsonb)", "revoke all on table", "notify pgrst")
	wantNone(t, plain, "SUPABASE_SERVICE_ROLE_KEY", "ollama_api_pool_sql", "revoke")
	p.fails(t, exitUsage, "", "", "migrate", "sql", "more")
}
