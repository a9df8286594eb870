package browser

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// The roles that a text is typed into, that are ticked, and that offer choices.
var (
	fields  = []string{"textbox", "searchbox", "spinbutton", "combobox", "slider", "Date", "DateTime", "InputTime", "textboxWithComboBox"}
	boxes   = []string{"checkbox", "switch", "radio"}
	choices = []string{"combobox", "listbox", "radiogroup", "group", "tablist", "menu"}
)

// pointOf says where to press a thing: where it, or the label of a box that is
// itself not shown, really gets the press. Where that is nowhere it says why.
const pointOf = `function() {
	if (!this.isConnected) return {why: "it is gone"};
	if (this.disabled || this.getAttribute("aria-disabled") === "true") return {why: "it is disabled"};
	const shown = e => { const r = e.getBoundingClientRect(), s = getComputedStyle(e); return r.width > 2 && r.height > 2 && s.visibility === "visible" };
	const parts = [this, ...(this.labels || [])].filter(shown);
	let why = "it is not shown";
	for (const part of parts) for (const block of ["nearest", "center", "start", "end"]) {
		part.scrollIntoView({block, inline: "nearest", behavior: "instant"});
		const r = part.getClientRects()[0], x = r.x + r.width / 2, y = r.y + r.height / 2;
		const hit = document.elementFromPoint(x, y);
		if (hit && (part.contains(hit) || hit.closest("label")?.control === this)) return {x, y};
		why = hit ? "it is covered by " + hit.outerHTML.slice(0, 160) : "it is out of the window";
	}
	return {why};
}`

type point struct {
	X, Y float64
	Why  string
}

// Click presses the one thing with a role and name, once it can be pressed.
func (a Area) Click(role, name string) {
	a.page.t.Helper()
	a.on("click", name, []string{role}, press)
}

// Hover moves the pointer over the one thing with a role and name.
func (a Area) Hover(role, name string) {
	a.page.t.Helper()
	a.on("hover over", name, []string{role}, func(ctx context.Context, o runtime.RemoteObjectID) error {
		at, err := pointIn(ctx, o)
		if err != nil {
			return err
		}
		return mouse(ctx, input.DispatchMouseEventTypeMouseMoved, at)
	})
}

// ClickHere presses the area itself, as that of Row or Part.
func (a Area) ClickHere() {
	a.page.t.Helper()
	a.inside("click", press)
}

func pointIn(ctx context.Context, o runtime.RemoteObjectID) (point, error) {
	at, err := callOn[point](ctx, o, pointOf)
	if err == nil && at.Why != "" {
		err = errors.New(at.Why)
	}
	return at, err
}

func press(ctx context.Context, o runtime.RemoteObjectID) error {
	at, err := pointIn(ctx, o)
	if err != nil {
		return err
	}
	for _, kind := range []input.DispatchMouseEventType{
		input.DispatchMouseEventTypeMouseMoved, input.DispatchMouseEventTypeMousePressed, input.DispatchMouseEventTypeMouseReleased,
	} {
		if err := mouse(ctx, kind, at); err != nil {
			return err
		}
	}
	return nil
}

func mouse(ctx context.Context, kind input.DispatchMouseEventType, at point) error {
	params := input.DispatchMouseEventParams{Type: kind, X: at.X, Y: at.Y}
	if kind != input.DispatchMouseEventTypeMouseMoved {
		params.Button, params.ClickCount = input.MouseButtonLeft, 1
	}
	_, err := chromedp.Call(ctx, input.DispatchMouseEvent, params)
	return err
}

