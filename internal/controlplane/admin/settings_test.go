package admin_test

import (
	"strings"
	"testing"

	"ollama-api-pool/internal/testkit"
)

func TestSettings(t *testing.T) {
	encryption := strings.Repeat("0123456789abcdef", 4)
	p := start(t, "ENCRYPTION_KEY="+encryption, "MAX_RETRIES=2", "DISABLE_OPENROUTER=true", "OLLAMA_BASE_URL=http://127.0.0.1:9/base")
	p.plant(encryption, annaKey)
	p.alien = append(p.alien, encryption, annaKey) // keys are stored encrypted here
	p.call("POST /admin/api-keys", `{"api_key":"`+annaKey+`"}`)
	p.wantError("GET /admin/settings", "", 401, "authentication_error", "authentication_error", "wrong admin token", "Authorization", "Bearer x")
	var out struct {
		Version, StartedAt string
		Build              struct{ Go string }
		Settings           []struct {
			Name, Group, Source, Unset, Help string
			Value, Default                   *string
		}
		Storage struct {
			Engine, Path string
			Bytes        int64
			Encrypted    bool
		}
		Upstreams []struct {
			Provider, BaseURL, Breaker string
			Enabled                    bool
		}
	}
	p.read("GET /admin/settings", &out)
	if out.Version != "1.2.3-test" || out.StartedAt == "" || !strings.HasPrefix(out.Build.Go, "go1.") {
		t.Errorf("%+v", out)
	}
	if s := out.Storage; s.Engine != "sqlite" || !strings.HasPrefix(s.Path, p.dir) || s.Bytes == 0 || !s.Encrypted {
		t.Errorf("storage %+v", s)
	}
	if u := out.Upstreams; len(u) != 2 || u[0].Provider != "ollama" || u[0].BaseURL != "http://127.0.0.1:9/base" || !u[0].Enabled || u[0].Breaker != "closed" || u[1].Enabled {
		t.Errorf("upstreams %+v", u)
	}
	found := map[string]string{}
	for _, s := range out.Settings {
		value := "null"
		if s.Value != nil {
			value = *s.Value
		}
		if s.Unset == "" || !strings.HasSuffix(s.Help, ".") {
			t.Errorf("%s has no value: %q; it is for: %q", s.Name, s.Unset, s.Help)
		}
		def := "null"
		if s.Default != nil {
			def = *s.Default
		}
		found[s.Name] = value + " " + s.Source + ", else " + def
	}
	for name, want := range map[string]string{
		"ADMIN_TOKEN": "*** environment, else null", "ENCRYPTION_KEY": "*** environment, else null", "MAX_RETRIES": "2 environment, else 3",
		"KEY_FAILED_SECONDS": "3600 default, else 3600", "PUBLIC_SITE_URL": "null default, else null", "DISABLE_OPENROUTER": "true environment, else false",
	} {
		if found[name] != want {
			t.Errorf("%s: %q, want %q", name, found[name], want)
		}
	}
}

func TestCacheCalls(t *testing.T) {
	up := testkit.NewUpstream(t)
	up.Always(testkit.JSON(200, `{"id":"x","choices":[]}`))
	p := start(t, "OLLAMA_BASE_URL="+up.URL, "RESPONSE_CACHE_TTL=60")
	p.plant(annaKey)
	p.call("POST /admin/api-keys", `{"api_key":"`+annaKey+`"}`)
	m, _ := p.makeToken("POST /admin/tokens", `{"name":"t"}`)
	p.chat(m.Token, 3)
	var out struct {
		TotalEntries, Hits, Misses, Bytes int
		ByType                            map[string]int
	}
	p.wantError("GET /admin/cache/stats", "", 401, "authentication_error", "authentication_error", "wrong admin token", "Authorization", "Bearer x")
	p.read("GET /admin/cache/stats", &out)
	if out.TotalEntries != 1 || out.ByType["response"] != 1 || len(out.ByType) != 5 || out.Hits != 2 || out.Misses != 1 || out.Bytes == 0 {
		t.Errorf("%+v", out)
	}
	clearing := "POST /admin/cache/clear"
	p.wantError(clearing, "{}", 401, "authentication_error", "authentication_error", "wrong admin token", "Authorization", "Bearer x")
	p.wantInvalid(clearing, `{"scope":"some"}`, "scope must be all")
	p.wantInvalid(clearing, `{"scope":"all","pattern":"m"}`, "scope and pattern are both there: send one of them")
	p.wantInvalid(clearing, `{"pattern":7}`, `field "pattern" must be a string, not number`)
	p.want(clearing, `{"pattern":"llama*"}`, 200, `{"success":true,"message":"0 entries cleared","cleared":0}`)
	p.want(clearing, `{"scope":"all","force":true}`, 200, `{"success":true,"message":"1 entries cleared","cleared":1}`)
	p.want(clearing, "", 200, `{"success":true,"message":"0 entries cleared","cleared":0}`)
	if !strings.Contains(p.log.String(), `did="cache cleared" count=1`) {
		t.Error("clearing was not logged")
	}
}

func TestTemplates(t *testing.T) {
	p := start(t)
	a := p.call("GET /api/test-templates", "", "Authorization", "", "Origin", "https://ops.example")
	var out struct {
		Templates []struct {
			ID, Label, Description, SystemPrompt, UserMessage string
			Temperature                                       float64
		}
	}
	p.decode(a, &out)
	ids := map[string]bool{}
	for _, x := range out.Templates {
		if x.ID == "" || ids[x.ID] || x.Label == "" || x.Description == "" || x.SystemPrompt == "" || x.UserMessage == "" || x.Temperature < 0 || x.Temperature > 2 {
			t.Errorf("%+v", x)
		}
		ids[x.ID] = true
	}
	if len(ids) < 8 || !ids["hello"] || a.header.Get("Cache-Control") != "public, max-age=3600" ||
		a.header.Get("Access-Control-Allow-Origin") != "https://ops.example" || a.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%d templates, %v", len(ids), a.header)
	}
	if a := p.call("OPTIONS /api/test-templates", "", "Authorization", ""); a.status != 204 || a.header.Get("Allow") != "GET, HEAD, OPTIONS" {
		t.Errorf("OPTIONS: %d %v", a.status, a.header)
	}
	if a := p.call("POST /api/test-templates", "{}", "Authorization", ""); a.status != 405 {
		t.Errorf("POST: %d", a.status)
	}
}
