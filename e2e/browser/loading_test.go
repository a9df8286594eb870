package browser

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// bench draws a list in the page whose calls the test answers by hand: calls[n]
// has ok and no, and the list notes what it shows.
const bench = `const { html, render, signal } = ` + "(await import(base + `/lib/preact.js`))" + `;
	const { useLoad } = await import(base + "/lib/load.js");
	const { returns } = await import(base + "/lib/live.js");
	const calls = window.calls = [];
	const dep = window.dep = signal("a"), every = window.every = signal(0), on = window.on = signal(true), there = window.there = signal(true);
	window.returns = returns;
	const load = (stop) => new Promise((ok, no) => calls.push({ ok, no, stop, of: dep.value }));
	const List = () => {
		const s = useLoad(load, [dep.value], { every: every.value, on: on.value });
		window.state = { data: s.data ?? "none", error: s.error?.message ?? "", loading: s.loading, stale: s.stale };
		window.reload = s.reload;
		return JSON.stringify(window.state);
	};
	const at = document.createElement("p");
	document.body.append(at);
	render(html` + "`<${() => there.value && html`<${List} />`} />`" + `, at);
	window.settled = () => new Promise((r) => setTimeout(() => requestAnimationFrame(() => setTimeout(r, 20)), 0));
	await settled();`

// TestUseLoad answers calls in the wrong order, late, with errors, and never.
func TestUseLoad(t *testing.T) {
	t.Parallel()
	p := NewPage(t, Shared(t))
	p.Open("/stats")
	inside[any](p, `const base = document.querySelector("meta[name=assets]").content + "/app";`+bench)
	type state struct {
		Data, Error    string
		Loading, Stale bool
	}
	step := func(act string, calls int, want state) {
		t.Helper()
		inside[any](p, act+"; await settled();")
		if got := Eval[state](p, "state"); got != want {
			t.Errorf("after %s it is %+v and not %+v", act, got, want)
		}
		if n := Eval[int](p, "calls.length"); n != calls {
			t.Errorf("after %s there were %d calls and not %d", act, n, calls)
		}
	}
	ready := func(want bool) {
		t.Helper()
		if got := Eval[bool](p, `document.documentElement.dataset.ready === "true"`); got != want {
			t.Errorf("data-ready is %v", got)
		}
	}
	step(`0`, 1, state{"none", "", true, true})
	ready(false)
	step(`calls[0].no(new Error("bad"))`, 1, state{"none", "bad", false, true})
	ready(true)
	step(`reload()`, 2, state{"none", "", true, true})
	step(`calls[1].ok("one")`, 2, state{"one", "", false, false})
	step(`reload()`, 3, state{"one", "", true, false})
	step(`calls[2].no(new Error("bad"))`, 3, state{"one", "bad", false, false})
	// The answer to an older question comes last, and is no answer any more.
	step(`dep.value = "b"`, 4, state{"one", "bad", true, true})
	step(`dep.value = "c"`, 5, state{"one", "bad", true, true})
	step(`calls[4].ok("c")`, 5, state{"c", "", false, false})
	step(`calls[3].ok("b")`, 5, state{"c", "", false, false})
	step(`calls[3].no(new Error("late"))`, 5, state{"c", "", false, false})
	if !Eval[bool](p, "calls[3].stop.aborted") {
		t.Error("the older call was not given up")
	}
	// The server came back: everything is loaded anew, once.
	step(`returns.value++`, 6, state{"c", "", true, false})
	step(`on.value = false`, 6, state{"c", "", false, false})
	ready(true)
	step(`on.value = true`, 7, state{"c", "", true, false})
	// A repetition waits for a call that is slow.
	step(`every.value = 60; await new Promise((r) => setTimeout(r, 400))`, 7, state{"c", "", true, false})
	step(`calls[6].ok("d"); await new Promise((r) => setTimeout(r, 400))`, 8, state{"d", "", true, false})
	p.hide(true)
	step(`calls[7].ok("e"); await new Promise((r) => setTimeout(r, 400))`, 8, state{"e", "", false, false})
	p.hide(false)
	step(`0`, 9, state{"e", "", true, false})
	step(`there.value = false; calls[8].ok("f")`, 9, state{"e", "", true, false})
	ready(true)
}

