package browser

import (
	"slices"
	"strings"
	"testing"
)

// everyPage are the addresses of the pages, and their titles.
var everyPage = map[string]string{
	"/dashboard": "Overview", "/dashboard/keys": "Keys", "/dashboard/import": "Import", "/dashboard/tokens": "Tokens",
	"/dashboard/playground": "Playground", "/dashboard/requests": "Requests", "/dashboard/analytics": "Analytics",
	"/dashboard/settings": "Settings", "/stats": "Statistics", "/api-docs": "API docs",
}

// TestEveryPageOpens goes through all pages by their addresses; the watch sees
// to it that none complains.
func TestEveryPageOpens(t *testing.T) {
	t.Parallel()
	p := LoggedIn(t, Shared(t), "/")
	if got := p.Title(); got != "Overview · Ollama API Pool" {
		t.Errorf("the title is %q", got)
	}
	for at, name := range everyPage {
		p.Open(at)
		if got := p.Title(); !strings.HasPrefix(got, name) || !strings.HasSuffix(got, " · Ollama API Pool") {
			t.Errorf("the title of %s is %q", at, got)
		}
		p.WaitCount("main", "", 1)
		if n := Eval[int](p, `document.querySelectorAll("h1").length`); n != 1 {
			t.Errorf("%s has %d headings of the first order", at, n)
		}
	}
	p.Expect(404)
	p.Open("/dashboard/nowhere")
	p.WaitText("No such page")
	p.Click("link", "Go to the overview")
	p.WaitURL("/dashboard")
}

// TestNavigation walks by the links, and back.
func TestNavigation(t *testing.T) {
	t.Parallel()
	p := LoggedIn(t, Shared(t), "/dashboard")
	nav := p.In("navigation", "Main")
	for _, name := range []string{"Keys", "Tokens", "Settings"} {
		nav.Click("link", name)
		p.WaitURL("/dashboard/" + strings.ToLower(name))
		p.Ready()
		if got := nav.Attr("link", name, "aria-current"); got != "page" {
			t.Errorf("the link to %s says aria-current=%q", name, got)
		}
	}
	p.Back()
	p.Back()
	p.Ready()
	if at, title := p.URL(), p.Title(); at != "/dashboard/keys" || !strings.HasPrefix(title, "Keys ") {
		t.Errorf("two steps back are %s, %q", at, title)
	}
	p.Forward()
	p.Ready()
	if at := p.URL(); at != "/dashboard/tokens" {
		t.Errorf("a step ahead is %s", at)
	}
	if loads := slices.IndexFunc(p.Requests()[1:], func(r Request) bool { return r.Type == "Document" }); loads >= 0 {
		t.Error("the links load the page anew")
	}
}

// TestNavigationOnPhone opens the navigation of a phone and goes somewhere.
func TestNavigationOnPhone(t *testing.T) {
	t.Parallel()
	p := NewPage(t, Shared(t))
	p.Look(View{Width: 390})
	p.LogIn()
	p.Open("/dashboard")
	p.WaitCount("navigation", "Main", 0)
	p.Click("button", "Open navigation")
	p.In("navigation", "Main").Click("link", "Keys")
	p.WaitURL("/dashboard/keys")
	p.WaitCount("navigation", "Main", 0)
}

// TestKeyboard gets to the content with the first key, and shows where it is.
func TestKeyboard(t *testing.T) {
	t.Parallel()
	p := LoggedIn(t, Shared(t), "/dashboard")
	p.Press("Tab")
	p.WaitFocus("Skip to content")
	p.Press("Enter")
	p.Await("the focus in the content", `document.getElementById("content").matches(":focus, :focus-within")`)
	for range 12 {
		p.Press("Tab")
		if outline := Eval[string](p, `(e => { const s = getComputedStyle(e); return e === document.body || s.outlineStyle !== "none" || s.boxShadow !== "none" ? "" : e.outerHTML.slice(0, 200) })(document.activeElement)`); outline != "" {
			t.Errorf("the focus does not show on %s", outline)
		}
	}
}

