package browser

import (
	"testing"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/simulator"
)

// TestDialogFocus begins in a dialog where there is something to do, and is
// afterwards where one was.
func TestDialogFocus(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	got := Admin[struct {
		Keys []struct{ ID string } `json:"api_keys"`
	}](t, s, "GET", "/admin/api-keys?status=active&pageSize=1", nil)
	p := LoggedIn(t, s, "/dashboard/keys?key="+got.Keys[0].ID)
	pane := p.Part(".pane")
	pane.Click("button", "Disable for")
	p.WaitFocus("1 hour")
	p.Press("Escape")
	p.WaitFocus("Disable for…")
	pane.Click("button", "Delete key")
	p.WaitFocus("Cancel")
	p.Press("Escape")
	p.WaitFocus("Delete key")

	p.Open("/dashboard/keys?status=active&pageSize=5")
	p.Check("Select this page")
	p.Click("button", "Select all")
	p.In("region", "Selected keys").Click("button", "Verify")
	p.Await("focus on what verifies", `/^Verify \d+ keys$/.test(document.activeElement.innerText)`)
	p.Press("Escape")
	p.WaitFocus("Verify")

	p.Open("/dashboard/tokens")
	p.Click("link", "New token")
	p.WaitFocus("Name")
	p.Press("Escape")
	p.WaitFocus("New token")
}

// TestLoginFocus stays in the field that is empty.
func TestLoginFocus(t *testing.T) {
	t.Parallel()
	p := NewPage(t, Shared(t))
	p.Open("/dashboard")
	p.Click("button", "Log in")
	p.WaitText("Enter the admin token.")
	p.WaitFocus("Admin token")
}

// TestShortPages do not scroll by the little that is there for screen readers.
func TestShortPages(t *testing.T) {
	t.Parallel()
	p := LoggedIn(t, Start(t), "/dashboard")
	for _, path := range []string{"/dashboard", "/dashboard/keys", "/dashboard/tokens"} {
		p.Open(path)
		if over := Eval[int](p, `document.documentElement.scrollHeight - innerHeight`); over > 0 {
			t.Errorf("%s is %d pixels too high", path, over)
		}
	}
}

// TestRevokeKnowsUse asks what has become of a token since it was listed.
func TestRevokeKnowsUse(t *testing.T) {
	t.Parallel()
	s := Start(t)
	s.Import(t, gateway.Ollama, FakeKey(gateway.Ollama, simulator.FateOK, 0))
	token := s.Token(t, "in use")
	p := LoggedIn(t, s, "/dashboard/tokens")
	p.Row("in use").WaitText("never")
	s.Chat(t, token, "gpt-oss:20b", false)
	p.Click("button", "Revoke in use")
	p.In("dialog", "Revoke").WaitText("1 request")
}

// TestRailFits has nothing in the narrow navigation that does not fit there.
func TestRailFits(t *testing.T) {
	t.Parallel()
	p := LoggedIn(t, Shared(t), "/dashboard/settings")
	for _, lang := range []string{"", "zh"} {
		p.Look(View{Width: 768, Lang: lang})
		p.Reload()
		if over := Eval[string](p, `(n => [...n.querySelectorAll("a, button")].filter((e) => e.getBoundingClientRect().right > n.clientWidth).map((e) => e.title).join())(document.getElementById("nav"))`); over != "" {
			t.Errorf("in %q these stand out: %s", lang, over)
		}
	}
}
