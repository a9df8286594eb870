package browser

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/simulator"
)

// awaitKey waits until the API tells of the key that a search finds what it
// should.
func awaitKey(t *testing.T, s *Server, search, want string, holds func(keyShown) bool) {
	t.Helper()
	err := until(t.Context(), func(context.Context) error {
		if k := oneKey(t, s, search); !holds(k) {
			return fmt.Errorf("the key is not %s: %+v", want, k)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// about says whether a time is so far ahead, give or take a minute.
func about(at *time.Time, ahead time.Duration) bool {
	return at != nil && time.Until(*at) > ahead-time.Minute && time.Until(*at) < ahead+time.Minute
}

// TestKeysDisable disables keys for a day, takes that back, disables for an own
// time and until enabled, and enables.
func TestKeysDisable(t *testing.T) {
	t.Parallel()
	s := Start(t)
	importNamed(t, s, "off", simulator.FateOK, 12)
	p := LoggedIn(t, s, "/dashboard/keys?sort=username&pageSize=5")
	bulk := p.In("region", "Selected keys")
	p.Row("off-000").Check("Select")
	p.Row("off-001").Check("Select")
	bulk.Click("button", "Disable for")
	d := p.In("dialog", "Disable 2 keys")
	d.WaitText("off-000@example.com", "They return by themselves at")
	d.Choose("For how long", "1 day")
	d.Click("button", "Disable 2 keys")
	p.WaitText("2 keys disabled")
	p.Row("off-000").WaitText("Disabled", "by hand")
	awaitKey(t, s, "off-000", "disabled for a day", func(k keyShown) bool { return k.Status == "disabled" && about(k.DisabledUntil, 24*time.Hour) })
	p.Click("button", "Undo")
	p.WaitText("2 keys enabled")
	p.Row("off-000").WaitText("Active")
	awaitKey(t, s, "off-001", "active again", func(k keyShown) bool { return k.Status == "active" })

	p.Row("off-002").Check("Select")
	bulk.Click("button", "Disable for")
	d = p.In("dialog", "Disable 1 key")
	d.Choose("For how long", "Other")
	d.Fill("Length", "-5")
	d.WaitText("Write a number above 0")
	d.Fill("Length", "90")
	d.Choose("Unit", "minutes")
	d.Click("button", "Disable 1 key")
	p.WaitText("1 key disabled")
	awaitKey(t, s, "off-002", "disabled for 90 minutes", func(k keyShown) bool { return about(k.DisabledUntil, 90*time.Minute) })

	p.Check("Select this page")
	bulk.Click("button", "Select all 12 that match")
	bulk.Click("button", "Disable for")
	d = p.In("dialog", "Disable 12 keys")
	d.WaitText("all keys of Ollama")
	d.Choose("For how long", "Until enabled")
	d.WaitText("until somebody enables them")
	d.Click("button", "Disable 12 keys")
	p.WaitText("12 keys disabled")
	if _, off := keysBy(t, s, "status=disabled"); off != 12 {
		t.Errorf("%d keys are disabled", off)
	}
	p.In("navigation", "Status").Click("link", "Disabled 12")
	p.Row("off-003").Check("Select")
	bulk.Click("button", "Enable")
	p.WaitText("1 key enabled")
	p.In("navigation", "Status").Wait("link", "Disabled 11")
	p.Check("Select this page")
	bulk.WaitText("5 selected")
	bulk.Click("button", "Select all 11 that match")
	bulk.Click("button", "Enable")
	d = p.In("dialog", "Enable 11 keys?")
	d.WaitText("Disabled", "clears every mark")
	d.Click("button", "Enable 11 keys")
	p.WaitText("11 keys enabled", "No keys here: Disabled")
	if _, active := keysBy(t, s, "status=active"); active != 12 {
		t.Errorf("%d keys are active", active)
	}
}

// TestKeysDelete deletes a few keys, and then many, whose count has to be typed
// and changes meanwhile.
func TestKeysDelete(t *testing.T) {
	t.Parallel()
	s := Start(t)
	importMany(t, s, 130)
	p := LoggedIn(t, s, "/dashboard/keys?sort=username")
	bulk := p.In("region", "Selected keys")
	p.Row("many-000000").Check("Select")
	p.Row("many-000002").Check("Select")
	bulk.Click("button", "Delete")
	d := p.In("dialog", "Delete 2 keys?")
	d.WaitText("many-000000@example.com", "cannot be undone")
	d.Click("button", "Cancel")
	p.WaitCount("dialog", "", 0)
	if _, n := keysBy(t, s, ""); n != 130 {
		t.Fatalf("after cancelling there are %d keys", n)
	}
	bulk.Click("button", "Delete")
	d.Click("button", "Delete 2 keys")
	p.WaitText("2 keys deleted")
	p.WaitText("of 128")
	p.WaitGone("many-000000@")

	p.Check("Select this page")
	bulk.Click("button", "Select all 128 that match")
	bulk.Click("button", "Delete")
	d = p.In("dialog", "Delete 128 keys?")
	if got := d.Attr("button", "Delete 128 keys", "disabled"); got != "" {
		t.Errorf("it is disabled=%q", got)
	}
	d.Fill("Type 128 to confirm", "12")
	d.Fill("Type 128 to confirm", "128")
	Admin[any](t, s, "DELETE", "/admin/api-keys", map[string]any{"apiKeys": []string{"fake-unknown-browser-key-000007"}})
	p.Expect(409)
	d.Click("button", "Delete 128 keys")
	d = p.In("dialog", "Delete 127 keys?")
	d.WaitText("Meanwhile it is 127 keys.")
	if _, n := keysBy(t, s, ""); n != 127 {
		t.Fatalf("there are %d keys", n)
	}
	d.Fill("Type 127 to confirm", "127")
	d.Click("button", "Delete 127 keys")
	p.WaitText("127 keys deleted", "No keys yet")
	if _, n := keysBy(t, s, ""); n != 0 {
		t.Errorf("%d keys are left", n)
	}
}

// TestKeysExport exports ticked keys masked, and all of a search whole.
func TestKeysExport(t *testing.T) {
	t.Parallel()
	s := Start(t)
	importNamed(t, s, "out", simulator.FateOK, 5)
	p := LoggedIn(t, s, "/dashboard/keys?sort=username")
	bulk := p.In("region", "Selected keys")
	p.Row("out-001").Check("Select")
	p.Row("out-003").Check("Select")
	bulk.Click("button", "More")
	p.Click("menuitem", "Export")
	d := p.In("dialog", "Export 2 keys")
	d.Choose("Format", "CSV")
	name, content := p.Download(func() { d.Click("button", "Export 2 keys") })
	if lines := strings.Split(strings.TrimSpace(string(content)), "\n"); name != "ollama-keys.csv" || len(lines) != 3 || !strings.Contains(lines[1], "out-001@example.com") || strings.Contains(string(content), "fake") {
		t.Errorf("%s is %q", name, lines)
	}
	p.WaitText("The export has begun")
	bulk.Click("button", "Clear selection")

	p.Fill("Search keys", "out-00")
	p.WaitURL("/dashboard/keys?*search=out-00*")
	p.Ready()
	p.Click("button", "Export")
	d = p.In("dialog", "Export 5 keys")
	d.Check("Whole keys")
	d.WaitText("can use it at your cost")
	d.Check("I keep this file safe")
	name, content = p.Download(func() { d.Click("link", "Export 5 whole keys") })
	if want := "out-004@example.com----" + FakeKey(gateway.Ollama, simulator.FateOK, 4); name != "ollama-keys.txt" || !strings.Contains(string(content), want) || strings.Count(string(content), "\n") != 5 {
		t.Errorf("%s is %q", name, content)
	}
	if !strings.Contains(s.Log(), "keys exported whole") {
		t.Error("the log does not tell of it")
	}
}

// TestKeysAddOne adds a key by hand, which is checked at once; the same again,
// and what is no key.
func TestKeysAddOne(t *testing.T) {
	t.Parallel()
	s := Start(t)
	p := LoggedIn(t, s, "/dashboard/keys")
	p.WaitText("No keys yet")
	p.In("main", "").Part(".blank").Click("button", "Add one key")
	d := p.In("dialog", "Add a key for Ollama")
	d.Click("button", "Add key")
	d.WaitText("Enter a key.")
	d.Fill("Key", "short")
	p.Expect(400)
	d.Click("button", "Add key")
	d.WaitText("shorter than 8 characters")
	d.Fill("Key", FakeKey(gateway.Ollama, simulator.FateOK, 0))
	d.Fill("Account (optional)", "anna@example.com")
	d.Choose("Lifetime", "30 days")
	d.Click("button", "Add key")
	p.WaitText("Key added", "The upstream accepts the key")
	p.Row("anna@example.com").WaitText("Active")
	awaitKey(t, s, "anna@example.com", "a key for 30 days", func(k keyShown) bool { return about(k.ExpiresAt, 30*24*time.Hour) })
	p.Click("button", "Other ways to add keys")
	p.Click("menuitem", "Add one key")
	d.Fill("Key", FakeKey(gateway.Ollama, simulator.FateOK, 0))
	d.Click("button", "Add key")
	p.WaitText("This key is there already")
	if strings.Contains(p.URL(), "fake") {
		t.Errorf("the key is in the address %s", p.URL())
	}
	p.Click("button", "Other ways to add keys")
	p.WaitFocus("Add one key…")
	p.Press("ArrowDown")
	p.WaitFocus("Import a file")
	p.Press("Escape")
	p.WaitFocus("Other ways to add keys")
}

// TestKeysLive sees what others do without being touched, but for the rows while
// something is ticked.
func TestKeysLive(t *testing.T) {
	t.Parallel()
	s := Start(t)
	importNamed(t, s, "live", simulator.FateOK, 3)
	p := LoggedIn(t, s, "/dashboard/keys?sort=username")
	tabs := p.In("navigation", "Status")
	tabs.Wait("link", "Disabled 0")
	disable := func(n int) {
		Admin[any](t, s, "POST", "/admin/keys/disable", map[string]any{"apiKeys": []string{FakeKey(gateway.Ollama, simulator.FateOK, n)}, "duration": 0})
	}
	disable(0)
	p.Row("live-000").WaitText("Disabled", "by hand")
	tabs.Wait("link", "Disabled 1")
	p.Row("live-002").Check("Select")
	disable(1)
	tabs.Wait("link", "Disabled 2")
	p.Row("live-001").WaitText("Active")
	p.Row("live-002").Uncheck("Select")
	p.Row("live-001").WaitText("Disabled")
}

// TestKeysStore shows what the server says when its store is out of reach, before
// there is anything to show and after.
func TestKeysStore(t *testing.T) {
	t.Parallel()
	s := Start(t)
	importNamed(t, s, "kept", simulator.FateOK, 3)
	p := LoggedIn(t, s, "/dashboard/tokens")
	Eval[any](p, `void (window.through = window.fetch, window.broken = true, window.fetch = (url, options) => window.broken && String(url).includes("/admin/api-keys")
		? Promise.resolve(new Response('{"error":{"message":"the store is out of reach; try again soon","type":"api_error","code":"unavailable","param":null}}',
			{status: 503, headers: {"Content-Type": "application/json", "X-Request-Id": "fake-request"}})) : window.through(url, options))`)
	p.In("navigation", "Main").Click("link", "Keys")
	p.WaitText("The list could not be loaded", "out of reach", "fake-request")
	Eval[any](p, `void (window.broken = false)`)
	p.Click("button", "Try again")
	p.Row("kept-001").WaitText("Active")
	Eval[any](p, `void (window.broken = true)`)
	p.Click("button", "Account")
	p.WaitText("What you see may be old", "out of reach")
	p.Row("kept-001").WaitText("Active")
	p.Row("kept-001").Click("link", "")
	p.WaitText("The key could not be loaded")
	Eval[any](p, `void (window.broken = false)`)
	p.In("complementary", "").Click("button", "Try again")
	p.Part(".pane .why").WaitText("Serving")
}

// TestKeysProviderOff says of a provider that is switched off that its keys do
// not serve.
func TestKeysProviderOff(t *testing.T) {
	t.Parallel()
	s := Start(t, "DISABLE_OPENROUTER=true")
	s.Import(t, gateway.OpenRouter, "idle@example.com----"+FakeKey(gateway.OpenRouter, simulator.FateOK, 0))
	p := LoggedIn(t, s, "/dashboard/keys?provider=openrouter")
	p.WaitText("OpenRouter is switched off")
	p.Row("idle@example.com").Click("link", "")
	p.Part(".pane .why").WaitText("OpenRouter is switched off")
}

// TestKeysHundredThousand searches, sorts and turns pages among 100,000 keys.
func TestKeysHundredThousand(t *testing.T) {
	t.Parallel()
	s := Start(t)
	importMany(t, s, 100_000)
	p := LoggedIn(t, s, "/dashboard/keys?sort=username")
	p.WaitText("1–50 of 100,000", "many-000000")
	quick := func(what string, do func()) {
		t.Helper()
		begun := time.Now()
		do()
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("%s takes %v", what, took)
		}
	}
	quick("the next page", func() {
		p.Click("button", "Next page")
		p.WaitText("many-000050", "51–100")
	})
	quick("the last page", func() {
		p.Fill("Page", "2000")
		p.Press("Enter")
		p.WaitText("many-099999", "99,951–100,000")
	})
	quick("another order", func() {
		p.Click("button", "Account")
		p.WaitText("many-099999", "1–50")
	})
	quick("a search", func() {
		p.Fill("Search keys", "many-0777")
		p.WaitText("1–50 of 100", "many-077799")
	})
	quick("a whole key", func() {
		p.Fill("Search keys", "fake-unknown-browser-key-054321")
		p.WaitText("many-054321")
		p.In("table", "Keys").WaitCount("row", "", 2)
	})
	p.Fill("Search keys", "")
	p.WaitText("of 100,000")
	p.Check("Select this page")
	p.In("region", "Selected keys").Click("button", "Select all 100,000 that match")
	p.In("region", "Selected keys").WaitText("All 100,000 that match are selected")
	if all := strings.Count(p.In("table", "Keys").Text(), "@example.com"); all != 50 {
		t.Errorf("the page has %d rows", all)
	}
}
