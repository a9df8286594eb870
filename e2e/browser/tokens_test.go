package browser

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/simulator"
)

// TestTokenFormLook looks at the form of a new token.
func TestTokenFormLook(t *testing.T) {
	t.Parallel()
	Matrix(t, Shared(t), "tokens-new", "/dashboard/tokens?new=1", func(p *Page) { p.Part("summary").ClickHere() })
}

// tokenOf is a token as the API lists it.
type tokenOf struct {
	ID, Name     string
	Providers    []string
	ExpiresAt    *time.Time `json:"expires_at"`
	RequestCount int
	Limits       *struct {
		Models, Networks                                            []string
		RequestsPerMinute, RequestsPerDay, TokensPerDay, Concurrent int
	}
}

// tokenNamed finds a token in the list of the API.
func tokenNamed(t *testing.T, s *Server, name string) tokenOf {
	t.Helper()
	list := Admin[struct{ Tokens []tokenOf }](t, s, "GET", "/admin/tokens", nil).Tokens
	i := slices.IndexFunc(list, func(k tokenOf) bool { return k.Name == name })
	if i < 0 {
		t.Fatalf("there is no token %q among %+v", name, list)
	}
	return list[i]
}

// TestMakeToken makes the first token: it is shown once, works, and is nowhere
// afterwards.
func TestMakeToken(t *testing.T) {
	t.Parallel()
	s := Start(t)
	s.Import(t, gateway.Ollama, FakeKey(gateway.Ollama, simulator.FateOK, 0))
	p := LoggedIn(t, s, "/dashboard/tokens")
	p.WaitText("No tokens yet")
	p.In("region", "Tokens").Click("link", "New token")
	d := p.In("dialog", "New token")
	d.Click("button", "Make token")
	d.WaitText("Give it a name.")
	d.Fill("Name", "reporting-job")
	d.Choose("Providers", "Ollama")
	d.Choose("Ends", "in 90 days")
	d.Click("button", "Make token")

	d = p.In("dialog", "Token for “reporting-job” is ready")
	d.WaitText("it cannot be shown again", "curl "+s.URL()+"/v1/chat/completions")
	if !unsent(p) {
		t.Error("the browser does not ask before a token is lost that was not copied")
	}
	d.Click("button", "Done")
	d.WaitText("You have not copied it.")
	d.Click("button", "Copy")
	token := p.Copied()
	if !strings.HasPrefix(token, "sk-") || s.Chat(t, token, "gpt-oss:20b", false) != http.StatusOK {
		t.Errorf("the token %.3s… does not work", token)
	}
	for tab, want := range map[string]string{
		"Python": `base_url="` + s.URL() + `/v1"`, "JavaScript": `"Authorization": "Bearer ` + token + `"`, "ollama": `export OLLAMA_HOST="` + s.URL() + "/t/" + token + `"`, "curl": "Bearer " + token,
	} {
		d.Choose("Example", tab)
		d.WaitText(want)
		d.Click("button", "Copy example")
		if got := p.Copied(); !strings.Contains(got, want) {
			t.Errorf("the example in %s is %s", tab, got)
		}
	}
	d.Click("button", "Done")
	p.WaitCount("dialog", "", 0)
	if kept := Eval[string](p, `JSON.stringify({...localStorage, ...sessionStorage}) + location.href + document.documentElement.outerHTML`); strings.Contains(kept, token) {
		t.Error("the page keeps the token")
	}
	p.Row("reporting-job").WaitText("Ollama", token[:4], "1")
	k := tokenNamed(t, s, "reporting-job")
	if left := time.Until(*k.ExpiresAt).Hours() / 24; left < 89 || left > 90 || !slices.Equal(k.Providers, []string{"ollama"}) || k.Limits != nil {
		t.Errorf("the token is %+v", k)
	}
	if s.Chat(t, token, "openai/gpt-oss-20b:free", false) != http.StatusForbidden {
		t.Error("it is valid for the other provider")
	}
}

// TestTokenToPlayground hands a token that was just made to the playground, in
// memory alone.
func TestTokenToPlayground(t *testing.T) {
	t.Parallel()
	s := Start(t)
	p := LoggedIn(t, s, "/dashboard/tokens?new=1")
	d := p.In("dialog", "New token")
	d.Fill("Name", "try")
	d.Choose("Providers", "OpenRouter")
	d.Click("button", "Make token")
	d = p.In("dialog", "Token for “try” is ready")
	d.Wait("tab", "curl")
	d.WaitCount("tab", "ollama", 0)
	d.WaitText(s.URL() + "/openrouter/v1/chat/completions")
	d.Click("link", "Try it in the playground")
	p.WaitURL("/dashboard/playground?provider=openrouter")
	if kept := Eval[string](p, `JSON.stringify({...localStorage, ...sessionStorage, history: history.state}) + location.href`); strings.Contains(kept, "sk-") {
		t.Errorf("the token is in %s", kept)
	}
}

