package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Page is one window of the browser, and the whole of what it shows. It belongs
// to the test's goroutine. A test fails at its end over whatever a page of it
// did wrong meanwhile, see Expect.
type Page struct {
	Area
	t      testing.TB
	origin string  // of all that it may ask for
	server *Server // nil for a page of the harness's own tests
	ctx    context.Context
	close  context.CancelFunc
	watch  *watch
	view   View
}

// NewPage opens an empty window at 1440 pixels, light and English, with cookies
// and storage of its own. It is closed when the test ends.
func NewPage(t testing.TB, s *Server) *Page {
	t.Helper()
	b, err := startBrowser()
	if err != nil {
		t.Fatal(err)
	}
	return newPage(t, s, s.URL(), b.ctx, chromedp.WithNewBrowserContext())
}

// NewTab opens another window with the same cookies and storage.
func (p *Page) NewTab() *Page {
	p.t.Helper()
	q := newPage(p.t, p.server, p.origin, p.ctx)
	q.Look(p.view)
	return q
}

// LoggedIn opens a page of the dashboard with a session.
func LoggedIn(t testing.TB, s *Server, path string) *Page {
	t.Helper()
	p := NewPage(t, s)
	p.LogIn()
	p.Open(path)
	return p
}

func newPage(t testing.TB, s *Server, origin string, parent context.Context, opts ...chromedp.ContextOption) *Page {
	t.Helper()
	w := &watch{origin: origin, sent: map[network.RequestID]*Request{}}
	p := &Page{t: t, origin: origin, server: s, watch: w}
	p.Area = Area{page: p}
	p.ctx, p.close = chromedp.NewContext(parent, append(opts, chromedp.WithListener(w.listen))...)
	t.Cleanup(p.end)
	if err := chromedp.Do(p.ctx); err != nil {
		t.Fatalf("open a window: %v", err)
	}
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := allowCopies(ctx); err != nil {
		t.Fatalf("let a window copy: %v", err)
	}
	if err := p.watchFromNowOn(ctx); err != nil {
		t.Fatalf("watch a window: %v", err)
	}
	p.Look(View{Width: 1440})
	return p
}

// allowCopies gives pages what a person's click gives them: the clipboard.
func allowCopies(ctx context.Context) error {
	_, err := chromedp.CallBrowser(ctx, browser.SetPermission, browser.SetPermissionParams{
		Permission: &browser.PermissionDescriptor{Name: "clipboard-write"}, Setting: browser.PermissionSettingGranted,
		BrowserContextID: chromedp.FromContext(ctx).BrowserContextID,
	})
	return err
}

// end closes the window and fails the test over what went wrong in it.
func (p *Page) end() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	// What was reported before this answer is known then.
	if _, err := evaluate[int](ctx, "1"); err != nil {
		p.t.Errorf("the window is gone: %v", err)
	}
	if !p.t.Failed() {
		_ = until(p.ctx, func(context.Context) error { return p.watch.outstanding() }) // the verdict tells
	}
	if p.t.Failed() {
		p.shoot(ctx, "failed-"+strings.ReplaceAll(p.t.Name(), "/", "-"))
	}
	p.close()
	for _, fault := range p.watch.verdict() {
		p.t.Errorf("the page: %s", fault)
	}
}

