package browser

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// media makes the page believe in features of its medium, as "forced-colors".
func (p *Page) media(medium string, features ...string) {
	p.t.Helper()
	params := emulation.SetEmulatedMediaParams{Media: medium}
	for i := 0; i < len(features); i += 2 {
		params.Features = append(params.Features, &emulation.MediaFeature{Name: features[i], Value: features[i+1]})
	}
	if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, params); err != nil {
		p.t.Fatal(err)
	}
}

// TestFrame looks at what stands around the pages, as a reader of screens has it.
func TestFrame(t *testing.T) {
	t.Parallel()
	p := LoggedIn(t, Shared(t), "/dashboard/settings")
	for role, name := range map[string]string{"navigation": "Main", "main": "", "region": "Messages", "list": "Pool"} {
		if n := p.Count(role, name); n != 1 {
			t.Errorf("there are %d of %s %q", n, role, name)
		}
	}
	marks := func() []string {
		return Eval[[]string](p, `[...document.querySelectorAll("[aria-current=page]")].filter((e) => e.closest("nav")).map((e) => e.innerText.trim())`)
	}
	if got := marks(); !slices.Equal(got, []string{"Settings"}) {
		t.Errorf("current are %v", got)
	}
	spoken := func() string {
		return Eval[string](p, `[...document.querySelectorAll("#app > [aria-live]")].map((e) => e.classList.contains("sr-only") ? e.textContent : "").join("")`)
	}
	if got := spoken(); got != "" {
		t.Errorf("at first it says %q", got)
	}
	for _, name := range []string{"Tokens", "Settings"} {
		p.In("navigation", "Main").Click("link", name)
		p.Await("what is said", fmt.Sprintf(`[...document.querySelectorAll("#app > .sr-only[aria-live]")].some((e) => e.textContent === %q)`, name))
		p.Await("the focus", `document.activeElement === document.getElementById("content")`)
	}
	// A rail of icons has the names of what it leads to, and the keyboard goes
	// through it in its order.
	p.Look(View{Width: 768})
	rail := p.In("navigation", "Main")
	for _, name := range []string{"Overview", "Keys", "Import", "Tokens", "Playground", "Requests", "Analytics", "Settings", "API docs", "Public stats"} {
		rail.Wait("link", name)
		if title := rail.Attr("link", name, "title"); title != name {
			t.Errorf("%s shows %q under the pointer", name, title)
		}
	}
	if wide := Eval[int](p, `Math.round(document.getElementById("nav").getBoundingClientRect().width)`); wide > 56 {
		t.Errorf("the rail is %d pixels wide", wide)
	}
	p.Axe()
}

// TestPhoneNavigation opens the navigation of a phone by keyboard, leaves it with
// Escape, and turns the phone.
func TestPhoneNavigation(t *testing.T) {
	t.Parallel()
	p := NewPage(t, Shared(t))
	p.Look(View{Width: 390})
	p.LogIn()
	p.Open("/dashboard/settings")
	shown := `document.getElementById("nav").matches(":popover-open")`
	Eval[any](p, `document.querySelector("[popovertarget=nav]").focus()`)
	p.Press("Enter")
	p.Await("the navigation", shown)
	p.Axe()
	p.Press("Tab")
	p.Await("the focus within", `document.getElementById("nav").contains(document.activeElement)`)
	p.Press("Escape")
	p.Await("the end of the navigation", "!"+shown)
	p.WaitFocus("Open navigation")
	p.Click("button", "Open navigation")
	p.Await("the navigation", shown)
	p.In("navigation", "Main").Click("link", "Tokens")
	p.WaitURL("/dashboard/tokens")
	p.Await("the end of the navigation, and the focus on the page", "!"+shown+` && document.activeElement === document.getElementById("content")`)
	p.Click("button", "Open navigation")
	p.Await("the navigation", shown)
	p.Look(View{Width: 768})
	p.Await("the navigation in its own place", "!"+shown+` && document.getElementById("nav").getBoundingClientRect().width > 40`)
}

