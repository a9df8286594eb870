package browser

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/chromedp"
)

// chromium is the one browser of a test run. Every test has a context of its
// own in it, with cookies, storage and windows that no other test sees.
type chromium struct {
	ctx       context.Context
	stop      context.CancelFunc
	userAgent string
}

var startBrowser = sync.OnceValues(func() (*chromium, error) {
	path, err := findBrowser()
	if err != nil {
		return nil, err
	}
	on := func(name string) chromedp.ExecAllocatorOption { return chromedp.Flag(name, true) }
	allocator, stop := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(path), chromedp.UserDataDir(filepath.Join(scratch, "chromium")), chromedp.Headless, chromedp.NoSandbox,
		on("disable-gpu"), on("disable-quic"), on("no-first-run"), on("no-default-browser-check"),
		on("disable-background-networking"), on("disable-component-update"), on("disable-sync"), on("disable-default-apps"),
		on("disable-extensions"), on("disable-breakpad"), on("disable-dev-shm-usage"), on("disable-hang-monitor"),
		on("disable-client-side-phishing-detection"), on("metrics-recording-only"), on("mute-audio"),
		// Windows that nobody looks at are as quick as others.
		on("disable-background-timer-throttling"), on("disable-backgrounding-occluded-windows"), on("disable-renderer-backgrounding"),
		on("disable-ipc-flooding-protection"),
		chromedp.Flag("disable-features", "Translate,OptimizationHints,MediaRouter,PaintHolding"),
		on("hide-scrollbars"), chromedp.Flag("force-color-profile", "srgb"), chromedp.Flag("password-store", "basic"),
		// Nothing leaves this machine, whatever a page asks for.
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
		chromedp.Flag("proxy-server", "direct://"),
	)
	ctx, cancel := chromedp.NewContext(allocator, chromedp.WithErrorf(func(string, ...any) {})) // about events that it does not know
	c := &chromium{ctx: ctx, stop: func() { cancel(); stop() }}
	version, err := chromedp.CallBrowser(ctx, browser.GetVersion, cdp.Empty{})
	if err != nil {
		c.stop()
		return nil, fmt.Errorf("start Chromium: %w", err)
	}
	c.userAgent = version.UserAgent
	started = c
	return c, nil
})

// findBrowser finds Chromium: the one without a window of its own, which draws
// with a third less of the processor's time, or the whole one.
func findBrowser() (path string, err error) {
	for _, name := range []string{"chromium-headless-shell", "chromium"} {
		if path, err = exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("the tests of the pages need Chromium: `make test-deps` installs it: %w", err)
}

// started is the browser, once it was started.
var started *chromium

func stopBrowser() error {
	if started == nil {
		return nil
	}
	defer started.stop()
	ctx, cancel := context.WithTimeout(started.ctx, patience)
	defer cancel()
	if err := chromedp.Cancel(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("stop Chromium: %w", err)
	}
	return nil
}