// LogIn gives the page the session that the form of the login gives.
func (p *Page) LogIn() {
	p.t.Helper()
	body := fmt.Sprintf(`{"token":%q}`, p.server.AdminToken())
	req, err := http.NewRequestWithContext(p.ctx, http.MethodPost, p.server.URL()+"/admin/login", strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := plain.Do(req)
	if err != nil {
		p.t.Fatalf("log in: %v", err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		p.t.Fatalf("log in: %s", resp.Status)
	}
	for _, c := range resp.Cookies() {
		_, err := chromedp.Call(p.ctx, network.SetCookie, network.SetCookieParams{
			Name: c.Name, Value: c.Value, URL: p.server.URL(), Path: c.Path,
			HTTPOnly: &c.HttpOnly, Secure: &c.Secure, SameSite: network.CookieSameSiteStrict,
		})
		if err != nil {
			p.t.Fatalf("set the cookie %s: %v", c.Name, err)
		}
	}
}

// LogOut takes all cookies away, as the end of a session does.
func (p *Page) LogOut() {
	p.t.Helper()
	if _, err := chromedp.Call(p.ctx, network.ClearBrowserCookies, cdp.Empty{}); err != nil {
		p.t.Fatal(err)
	}
}

// Open goes to an address of the server and waits until the page is ready.
func (p *Page) Open(path string) {
	p.t.Helper()
	p.Go(path)
	p.Ready()
}

// Go goes to an address of the server and waits until what it loads is there,
// not for what scripts do afterwards.
func (p *Page) Go(path string) {
	p.t.Helper()
	p.watch.forgetTransfers()
	p.navigates("go to "+path, func(ctx context.Context) error {
		res, err := chromedp.Call(ctx, page.Navigate, page.NavigateParams{URL: p.origin + path})
		if err == nil && res.ErrorText != "" {
			err = errors.New(res.ErrorText)
		}
		return err
	})
}

// Reload loads the page again, past no cache, and waits until it is ready.
func (p *Page) Reload() {
	p.t.Helper()
	p.watch.forgetTransfers()
	p.navigates("load again", func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, page.Reload, page.ReloadParams{})
		return err
	})
	p.Ready()
}

// Back goes one step back in the history, Forward one ahead.
func (p *Page) Back() { p.t.Helper(); p.travel(-1) }

// Forward is the opposite of Back.
func (p *Page) Forward() { p.t.Helper(); p.travel(1) }

// travel waits until the address is the one of that step, and for nothing else:
// the page may stay the same document.
func (p *Page) travel(by int64) {
	p.t.Helper()
	h, err := chromedp.Call(p.ctx, page.GetNavigationHistory, cdp.Empty{})
	if err != nil {
		p.t.Fatal(err)
	}
	at := h.CurrentIndex + by
	if at < 0 || at >= int64(len(h.Entries)) {
		p.t.Fatalf("there is no step %+d in the history", by)
	}
	if _, err := chromedp.Call(p.ctx, page.NavigateToHistoryEntry, page.NavigateToHistoryEntryParams{EntryID: h.Entries[at].ID}); err != nil {
		p.t.Fatal(err)
	}
	want := h.Entries[at].URL
	p.until("step in the history to "+want, func(ctx context.Context) error {
		got, err := evaluate[string](ctx, "location.href")
		if err == nil && got != want {
			err = fmt.Errorf("the address is %s", got)
		}
		return err
	})
}

// navigates does what leads to a new document and waits until that is loaded.
// The old one carries a mark.
func (p *Page) navigates(what string, do func(context.Context) error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if _, err := evaluate[bool](ctx, "window.__left = true"); err != nil {
		p.t.Fatalf("%s: %v", what, err)
	}
	if err := do(ctx); err != nil {
		p.t.Fatalf("%s: %v", what, err)
	}
	p.Await(what, `!window.__left && document.readyState === "complete"`)
}

// Ready waits until the page says that its first data are shown, by
// data-ready="true" at its root element.
func (p *Page) Ready() {
	p.t.Helper()
	p.Await("a page that is ready (data-ready on <html>)", `document.documentElement.dataset.ready === "true"`)
}

// Await waits until an expression in the page's language is true.
func (p *Page) Await(what, expression string) {
	p.t.Helper()
	p.until(what, func(ctx context.Context) error {
		holds, err := evaluate[bool](ctx, "Boolean("+expression+")")
		if err == nil && !holds {
			err = fmt.Errorf("not so: %s", expression)
		}
		return err
	})
}

// URL is where the page is: path, query and fragment.
func (p *Page) URL() string {
	p.t.Helper()
	return Eval[string](p, "location.pathname + location.search + location.hash")
}

