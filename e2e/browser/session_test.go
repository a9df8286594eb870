package browser

import (
	"fmt"
	"net/http"
	"testing"
)

// TestLoginElsewhere begins another session behind the page's back, where
// windows cannot tell each other: the next act meets a wrong CSRF token, takes
// the right one, and is done.
func TestLoginElsewhere(t *testing.T) {
	t.Parallel()
	s := StartRaced(t)
	p := LoggedIn(t, s, "/dashboard/nowhere")
	p.Expect(http.StatusNotFound, http.StatusForbidden)
	again := func() {
		if !Eval[bool](p, fmt.Sprintf(`fetch("/admin/login", {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({token: %q})}).then((r) => r.ok)`, s.AdminToken())) {
			t.Fatal("no login")
		}
	}
	again()
	name := inside[string](p, `return (await `+module("lib/api.js")+`.post("/admin/tokens", {name: "twice", provider: "all"})).name`)
	if n := Admin[struct{ Total int }](t, s, "GET", "/admin/tokens", nil).Total; name != "twice" || n != 1 {
		t.Errorf("%d tokens were made, the last is %q", n, name)
	}
	again()
	added := inside[int](p, `return (await `+module("lib/upload.js")+`.upload("/admin/api-keys/import-from-txt", {body: new Blob(["fake-key-of-upload-0001"]), type: "text/plain"})).added`)
	if added != 1 {
		t.Errorf("%d keys were added", added)
	}
	refused := 0
	for _, r := range p.Requests() {
		if r.Status == http.StatusForbidden {
			refused++
		}
	}
	if refused != 2 {
		t.Errorf("%d calls were refused, and not one for each login", refused)
	}
	p.Click("button", "Log out")
	p.Wait("heading", "Log in")
}

// TestOtherTokens makes calls with a token of their own: that such a token is
// refused says nothing about the session.
func TestOtherTokens(t *testing.T) {
	t.Parallel()
	p := LoggedIn(t, Shared(t), "/dashboard/nowhere")
	p.Expect(http.StatusNotFound, http.StatusUnauthorized)
	status := inside[int](p, `const api = `+module("lib/api.js")+`;
		const of = (path) => api.send("POST", path, { json: {}, headers: { Authorization: "Bearer sk-not-a-token" } }).then(() => 0, (e) => e.status);
		return 1000 * await of("/v1/chat/completions") + await of("/admin/tokens");`)
	if status != 401_401 {
		t.Errorf("statuses %d", status)
	}
	p.Wait("navigation", "Main")
}
