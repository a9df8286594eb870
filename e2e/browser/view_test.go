package browser

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// View is how a page is looked at.
type View struct {
	Width int // 390 is a phone: a coarse pointer and touches, 844 high; else 900 high
	Dark  bool
	Lang  string // "zh", or "" for English
}

func (v View) phone() bool { return v.Width < 600 }

// String is the view as it stands in the names of screenshots.
func (v View) String() string {
	theme := "light"
	if v.Dark {
		theme = "dark"
	}
	return fmt.Sprintf("%d-%s-%s", v.Width, theme, cmp.Or(v.Lang, "en"))
}

// Look changes the view. The page sees a change of width and theme at once, of
// language when it is loaded again.
func (p *Page) Look(v View) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := p.look(ctx, v); err != nil {
		p.t.Fatalf("look at %s: %v", v, err)
	}
	p.view = v
}

func (p *Page) look(ctx context.Context, v View) error {
	if v.Width != p.view.Width {
		if err := resize(ctx, v); err != nil {
			return err
		}
	}
	theme := "light"
	if v.Dark {
		theme = "dark"
	}
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: theme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}}); err != nil {
		return err
	}
	if p.view.Width != 0 && p.view.Lang == v.Lang {
		return nil
	}
	return speak(ctx, v.Lang)
}

// height is that of the window.
func (v View) height() int {
	if v.phone() {
		return 844
	}
	return 900
}

func resize(ctx context.Context, v View) error {
	if err := measure(ctx, v, v.height(), 1); err != nil {
		return err
	}
	_, err := chromedp.Call(ctx, emulation.SetTouchEmulationEnabled, emulation.SetTouchEmulationEnabledParams{Enabled: v.phone()})
	return err
}

// measure gives the window a height, and the screen so many dots a pixel.
func measure(ctx context.Context, v View, height int, dots float64) error {
	_, err := chromedp.Call(ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: int64(v.Width), Height: int64(height), DeviceScaleFactor: dots, Mobile: v.phone(),
	})
	return err
}

// speak sets what the page hears of the reader: language, zone, and that the
// window has the focus, as each of several windows has.
func speak(ctx context.Context, lang string) error {
	b, err := startBrowser()
	if err != nil {
		return err
	}
	locale, accept := "en-US", "en-US,en"
	if lang == "zh" {
		locale, accept = "zh-CN", "zh-CN,zh,en"
	}
	if _, err := chromedp.Call(ctx, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{UserAgent: b.userAgent, AcceptLanguage: accept}); err != nil {
		return err
	}
	// It can be changed only where it was taken back before.
	for _, l := range []string{"", locale} {
		if _, err := chromedp.Call(ctx, emulation.SetLocaleOverride, emulation.SetLocaleOverrideParams{Locale: l}); err != nil {
			return err
		}
	}
	if _, err := chromedp.Call(ctx, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Asia/Shanghai"}); err != nil {
		return err
	}
	_, err = chromedp.Call(ctx, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	return err
}

// screens is where screenshots are kept, below the root of the tree.
var screens = filepath.Join("..", "..", ".cache", "screens")

func prepareScreens() error { return os.MkdirAll(screens, 0o755) }

// Screenshot keeps the whole page as .cache/screens/<name>-<view>.png.
func (p *Page) Screenshot(name string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := p.screenshot(ctx, fmt.Sprintf("%s-%s", name, p.view)); err != nil {
		p.t.Fatalf("screenshot %s: %v", name, err)
	}
}

// shoot is Screenshot where its own failure does not matter.
func (p *Page) shoot(ctx context.Context, name string) { _ = p.screenshot(ctx, name) }

// screenshot makes the window as high as the page for the time, but for what
// stands in the middle of the window. To capture beyond the window instead is
// quicker, and draws the page with the width that another window has just got.
func (p *Page) screenshot(ctx context.Context, name string) error {
	height, err := evaluate[int](ctx, `document.querySelector("dialog[open]") ? 0 : document.documentElement.scrollHeight`)
	if err != nil {
		return err
	}
	if height > p.view.height() {
		defer func() { _ = resize(ctx, p.view) }() // a page that is gone fails the test elsewhere
		if err := measure(ctx, p.view, height, 1); err != nil {
			return err
		}
	}
	data, err := capture(ctx)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(screens, name+".png"), data, 0o644)
}

// capture is what the window shows, when it has drawn what it was told.
func capture(ctx context.Context) ([]byte, error) {
	if _, err := evaluate[bool](ctx, "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"); err != nil {
		return nil, err
	}
	yes := true
	res, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{OptimizeForSpeed: &yes})
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(res.Data, []byte("\x89PNG")) {
		return nil, fmt.Errorf("it is no picture")
	}
	return res.Data, nil
}

// Matrix opens an address, where a page is in a state of its own, so that every
// pair of width, theme and language is seen together, keeps a screenshot of
// each, and fails the test where the page scrolls sideways, or where axe finds a
// serious fault. What prepare does, nil for nothing, is done after each loading.
// TestDemo sees every page as it opens in all of them.
func Matrix(t *testing.T, s *Server, name, address string, prepare func(p *Page)) {
	t.Helper()
	p := NewPage(t, s)
	p.LogIn()
	p.matrix(name, address, prepare)
}

func (p *Page) matrix(name, address string, prepare func(p *Page)) {
	p.t.Helper()
	for _, v := range []View{
		{Width: 1440}, {Width: 1440, Dark: true, Lang: "zh"}, {Width: 390, Lang: "zh"}, {Width: 390, Dark: true},
	} {
		p.Look(v)
		p.Open(address)
		if prepare != nil {
			prepare(p)
		}
		p.Settle()
		if over := p.SideScroll(); over > 0 {
			p.t.Errorf("%s at %s: the page is %d pixels wider than the window: %s", address, p.view, over, p.widest())
		}
		if v.Lang == "" {
			p.Axe()
		}
		p.Screenshot(name)
	}
}

// widest names what reaches farthest out of the window.
func (p *Page) widest() string {
	return Eval[string](p, `(() => {
		const all = [...document.body.querySelectorAll("*")].map(e => [e.getBoundingClientRect().right, e]).sort((a, b) => b[0] - a[0]);
		return all.slice(0, 3).map(([r, e]) => e.cloneNode(false).outerHTML.slice(0, 120) + " to " + Math.round(r)).join("; ");
	})()`)
}