// TestUseLoadThrows has a list whose function fails before it calls anything.
func TestUseLoadThrows(t *testing.T) {
	t.Parallel()
	p := NewPage(t, Shared(t))
	p.Open("/stats")
	got := inside[string](p, `const base = document.querySelector("meta[name=assets]").content + "/app";
		const { html, render } = await import(base + "/lib/preact.js");
		const { useLoad } = await import(base + "/lib/load.js");
		const at = document.createElement("p");
		document.body.append(at);
		const List = () => { const s = useLoad(() => { throw new Error("at once"); }, []); return s.error?.message ?? "none"; };
		render(html`+"`<${List} />`"+`, at);
		await new Promise((r) => setTimeout(r, 300));
		return at.textContent + " " + document.documentElement.dataset.ready;`)
	if got != "at once true" {
		t.Errorf("it shows %q", got)
	}
}

// TestScroll goes back to where one was on a list that has to be loaded first.
func TestScroll(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	p := LoggedIn(t, s, "/dashboard/settings")
	tall := `{ const s = new CSSStyleSheet(); s.replaceSync("html[data-ready] #content { min-height: 5000px }"); document.adoptedStyleSheets.push(s); }`
	Eval[any](p, tall)
	at := func(y int) {
		t.Helper()
		p.Await("the place", "Math.abs(scrollY - "+quoted(y)+") < 2")
	}
	Eval[any](p, "scrollTo(0, 2400)")
	p.Await("the place to be kept", "history.state?.y === 2400")
	nav := p.In("navigation", "Main")
	nav.Click("link", "Tokens")
	p.WaitText("billing-service")
	at(0)
	Eval[any](p, "scrollTo(0, 1300)")
	p.Back()
	p.Ready()
	at(2400)
	p.Forward()
	p.Ready()
	at(1300)
	// A change of the query that leaves no step keeps the place.
	inside[any](p, module("lib/router.js")+`.setQuery({search: "x"}, {replace: true})`)
	p.Ready()
	at(1300)
	p.Await("the place to be kept", "history.state?.y === 1300")
	p.Reload()
	Eval[any](p, tall)
	at(1300)
	if y := Eval[int](p, "history.state.y"); y != 1300 {
		t.Errorf("the step remembers %d", y)
	}
}

// TestLinks has links that are followed within the page, and others that are left
// to the browser.
func TestLinks(t *testing.T) {
	t.Parallel()
	p := LoggedIn(t, Shared(t), "/dashboard/tokens")
	for link, followed := range map[string]bool{
		`href="/dashboard/keys?status=failed"`: true, `href="/dashboard/keys/"`: true, `href="/"`: true, `href="?page=2"`: true,
		`href="/dashboard/keys" target="_blank"`: false, `href="/dashboard/x.csv" download`: false, `href="/stats"`: false,
		`href="/assets/x"`: false, `href="#content"`: false, `href="http://outside.invalid/dashboard"`: false, `href="mailto:a@b.example"`: false,
	} {
		got := inside[bool](p, `
			const host = document.createElement("div");
			host.insertAdjacentHTML("beforeend", '<a `+link+`><b>x</b></a>');
			document.body.append(host);
			let taken;
			addEventListener("click", (e) => { taken = e.defaultPrevented; e.preventDefault(); }, { once: true });
			host.querySelector("b").click();
			host.remove();
			return taken;`)
		if got != followed {
			t.Errorf("<a %s>: followed is %v", link, got)
		}
		for _, held := range []string{"ctrlKey", "metaKey", "shiftKey", "altKey"} {
			taken := inside[bool](p, `
				const a = Object.assign(document.createElement("a"), { href: "/dashboard/keys" });
				document.body.append(a);
				let taken;
				addEventListener("click", (e) => { taken = e.defaultPrevented; e.preventDefault(); }, { once: true });
				a.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true, `+held+`: true }));
				a.remove();
				return taken;`)
			if taken {
				t.Errorf("a click with %s is followed", held)
			}
		}
	}
	// Escapes that make no sense.
	for _, at := range []string{"/dashboard/tokens?search=%", "/dashboard/tokens?page=%ff&search=%zz", "/api-docs?search=%#%zz", "/stats?provider=%"} {
		p.Open(at)
		p.WaitCount("alert", "", 0)
		if n := Eval[int](p, `document.querySelectorAll("h1").length`); n != 1 {
			t.Errorf("%s has %d headings", at, n)
		}
	}
}

