package browser

import (
	"fmt"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/simulator"
)

// TestRestart ends the server under an open page and starts it again. The page
// says so, comes back by itself, and follows what happens again.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := Start(t)
	s.Import(t, gateway.Ollama, FakeKey(gateway.Ollama, simulator.FateOK, 0))
	p := LoggedIn(t, s, "/dashboard")
	keys := p.In("navigation", "Main")
	keys.Wait("link", "Keys 1")
	p.Tolerate("net::ERR_")
	s.Stop(t)
	p.WaitText("The server does not answer.")
	s.Restart(t)
	p.WaitGone("The server does not answer.")
	s.Import(t, gateway.Ollama, FakeKey(gateway.Ollama, simulator.FateOK, 1))
	keys.Wait("link", "Keys 2")
}

// TestRestartUnderAct has an act that meets no server: it says so, and works when
// it is tried again.
func TestRestartUnderAct(t *testing.T) {
	t.Parallel()
	s := Start(t)
	p := LoggedIn(t, s, "/dashboard")
	p.Tolerate("net::ERR_")
	s.Stop(t)
	p.In("navigation", "Main").Click("link", "Tokens")
	p.Wait("button", "Try again")
	s.Restart(t)
	p.Click("button", "Try again")
	p.WaitCount("button", "Try again", 0)
	p.WaitURL("/dashboard/tokens")
}

// hostileName would do something in a page that took it for HTML.
const hostileName = `<img src=x onerror="window.ran='name'"><script>window.ran='script'</script>&amp;"'`

// TestHTMLInNames has a key, a token and a model with HTML in their names: the
// pages show it as it is.
func TestHTMLInNames(t *testing.T) {
	t.Parallel()
	s := Start(t)
	Admin[any](t, s, "POST", "/admin/api-keys", map[string]any{"api_key": FakeKey(gateway.Ollama, simulator.FateOK, 0), "username": hostileName})
	Admin[any](t, s, "POST", "/admin/api-keys", map[string]any{"api_key": FakeKey(gateway.Ollama, simulator.FateRevoked, 0), "username": hostileName + "2"})
	token := s.Token(t, hostileName)
	for range 4 {
		s.Chat(t, token, "gpt-oss:20b", false)
	}
	s.Chat(t, token, strings.ReplaceAll(hostileName, "/", "|"), false)
	p := LoggedIn(t, s, "/dashboard")
	for at, name := range map[string]string{
		"/dashboard": "", "/dashboard/keys": hostileName, "/dashboard/keys?search=" + "%3Cimg": hostileName, "/dashboard/tokens": hostileName,
		"/dashboard/requests": strings.ReplaceAll(hostileName, "/", "|"), "/dashboard/analytics": "", "/stats": "",
	} {
		p.Open(at)
		p.WaitText(name)
		p.Settle()
		if made := Eval[int](p, `document.querySelectorAll('img, #app script, main script').length`); made != 0 {
			t.Errorf("%s: the name became %d elements", at, made)
		}
		if ran := Eval[any](p, "window.ran"); ran != nil {
			t.Errorf("%s: the %v has run", at, ran)
		}
	}
}

// firstView is the most that may come over the wire before the dashboard shows
// its figures.
const firstView = 200_000

// TestHundredThousandKeys opens the dashboard of a large pool: little is sent,
// and the figures are there.
func TestHundredThousandKeys(t *testing.T) {
	t.Parallel()
	s := Start(t)
	const many = 100_000
	var lines strings.Builder
	for n := range many {
		_, _ = fmt.Fprintf(&lines, "account-%d@example.com----fake-many-browser-key-%06d\n", n/3, n)
	}
	got := Admin[struct{ Added int }](t, s, "POST", "/admin/api-keys/import-from-txt", lines.String())
	if got.Added != many {
		t.Fatalf("%d keys were added", got.Added)
	}
	p := LoggedIn(t, s, "/dashboard")
	p.In("navigation", "Main").Wait("link", "Keys 100,000")
	p.In("main", "").WaitText("100,000")
	p.Weigh("dashboard", firstView)
	p.Open("/dashboard/keys")
	p.In("main", "").WaitText("100,000")
	p.Weigh("keys", firstView)
}

// Weigh fails the test where more came over the wire since the page was opened
// than it may, and tells what.
func (p *Page) Weigh(name string, most int) {
	p.t.Helper()
	if got := p.Transferred(); got > most || got == 0 {
		p.t.Errorf("%s: %d bytes came over the wire, %d may", name, got, most)
		for _, r := range p.Requests() {
			p.t.Errorf("  %7d %s %s", r.Bytes, r.Method, r.URL)
		}
	}
}