func sorted(of map[string]string) (keys []string) {
	for key := range of {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// TestSwitching changes width, language and theme while each page is shown: it
// fits 360 pixels, and 1440 of which each is twice as large, no word of the other
// language stays, and charts are drawn in the new colours.
func TestSwitching(t *testing.T) {
	t.Parallel()
	p := NewPage(t, Shared(t))
	p.LogIn()
	other := p.NewTab()
	other.Open("/stats")
	words := `[...document.querySelectorAll("button, h1, h2, h3, th, label, dt, legend, nav a")].filter((e) => e.checkVisibility() && !e.closest("[lang=en]") && !e.querySelector("[lang=en]")).map((e) => e.innerText.trim()).filter((s) => /^(?:[A-Z][a-z]+ )+(?:[a-z]+ ?)+$|^(?:Keys|Requests|Settings|Tokens|Name|Status|Model|Models|Success|Failure|Search|Cancel|Delete|Provider|All)$/.test(s))`
	for _, at := range sorted(everyPage) {
		p.Open(at)
		for _, width := range []int{720, 360, 1440} {
			p.Look(View{Width: width})
			p.Settle()
			if over := p.SideScroll(); over > 0 {
				t.Errorf("%s at %d: %d pixels too wide: %s", at, width, over, p.widest())
			}
		}
		before := charts(p)
		p.Click("button", "中文")
		p.Wait("button", "EN")
		p.Await("the language", `document.documentElement.lang === "zh-CN"`)
		p.Settle()
		if left := Eval[[]string](p, words); len(left) > 0 {
			t.Errorf("%s in Chinese has %q", at, left)
		}
		p.Await("a title in Chinese", `/[\u4e00-\u9fff]/.test(document.title)`)
		p.Click("button", "EN")
		p.Wait("button", "中文")
		p.Settle()
		if now := charts(p); now != before {
			t.Errorf("%s has other charts after both languages", at)
		}
		if before == "" {
			continue
		}
		p.Click("button", "Theme: follows the system")
		p.Click("button", "Theme: light")
		p.Settle()
		if now := charts(p); now == before {
			t.Errorf("%s has the same charts in the dark", at)
		}
		p.Click("button", "Theme: dark")
		p.Settle()
		if now := charts(p); now != before {
			t.Errorf("%s has other charts after all themes", at)
		}
	}
	// What is chosen in one window holds for the others.
	p.Click("button", "中文")
	p.Click("button", "主题")
	other.Wait("button", "EN")
	other.Await("the theme", `document.documentElement.dataset.theme === "light"`)
}

// charts are the drawn charts of the page, in short, "" for none.
func charts(p *Page) string {
	return Eval[string](p, `[...document.querySelectorAll("canvas")].map((c) => { const s = c.toDataURL(); let h = 0; for (let i = 0; i < s.length; i++) h = (31 * h + s.charCodeAt(i)) | 0; return h }).join(" ")`)
}

// TestNoStorage has a browser that keeps nothing: choices hold for the page.
func TestNoStorage(t *testing.T) {
	t.Parallel()
	p := NewPage(t, Shared(t))
	if _, err := chromedp.Call(p.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `
		for (const name of ["localStorage", "sessionStorage"]) Object.defineProperty(window, name, {get() { throw new DOMException("no", "SecurityError") }});
		delete window.BroadcastChannel;`}); err != nil {
		t.Fatal(err)
	}
	p.LogIn()
	p.Open("/dashboard/settings")
	p.Click("button", "Theme")
	p.Click("button", "Theme: light")
	p.Click("button", "中文")
	p.WaitText("设置")
	if got := Eval[string](p, `document.documentElement.dataset.theme + document.documentElement.lang`); got != "darkzh-CN" {
		t.Errorf("the page is %s", got)
	}
	p.record()
	p.Await("events", "live.joins.value === 1")
}

// TestMedia looks at pages in forced colours and on paper.
func TestMedia(t *testing.T) {
	t.Parallel()
	p := LoggedIn(t, Shared(t), "/stats")
	p.Look(View{Width: 1440, Dark: true})
	p.Settle()
	dark := charts(p)
	Eval[any](p, `dispatchEvent(new Event("beforeprint"))`)
	p.media("print")
	p.Settle()
	if got := Eval[string](p, `getComputedStyle(document.querySelector(".panel")).backgroundColor`); got != "rgb(255, 255, 255)" {
		t.Errorf("on paper panels are %s", got)
	}
	if charts(p) == dark {
		t.Error("charts are dark on paper")
	}
	if Eval[bool](p, `document.querySelector(".plain-head button").checkVisibility()`) {
		t.Error("buttons are printed")
	}
	p.Screenshot("stats-print")
	p.media("screen", "prefers-color-scheme", "dark", "prefers-reduced-motion", "reduce")
	Eval[any](p, `dispatchEvent(new Event("afterprint"))`)
	p.Settle()
	if charts(p) != dark {
		t.Error("after printing the charts are others")
	}
	p.media("screen", "forced-colors", "active", "prefers-reduced-motion", "reduce")
	p.Open("/dashboard/settings")
	if got := Eval[string](p, `getComputedStyle(document.querySelector(".side [aria-current]")).outlineStyle`); got != "solid" {
		t.Errorf("in forced colours the current page has an outline %q", got)
	}
	p.Screenshot("settings-forced")
	if strings.Contains(p.Text(), "undefined") {
		t.Error("something is undefined")
	}
}