// TestLanguageAndTheme switches both; they hold after a reload and on the other
// pages.
func TestLanguageAndTheme(t *testing.T) {
	t.Parallel()
	p := NewPage(t, Shared(t))
	p.Open("/stats")
	background := func() string { return Eval[string](p, "getComputedStyle(document.body).backgroundColor") }
	light := background()
	p.Click("button", "Theme")
	p.Click("button", "Theme: light")
	p.Settle()
	dark := background()
	if light == dark {
		t.Errorf("light and dark are both %s", light)
	}
	p.Click("button", "中文")
	p.WaitText("统计")
	if lang := Eval[string](p, "document.documentElement.lang"); lang != "zh-CN" {
		t.Errorf("the page says that it is %q", lang)
	}
	p.Reload()
	p.WaitText("统计")
	p.Open("/api-docs")
	p.Wait("button", "EN")
	if got := background(); got != dark {
		t.Errorf("after a reload the background is %s, not %s", got, dark)
	}
	p.Click("button", "EN")
	p.WaitText("API")
	p.Wait("button", "中文")
}

// TestPolicy tries what the content policy keeps out, on each shell.
func TestPolicy(t *testing.T) {
	t.Parallel()
	p := NewPage(t, Shared(t))
	for _, at := range []string{"/dashboard", "/stats", "/api-docs"} {
		p.Open(at)
		p.Expect("content policy: script-src-elem keeps out inline", "content policy: script-src keeps out eval",
			"content policy: style-src-attr keeps out inline", "content policy: img-src keeps out http://outside.invalid",
			"content policy: connect-src keeps out http://outside.invalid", "content policy: frame-src keeps out http://outside.invalid",
			"content policy: base-uri keeps out", "content policy: form-action keeps out http://outside.invalid", "asks another origin: GET http://outside.invalid/")
		Eval[any](p, `{
			const add = (name, values) => document.body.append(Object.assign(document.createElement(name), values));
			add("script", {textContent: "window.ran = 'inline'"});
			add("img", {src: "http://outside.invalid/a.png", alt: ""});
			add("iframe", {src: "http://outside.invalid/frame", title: "outside"});
			document.head.append(Object.assign(document.createElement("base"), {href: "http://outside.invalid/"}));
			document.body.insertAdjacentHTML("beforeend", '<p id="styled" style="color: rgb(1, 2, 3)">x</p>');
			const form = Object.assign(document.createElement("form"), {action: "http://outside.invalid/form", method: "post"});
			document.body.append(form);
			form.submit();
			setTimeout(() => { try { eval("window.ran = 'eval'") } catch {} window.tried = true; });
			fetch("http://outside.invalid/data").catch(() => window.fetched = "kept out");
		}`)
		p.Await("an end of all that was tried", `window.tried && window.fetched && getComputedStyle(document.getElementById("styled")).color !== "rgb(1, 2, 3)"`)
		if ran := Eval[any](p, "window.ran"); ran != nil {
			t.Errorf("%s: %v has run", at, ran)
		}
	}
}

// TestNoFrame tries to show the dashboard within another page.
func TestNoFrame(t *testing.T) {
	t.Parallel()
	p := NewPage(t, Shared(t))
	p.Open("/stats")
	p.Tolerate("net::ERR_BLOCKED_BY_RESPONSE", "frame", "Refused to display")
	Eval[any](p, `document.body.append(Object.assign(document.createElement("iframe"), {src: "/dashboard", id: "frame", title: "framed"}))`)
	p.Await("an end of the loading", `(() => { try { return !document.getElementById("frame").contentDocument?.getElementById("app") && performance.now() > 0 } catch { return true } })()`)
	if Eval[int](p, "window.frames.length") != 1 || Eval[bool](p, `(() => { try { return Boolean(frames[0].document.getElementById("app")) } catch { return false } })()`) {
		t.Error("the dashboard is shown in a frame")
	}
}
