package browser

import (
	"fmt"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/simulator"
)

// TestKeyPanel opens the story of a key by a click, closes it with Escape, goes
// back and forward, and walks through the rows by keyboard.
func TestKeyPanel(t *testing.T) {
	t.Parallel()
	s := Start(t)
	importNamed(t, s, "side", simulator.FateOK, 4)
	p := LoggedIn(t, s, "/dashboard/keys?sort=username")
	id := oneKey(t, s, "side-001").ID
	p.Row("side-001").Click("link", "")
	p.WaitURL("/dashboard/keys?*key=" + id)
	pane := p.In("complementary", "")
	pane.WaitText("Serving", "has not been used yet", "What happened", "Added", "Attempts, last 24 h", id)
	p.WaitFocus(oneKey(t, s, "side-001").APIKey)
	p.Press("Escape")
	p.WaitCount("complementary", "", 0)
	p.Await("the focus in the row", fmt.Sprintf(`document.activeElement?.id === "row-%s"`, id))
	p.Back()
	pane.WaitText(id)
	p.Back()
	p.WaitCount("complementary", "", 0)

	p.Row("side-002").Part("td.b").ClickHere()
	pane.WaitText(oneKey(t, s, "side-002").ID)
	p.Press("j")
	pane.WaitText(oneKey(t, s, "side-003").ID)
	p.Press("k")
	p.Press("k")
	pane.WaitText(id)
	if open := p.Part("tr.is-open").Text(); !strings.Contains(open, "side-001") {
		t.Errorf("the open row is %q", open)
	}
	p.Open("/dashboard/keys?key=" + id)
	pane.WaitText("side-001@example.com")
	p.Open("/dashboard/keys?key=0123456789abcdef")
	p.Expect(404)
	pane.WaitText("This key is gone")
	p.Part(".pane .blank").Click("button", "Close")
	p.WaitURL("/dashboard/keys")
}

// TestKeyPanelActs reveals, copies, verifies, disables, enables and deletes one
// key from its panel.
func TestKeyPanelActs(t *testing.T) {
	t.Parallel()
	s := Start(t)
	importNamed(t, s, "act", simulator.FateOK, 2)
	whole, id := FakeKey(gateway.Ollama, simulator.FateOK, 0), oneKey(t, s, "act-000").ID
	p := LoggedIn(t, s, "/dashboard/keys?key="+id)
	pane := p.In("complementary", "")
	pane.WaitText("Serving")
	if strings.Contains(p.Text(), whole) {
		t.Fatal("the whole key is shown to everybody")
	}
	pane.Click("button", "Reveal the whole key")
	pane.WaitText(whole)
	pane.Click("button", "Copy the whole key")
	if got := p.Copied(); got != whole {
		t.Errorf("copied %q", got)
	}
	pane.Click("button", "Hide the key")
	pane.WaitGone(whole)
	if n := strings.Count(s.Log(), "revealed"); n == 0 {
		t.Error("the log does not tell that it was revealed")
	}
	if stored := Eval[string](p, "location.href + JSON.stringify({...localStorage, ...sessionStorage})"); strings.Contains(stored, whole) {
		t.Errorf("the key stands in %s", stored)
	}
	pane.Click("button", "Copy the id")
	if got := p.Copied(); got != id {
		t.Errorf("copied %q", got)
	}
	pane.Click("button", "More")
	p.Click("menuitem", "Copy a link to this key")
	if got := p.Copied(); !strings.HasSuffix(got, "/dashboard/keys?key="+id) {
		t.Errorf("copied %q", got)
	}

	pane.Click("button", "Verify")
	p.WaitText("The upstream accepts the key")
	pane.WaitText("Verified")
	pane.Click("button", "Disable for")
	d := p.In("dialog", "Disable 1 key")
	d.Choose("For how long", "Until enabled")
	d.Click("button", "Disable 1 key")
	pane.WaitText("Disabled by hand", "until somebody enables it", "Enable now")
	pane.Click("button", "Enable now")
	pane.WaitText("Serving")
	awaitKey(t, s, "act-000", "active", func(k keyShown) bool { return k.Status == "active" })

	pane.Click("button", "Delete key")
	d = p.In("dialog", "Delete 1 key?")
	d.WaitText("act-000@example.com", "It stops serving at once")
	d.Click("button", "Delete 1 key")
	p.WaitText("1 key deleted", "of 1")
	p.WaitURL("/dashboard/keys")
	if _, n := keysBy(t, s, ""); n != 1 {
		t.Errorf("%d keys are left", n)
	}
}

