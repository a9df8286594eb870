package browser

import (
	"net/http"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/simulator"
	"ollama-api-pool/internal/testkit"
)

// TestSettingsSecrets plants secrets in settings and finds none of them on the
// page, nor in anything that it was sent.
func TestSettingsSecrets(t *testing.T) {
	t.Parallel()
	secrets := []string{strings.Repeat("0123456789abcdef", 4), "planted-redis-password", "planted-proxy-password"}
	s := Start(t, "ENCRYPTION_KEY="+secrets[0], "REDIS_URL=redis://:"+secrets[1]+"@127.0.0.1:9/0", "MAX_RETRIES=2")
	p := LoggedIn(t, s, "/dashboard/settings")
	p.WaitText("SQLite, embedded", "Encrypted", "Out of reach since", "Ollama", "In use", "this one", "127.0.0.1:9")
	p.Row("ENCRYPTION_KEY").WaitText("set", "environment", "AES-256-GCM")
	p.Row("MAX_RETRIES").WaitText("2", "default: 3", "environment", "Further attempts")
	p.Row("KEY_FAILED_SECONDS").WaitText("3600", "default")
	p.Row("SUPABASE_SERVICE_ROLE_KEY\n").WaitText("not set")
	all := Eval[string](p, `Promise.all(["/admin/settings", "/admin/instances", "/admin/overview"].map(a => fetch(a).then(r => r.text()))).then(t => t.join("") + document.documentElement.outerHTML)`)
	for _, secret := range append(secrets, s.AdminToken()) {
		if strings.Contains(all, secret) {
			t.Errorf("%s is there", secret)
		}
	}
}

// TestSettingsList searches, shows only what was changed, and copies a name.
func TestSettingsList(t *testing.T) {
	t.Parallel()
	p := LoggedIn(t, Shared(t), "/dashboard/settings")
	type list struct {
		Settings []struct{ Name, Source, Help string }
	}
	all := Admin[list](t, p.Server(), "GET", "/admin/settings", nil).Settings
	changed := 0
	for _, s := range all {
		if s.Source != "default" {
			changed++
		}
	}
	rows := `document.querySelectorAll(".settings > li").length`
	if n := Eval[int](p, rows); n != len(all) {
		t.Errorf("of %d settings %d are shown", len(all), n)
	}
	p.Check("Only what was changed")
	p.WaitURL("/dashboard/settings?changed=true")
	if n := Eval[int](p, rows); n != changed || changed == 0 {
		t.Errorf("of %d that were changed %d are shown", changed, n)
	}
	p.Press("/")
	p.Fill("Search settings", "stream idle")
	p.WaitText("No setting matches “stream idle”", "Only settings that were changed are shown")
	p.Uncheck("Only what was changed")
	p.WaitURL("/dashboard/settings?q=stream+idle")
	p.Row("STREAM_IDLE_TIMEOUT").Click("button", "Copy STREAM_IDLE_TIMEOUT")
	if got := p.Copied(); got != "STREAM_IDLE_TIMEOUT" {
		t.Errorf("copied %q", got)
	}
	p.Reload()
	p.Row("STREAM_IDLE_TIMEOUT").WaitText("300s")
	p.Fill("Search settings", "no such thing")
	p.Click("button", "Clear search")
	p.Row("LISTEN_ADDR").WaitText("environment")
	p.Await("an address without a search", `location.search === ""`)

	// Every setting is explained in Chinese, and by its own name.
	p.Look(View{Width: 1440, Lang: "zh"})
	p.Reload()
	p.WaitText("监听的地址和端口")
	if n := Eval[int](p, `document.querySelectorAll(".settings .help[lang=en]").length`); n != 0 {
		t.Errorf("%d settings are explained in English", n)
	}
}

// TestSettingsCache clears the caches, by a pattern and all, and sees it.
func TestSettingsCache(t *testing.T) {
	t.Parallel()
	up := testkit.NewUpstream(t)
	up.Always(testkit.JSON(200, `{"id":"x","object":"chat.completion","choices":[{"message":{"role":"assistant","content":"kept"}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}`))
	s := Start(t, "OLLAMA_BASE_URL="+up.URL, "RESPONSE_CACHE_TTL=600")
	s.Import(t, gateway.Ollama, FakeKey(gateway.Ollama, simulator.FateOK, 0))
	token := s.Token(t, "asks")
	for _, model := range []string{"one", "one", "two", "three"} {
		s.Chat(t, token, model, false)
	}
	p := LoggedIn(t, s, "/dashboard/settings")
	cache := p.In("region", "Cache")
	cache.WaitText("3 answers, 0 model lists", "25.0% of lookups")
	cache.Click("button", "Clear")
	d := p.In("dialog", "Clear 3 entries of the cache")
	d.Choose("What goes", "Only some models")
	p.In("dialog", "Clear a part").Click("button", "Clear")
	p.WaitText("Name the models")
	p.Fill("Models", "t*")
	p.In("dialog", "Clear a part").Click("button", "Clear")
	p.WaitText("2 entries cleared")
	cache.WaitText("1 answer, 0 model lists")
	cache.Click("button", "Clear")
	p.In("dialog", "Clear 1 entry").Click("button", "Clear")
	cache.WaitText("0 answers, 0 model lists")
	type stats struct{ TotalEntries int }
	if got := Admin[stats](t, s, "GET", "/admin/cache/stats", nil); got.TotalEntries != 0 {
		t.Errorf("%+v", got)
	}
}

// TestSettingsErrors begins while the program cannot tell, and finds out later;
// what is there stays when it cannot tell any more.
func TestSettingsErrors(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	px := behind(t, s)
	p := px.open(t, s, "/dashboard/tokens")
	p.Expect(502)
	broken := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/admin/settings" && r.URL.Path != "/admin/cache/stats" {
			pass()
		}
		page502(w)
	}
	px.follow(broken)
	p.In("navigation", "Main").Click("link", "Settings")
	p.WaitText("The settings could not be loaded", "The storage could not be looked at", "The figures of the cache could not be loaded")
	px.follow(nil)
	p.In("region", "Configuration").Click("button", "Try again")
	p.Row("LISTEN_ADDR").WaitText("environment")
	p.In("region", "Cache").Click("button", "Try again")
	p.In("region", "Cache").WaitText("Misses")
	px.follow(broken)
	p.WaitText("What is shown may be old") // it is asked again every ten seconds
	p.Row("LISTEN_ADDR").WaitText("environment")
	px.follow(nil)
}

// TestSettingsSession tells how keys are encrypted, and ends the session.
func TestSettingsSession(t *testing.T) {
	t.Parallel()
	p := LoggedIn(t, Shared(t), "/dashboard/settings")
	p.WaitText("Upstream keys are stored without encryption")
	p.In("region", "Storage").Click("button", "How to encrypt them")
	p.In("dialog", "").Click("button", "Close")
	for _, address := range []string{"/health", "/metrics", "/openapi.json"} { // its links, with the session alone
		if status := Eval[int](p, `fetch("`+address+`").then(r => r.status)`); status != 200 {
			t.Errorf("%s: %d", address, status)
		}
	}
	p.In("region", "Program").Click("button", "Log out")
	p.Wait("button", "Log in")
	if status := Eval[int](p, `fetch("/admin/session?optional=true").then(r => r.json()).then(s => s.csrfToken ? 1 : 0)`); status != 0 {
		t.Error("there is still a session")
	}
}