// TestTokenLimits limits a token, uses it up, and takes the limits away.
func TestTokenLimits(t *testing.T) {
	t.Parallel()
	s := Start(t)
	s.Import(t, gateway.Ollama, FakeKey(gateway.Ollama, simulator.FateOK, 0))
	token := s.Token(t, "intern")
	p := LoggedIn(t, s, "/dashboard/tokens")
	p.Click("link", "Edit intern")
	d := p.In("dialog", "Token “intern”")
	p.WaitURL("/dashboard/tokens?token=*")
	d.Part("summary").ClickHere()
	for _, bad := range []string{"a few", "1.5"} {
		d.Fill("Requests a day (UTC)", bad)
		d.Click("button", "Save")
		d.WaitText("A whole number, or nothing.")
		d.Fill("Requests a day (UTC)", "2")
		d.WaitGone("A whole number, or nothing.")
	}
	d.Fill("Tokens used a day", "1,000,000")
	d.Fill("Models", "gpt-oss*\nqwen3*")
	d.Fill("Networks", "not a network")
	p.Expect(400)
	d.Click("button", "Save")
	d.WaitText("neither an address nor a network")
	d.Fill("Networks", "127.0.0.0/8")
	d.Fill("Name", "intern <b>two</b>")
	d.Click("button", "Save")
	p.WaitText("“intern <b>two</b>” is changed")
	k := tokenNamed(t, s, "intern <b>two</b>")
	if l := k.Limits; l == nil || l.RequestsPerDay != 2 || l.TokensPerDay != 1_000_000 || !slices.Equal(l.Models, []string{"gpt-oss*", "qwen3*"}) || !slices.Equal(l.Networks, []string{"127.0.0.0/8"}) {
		t.Errorf("the limits are %+v", l)
	}
	for n, want := range []int{http.StatusOK, http.StatusOK, http.StatusTooManyRequests} {
		if got := s.Chat(t, token, "gpt-oss:20b", false); got != want {
			t.Errorf("request %d: status %d, want %d", n+1, got, want)
		}
	}
	p.Reload()
	p.Row("intern <b>two</b>").WaitText("2 a day, 1\u202fM tokens a day, 2 models, 1 network", "100.0% used")
	p.Click("link", "Edit intern <b>two</b>")
	d = p.In("dialog", "Token “intern <b>two</b>”")
	d.WaitText("2 of 2")
	for _, field := range []string{"Requests a day (UTC)", "Tokens used a day", "Models", "Networks"} {
		d.Fill(field, "")
	}
	d.Choose("Ends", "in 1 day")
	d.Click("button", "Save")
	p.WaitText("is changed")
	p.WaitCount("dialog", "", 0)
	k = tokenNamed(t, s, "intern <b>two</b>")
	if left := time.Until(*k.ExpiresAt); k.Limits != nil || left > 24*time.Hour || left < 23*time.Hour {
		t.Errorf("the token is %+v", k)
	}
	p.Row("intern <b>two</b>").WaitText("none", "in ")
	if got := s.Chat(t, token, "deepseek-v3.1:671b", false); got != http.StatusOK {
		t.Errorf("without limits: status %d", got)
	}
	// The dialog has an address: back opens and closes it.
	p.Back()
	p.Wait("dialog", "Token “intern <b>two</b>”")
	p.Press("Escape")
	p.WaitCount("dialog", "", 0)
	p.WaitURL("/dashboard/tokens")
}