// Fill types a text into the field with a label, in place of what stands there.
func (a Area) Fill(label, text string) {
	a.page.t.Helper()
	a.on("fill", label, fields, func(ctx context.Context, o runtime.RemoteObjectID) error {
		typed, err := callOn[bool](ctx, o, `function(text) {
			if (this.disabled || this.readOnly) throw new Error("it takes no text");
			this.scrollIntoView({block: "nearest", behavior: "instant"});
			this.focus();
			if (document.activeElement !== this) throw new Error("it cannot be focused");
			if (["date", "time", "datetime-local", "month", "week", "range", "color"].includes(this.type)) {
				Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(this, text);
				this.dispatchEvent(new Event("input", {bubbles: true}));
				this.dispatchEvent(new Event("change", {bubbles: true}));
				return true;
			}
			this.select ? this.select() : getSelection().selectAllChildren(this);
			return false;
		}`, text)
		if err != nil || typed {
			return err
		}
		if text == "" {
			return strike(ctx, "Delete")
		}
		_, err = chromedp.Call(ctx, input.InsertText, input.InsertTextParams{Text: text})
		return err
	})
}

// Value is what stands in the field with a label.
func (a Area) Value(label string) (text string) {
	a.page.t.Helper()
	a.on("read", label, fields, func(ctx context.Context, o runtime.RemoteObjectID) (err error) {
		text, err = callOn[string](ctx, o, `function() { return this.value ?? this.innerText }`)
		return err
	})
	return text
}

// Check ticks the box, switch or radio button with a label; Uncheck takes the
// tick away.
func (a Area) Check(label string) { a.page.t.Helper(); a.tick(label, true) }

// Uncheck is the opposite of Check.
func (a Area) Uncheck(label string) { a.page.t.Helper(); a.tick(label, false) }

const isTicked = `function() { return this.checked ?? this.getAttribute("aria-checked") === "true" }`

func (a Area) tick(label string, want bool) {
	a.page.t.Helper()
	a.on("tick", label, boxes, func(ctx context.Context, o runtime.RemoteObjectID) error {
		is, err := callOn[bool](ctx, o, isTicked)
		if err != nil || is == want {
			return err
		}
		return press(ctx, o)
	})
}

// Checked says whether the box, switch or radio button with a label is ticked.
func (a Area) Checked(label string) (is bool) {
	a.page.t.Helper()
	a.on("look at", label, boxes, func(ctx context.Context, o runtime.RemoteObjectID) (err error) {
		is, err = callOn[bool](ctx, o, isTicked)
		return err
	})
	return is
}

// Choose picks the option with some words in the list, or among the radio
// buttons or tabs, with a label.
func (a Area) Choose(label, option string) {
	a.page.t.Helper()
	a.on("choose "+option+" in", label, choices, func(ctx context.Context, o runtime.RemoteObjectID) error {
		native, err := callOn[bool](ctx, o, `function(option) {
			if (this.tagName !== "SELECT") return false;
			if (this.disabled) throw new Error("it is disabled");
			const texts = [...this.options].map(o => o.text.trim());
			let n = texts.indexOf(option);
			if (n < 0) n = texts.findIndex(t => t.toLowerCase().includes(option.toLowerCase()));
			if (n < 0) throw new Error("there are only: " + texts.join(", "));
			this.focus();
			if (n === this.selectedIndex) return true;
			this.selectedIndex = n;
			this.dispatchEvent(new Event("input", {bubbles: true}));
			this.dispatchEvent(new Event("change", {bubbles: true}));
			return true;
		}`, option)
		if err != nil || native {
			return err
		}
		one, err := theOne(ctx, o, option, "radio", "tab", "option", "menuitemradio", "menuitem")
		if err != nil {
			return err
		}
		button, err := resolved(ctx, one.BackendDOMNodeID)
		if err != nil {
			return err
		}
		return press(ctx, button)
	})
}

// Press strikes a key, as "Enter", "Escape", "/" or "Shift+Tab", where the focus
// is.
func (p *Page) Press(key string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := strike(ctx, key); err != nil {
		p.t.Fatalf("press %s: %v", key, err)
	}
}

