package browser

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/simulator"
)

// keyShown is a key as the API lists it.
type keyShown struct {
	ID             string     `json:"id"`
	APIKey         string     `json:"api_key"`
	Username       string     `json:"username"`
	Status         string     `json:"status"`
	DisabledReason string     `json:"disabled_reason"`
	DisabledUntil  *time.Time `json:"disabled_until"`
	ExpiresAt      *time.Time `json:"expires_at"`
}

// keysBy lists the keys that a query finds.
func keysBy(t *testing.T, s *Server, query string) (keys []keyShown, total int) {
	t.Helper()
	got := Admin[struct {
		Keys  []keyShown `json:"api_keys"`
		Total int        `json:"total"`
	}](t, s, "GET", "/admin/api-keys?"+query, nil)
	return got.Keys, got.Total
}

// oneKey is the key that a search finds.
func oneKey(t *testing.T, s *Server, search string) keyShown {
	t.Helper()
	keys, total := keysBy(t, s, "search="+url.QueryEscape(search))
	if total != 1 {
		t.Fatalf("%d keys match %q", total, search)
	}
	return keys[0]
}

// importNamed adds keys of one fate, of accounts that are numbered from 0:
// name-000@example.com and so on.
func importNamed(t *testing.T, s *Server, name string, fate simulator.Fate, n int) {
	t.Helper()
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf("%s-%03d@example.com----%s", name, i, FakeKey(gateway.Ollama, fate, i))
	}
	s.Import(t, gateway.Ollama, lines...)
}

// importMany adds keys that the upstream does not know.
func importMany(t *testing.T, s *Server, n int) {
	t.Helper()
	var lines strings.Builder
	for i := range n {
		_, _ = fmt.Fprintf(&lines, "many-%06d@example.com----fake-unknown-browser-key-%06d\n", i, i)
	}
	if got := Admin[struct{ Added int }](t, s, "POST", "/admin/api-keys/import-from-txt", lines.String()); got.Added != n {
		t.Fatalf("%d keys were added", got.Added)
	}
}

func TestKeysLook(t *testing.T) {
	t.Parallel()
	Matrix(t, Shared(t), "keys", "/dashboard/keys?sort=username&pageSize=20", func(p *Page) {
		p.Part("tbody tr:nth-child(2) td.tick input").ClickHere()
		p.Part("tbody tr:nth-child(4) td.tick input").ClickHere()
		p.Part(".bulk").WaitText("2")
	})
}

func TestKeyPanelLook(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	id := gateway.IDOfKey(gateway.Secret(FakeKey(gateway.Ollama, simulator.FateRevoked, 0)))
	Matrix(t, s, "keys-panel", "/dashboard/keys?pageSize=20&key="+string(id), func(p *Page) { p.Part(".pane .why").WaitText("401") })
}