// TestStatsFaults has the server of the public page fail and come back.
func TestStatsFaults(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	px := behind(t, s)
	hold := make(chan struct{})
	refuse := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/admin/public-stats" {
			pass()
		}
		select {
		case <-hold:
		case <-r.Context().Done():
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Request-Id", "req-of-the-fault")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `{"error":{"message":"not ready","type":"service_unavailable","code":"service_unavailable"}}`)
	}
	px.follow(refuse)
	p := px.window(t, s)
	p.Expect(503)
	p.Go("/stats")
	p.Await("bones", `document.querySelector(".bone")`)
	close(hold)
	p.Ready()
	p.In("alert", "").WaitText("The statistics could not be loaded", "not ready", "req-of-the-fault")
	px.follow(nil)
	p.Click("button", "Try again")
	p.WaitText("Requests, all time")
	px.follow(refuse)
	inside[any](p, `dispatchEvent(new Event("visibilitychange"))`)
	// The figures of one provider do not stand for those of another.
	p.Click("radio", "OpenRouter")
	p.WaitText("The statistics could not be loaded")
	p.WaitGone("Requests, all time")
	px.follow(nil)
	p.Click("radio", "All")
	p.WaitText("Requests, all time")
	p.WaitGone("could not be loaded")
}

// TestToasts shows more than there is room for, the same twice, and one above an
// open dialog.
func TestToasts(t *testing.T) {
	t.Parallel()
	p := NewPage(t, Shared(t))
	p.Open("/stats")
	show := func(what string) { inside[any](p, module("parts/toast.js")+".toast("+what+")") }
	texts := func() []string {
		return Eval[[]string](p, `[...document.querySelectorAll(".toast")].map((e) => e.innerText.split("\n")[0].trim())`)
	}
	for _, what := range []string{`{state: "failed", text: "bad"}`, `{text: "a"}`, `{text: "b"}`, `{text: "b"}`, `{text: "c"}`} {
		show(what)
	}
	p.WaitText("c")
	if got := texts(); !slices.Equal(got, []string{"bad", "b", "c"}) {
		t.Errorf("it shows %v", got)
	}
	Eval[any](p, `document.body.append(Object.assign(document.createElement("dialog"), {id: "over", textContent: "dialog"})); document.getElementById("over").showModal()`)
	show(`{state: "failed", text: "above"}`)
	p.WaitText("above")
	if hit := Eval[string](p, `(() => { const top = document.querySelector(".toasts"); return [top.matches(":popover-open"), getComputedStyle(top).position, document.querySelectorAll(".toast").length].join(" ") })()`); hit != "true fixed 3" {
		t.Errorf("above the dialog it is %s", hit)
	}
	Eval[any](p, `document.getElementById("over").remove()`)
	for range 3 {
		p.Part(".toast").Click("button", "Close")
	}
	p.Await("an empty region", `!document.querySelector(".toasts").matches(":popover-open") && !document.querySelector(".toast")`)
	if text := p.Text(); strings.Contains(text, "above") {
		t.Error("a message that was closed is shown")
	}
}
