package browser

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// newPlainPage opens a page of the harness's own under the policy of the pages.
func newPlainPage(t *testing.T) *Page {
	t.Helper()
	files := http.FileServer(http.Dir("testdata"))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'; img-src 'self' data:")
		w.Header().Set("Cache-Control", "no-store")
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	b, err := startBrowser()
	if err != nil {
		t.Fatal(err)
	}
	return newPage(t, nil, s.URL, b.ctx, chromedp.WithNewBrowserContext())
}

// TestVerbs does with a plain page all that the harness can do with one.
func TestVerbs(t *testing.T) {
	t.Parallel()
	p := newPlainPage(t)
	p.Open("/harness.html")
	p.WaitText("en-US false false en-US 8 visible")

	p.Fill("Account", "lin.wei")
	p.Click("button", "Add")
	p.WaitText("added lin.wei")
	p.Fill("Account", "")
	p.Click("button", "Add")
	p.WaitGone("lin.wei")
	p.Fill("Note", "two\nlines")
	p.Fill("Until", "2027-01-31")
	if note, until := p.Value("Note"), p.Value("Until"); note != "two\nlines" || until != "2027-01-31" {
		t.Errorf("it has %q and %q", note, until)
	}
	p.Fill("Account", "x")
	p.Press("Enter")
	p.WaitText("entered")
	p.Choose("Status", "Failed")
	p.WaitText("status Failed")
	p.Choose("Range", "24 h")
	p.WaitText("range 24 h")
	p.Check("Keep me")
	p.Check("Keep me")
	if !p.Checked("Keep me logged in") {
		t.Error("it is not ticked")
	}
	p.Upload("Accounts", "keys.txt", []byte("a----b"))
	p.WaitText("file a----b")
	p.Click("button", "Late")
	p.WaitText("late")
	p.Row("second").Click("button", "Verify")
	p.WaitText("verified 1")
	p.Click("button", "Delete")
	p.In("dialog", "Delete 2 keys").Click("button", "Delete")
	p.WaitText("deleted")
	p.WaitCount("dialog", "", 0)
	p.Click("button", "Copy")
	if got := p.Copied(); got != "a copied text" {
		t.Errorf("copied %q", got)
	}
	if name, content := p.Download(func() { p.Click("link", "Export") }); name != "list.csv" || string(content) != "a,b" {
		t.Errorf("a download %q with %q", name, content)
	}
	if n := p.Count("row", ""); n != 3 {
		t.Errorf("%d rows", n)
	}
}

// TestViews looks at a plain page in another language, theme and width.
func TestViews(t *testing.T) {
	t.Parallel()
	p := newPlainPage(t)
	p.Look(View{Width: 390, Dark: true, Lang: "zh"})
	p.Open("/harness.html")
	p.WaitText("zh-CN true true zh-CN 8 visible")
	q := p.NewTab()
	q.Open("/harness.html")
	q.WaitText("zh-CN true true zh-CN 8 visible")
	p.WaitText("visible")
	if over := p.SideScroll(); over != 0 {
		t.Errorf("it is %d pixels too wide", over)
	}
	p.Screenshot("harness")
}

// TestWatch does what the watch must see, and axe.
func TestWatch(t *testing.T) {
	t.Parallel()
	p := newPlainPage(t)
	p.Open("/harness.html")
	p.Expect("console.error: bad 1", "console.warning: odd", "uncaught: Uncaught Error: thrown", "uncaught: Uncaught (in promise)", 404)
	Eval[any](p, `console.error("bad", 1); console.warn("odd"); setTimeout(() => { throw new Error("thrown") }); Promise.reject(new Error("lost")); fetch("/missing").then(() => 0)`)
	p.Expect("content policy: script-src-elem keeps out inline", "content policy: img-src keeps out http://outside.invalid", "asks another origin: GET http://outside.invalid/a.png")
	Eval[any](p, `{
		const s = document.createElement("script"); s.textContent = "window.ran = true"; document.body.append(s);
		const i = document.createElement("img"); i.src = "http://outside.invalid/a.png"; document.body.append(i);
	}`)
	if Eval[bool](p, "Boolean(window.ran)") {
		t.Error("an inline script has run")
	}
	found := p.axe()
	if len(found) == 0 || !strings.Contains(found[0].ID, "image-alt") {
		t.Errorf("axe found %v", found)
	}
}