// TestKeysFind searches and filters; the address remembers it all, except what
// may be a secret.
func TestKeysFind(t *testing.T) {
	t.Parallel()
	s := Start(t)
	importNamed(t, s, "good", simulator.FateOK, 4)
	importNamed(t, s, "bad", simulator.FateRevoked, 3)
	const secret = "0123456789abcdef0123456789abcdef.fakeKEY" // by its looks
	s.Import(t, gateway.OpenRouter, secret)
	for range 3 {
		Admin[any](t, s, "POST", "/admin/keys/health-check", map[string]any{"status": "all"})
	}
	p := LoggedIn(t, s, "/dashboard/keys")
	table := p.In("table", "Keys")
	table.WaitCount("row", "", 8)

	p.Fill("Search keys", "good-00")
	p.WaitURL("/dashboard/keys?search=good-00")
	table.WaitCount("row", "", 5)
	p.Fill("Search keys", "nobody")
	p.WaitText("No key matches “nobody”")
	p.Click("button", "Clear search")
	table.WaitCount("row", "", 8)
	if got := p.Value("Search keys"); got != "" || p.URL() != "/dashboard/keys" {
		t.Errorf("after clearing the field has %q, the address is %s", got, p.URL())
	}
	p.Fill("Search keys", FakeKey(gateway.Ollama, simulator.FateOK, 2))
	table.WaitCount("row", "", 2)
	p.Row("good-002@example.com").WaitText("Active")
	if strings.Contains(p.URL(), "fake") {
		t.Errorf("a whole key is in the address: %s", p.URL())
	}
	p.Fill("Search keys", "")
	table.WaitCount("row", "", 8)
	p.Choose("Provider", "OpenRouter")
	p.Fill("Search keys", "nobody")
	p.WaitText("No key matches")
	p.Fill("Search keys", secret)
	table.WaitCount("row", "", 2)
	for _, r := range p.Requests() {
		if strings.Contains(r.URL, secret) {
			t.Errorf("a whole key was sent: %s", r.URL)
		}
	}
	p.Choose("Provider", "Ollama")
	table.WaitCount("row", "", 8)

	tabs := p.In("navigation", "Status")
	tabs.Click("link", "Active 4")
	p.WaitURL("/dashboard/keys?status=active")
	table.WaitCount("row", "", 5)
	p.Choose("Family", "kimi")
	p.WaitURL("/dashboard/keys?*category=kimi*")
	table.WaitCount("row", "", 2)
	p.Back()
	table.WaitCount("row", "", 5)
	p.Back()
	table.WaitCount("row", "", 8)
	p.Forward()
	table.WaitCount("row", "", 5)
	tabs.Click("link", "Expired 0")
	p.WaitText("No keys here: Expired")
	p.Click("button", "Show all keys")
	table.WaitCount("row", "", 8)

	p.Open("/dashboard/keys?reason=" + url.QueryEscape("401 unauthorized"))
	table.WaitCount("row", "", 4)
	p.Part(".chip.is-on").WaitText("401 unauthorized")
	p.Click("button", "Show all reasons")
	p.WaitURL("/dashboard/keys")
	table.WaitCount("row", "", 8)

	Admin[any](t, s, "DELETE", "/admin/api-keys?provider=openrouter", map[string]any{"apiKey": gateway.IDOfKey(secret)})
	p.Choose("Provider", "OpenRouter")
	p.WaitURL("/dashboard/keys?provider=openrouter")
	p.WaitText("No keys yet")
	if href := p.Part(".blank").Attr("link", "Add keys", "href"); href != "/dashboard/import?provider=openrouter" {
		t.Errorf("an empty pool leads to %q", href)
	}
}

// TestKeysOrder sorts by columns and by the list, turns pages, and corrects an
// address beyond the last.
func TestKeysOrder(t *testing.T) {
	t.Parallel()
	s := Start(t)
	importNamed(t, s, "page", simulator.FateOK, 45)
	p := LoggedIn(t, s, "/dashboard/keys?pageSize=20")
	first := func(name string) {
		t.Helper()
		p.Await(name+" first", fmt.Sprintf(`document.querySelector("tbody tr")?.innerText.includes(%q)`, name))
	}
	p.Click("button", "Account")
	first("page-000")
	if got := p.Attr("columnheader", "Account", "aria-sort"); got != "ascending" {
		t.Errorf("the column says %q", got)
	}
	p.Click("button", "Account")
	first("page-044")
	p.WaitURL("/dashboard/keys?*sort=-username*")
	p.Click("button", "Next page")
	first("page-024")
	p.Click("button", "Next page")
	first("page-004")
	p.WaitText("41–45 of 45")
	p.Back()
	first("page-024")
	p.Fill("Page", "1")
	p.Press("Enter")
	first("page-044")
	p.Choose("Rows per page", "50")
	p.WaitText("1–45 of 45")
	p.Choose("Order", "Account, A to Z")
	first("page-000")
	for _, column := range []string{"State", "Last used"} {
		p.Click("button", column)
		p.Ready()
		if got := p.Attr("columnheader", column, "aria-sort"); got == "" {
			t.Errorf("%s is not sorted", column)
		}
	}
	p.Open("/dashboard/keys?pageSize=20&page=9&sort=username")
	first("page-040")
	p.WaitURL("/dashboard/keys?*page=3*")
	p.Open("/dashboard/keys?pageSize=x&page=-1&sort=nonsense&status=all")
	p.WaitText("of 45")
}

// shiftTick ticks the box of a row with Shift held.
func shiftTick(p *Page, name string) {
	p.t.Helper()
	Eval[bool](p, fmt.Sprintf(`[...document.querySelectorAll("tbody tr")].find(r => r.innerText.includes(%q)).querySelector("input")
		.dispatchEvent(new MouseEvent("click", {bubbles: true, cancelable: true, shiftKey: true}))`, name))
}