// WaitFocus waits until what has the focus is called by a name, that of its label
// or its text.
func (p *Page) WaitFocus(name string) {
	p.t.Helper()
	p.until(fmt.Sprintf("focus on %q", name), func(ctx context.Context) error {
		got, err := evaluate[string](ctx, `(e => (e.getAttribute("aria-label") || e.labels?.[0]?.innerText || e.innerText || e.tagName).trim())(document.activeElement)`)
		if err == nil && got != name {
			err = fmt.Errorf("it is on %s", shortened(got))
		}
		return err
	})
}

var modifiers = map[string]chromedp.Modifier{
	"Alt": chromedp.ModifierAlt, "Control": chromedp.ModifierCtrl, "Meta": chromedp.ModifierMeta, "Shift": chromedp.ModifierShift,
}

func strike(ctx context.Context, keys string) error {
	var held int64
	name := keys
	for {
		before, after, ok := strings.Cut(name, "+")
		m, known := modifiers[before]
		if !ok || !known {
			break
		}
		held, name = held|int64(m), after
	}
	for r, k := range kb.Keys {
		if k.Key != name {
			continue
		}
		for _, ev := range kb.Encode(r) {
			ev.Modifiers |= held
			if _, err := chromedp.Call(ctx, input.DispatchKeyEvent, *ev); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("there is no key %q", name)
}

// Upload gives a file to the file input of the area, or to the one with a label
// where there are several.
func (a Area) Upload(label, name string, content []byte) {
	a.page.t.Helper()
	path := filepath.Join(a.page.t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		a.page.t.Fatal(err)
	}
	a.inside("give a file to "+label, func(ctx context.Context, in runtime.RemoteObjectID) error {
		o, err := callFor(ctx, in, `function(label) {
			const all = [...this.querySelectorAll("input[type=file]")];
			const named = e => (e.getAttribute("aria-label") || "") + [...(e.labels || [])].map(l => l.innerText).join(" ");
			const fit = all.length === 1 ? all : all.filter(e => named(e).includes(label));
			if (fit.length !== 1) throw new Error("of " + all.length + " file inputs " + fit.length + " fit");
			return fit[0];
		}`, label)
		if err != nil {
			return err
		}
		_, err = chromedp.Call(ctx, dom.SetFileInputFiles, dom.SetFileInputFilesParams{Files: []string{path}, ObjectID: o})
		return err
	})
}

// Drop drops a file onto the area, as that of Part or In.
func (a Area) Drop(name string, content []byte) {
	a.page.t.Helper()
	path := filepath.Join(a.page.t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		a.page.t.Fatal(err)
	}
	a.inside("drop "+name, func(ctx context.Context, in runtime.RemoteObjectID) error {
		at, err := pointIn(ctx, in)
		if err != nil {
			return err
		}
		for _, kind := range []input.DispatchDragEventType{
			input.DispatchDragEventTypeDragEnter, input.DispatchDragEventTypeDragOver, input.DispatchDragEventTypeDrop,
		} {
			_, err := chromedp.Call(ctx, input.DispatchDragEvent, input.DispatchDragEventParams{
				Type: kind, X: at.X, Y: at.Y, Data: &input.DragData{Items: []*input.DragDataItem{}, Files: []string{path}, DragOperationsMask: 1},
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Download does what starts a download and returns the name and the content of
// the file.
func (p *Page) Download(do func()) (name string, content []byte) {
	p.t.Helper()
	dir, yes := p.t.TempDir(), true
	_, err := chromedp.CallBrowser(p.ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorAllowAndName, DownloadPath: dir, EventsEnabled: &yes,
		BrowserContextID: chromedp.FromContext(p.ctx).BrowserContextID,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	// The names of all downloads of the browser; those of this page lie in dir.
	downloads := make(chan any, 64)
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	if err := chromedp.ListenBrowser(ctx, func(ev any) {
		switch ev.(type) {
		case *browser.EventDownloadWillBegin, *browser.EventDownloadProgress:
			select {
			case downloads <- ev:
			case <-ctx.Done():
			}
		}
	}); err != nil {
		p.t.Fatal(err)
	}
	do()
	names := map[string]string{}
	wait, stop := context.WithTimeout(ctx, patience)
	defer stop()
	for {
		select {
		case <-wait.Done():
			p.t.Fatalf("no download came%s", p.soFar())
		case ev := <-downloads:
			switch ev := ev.(type) {
			case *browser.EventDownloadWillBegin:
				names[ev.GUID] = ev.SuggestedFilename
			case *browser.EventDownloadProgress:
				if ev.State != browser.DownloadProgressStateCompleted {
					continue
				}
				content, err := os.ReadFile(filepath.Join(dir, ev.GUID))
				if err == nil {
					return names[ev.GUID], content
				}
			}
		}
	}
}

// Text is what the area shows.
func (a Area) Text() (text string) {
	a.page.t.Helper()
	a.inside("read", func(ctx context.Context, in runtime.RemoteObjectID) (err error) {
		text, err = callOn[string](ctx, in, shownText)
		return err
	})
	return text
}

const shownText = `function() { return (this.body || this).innerText }`

// WaitText waits until the area shows all of some texts.
func (a Area) WaitText(texts ...string) {
	a.page.t.Helper()
	a.inside(fmt.Sprintf("wait for %q", texts), func(ctx context.Context, in runtime.RemoteObjectID) error {
		shown, err := callOn[string](ctx, in, shownText)
		if err != nil {
			return err
		}
		for _, text := range texts {
			if !strings.Contains(shown, text) {
				return fmt.Errorf("%q is not shown", text)
			}
		}
		return nil
	})
}

// WaitGone waits until the area shows none of some texts.
func (a Area) WaitGone(texts ...string) {
	a.page.t.Helper()
	a.inside(fmt.Sprintf("wait for the end of %q", texts), func(ctx context.Context, in runtime.RemoteObjectID) error {
		shown, err := callOn[string](ctx, in, shownText)
		if err != nil {
			return err
		}
		for _, text := range texts {
			if strings.Contains(shown, text) {
				return fmt.Errorf("%q is shown", text)
			}
		}
		return nil
	})
}

// Wait waits until there is a thing with a role and name.
func (a Area) Wait(role, name string) {
	a.page.t.Helper()
	a.inside("wait for "+described(name, role), func(ctx context.Context, in runtime.RemoteObjectID) error {
		fit, others, err := candidates(ctx, in, name, []string{role})
		if err == nil && len(fit) == 0 {
			err = fmt.Errorf("none; there are: %s", strings.Join(others, ", "))
		}
		return err
	})
}

// WaitCount waits until there are so many things with a role and name; 0 waits
// for the end of the last.
func (a Area) WaitCount(role, name string, want int) {
	a.page.t.Helper()
	a.inside(fmt.Sprintf("wait for %d of %s", want, described(name, role)), func(ctx context.Context, in runtime.RemoteObjectID) error {
		fit, _, err := candidates(ctx, in, name, []string{role})
		if err == nil && len(fit) != want {
			err = fmt.Errorf("there are %d", len(fit))
		}
		return err
	})
}

// Count counts the things with a role and name as they are now.
func (a Area) Count(role, name string) (n int) {
	a.page.t.Helper()
	a.inside("count "+described(name, role), func(ctx context.Context, in runtime.RemoteObjectID) error {
		fit, _, err := candidates(ctx, in, name, []string{role})
		n = len(fit)
		return err
	})
	return n
}

// Attr is an attribute of the one thing with a role and name, "" where it has
// none.
func (a Area) Attr(role, name, attribute string) (v string) {
	a.page.t.Helper()
	a.on("look at", name, []string{role}, func(ctx context.Context, o runtime.RemoteObjectID) (err error) {
		v, err = callOn[string](ctx, o, `function(name) { return this.getAttribute(name) ?? "" }`, attribute)
		return err
	})
	return v
}