// WaitURL waits until the page's path, and where the pattern has one its query,
// fits a pattern as path.Match has them.
func (p *Page) WaitURL(pattern string) {
	p.t.Helper()
	p.until("address "+pattern, func(ctx context.Context) error {
		at, err := evaluate[string](ctx, "location.href")
		if err != nil {
			return err
		}
		u, err := url.Parse(at)
		if err != nil {
			return err
		}
		got := u.Path
		if strings.Contains(pattern, "?") && u.RawQuery != "" {
			got += "?" + u.RawQuery
		}
		if ok, err := path.Match(strings.ReplaceAll(pattern, "?", `\?`), got); err != nil || !ok {
			return fmt.Errorf("the address is %s", u.RequestURI())
		}
		return nil
	})
}

// Title is the title of the document.
func (p *Page) Title() string { p.t.Helper(); return Eval[string](p, "document.title") }

// Server is the server that the page was opened for.
func (p *Page) Server() *Server { return p.server }

// SideScroll says by how many pixels the document is wider than the window.
func (p *Page) SideScroll() int {
	p.t.Helper()
	return Eval[int](p, "Math.max(document.documentElement.scrollWidth, document.body.scrollWidth) - document.documentElement.clientWidth")
}

// Settle waits until the browser has drawn what it was told, and no transition
// runs any more.
func (p *Page) Settle() {
	p.t.Helper()
	Eval[bool](p, `new Promise(done => {
		const runs = a => a.playState === "running" && a.effect?.getComputedTiming().endTime !== Infinity;
		let still = 0;
		const look = () => {
			still = document.getAnimations().some(runs) ? 0 : still + 1;
			still > 2 ? done(true) : requestAnimationFrame(look);
		};
		requestAnimationFrame(look);
	})`)
}

// Eval evaluates an expression in the page, awaits it where it is a promise,
// and decodes what comes of it.
func Eval[T any](p *Page, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	v, err := evaluate[T](ctx, expression)
	if err != nil {
		p.t.Fatalf("evaluate %s: %v", shortened(expression), err)
	}
	return v
}

func evaluate[T any](ctx context.Context, expression string) (v T, err error) {
	yes := true
	res, err := chromedp.Call(ctx, runtime.Evaluate, runtime.EvaluateParams{
		Expression: expression, ReturnByValue: &yes, AwaitPromise: &yes, UserGesture: &yes,
	})
	if err != nil {
		return v, err
	}
	return value[T](res.Result, res.ExceptionDetails)
}

// value decodes what came of an evaluation.
func value[T any](o *runtime.RemoteObject, failed *runtime.ExceptionDetails) (v T, err error) {
	if failed != nil {
		if failed.Exception != nil {
			return v, fmt.Errorf("%s %s", failed.Text, failed.Exception.Description)
		}
		return v, errors.New(failed.Text)
	}
	if len(o.Value) == 0 {
		return v, nil // undefined
	}
	if err := json.Unmarshal(o.Value, &v); err != nil {
		return v, fmt.Errorf("%w in %s", err, o.Value)
	}
	return v, nil
}

// until waits for a condition and fails the test where it does not come.
func (p *Page) until(what string, holds func(context.Context) error) {
	p.t.Helper()
	if err := until(p.ctx, holds); err != nil {
		p.t.Fatalf("%s: %v%s", what, err, p.soFar())
	}
}

// soFar tells what else is known when a test fails.
func (p *Page) soFar() string {
	ctx, cancel := context.WithTimeout(p.ctx, 2*time.Second)
	defer cancel()
	var b strings.Builder
	if at, err := evaluate[string](ctx, "location.href"); err == nil {
		fmt.Fprintf(&b, "\nat %s", at)
	}
	for _, fault := range p.watch.soFar() {
		fmt.Fprintf(&b, "\nthe page: %s", fault)
	}
	if text, err := evaluate[string](ctx, "document.body.innerText"); err == nil {
		fmt.Fprintf(&b, "\nit shows:\n%s", shortened(text))
	}
	return b.String()
}

// shortened is a text of which a person can still see what it is.
func shortened(text string) string {
	const most = 1500
	if r := []rune(text); len(r) > most {
		return string(r[:most]) + " …"
	}
	return text
}