// TestKeysChoose ticks keys: some, a range, a page, several pages, all.
func TestKeysChoose(t *testing.T) {
	t.Parallel()
	s := Start(t)
	importNamed(t, s, "pick", simulator.FateOK, 45)
	p := LoggedIn(t, s, "/dashboard/keys?pageSize=20&sort=username")
	p.Row("pick-002").Check("Select")
	bulk := p.In("region", "Selected keys")
	bulk.WaitText("1 selected")
	shiftTick(p, "pick-006")
	bulk.WaitText("5 selected")
	p.Row("pick-004").Uncheck("Select")
	bulk.WaitText("4 selected")
	p.Click("button", "Next page")
	p.Row("pick-021").Check("Select")
	bulk.WaitText("5 selected")
	p.Check("Select this page")
	bulk.WaitText("24 selected")
	p.Click("button", "Previous page")
	p.Row("pick-002").WaitText("pick-002")
	if !p.Row("pick-002").Checked("Select") || p.Row("pick-004").Checked("Select") {
		t.Error("turning the page changed what is ticked")
	}
	bulk.Click("button", "Select all 45 that match")
	bulk.WaitText("All 45 that match are selected")
	p.Click("button", "Next page")
	p.Row("pick-030").WaitText("pick-030")
	bulk.WaitText("All 45 that match are selected")
	bulk.Click("button", "Only this page")
	bulk.WaitText("20 selected")
	bulk.Click("button", "More")
	p.Click("menuitem", "Copy ids")
	if ids := strings.Fields(p.Copied()); len(ids) != 20 || len(ids[0]) != 16 {
		t.Errorf("copied %q", ids)
	}
	p.WaitText("20 ids copied")
	p.In("navigation", "Status").Click("link", "Active")
	p.WaitCount("region", "Selected keys", 0)
	p.Row("pick-000").Check("Select")
	bulk.Click("button", "Clear selection")
	p.WaitCount("region", "Selected keys", 0)
}

// TestKeysVerify verifies all keys: the outcome, also after a reload, and what
// became of the keys.
func TestKeysVerify(t *testing.T) {
	t.Parallel()
	s := Start(t)
	importNamed(t, s, "good", simulator.FateOK, 12)
	importNamed(t, s, "bad", simulator.FateRevoked, 3)
	p := LoggedIn(t, s, "/dashboard/keys")
	p.Check("Select this page")
	bulk := p.In("region", "Selected keys")
	bulk.WaitText("15 selected")
	bulk.Click("button", "Verify")
	run := p.In("region", "Verification")
	run.WaitText("15 keys verified", "accepted\n12", "refused\n3")
	p.WaitCount("region", "Selected keys", 0)
	p.Row("bad-000").WaitText("Failed")
	if _, failed := keysBy(t, s, "status=failed"); failed != 3 {
		t.Errorf("%d keys failed", failed)
	}
	p.Reload()
	run.WaitText("15 keys verified", "refused\n3")
	run.Click("button", "Close")
	p.WaitCount("region", "Verification", 0)
	p.WaitURL("/dashboard/keys")
	p.Open("/dashboard/keys?status=failed&pageSize=20")
	p.Row("bad-001").Check("Select")
	bulk.Click("button", "Verify")
	run.WaitText("1 key verified", "refused\n1")
	p.Open("/dashboard/keys?job=0123456789abcdef")
	p.Expect(404)
	p.WaitURL("/dashboard/keys")
}

// TestKeysVerifyStopped begins a long check of all that match, loads the page
// again in the middle, sees it in another window, and stops it.
func TestKeysVerifyStopped(t *testing.T) {
	t.Parallel()
	s := Start(t)
	importMany(t, s, 3000)
	p := LoggedIn(t, s, "/dashboard/keys")
	p.Check("Select this page")
	bulk := p.In("region", "Selected keys")
	bulk.Click("button", "Select all 3,000 that match")
	bulk.Click("button", "Verify")
	d := p.In("dialog", "Verify 3,000 keys?")
	d.WaitText("all keys of Ollama", "costs no tokens")
	d.Click("button", "Verify 3,000 keys")
	run := p.In("region", "Verification")
	run.WaitText("Verifying 3,000 keys", "of 3,000")
	p.WaitURL("/dashboard/keys?job=*")
	p.Reload()
	run.WaitText("Verifying 3,000 keys")
	q := p.NewTab()
	q.Open("/dashboard/keys")
	q.In("region", "Verification").WaitText("Verifying 3,000 keys")
	q.Part("tbody tr:nth-child(2) td.tick input").ClickHere()
	q.Expect(409)
	q.In("region", "Selected keys").Click("button", "Verify")
	q.WaitText("Another check or import of this provider is running. Wait for its end, or stop it.")
	run.Click("button", "Stop")
	run.WaitText("Stopped after")
	q.In("region", "Verification").WaitText("Stopped after")
	if got := Admin[struct{ Jobs []struct{ State string } }](t, s, "GET", "/admin/jobs?kind=check", nil); got.Jobs[0].State != "cancelled" {
		t.Errorf("the job is %+v", got.Jobs)
	}
}
