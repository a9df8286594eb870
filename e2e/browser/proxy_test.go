package browser

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
)

const eventsPath = "/admin/events"

// proxy stands between a browser and the program as those of companies do, and
// is as bad as it is told to be.
type proxy struct {
	*httptest.Server
	program http.Handler

	mu    sync.Mutex // guards what follows
	rule  http.HandlerFunc
	ends  chan struct{} // closed: the event streams that are open end in an orderly way
	mute  bool          // the event streams that are open say nothing any more
	count int           // of event streams that are open
	seen  map[string]int
}

// passOn is what a rule calls for requests that it lets through: it panics with
// it, see ServeHTTP.
type passOn struct{}

func pass() { panic(passOn{}) }

// behind starts a proxy in front of a server.
func behind(t testing.TB, s *Server) *proxy {
	t.Helper()
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	through := httputil.NewSingleHostReverseProxy(u)
	through.FlushInterval = -1
	through.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	through.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { page502(w) }
	p := &proxy{program: through, ends: make(chan struct{}), seen: map[string]int{}}
	p.Server = httptest.NewUnstartedServer(p)
	p.Config.ErrorLog = through.ErrorLog
	p.Start()
	t.Cleanup(func() {
		p.CloseClientConnections()
		p.Close()
	})
	return p
}

// page502 is how proxies answer when the program does not.
func page502(w http.ResponseWriter) { htmlPage(w, http.StatusBadGateway) }

func htmlPage(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "<html><body><h1>nginx</h1></body></html>")
}

// ServeHTTP answers as the rule says, or as the program does.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	rule, ends := p.rule, p.ends
	p.seen[r.Method+" "+r.URL.Path]++
	p.mu.Unlock()
	if rule != nil && p.answered(rule, w, r) {
		return
	}
	if r.URL.Path == eventsPath {
		p.stream(w, r, ends)
		return
	}
	p.program.ServeHTTP(w, r)
}

func (p *proxy) answered(rule http.HandlerFunc, w http.ResponseWriter, r *http.Request) (done bool) {
	defer func() {
		switch why := recover().(type) {
		case nil:
			done = true
		case passOn:
		default:
			panic(why)
		}
	}()
	rule(w, r)
	return true
}

// stream passes events on until it is told to end.
func (p *proxy) stream(w http.ResponseWriter, r *http.Request, ends chan struct{}) {
	p.mu.Lock()
	p.count++
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.count--
		p.mu.Unlock()
	}()
	out := r.Clone(r.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = recover() }() // the program broke the stream off
		p.program.ServeHTTP(flushed{w, p, ends}, out)
	}()
	select {
	case <-done:
	case <-ends:
		<-done
	}
}

// flushed fails once the stream is to end, which ends it without a break.
type flushed struct {
	http.ResponseWriter
	proxy *proxy
	ends  chan struct{}
}

func (f flushed) Write(b []byte) (int, error) {
	select {
	case <-f.ends:
		return 0, io.ErrClosedPipe
	default:
	}
	f.proxy.mu.Lock()
	mute := f.proxy.mute
	f.proxy.mu.Unlock()
	if mute {
		return len(b), nil
	}
	return f.ResponseWriter.Write(b)
}

func (f flushed) Unwrap() http.ResponseWriter { return f.ResponseWriter }

// follow sets the rule for all requests from now on; nil lets them through.
func (p *proxy) follow(rule http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rule = rule
}

// endStreams ends the event streams that are open.
func (p *proxy) endStreams() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.ends)
	p.ends = make(chan struct{})
}

// silence keeps back all that streams tell from now on.
func (p *proxy) silence(is bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = is
}

// streams is how many event streams are open.
func (p *proxy) streams() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// asked is how often a method and path came.
func (p *proxy) asked(call string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[call]
}

// open opens a window behind the proxy, logged in, at a path.
func (p *proxy) open(t testing.TB, s *Server, path string) *Page {
	t.Helper()
	q := p.window(t, s)
	q.LogIn()
	q.Open(path)
	return q
}

// window opens an empty window behind the proxy.
func (p *proxy) window(t testing.TB, s *Server) *Page {
	t.Helper()
	b, err := startBrowser()
	if err != nil {
		t.Fatal(err)
	}
	return newPage(t, s, p.URL, b.ctx, chromedp.WithNewBrowserContext())
}

// module is an expression for a module of the page, the very one that runs.
func module(name string) string {
	return `(await import(document.querySelector("meta[name=assets]").content + "/app/` + name + `"))`
}

// inside evaluates the body of an async function in the page.
func inside[T any](p *Page, body string) T {
	p.t.Helper()
	return Eval[T](p, "(async () => {"+body+"})()")
}
