package browser

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"syscall"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/simulator"
)

// quiet is a page that asks for nothing by itself.
const quiet = "/dashboard/nowhere"

// record notes how the live figures stand from now on.
func (p *Page) record() {
	p.t.Helper()
	inside[any](p, `const live = `+module("lib/live.js")+`;
		window.live = live; window.links = []; live.link.subscribe((v) => links.push(v));`)
}

func (p *Page) awaitLink(want string) {
	p.t.Helper()
	p.Await("the figures to be "+want, fmt.Sprintf("live.link.value === %q", want))
}

// TestEventsHeldBack has a proxy that lets no event through: the page asks in
// turn within seconds, and follows events again when they come.
func TestEventsHeldBack(t *testing.T) {
	t.Parallel()
	s := StartRaced(t)
	s.Import(t, gateway.Ollama, FakeKey(gateway.Ollama, simulator.FateOK, 0))
	px := behind(t, s)
	px.follow(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != eventsPath {
			pass()
		}
		<-r.Context().Done()
	})
	p := px.window(t, s)
	p.LogIn()
	p.Expect(404)
	p.Open(quiet)
	p.record()
	keys := p.In("navigation", "Main")
	keys.Wait("link", "Keys 1")
	p.awaitLink("polling")
	s.Import(t, gateway.Ollama, FakeKey(gateway.Ollama, simulator.FateOK, 1))
	keys.Wait("link", "Keys 2")
	px.follow(nil)
	p.awaitLink("live")
	s.Import(t, gateway.Ollama, FakeKey(gateway.Ollama, simulator.FateOK, 2))
	keys.Wait("link", "Keys 3")
}

