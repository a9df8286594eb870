package browser

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ollama-api-pool/e2e/program"
)

// allPages are the pages by the names that their screenshots have.
var allPages = []struct{ name, address string }{
	{"overview", "/dashboard"},
	{"keys", "/dashboard/keys"},
	{"import", "/dashboard/import"},
	{"tokens", "/dashboard/tokens"},
	{"analytics", "/dashboard/analytics"},
	{"playground", "/dashboard/playground"},
	{"requests", "/dashboard/requests"},
	{"settings", "/dashboard/settings"},
	{"stats", "/stats"},
	{"api-docs", "/api-docs"},
}

// startDemo starts the demo with its month of history, in which nothing happens
// any more.
func startDemo(t *testing.T) *Server {
	t.Helper()
	path, err := buildQuick() // a month is much to count
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Process: program.New(path, t.TempDir())}
	s.Args = []string{"demo", "--listen", "127.0.0.1:0", "--traffic=false"}
	if err := s.Launch(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	if err := s.AwaitServing(4 * patience); err != nil {
		t.Fatal(err)
	}
	return s
}

// looks collects what is wrong with how pages are drawn, and in which views.
type looks struct {
	order  []string
	faults map[string][]string
}

func (l *looks) add(fault, view string) {
	if l.faults == nil {
		l.faults = map[string][]string{}
	}
	if l.faults[fault] == nil {
		l.order = append(l.order, fault)
	}
	if !slices.Contains(l.faults[fault], view) {
		l.faults[fault] = append(l.faults[fault], view)
	}
}

// TestDemo looks at every page with much in it.
func TestDemo(t *testing.T) {
	t.Parallel()
	s := startDemo(t)
	for _, lang := range []string{"en", "zh"} {
		t.Run(lang, func(t *testing.T) {
			t.Parallel()
			p := NewPage(t, s)
			p.LogIn()
			for _, page := range allPages {
				p.everyView(page.name, page.address, strings.TrimPrefix(lang, "en"))
			}
		})
	}
}

// everyView looks at a page of the demo in all widths and themes.
func (p *Page) everyView(name, address, lang string) {
	p.t.Helper()
	var found looks
	p.Look(View{Width: 1440, Lang: lang})
	p.Open(address)
	views := []View{{Width: 1440}, {Width: 1440, Dark: true}, {Width: 390, Dark: true}, {Width: 390}}
	if lang == "" {
		views = append(views, View{Width: 360}, View{Width: 768}, View{Width: 1920})
	}
	for _, v := range views {
		v.Lang = lang
		p.Look(v)
		p.Settle()
		if over := p.SideScroll(); over > 0 {
			found.add(fmt.Sprintf("the page is %d pixels wider than the window: %s", over, p.widest()), v.String())
		}
		if !v.Dark { // in the dark the same things stand in the same places
			for _, fault := range p.sound() {
				found.add(fault, v.String())
			}
		}
		if lang == "" && (v.Width == 1440 && !v.Dark || v.phone() && v.Dark) {
			p.Axe()
		}
		p.Screenshot("demo-" + name)
	}
	for _, fault := range found.order {
		p.t.Errorf("%s: %s (%s)", address, fault, strings.Join(found.faults[fault], " "))
	}
}

// TestReadmeScreens keeps what the READMEs show of the pages, as
// .cache/screens/readme-<name>.png. `make screenshots` puts them where the
// READMEs look for them.
func TestReadmeScreens(t *testing.T) {
	t.Parallel()
	s := startDemo(t)
	p := NewPage(t, s)
	p.LogIn()
	const keys = "sort=-created_at&page=2&pageSize=20" // those that are newest came by hand and have not been asked yet
	key := restingKey(t, s, keys)
	for _, lang := range []string{"", "zh"} {
		name := strings.TrimSuffix("."+lang, ".")
		p.Look(View{Width: 1440, Lang: lang})
		p.Open("/dashboard")
		p.picture("overview" + name)
		p.Look(View{Width: 1440, Dark: true, Lang: lang})
		p.Open("/dashboard/keys?" + keys + "&key=" + key)
		p.Await("a key that is opened", `document.querySelector(".pane h2, .pane h3")?.innerText`)
		p.tickOut()
		p.picture("keys" + name)
	}
}

// restingKey is the id of a key that rests, one of a page where one of that does.
func restingKey(t *testing.T, s *Server, page string) string {
	t.Helper()
	type list struct {
		Keys []struct{ ID, Status string } `json:"api_keys"`
	}
	for _, query := range []string{page, "status=resting"} {
		for _, k := range Admin[list](t, s, "GET", "/admin/api-keys?"+query, nil).Keys {
			if k.Status == "resting" {
				return k.ID
			}
		}
	}
	t.Fatal("no key rests")
	return ""
}

// tickOut ticks the boxes of the keys that are out.
func (p *Page) tickOut() {
	p.t.Helper()
	Eval[int](p, `[...document.querySelectorAll("tbody tr:has(.s-failed, .s-resting) .tick input")].map(e => e.click()).length`)
	p.Await("what may be done with them", `document.querySelector(".bulk")`)
}

// picture keeps the window as it is, with three dots for two pixels, so that it
// is sharp where it is made smaller.
func (p *Page) picture(name string) {
	p.t.Helper()
	const dots = 1.5
	if err := measure(p.ctx, p.view, p.view.height(), dots); err != nil {
		p.t.Fatal(err)
	}
	p.Settle()
	// The version is that of a test.
	Eval[any](p, `(document.querySelectorAll(".build").forEach(e => e.hidden = true), scrollTo(0, 0))`)
	data, err := capture(p.ctx)
	if err == nil && !program.Race { // which makes that take ten times as long
		data, err = small(data)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(screens, "readme-"+name+".png"), data, 0o644)
	}
	if err == nil {
		err = measure(p.ctx, p.view, p.view.height(), 1)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}