// TestRevokeToken revokes a token after a question, and one that somebody else
// revoked before.
func TestRevokeToken(t *testing.T) {
	t.Parallel()
	s := Start(t)
	s.Import(t, gateway.Ollama, FakeKey(gateway.Ollama, simulator.FateOK, 0))
	token := s.Token(t, "old-frontend")
	s.Token(t, "other")
	s.Chat(t, token, "gpt-oss:20b", false)
	p := LoggedIn(t, s, "/dashboard/tokens")
	p.Fill("Search tokens", token) // it is found, and kept out of the address
	p.WaitText("1–1 of 1")
	p.Row("old-frontend").Wait("button", "Revoke old-frontend")
	if at := p.URL(); at != "/dashboard/tokens" {
		t.Errorf("the address is %s", strings.ReplaceAll(at, token, "(the token)"))
	}
	p.Fill("Search tokens", "")
	p.WaitText("1–2 of 2")
	p.Click("button", "Revoke old-frontend")
	d := p.In("dialog", "Revoke 1 token, “old-frontend”?")
	d.WaitText("at once, on all instances", "used for 1 request")
	d.Click("button", "Cancel")
	p.WaitCount("dialog", "", 0)
	if got := s.Chat(t, token, "gpt-oss:20b", false); got != http.StatusOK {
		t.Errorf("after Cancel: status %d", got)
	}
	p.Click("button", "Revoke old-frontend")
	d.Click("button", "Revoke")
	p.WaitText("“old-frontend” is revoked")
	p.In("table", "Tokens").WaitGone("old-frontend")
	if got := s.Chat(t, token, "gpt-oss:20b", false); got != http.StatusUnauthorized {
		t.Errorf("a revoked token: status %d", got)
	}
	p.Click("button", "Revoke other")
	d = p.In("dialog", "Revoke 1 token, “other”?")
	d.WaitText("never used")
	Admin[any](t, s, "DELETE", "/admin/tokens", map[string]string{"token": tokenNamed(t, s, "other").ID})
	p.Expect(404)
	d.Click("button", "Revoke")
	p.WaitText("No tokens yet")
}

// TestTokensMany searches, sorts and pages 230 tokens, of which some have odd names.
func TestTokensMany(t *testing.T) {
	t.Parallel()
	s := Start(t)
	odd := []string{`<img src=x onerror="window.hit=1">`, strings.Repeat("a very long name ", 6)[:100], "陈敏的笔记本"}
	for n := range 230 {
		name := fmt.Sprintf("client-%03d", n)
		if n < len(odd) {
			name = odd[n]
		}
		s.Token(t, name)
	}
	p := LoggedIn(t, s, "/dashboard/tokens")
	p.WaitText("230 tokens, 0 used in the last 24 h", "1–50 of 230")
	p.Choose("Rows per page", "200")
	p.WaitURL("/dashboard/tokens?pageSize=200")
	p.WaitCount("link", "Edit ", 200)
	p.Click("button", "Next page")
	p.WaitText("201–230 of 230")
	p.Fill("Search tokens", "client-22")
	p.WaitText("1–10 of 10")
	p.Click("button", "Name")
	p.WaitURL("/dashboard/tokens?pageSize=200&search=client-22&sort=name")
	first := func() string {
		return Eval[string](p, `document.querySelector("tbody .name").innerText`)
	}
	if got := first(); got != "client-220" {
		t.Errorf("the first by name is %s", got)
	}
	p.Click("button", "Name")
	p.Await("the last by name first", `document.querySelector("tbody .name").innerText === "client-229"`)
	p.Reload()
	if got := first(); got != "client-229" || p.Value("Search tokens") != "client-22" {
		t.Errorf("after a reload the first is %s", got)
	}
	p.Fill("Search tokens", "nobody")
	p.WaitText("No token is called that")
	p.Click("button", "Show all")
	p.Fill("Search tokens", "<IMG")
	p.WaitText(odd[0])
	if Eval[bool](p, "window.hit === 1") {
		t.Error("a name ran as a script")
	}
	p.Look(View{Width: 390})
	p.Fill("Search tokens", "a very long")
	p.WaitText("a very long name a very long name")
	if over := p.SideScroll(); over > 0 {
		t.Errorf("the page is %d pixels wider than the window", over)
	}
	p.Screenshot("tokens-long")
}

// TestTokensWithoutStore makes a token while the store is out of reach: the form
// stays and says why, and so does the list.
func TestTokensWithoutStore(t *testing.T) {
	t.Parallel()
	s := Start(t)
	p := LoggedIn(t, s, "/dashboard/tokens?new=1")
	d := p.In("dialog", "New token")
	d.Fill("Name", "later")
	Eval[any](p, `void (window.through = window.fetch, window.fetch = (url, options) => String(url).includes("/admin/tokens")
		? Promise.resolve(new Response('{"error":{"message":"the store is out of reach; try again soon","type":"api_error","code":"unavailable","param":null}}',
			{status: 503, headers: {"Content-Type": "application/json", "X-Request-Id": "fake-request"}})) : window.through(url, options))`)
	d.Click("button", "Make token")
	d.WaitText("out of reach", "fake-request")
	if left := d.Value("Name"); left != "later" {
		t.Errorf("the name is %q", left)
	}
	Eval[any](p, `void (window.fetch = window.through)`)
	d.Click("button", "Make token")
	p.Wait("dialog", "Token for “later” is ready")
	tokenNamed(t, s, "later")
}