// TestKeyPanelWhy tells why keys are out, whose fault that is and what happens by
// itself.
func TestKeyPanelWhy(t *testing.T) {
	t.Parallel()
	s := Start(t)
	s.Import(t, gateway.Ollama,
		"quota@example.com----"+FakeKey(gateway.Ollama, simulator.FateOverQuota, 0), "quota@example.com----"+FakeKey(gateway.Ollama, simulator.FateOverQuota, 1),
		"revoked@example.com----"+FakeKey(gateway.Ollama, simulator.FateRevoked, 0), "good@example.com----"+FakeKey(gateway.Ollama, simulator.FateOK, 0),
		"plan@example.com----"+FakeKey(gateway.Ollama, simulator.FatePlan, 0))
	token := s.Token(t, "asks")
	for range 12 {
		s.Chat(t, token, "kimi-k2:1t", false)
	}
	p := LoggedIn(t, s, "/dashboard/keys?search=quota&sort=-last_used")
	p.Part("tbody tr .row-link").ClickHere()
	pane := p.In("complementary", "")
	pane.WaitText("Resting until", "This account is out of quota", "Nothing is wrong with the key", "It returns by itself in", "1 other key of quota@example.com", "429", "Out of quota, rests until", "2 keys, 2 at rest")
	pane.Click("button", "More")
	p.Click("menuitem", "End the rest")
	p.WaitText("Rest ended of 1 key")
	pane.WaitText("Serving")
	p.Fill("Search keys", "revoked")
	p.Row("revoked@example.com").WaitText("Failed", "back")
	p.Row("revoked@example.com").Click("link", "")
	pane.WaitText("Failed, back at", "speaks against the key", "401 · unauthorized", "Refused, out until")
	pane.In("list", "").Row("Refused, out").Click("link", "attempt")
	p.WaitURL("/dashboard/requests?*open=*")
	p.Back()
	p.Open("/dashboard/keys?search=plan")
	p.Row("plan@example.com").Click("link", "")
	pane.WaitText("Serving, but for 1 model", "Models it may not use", "kimi-k2:1t")
}

// TestKeyPanelGone has a key deleted elsewhere while its panel is open.
func TestKeyPanelGone(t *testing.T) {
	t.Parallel()
	s := Start(t)
	importNamed(t, s, "gone", simulator.FateOK, 2)
	k := oneKey(t, s, "gone-000")
	p := LoggedIn(t, s, "/dashboard/keys?key="+k.ID)
	pane := p.In("complementary", "")
	pane.WaitText("Serving")
	p.Expect(404)
	Admin[any](t, s, "DELETE", "/admin/api-keys", map[string]any{"apiKey": k.ID})
	pane.WaitText("This key is gone")
	p.WaitText("1–1 of 1")
}

// TestKeyPanelOnPhone lets the panel slide over the table: what lies below is out
// of reach, and Escape and the back button close it.
func TestKeyPanelOnPhone(t *testing.T) {
	t.Parallel()
	s := Start(t)
	importNamed(t, s, "phone", simulator.FateOK, 3)
	p := NewPage(t, s)
	p.Look(View{Width: 390})
	p.LogIn()
	p.Open("/dashboard/keys?sort=username")
	p.Row("phone-001").Click("link", "")
	d := p.In("dialog", "")
	d.WaitText("Serving", "phone-001@example.com")
	p.WaitCount("table", "Keys", 0)
	p.WaitCount("button", "Open navigation", 0)
	d.Click("button", "Close")
	p.Wait("table", "Keys")
	p.Row("phone-002").Click("link", "")
	d.WaitText("phone-002@example.com")
	p.Back()
	p.WaitCount("dialog", "", 0)
	p.Wait("button", "Open navigation")
}

// TestKeysOddNames shows accounts with long, right-to-left and other names as
// text that stays in its room.
func TestKeysOddNames(t *testing.T) {
	t.Parallel()
	s := Start(t)
	names := []string{strings.Repeat("very-long-account-", 11) + "@example.com", "مفتاح-الحساب@example.com", "🦙🔑 陈敏 <b>bold</b>", hostileName}
	for n, name := range names {
		Admin[any](t, s, "POST", "/admin/api-keys", map[string]any{"api_key": FakeKey(gateway.Ollama, simulator.FateOK, n), "username": name})
	}
	p := NewPage(t, s)
	p.LogIn()
	for _, width := range []int{1440, 768, 390} {
		p.Look(View{Width: width})
		for _, name := range names {
			p.Open("/dashboard/keys?key=" + oneKey(t, s, name[:24]).ID)
			p.Part(".pane").WaitText(name)
			p.Settle()
			if over := p.SideScroll(); over > 0 {
				t.Errorf("%d: the page is %d pixels too wide with %q: %s", width, over, name, p.widest())
			}
			if made := Eval[int](p, `document.querySelectorAll("#app img, #app script, main b.bold").length`); made != 0 {
				t.Errorf("the name became %d elements", made)
			}
		}
		p.Screenshot("keys-names")
	}
}