// TestEventsRefused has proxies and servers that give something else in place of
// events.
func TestEventsRefused(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		faults []any
	}{
		"bad gateway": {func(w http.ResponseWriter, _ *http.Request) { htmlPage(w, http.StatusBadGateway) }, []any{502}},
		"a page":      {func(w http.ResponseWriter, _ *http.Request) { htmlPage(w, http.StatusOK) }, []any{"EventSource's response has a MIME type"}},
		"too many streams": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3")
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"error":{"message":"too many event streams: 100 are open","code":"service_unavailable"}}`))
		}, []any{503}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			px := behind(t, s)
			px.follow(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != eventsPath {
					pass()
				}
				tt.answer(w, r)
			})
			p := px.window(t, s)
			p.LogIn()
			p.Expect(404)
			p.Expect(tt.faults...)
			p.Open(quiet)
			p.record()
			p.awaitLink("polling")
			p.In("navigation", "Main").Wait("link", "Keys 48")
			if n := px.asked("GET " + eventsPath); n > 3 {
				t.Errorf("the stream was asked for %d times at once", n)
			}
		})
	}
}

// TestStreamEnds ends the stream as the server does every quarter of an hour:
// nobody sees anything of that, and nothing is loaded anew.
func TestStreamEnds(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	px := behind(t, s)
	p := px.window(t, s)
	p.LogIn()
	p.Expect(404)
	p.Open(quiet)
	p.record()
	for n := 1; n <= 3; n++ {
		p.Await("a stream that tells something", fmt.Sprintf("live.joins.value >= %d", n))
		px.endStreams()
	}
	p.Await("the last stream", "live.joins.value >= 4")
	if links := Eval[[]string](p, "links"); !slices.Equal(links, []string{"live"}) {
		t.Errorf("the page said %v", links)
	}
	if newest := Eval[string](p, "live.newest.value"); newest == "" {
		t.Error("the newest request is not known after the stream was begun anew")
	}
	if n := px.asked("GET /admin/overview"); n != 0 || Eval[int](p, "live.returns.value") != 0 {
		t.Errorf("the figures were asked for %d times", n)
	}
}

// TestServerKilled kills the server and starts it again: the page asks seldom,
// and loads what it shows anew, once.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	s := StartRaced(t)
	px := behind(t, s)
	p := px.open(t, s, "/dashboard/tokens")
	p.record()
	p.Await("events", "live.joins.value === 1")
	asked := func() int { return px.asked("GET /admin/tokens") }
	before, calls := asked(), px.asked("GET /admin/overview")
	p.Tolerate(502, "net::ERR_")
	if err := s.Send(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AwaitEnd(patience); err != nil {
		t.Fatal(err)
	}
	p.awaitLink("away")
	p.WaitText("The server does not answer.")
	time.Sleep(2 * time.Second)
	if n := px.asked("GET /admin/overview") - calls; n > 5 {
		t.Errorf("the page asked %d times while the server was away", n)
	}
	s.Restart(t)
	p.awaitLink("live")
	p.WaitGone("The server does not answer.")
	p.Ready()
	if n := asked() - before; n != 1 {
		t.Errorf("the list was loaded %d times after the server had come back", n)
	}
	if n := Eval[int](p, "live.returns.value"); n != 1 {
		t.Errorf("the server came back %d times", n)
	}
}

// TestSessionEndsUnderStream takes the session away from a page that only
// listens: it is sent to the login, once.
func TestSessionEndsUnderStream(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	px := behind(t, s)
	p := px.window(t, s)
	p.LogIn()
	p.Expect(404)
	p.Open(quiet)
	p.record()
	p.Await("events", "live.joins.value === 1")
	p.LogOut()
	p.Expect(http.StatusUnauthorized)
	px.endStreams()
	p.WaitText("Your session has ended.")
	p.awaitLink("off")
	refusals := 0
	for _, r := range p.Requests() {
		if r.Status == http.StatusUnauthorized {
			refusals++
		}
	}
	if refusals > 2 {
		t.Errorf("%d calls were refused before the page saw that the session had ended", refusals)
	}
	if left := Eval[any](p, "live.figures.value"); left != nil {
		t.Errorf("the figures stay: %v", left)
	}
}

// hide makes the page believe that it is, or is not, out of sight.
func (p *Page) hide(is bool) {
	p.t.Helper()
	Eval[any](p, fmt.Sprintf(`{
		Object.defineProperty(document, "hidden", {get: () => %v, configurable: true});
		document.dispatchEvent(new Event("visibilitychange"));
	}`, is))
}

// TestOutOfSight hides the page and shows it again: quickly, which changes
// nothing, and for longer, in which it asks for nothing.
func TestOutOfSight(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	px := behind(t, s)
	p := px.window(t, s)
	p.LogIn()
	p.Expect(404)
	p.Open(quiet)
	p.record()
	p.Await("events", "live.joins.value === 1")
	for range 20 {
		p.hide(true)
		p.hide(false)
	}
	if n, links := px.asked("GET "+eventsPath), Eval[[]string](p, "links"); n != 1 || !slices.Equal(links, []string{"live"}) {
		t.Errorf("after %d streams the page said %v", n, links)
	}
	p.hide(true)
	p.awaitLink("off")
	waitFor(t, "the end of the stream", func() bool { return px.streams() == 0 })
	p.hide(false)
	p.Await("events", "live.joins.value === 2")
	if Eval[int](p, "live.returns.value") != 0 {
		t.Error("after a short while out of sight all was loaded anew")
	}
}

// TestSilence breaks a connection off without a word, as a sleeping computer
// does: the page notices by the silence.
func TestSilence(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	px := behind(t, s)
	p := px.window(t, s)
	p.LogIn()
	p.Expect(404)
	p.Open(quiet)
	p.record()
	p.Await("events", "live.joins.value === 1")
	px.silence(true)
	p.awaitLink("polling")
	px.silence(false)
	p.awaitLink("live")
}

// TestManyWindows opens more windows than a browser has connections to a server:
// one of them has the stream, and another one takes it over.
func TestManyWindows(t *testing.T) {
	t.Parallel()
	s := StartRaced(t)
	px := behind(t, s)
	first := px.window(t, s)
	first.LogIn()
	first.Expect(404)
	first.Open(quiet)
	first.record()
	first.Await("events", "live.joins.value === 1")
	windows := []*Page{first}
	for range 6 {
		q := first.NewTab()
		q.Expect(404)
		q.Open(quiet)
		q.record()
		q.Await("events", "live.joins.value >= 1")
		windows = append(windows, q)
	}
	waitFor(t, "one stream for all", func() bool { return px.streams() == 1 })
	s.Import(t, gateway.Ollama, FakeKey(gateway.Ollama, simulator.FateOK, 0))
	for _, q := range windows {
		q.In("navigation", "Main").Wait("link", "Keys 1")
	}
	first.Open("/stats")
	s.Import(t, gateway.Ollama, FakeKey(gateway.Ollama, simulator.FateOK, 1))
	for _, q := range windows[1:] {
		q.In("navigation", "Main").Wait("link", "Keys 2")
	}
	waitFor(t, "one stream for all again", func() bool { return px.streams() == 1 })
	for _, q := range windows[1:] {
		if links := Eval[[]string](q, "links"); !slices.Equal(links, []string{"live"}) {
			t.Errorf("a window said %v", links)
		}
	}
}

// waitFor waits for something outside of a page.
func waitFor(t testing.TB, what string, holds func() bool) {
	t.Helper()
	err := until(t.Context(), func(context.Context) error {
		if holds() {
			return nil
		}
		return fmt.Errorf("not so")
	})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
