package browser

import (
	"net/http"
	"sync"
	"testing"
)

// TestLoginLook looks at the login.
func TestLoginLook(t *testing.T) {
	t.Parallel()
	p := NewPage(t, Shared(t))
	p.matrix("login", "/dashboard", nil)
}

// TestLogin stumbles and gets in, where one wanted to be.
func TestLogin(t *testing.T) {
	t.Parallel()
	s := Start(t)
	p := NewPage(t, s)
	p.Open("/dashboard/tokens?page=2")
	if got := p.Title(); got != "Log in · Ollama API Pool" {
		t.Errorf("the title is %q", got)
	}
	p.WaitFocus("Admin token")
	p.Click("button", "Log in")
	p.WaitText("Enter the admin token.")
	p.Expect(http.StatusUnauthorized)
	p.Fill("Admin token", "not the right one")
	p.Press("Enter")
	p.WaitText("That token is not right.")
	if invalid := p.Attr("textbox", "Admin token", "aria-invalid"); invalid != "true" {
		t.Errorf("the field says aria-invalid=%q", invalid)
	}
	p.Click("button", "Show the token")
	if kind := p.Attr("textbox", "Admin token", "type"); kind != "text" {
		t.Errorf("the token that is shown stands in a field of type %q", kind)
	}
	p.Fill("Admin token", s.AdminToken())
	p.Check("Keep me logged in")
	p.Click("button", "Log in")
	p.Wait("navigation", "Main")
	p.Ready()
	if at := p.URL(); at != "/dashboard/tokens?page=2" {
		t.Errorf("after the login one is at %s", at)
	}
	p.Reload()
	p.Wait("navigation", "Main")
	if left := Eval[string](p, `JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}])`); left != `["",{},{}]` {
		t.Errorf("scripts can read %s", left)
	}
	p.Click("button", "Log out")
	p.Wait("heading", "Log in")
	p.Reload()
	p.Wait("heading", "Log in")
}

// TestTooManyTries is told to wait.
func TestTooManyTries(t *testing.T) {
	t.Parallel()
	s := Start(t)
	var tries sync.WaitGroup // side by side, as each is answered more slowly
	for range 40 {
		tries.Go(func() {
			if _, _, err := s.call(http.MethodPost, "/admin/login", "", map[string]any{"token": "fake-wrong-token"}); err != nil {
				t.Error(err)
			}
		})
	}
	tries.Wait()
	p := NewPage(t, s)
	p.Open("/dashboard")
	p.Expect(http.StatusTooManyRequests)
	p.Fill("Admin token", "not the right one")
	p.Click("button", "Log in")
	p.WaitText("Too many wrong tries. Wait ")
}

// TestSessionEnds loses the session in the middle of work, and comes back to it.
func TestSessionEnds(t *testing.T) {
	t.Parallel()
	s := Start(t)
	s.Fill(t)
	p := LoggedIn(t, s, "/dashboard/keys?status=disabled")
	p.LogOut()
	p.Expect(http.StatusUnauthorized)
	p.In("navigation", "Main").Click("link", "Tokens")
	p.WaitText("Your session has ended.")
	p.WaitURL("/dashboard/tokens")
	p.Fill("Admin token", s.AdminToken())
	p.Press("Enter")
	p.Wait("heading", "Tokens")
	p.WaitText("billing-service")
	p.Back()
	p.WaitURL("/dashboard/keys?status=disabled")
	p.Wait("navigation", "Main")
}

// TestTwoTabs logs in and out in one window, and the other follows.
func TestTwoTabs(t *testing.T) {
	t.Parallel()
	s := Start(t)
	s.Fill(t)
	one := LoggedIn(t, s, "/dashboard/keys")
	two := one.NewTab()
	two.Open("/dashboard/tokens")
	two.WaitText("billing-service")
	one.Click("button", "Log out")
	one.Wait("heading", "Log in")
	two.WaitText("Your session has ended.")
	one.Fill("Admin token", s.AdminToken())
	one.Press("Enter")
	one.Wait("navigation", "Main")
	two.WaitText("billing-service")
	one.Ready()
	two.Click("button", "Log out") // with the token of the session that the other window began
	two.Wait("heading", "Log in")
	one.WaitText("Your session has ended.")
}
