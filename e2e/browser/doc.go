// Package browser looks at the web pages with Chromium: the program is built and
// started as a process, a headless browser opens its pages and does there what a
// visitor does. Chromium is installed by `make test-deps`; without it the tests
// fail.
//
// One test, from the root of the tree:
//
//	go -C e2e test -run TestX ./browser/
//
// With -race the program behind Shared and StartRaced is built with the race
// detector, too; without it the build is quicker, which is pleasant while one
// works on a page. Screenshots lie
// in .cache/screens below the root, that of a test that failed as
// failed-<test>.png.
//
// A test reads like what the visitor does:
//
//	func TestDisableKeys(t *testing.T) {
//		t.Parallel()
//		s := Start(t) // a program of its own; Shared(t) for tests that change nothing
//		s.Import(t, gateway.Ollama, "lin.wei@example.com----"+FakeKey(gateway.Ollama, simulator.FateOK, 0))
//		p := LoggedIn(t, s, "/dashboard/keys")
//		p.Row("lin.wei@example.com").Check("Select")
//		p.In("region", "Selected keys").Click("button", "Disable")
//		d := p.In("dialog", "Disable 1 key")
//		d.Choose("For", "1 hour")
//		d.Click("button", "Disable")
//		p.WaitText("1 key is disabled")
//		if got := Admin[struct{ Total int }](t, s, "GET", "/admin/api-keys?status=disabled", nil); got.Total != 1 {
//			t.Errorf("%d keys are disabled", got.Total)
//		}
//	}
//
// Things are found by role and accessible name, see Area, and each verb waits
// until it can do its work. So there is nothing to sleep for: after an act, wait
// for what the page shows when it has worked (WaitText, Wait, WaitCount, WaitURL,
// Await).
//
// A page says that its first data are shown by data-ready="true" on <html>, and
// takes that away when the visitor goes to another page; Open and Ready wait for
// it.
//
// Every page is watched. A test fails at its end if there was an error or a
// warning on the console, an exception, something that the content policy kept
// out, an answer of 400 or above, a request that failed, or one to another
// origin. What a test provokes it declares first: p.Expect(401) or
// p.Expect("net::ERR_CONNECTION_REFUSED") must come, p.Tolerate(…) may.
//
// TestDemo looks at every page as it opens, in every width, theme and language,
// with screenshots and axe. Matrix does that where a page is in a state of its
// own:
//
//	func TestKeyPanelLook(t *testing.T) {
//		t.Parallel()
//		Matrix(t, Shared(t), "keys-panel", "/dashboard/keys?key="+id, nil)
//	}
//
// The keys that FakeKey names have a fate at the simulated upstream; Server.Fill
// makes a small pool with accounts, tokens and traffic, which Shared has already.
package browser
